"""The other end of a worker: a side of a case in a process of its own, which stays between the rounds."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.frame.alternate import Sample

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".peers"
"""The folder that ``make bench`` puts other packages into; only their workers see it."""


class SideError(Exception):
    """A side cannot do its work; the text says why."""


class Remote:
    """A side in a process of its own.

    Args:
        module: that has the case.
        case: its name.
        side: the side's name.
        threads: of linear algebra.
        peers: whether it sees the folder of other packages.
    """

    def __init__(self, module: str, case: str, side: str, threads: int = 1, peers: bool = True) -> None:
        path = [str(ROOT), str(ROOT / "src"), *([str(PEERS)] if peers else []), os.environ.get("PYTHONPATH", "")]
        count = str(threads)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
        }
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.frame.worker", module, case, side],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise SideError(f"its process ended with status {code}: {self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise SideError(reply["error"])
        return reply

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def prepare(self, size: Mapping[str, Any]) -> str:
        """Make everything that is not timed; return the version of the side's package."""
        return str(self._ask(do="prepare", size=dict(size))["version"])

    def check(self, given: Path | None, to: Path) -> None:
        """Write the result that is compared."""
        self._ask(do="check", given=None if given is None else str(given), to=str(to))

    def run(self) -> Sample:
        """Run once, timed."""
        return Sample(**self._ask(do="run"))

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()
