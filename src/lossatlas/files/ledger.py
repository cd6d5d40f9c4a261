"""A ledger: what a deterministic computation has evaluated so far, in order, so that a resumed one need not again.

For units of work that take minutes and whose cost lies in evaluations: the point of a map of curvature, which takes a
hundred Hessian products, or a block of directions, each of which takes sixty losses. The computation itself stays as it
is written; begun again, it asks the same questions and is given the same answers, up to the last that is on disk.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas import preemption
from lossatlas.files.clock import Clock
from lossatlas.files.state import State

Answers = list[NDArray[Any]]


class Ledger:
    """The evaluations of the unit of work under way.

    Each commit writes one file of those since the last, so that a long unit costs what it evaluates and no more. A file
    says which unit it is of: those of an earlier one count for nothing and are written over.

    Attributes:
        clock: since the last commit, which may be that of others.
        stored: whether something of this unit is on disk.
        before: called before a commit, to put on disk what earlier units found.
    """

    def __init__(self, state: State) -> None:
        """Keep it in the state of a job."""
        self.clock, self._state = Clock(), state
        self.before: Callable[[], None] = lambda: None
        self._unit, self._parts = -1, 0
        self._told: deque[NDArray[Any]] = deque()
        self._new: Answers = []
        self._reading = False

    @property
    def stored(self) -> bool:
        """Whether something of this unit is on disk."""
        return self._parts > 0

    def begin(self, unit: int) -> None:
        """Take up a unit of work, from what is on disk of it."""
        self._unit, self._parts, self._reading = unit, 0, True
        self._told.clear()
        self._new.clear()

    def __call__(self, find: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the next evaluation: the one that was kept, or what ``find`` returns, which is kept.

        Raises:
            Preempted: it is on disk, and the job was asked to end.
        """
        if not self._told and self._reading:
            self._read()
        if self._told:
            return self._told.popleft()
        found = find()
        self._new.append(found)
        if self.clock.due():
            self.settle()
        return found

    def settle(self) -> None:
        """Put on disk what is not there yet: the unit is done, and others begin that keep nothing of it.

        Raises:
            Preempted: it is on disk, and the job was asked to end.
        """
        if self._new:
            with self.clock.committing():
                with preemption.held():  # of two files: it ends when both are there
                    self.before()
                self._write()

    def _read(self) -> None:
        """Take the next file of this unit, if there is one."""
        found = self._state.load(f"ledger-{self._parts}.npz", _unpacked)
        self._reading = found is not None and found[0] == self._unit
        if found is not None and self._reading:
            self._told.extend(found[1])
            self._parts += 1

    def _write(self) -> None:
        """Put the evaluations since the last commit on disk."""
        sink = io.BytesIO()
        answers = {f"{number}": answer for number, answer in enumerate(self._new)}
        np.savez(sink, allow_pickle=False, unit=np.array(self._unit), **answers)
        self._parts += 1
        self._new.clear()
        self._state.write(f"ledger-{self._parts - 1}.npz", sink.getbuffer())


def _unpacked(data: bytes) -> tuple[int, Answers]:
    with np.load(io.BytesIO(data)) as saved:
        return int(saved["unit"]), [saved[f"{number}"] for number in range(len(saved.files) - 1)]
