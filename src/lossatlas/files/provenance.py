"""What made a file: spec, hash, inputs, commit, and every stretch of work with the machine it ran on."""

import json
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lossatlas.files import machine

SEGMENTS = "segments"
"""Key of a record: stretches of the job, first to last (:func:`lossatlas.files.machine.segment`)."""

INPUTS = "inputs_sha256"
"""Key of a record: path of an input in the tree of results -> its content digest."""


@cache
def commit(root: Path) -> str:
    """Return the commit of the repository, with ``+`` when tracked files differ from it, or ``unknown``."""
    try:
        top = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if Path(top).resolve() != root.resolve():  # a package installed somewhere below another repository
            return "unknown"
        head = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty else "")


class Provenance(dict):
    """A JSON-able record of a job.

    ``segments`` ends with the stretch under way from :meth:`begin` on; a job that goes on from an earlier one's state
    puts that one's stretches in front. Seconds are read when the record is written.
    """

    def __init__(self, about: Mapping, root: Path, threads: int) -> None:
        """Start the clock of a job about an artefact or product.

        Args:
            about: kind, spec and whatever else names it; ``numerics`` where it has some.
            root: the repository.
            threads: given to the job.
        """
        super().__init__(**about, commit=commit(root), segments=[])
        self.threads = threads
        self.started = time.time()

    def begin(self) -> None:
        """Describe this stretch, once the libraries that compute are loaded."""
        self[SEGMENTS].append(machine.segment(self.threads, self.get("numerics", "native"), self["commit"]))
        self._clock()

    def stretches(self) -> list[dict]:
        """Return the segments so far, the seconds of the present one read now."""
        if not self[SEGMENTS]:
            self.begin()
        self._clock()
        return list(self[SEGMENTS])

    def _clock(self) -> None:
        self[SEGMENTS][-1] |= {"started": _time(self.started), "seconds": round(time.time() - self.started, 2)}

    def finished(self) -> dict:
        """Return the record with the seconds so far of this stretch and of all, the device and the time."""
        stretches = self.stretches()
        return {
            **self,
            SEGMENTS: stretches,
            "device": machine.gpu_name() or "cpu",
            "seconds": round(sum(one.get("seconds", 0.0) for one in stretches), 2),
            "created": _time(time.time()),
        }


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def dumps(record: Mapping) -> str:
    """Return a provenance record as the JSON that artefacts carry; a job's own record is closed first."""
    return json.dumps(record.finished() if isinstance(record, Provenance) else dict(record))
