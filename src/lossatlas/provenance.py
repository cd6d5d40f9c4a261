"""What made a file: spec, hash, commit, versions, machine, seconds.

    python -m lossatlas.provenance FILE                  print it, and the command that makes the file again
    python -m lossatlas.provenance --verify FILE         make it again from the data on, in a scratch folder; compare
    python -m lossatlas.provenance --verify --step FILE  the same, from the artefacts it is directly made from

FILE is anything lossatlas makes: HDF5, PNG, PDF, CSV. Exit status 1 when it has no provenance, is corrupt or differs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "h5py", "phate", "umap-learn", "snakemake")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit(root: Path) -> str:
    """Return the commit of the repository, with ``+`` when tracked files differ from it, or ``unknown``."""
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty else "")


def device_name() -> str:
    """Return the GPU's name, or ``cpu``; asks torch only where a job has already imported it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"


class Provenance(dict):
    """A JSON-able record; ``seconds`` is read when the record is written."""

    def __init__(self, about: Mapping, root: Path, threads: int) -> None:
        """Start the clock of a job about an artefact or product."""
        super().__init__(
            **about,
            commit=commit(root),
            versions=versions(),
            machine={"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
            threads=threads,
        )
        self.started = time.time()

    def finished(self) -> dict:
        """Return the record with the job's seconds so far, its device and the time."""
        return {
            **self,
            "device": device_name(),
            "seconds": round(time.time() - self.started, 2),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def dumps(record: Mapping) -> str:
    """Return a provenance record as the JSON that artefacts carry; a job's own record is closed first."""
    return json.dumps(record.finished() if isinstance(record, Provenance) else dict(record))


def main() -> int:
    """Print the provenance of the file on the command line, or verify it."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.provenance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--verify", action="store_true", help="make it again in a scratch folder and compare")
    parser.add_argument("--step", action="store_true", help="with --verify: only the last step")
    parser.add_argument("--cores", type=int, default=1, help="with --verify: for Snakemake (default: 1)")
    given = parser.parse_args()
    # This module is imported by every job; what reads files and plans is not needed there.
    from lossatlas import origin, recompute
    from lossatlas.errors import LossatlasError

    try:
        root = recompute.repository()
        if not given.verify:
            print(origin.describe(given.file, origin.read(given.file), root), end="")
            return 0
        found = recompute.verify(given.file, root, given.cores, given.step)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    print(recompute.report(given.file, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
