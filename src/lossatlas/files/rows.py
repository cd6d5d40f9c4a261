"""A grid of numbers, computed row by row, from which an interrupted job goes on."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lossatlas.files.hdf5 import atomic
from lossatlas.progress import Progress

Row = Mapping[str, NDArray[np.float64]]
Rows = dict[str, NDArray[np.float64]]

COMMIT_SECONDS = 10.0
"""Time between commits of jobs whose units of work are shorter than a commit."""


def compute(row: Callable[[int], Row], count: int, state: Path | None = None, name: str = "rows") -> Rows:
    """Return ``count`` rows of named quantities, stacked along a new first axis.

    Args:
        row: number of a row -> its quantities, the same names and shapes for every row.
        count: number of rows.
        state: folder of the unfinished job, where the rows so far are kept from time to time; None = nowhere. The
            caller removes it when its output is whole.
        name: what the progress bar calls the job.
    """
    file = None if state is None else state / "rows.npz"
    done = _load(file, count)
    last = time.monotonic()
    with Progress(name, count, len(done)) as bar:
        for i in range(len(done), count):
            done.append(row(i))
            bar.update()
            if file is not None and time.monotonic() - last > COMMIT_SECONDS:
                _save(file, done)
                last = time.monotonic()
    return _stacked(done)


def _stacked(rows: list[Row]) -> Rows:
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def _save(file: Path, rows: list[Row]) -> None:
    stacked = _stacked(rows)
    with atomic(file) as part, open(part, "wb") as sink:
        np.savez(sink, **stacked)  # type: ignore[arg-type]


def _load(file: Path | None, count: int) -> list[Row]:
    """Return the rows that an interrupted job has left."""
    if file is None or not file.exists():
        return []
    with np.load(file) as saved:
        stacked = {key: saved[key] for key in saved.files}
    kept = min(count, len(next(iter(stacked.values()))))
    return [{key: values[i] for key, values in stacked.items()} for i in range(kept)]
