"""A process that does one side of one case, again and again, as it is told on its standard input.

    python -m benchmarks.frame.worker MODULE CASE SIDE

A line is a request in JSON, ``{"do": "prepare", "size": {...}}``, ``{"do": "check", "given": FILE or null, "to":
FILE}`` or ``{"do": "run"}``; the answer is a line, too. What the side prints goes to standard error.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame.alternate import Sample
from benchmarks.frame.case import OURS, Action, Case, Side
from lossatlas.workflow.allocator import keep_freed_memory


def process_seconds() -> float:
    """Return the time that this process and its ended children have had on a core, seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(
    action: Action,
    cpu: Callable[[], float] = process_seconds,
    wall: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Run an action once and return what it took."""
    forget_peak()
    before = cpu(), wall()
    outcome = action()
    return Sample(cpu() - before[0], wall() - before[1], peak(), dict(outcome.counts))


def forget_peak() -> None:
    """Set the process's peak of resident memory to what it holds now, where the kernel can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the peak of resident memory, bytes; 0 where the kernel does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def version(package: str) -> str:
    """Return a package's version, or nothing."""
    try:
        return metadata.version(package) if package else ""
    except metadata.PackageNotFoundError:
        return ""


class Worker:
    """One side of one case.

    Attributes:
        action: what a run does, once it is prepared.
    """

    def __init__(self, side: Side) -> None:
        self.side, self.size, self.action = side, {}, None

    def prepare(self, size: Mapping[str, Any]) -> dict[str, Any]:
        """Make everything that is not timed."""
        self.size, self.action = size, None  # what the last size held is let go first
        self.action = self.side.prepare(size)
        return {"version": version(self.side.package)}

    def check(self, given: str | None, to: str) -> dict[str, Any]:
        """Write the result that is compared with the other side's."""
        other = None if given is None else np.load(given)
        found = self.action().result if self.side.check is None else self.side.check(self.size, other)
        np.save(to, np.asarray(found, np.float64))
        return {}

    def run(self) -> dict[str, Any]:
        """Run once."""
        sample = timed(self.action)
        return {"cpu": sample.cpu, "wall": sample.wall, "memory": sample.memory, "counts": sample.counts}


def find(module: str, name: str) -> Case:
    """Return a case of a module by name."""
    return next(case for case in importlib.import_module(module).CASES if case.name == name)


def answer(worker: Worker, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request; an error as its text."""
    given = {key: value for key, value in request.items() if key != "do"}
    try:
        return {"prepare": worker.prepare, "check": worker.check, "run": worker.run}[request["do"]](**given)
    except Exception as error:  # of whatever package: its text is what the record keeps
        import traceback

        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}


def main() -> None:
    """Answer requests until there are none."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, case, name = sys.argv[1:]
    side = find(module, case).side(name)
    if name == OURS:
        keep_freed_memory()  # as every job of ours does
    worker = Worker(side)
    try:
        import torch

        torch.set_num_threads(side.threads)
    except ImportError:
        pass
    for line in sys.stdin:
        print(json.dumps(answer(worker, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
