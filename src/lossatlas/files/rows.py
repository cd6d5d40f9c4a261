"""A grid of numbers, computed row by row, from which an interrupted job goes on."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lossatlas.progress import Progress

if TYPE_CHECKING:
    from lossatlas.files.state import State

Row = Mapping[str, NDArray[np.float64]]
Rows = dict[str, NDArray[np.float64]]

FILE = "rows.npz"
"""Name of the rows in a job's state."""

COMMIT_SECONDS = 10.0
"""Time between commits of jobs whose units of work are shorter than a commit."""


def compute(row: Callable[[int], Row], count: int, state: State | None = None, name: str = "rows") -> Rows:
    """Return ``count`` rows of named quantities, stacked along a new first axis.

    Args:
        row: number of a row -> its quantities, the same names and shapes for every row.
        count: number of rows.
        state: of the unfinished job, where the rows so far are kept from time to time; None = nowhere. The caller
            removes it when its output is whole.
        name: what the progress bar calls the job.
    """
    done = (state.load(FILE, _unpacked) if state else None) or []
    del done[count:]
    last = time.monotonic()
    with Progress(name, count, len(done)) as bar:
        for i in range(len(done), count):
            done.append(row(i))
            bar.update()
            if state is not None and time.monotonic() - last > COMMIT_SECONDS:
                state.write(FILE, _packed(done))
                last = time.monotonic()
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
