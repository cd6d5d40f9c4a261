"""Volume, slice and boundary files, read. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.files.hdf5 import open_hdf5, read_table, table_in


def load(files: Sequence[Path | str]) -> pd.DataFrame:
    """Return the tables of volume files as one: a row for each minimum and cutoff."""
    return pd.concat([read_table(Path(file), "volume") for file in files], ignore_index=True)


@dataclass(frozen=True)
class Decisions:
    """What one minimum decides: grid, labels, the points, and its table row."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    label: NDArray[np.uint8]
    points: NDArray[np.float32]
    classes: NDArray[np.int64]
    row: pd.Series


@dataclass(frozen=True)
class Rings:
    """What networks trained on rings decide at the test points.

    Attributes:
        table: a row for each minimum.
        x: test points (n, 2).
        y: their classes (n,).
        predicted: (minima, n).
    """

    table: pd.DataFrame
    x: Array
    y: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path) -> "Rings":
        """Read a boundary file."""
        with open_hdf5(path, "boundary") as file:
            found = (file[name][...] for name in ("test/x", "test/y", "test/predicted"))
            return cls(table_in(file), *found)

    def separation(self) -> Array:
        """Return for each minimum the mean share of the blue ring and of the inner red ring that is right: 1/2 to 1."""
        radius = np.linalg.norm(self.x, axis=1)
        right = self.predicted == self.y
        red = np.sort(radius[self.y == 1])
        widest = int(np.argmax(np.diff(red)))  # between the inner and the outer red ring
        inner = (self.y == 1) & (radius <= red[widest])
        return (right[:, self.y == 0].mean(1) + right[:, inner].mean(1)) / 2
