"""A grid of numbers, computed row by row, from which an interrupted job goes on."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lossatlas.files.clock import Clock
from lossatlas.progress import Progress

if TYPE_CHECKING:
    from lossatlas.files.ledger import Ledger
    from lossatlas.files.state import State

Row = Mapping[str, NDArray[np.float64]]
Rows = dict[str, NDArray[np.float64]]

FILE = "rows.npz"
"""Name of the rows in a job's state."""


def compute(
    row: Callable[[int], Row], count: int, state: State | None = None, name: str = "rows", ledger: Ledger | None = None
) -> Rows:
    """Return ``count`` rows of named quantities, stacked along a new first axis.

    Args:
        row: number of a row -> its quantities, the same names and shapes for every row.
        count: number of rows.
        state: of the unfinished job, where the rows so far are kept from time to time; None = nowhere. The caller
            removes it when its output is whole.
        name: what the progress bar calls the job.
        ledger: in which ``row`` keeps what it evaluates, for rows that take long; of the same state.
    """
    done = (state.load(FILE, _unpacked) if state else None) or []
    del done[count:]
    kept = len(done)
    clock = Clock() if ledger is None else ledger.clock

    def keep() -> None:
        nonlocal kept
        if state is not None and kept < len(done):
            kept = len(done)
            state.write(FILE, _packed(done))

    if ledger is not None:
        ledger.before = keep
    with Progress(name, count, len(done)) as bar:
        for i in range(len(done), count):
            if ledger is not None:
                ledger.begin(i)
            done.append(row(i))
            bar.update()
            # A ledger is of the row under way: what it has put on disk of this one is lost when the next begins.
            if state is not None and (clock.due() or (ledger is not None and ledger.stored)):
                with clock.committing():
                    keep()
    if state is not None and state.one_of_several:
        keep()  # the next unit's commits keep nothing of this one
    return _stacked(done)


def _stacked(rows: list[Row]) -> Rows:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _packed(rows: list[Row]) -> memoryview:
    sink = io.BytesIO()
    np.savez(sink, **_stacked(rows))  # type: ignore[arg-type]
    return sink.getbuffer()


def _unpacked(data: bytes) -> list[Row]:
    """Return the rows that an interrupted job has left."""
    with np.load(io.BytesIO(data)) as saved:
        stacked = {key: saved[key] for key in saved.files}
    return [{key: values[i] for key, values in stacked.items()} for i in range(len(next(iter(stacked.values()))))]
