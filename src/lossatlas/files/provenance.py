"""What made a file: spec, hash, commit, versions, machine, seconds."""

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
