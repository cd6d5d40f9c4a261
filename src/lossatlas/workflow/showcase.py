"""What `make figures` computes on this machine beside pictures: one chain from nothing, one stored training again.

    python -m lossatlas.workflow.showcase [--cores N]

The chain is data, training, export, jump, retraining, Gram matrix, PHATE and figure at preset quick, in a folder of
its own that is empty at first. The training is the shortest one that DVC brought; it is made again in a scratch
folder and compared with what was brought. ``results/made_here.json`` says what came of it; the gallery shows that.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lossatlas import places
from lossatlas.audit import recompute
from lossatlas.audit.nearness import BITS, CONCLUSIONS, DIFFERENT, ROUNDING
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic
from lossatlas.files.record import read_provenance
from lossatlas.specs.yaml import read_yaml
from lossatlas.workflow.wiring import MADE_HERE

FOLDER = Path("results/made_here")
FIGURE = "results/figures/trajectories/fig2.png"
TRAININGS = ("runs", "sweeps")
LEAST_SECONDS = 3.0
"""A training shorter than this is no evidence of much; the shortest of the others is made again."""

WORDS = {
    BITS: "every bit is the same",
    ROUNDING: "all is the same but for rounding",
    CONCLUSIONS: "numbers differ by more than rounding, conclusions do not",
    DIFFERENT: "it is different",
}
"""What a level of agreement means."""


def chain(root: Path, cores: int) -> dict[str, Any]:
    """Make one figure at preset quick from nothing; return what to show of it.

    Raises:
        LossatlasError: it failed; the line names the log.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    config = ["preset=quick", "studies=[trajectories]"]
    command = ["-m", "snakemake", "-s", str(root / "Snakefile"), "--cores", str(cores), "--config", *config]
    begun = time.monotonic()
    log = FOLDER / "snakemake.log"
    with log.open("w", encoding="utf-8") as sink:
        done = subprocess.run([sys.executable, *command, "--", FIGURE], cwd=FOLDER, stdout=sink, stderr=sink)
    if done.returncode:
        raise LossatlasError(f"the chain from nothing failed; its log is {log}")
    jobs = sum(1 for path in (FOLDER / "results").glob("*/*/*.h5") if not path.parts[2].startswith("."))
    return {
        "what": "trajectories/fig2 at preset quick",
        "how": f"from nothing: data, training, export, jump, retraining, Gram matrix, PHATE, figure; {jobs} artefacts",
        "seconds": round(time.monotonic() - begun, 1),
        "png": str(FOLDER / FIGURE),
    }


def brought(root: Path) -> Iterator[tuple[float, Path]]:
    """Yield the trainings that DVC's lock file names and that lie in the tree, with the seconds they took."""
    lock = root / "dvc.lock"
    stages = (read_yaml(lock) or {}).get("stages", {}) if lock.is_file() else {}
    for stage in stages.values():
        for out in stage.get("outs", ()):
            path = Path(out["path"]) / "points.h5"
            if path.parts[1] in TRAININGS and path.is_file():
                yield float(read_provenance(path).get("seconds", 0.0)), path


def training(root: Path, cores: int) -> dict[str, Any] | None:
    """Make the shortest stored training again and compare; None where DVC brought none.

    Raises:
        LossatlasError: it cannot be made again.
    """
    found = sorted((seconds < LEAST_SECONDS, seconds, path) for seconds, path in brought(root))
    if not found:
        return None
    path = found[0][2]
    begun = time.monotonic()
    agreement, text = recompute.verify(path, root, cores, step=True)
    print(text, flush=True)
    return {
        "what": str(path.parent),
        "how": "a training of the bundled store, made again from its data",
        "seconds": round(time.monotonic() - begun, 1),
        "agrees": WORDS[agreement.level] + ("" if agreement.reached else ", less than this machine should give"),
    }


def main() -> int:
    """Make the chain and the training, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2, help="for Snakemake (default: 2)")
    cores = parser.parse_args().cores
    try:
        root = places.here_or_installed()
        made = [chain(root, cores), training(root, cores)]
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    shown = [one for one in made if one]
    with atomic(MADE_HERE) as part:
        part.write_text(json.dumps({"made": shown}, indent=1) + "\n", encoding="utf-8")
    for one in shown:
        agrees = f"; compared with the bundled one, {one['agrees']}" if one.get("agrees") else ""
        print(f"== made here: {one['what']}, {one['seconds']:.0f} s{agrees}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
