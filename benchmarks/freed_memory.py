"""What a real job gains from keeping the memory that torch frees: page faults and time of one training, both ways.

    python benchmarks/freed_memory.py [IMAGES] [ITERATIONS]

Trains LeNet by L-BFGS-GSS on random images in two fresh processes through :class:`lossatlas.workflow.job.Frame`, as the
rule ``sweep`` does; in the second, the call that keeps freed memory is replaced by one that does nothing.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

ROOT = Path(__file__).resolve().parents[1]


def planned(images: int, iterations: int) -> Plan:
    """Return the plan of the study *optimizers* with one LeNet on so many images."""
    changes = {
        "defaults": {"data": {"train": images, "test": 100}},
        "runs": {"lenet_lbfgs": {"recipe": {"epochs": iterations}}},
    }
    raw = read_yaml(ROOT / "config" / "config.yaml")
    return Plan(
        load(
            {
                **raw,
                "studies": ["optimizers"],
                "numerics": "native",
                "variants": {"mnist": "original"},
                "overrides": {"optimizers": changes},
            },
            ROOT,
        )
    )


def one(kept: bool, images: int, iterations: int) -> dict[str, float]:
    """Make the data and the training in this process; return seconds and page faults of the training."""
    from lossatlas.workflow import job

    if not kept:
        job.keep_freed_memory = lambda: False
    made = next(
        m
        for m in planned(images, iterations).of_kind("sweeps")
        if m.label.startswith("lenet") and (m.spec["recipe"]["optimizer"] == "lbfgs_gss")
    )
    for artefact in made.ancestry():
        before = resource.getrusage(resource.RUSAGE_SELF)
        given = {"artefact": artefact}
        job.Frame(
            SimpleNamespace(
                scriptdir=str(ROOT / "workflow" / "scripts"),
                params=given,
                config={},
                threads=1,
                rule=artefact.kind,
                output=[artefact.path],
            )
        ).make()
        after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "faults": after.ru_minflt - before.ru_minflt,
    }


def main() -> None:
    """Measure both ways, each in a process of its own, and print a line each."""
    if len(sys.argv) > 1 and sys.argv[1] in ("kept", "given-back"):
        print(json.dumps(one(sys.argv[1] == "kept", int(sys.argv[2]), int(sys.argv[3]))))
        return
    images, iterations = (sys.argv[1:] + ["1000", "20"][len(sys.argv) - 1 :])[:2]
    for way in ("given-back", "kept"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(Path(__file__).resolve()), way, images, iterations]
            done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{way:>10}: {found['user']:.2f} s user, {found['system']:.2f} s system, {found['faults']:,} page faults")


if __name__ == "__main__":
    main()
