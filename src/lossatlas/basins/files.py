"""Volume, slice and boundary files, read. Imports no torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.files.hdf5 import open_hdf5, table_in


@dataclass(frozen=True)
class Volumes:
    """The basins of the minima of a volume file.

    Attributes:
        table: a row for each minimum and cutoff, those of a minimum one after the other.
        radii: (minima, cutoffs, directions) float64, the cutoffs ascending.
        steps: (s,) float64.
        profile: (minima, profiles, s) float64, the loss at these steps along the first directions.
    """

    table: pd.DataFrame
    radii: Array
    steps: Array
    profile: Array

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Volumes":
        """Read a volume file."""
        with open_hdf5(Path(path), "volume") as file:
            return cls(table_in(file), *(file[name][...] for name in ("radii", "steps", "profile")))

    @property
    def cutoffs(self) -> list[float]:
        """Return the training losses that bound the basins, ascending."""
        return sorted(set(self.table["cutoff"]))

    @property
    def minima(self) -> pd.DataFrame:
        """Return a table row for each minimum, that of the lowest cutoff."""
        return self.table.iloc[:: len(self.cutoffs)].reset_index(drop=True)


@dataclass(frozen=True)
class Masses:
    """The Gaussian masses of the basins of a mass file.

    Attributes:
        table: a row for each minimum and width asked for, those of a minimum one after the other. Logarithms natural.
        rungs: a row for each minimum (its number in the file) and rung of its ladder.
        factors: (s,) float64, of the last layer's weights.
        head: (minima, 2, s) float64, the loss at these factors, and the largest of draws about that ray.
    """

    table: pd.DataFrame
    rungs: pd.DataFrame
    factors: Array
    head: Array

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Masses":
        """Read a mass file."""
        with open_hdf5(Path(path), "mass") as file:
            return cls(table_in(file), table_in(file, "rungs"), file["factors"][...], file["head"][...])

    @property
    def minima(self) -> pd.DataFrame:
        """Return a table row for each minimum, that of the narrowest width."""
        return self.table.iloc[:: self.table["width"].nunique()].reset_index(drop=True)


@dataclass(frozen=True)
class Slices:
    """The loss on random planes through the minima of a slice file.

    Attributes:
        minima: a row for each minimum.
        x: (k,) float64, steps along both directions.
        loss: (minima, k, k) float64.
    """

    minima: pd.DataFrame
    x: Array
    loss: Array

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Slices":
        """Read a slice file."""
        with open_hdf5(Path(path), "slice") as file:
            return cls(table_in(file), file["x"][...], file["loss"][...])


@dataclass(frozen=True)
class Labelled:
    """Examples in the plane.

    Attributes:
        x: (n, 2) float32, in the data's own units.
        y: (n,) int64, their classes.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Boundaries:
    """What the minima of a boundary file decide.

    Attributes:
        minima: a row for each minimum.
        x: (k,) float64, columns of the grid, in the data's own units.
        y: (k,) float64, its rows.
        label: (minima, k, k) uint8, the class decided there.
        train: the training points.
        test: the test points.
        predicted: (minima, n) uint8, the class decided at each test point.
    """

    minima: pd.DataFrame
    x: Array
    y: Array
    label: NDArray[np.uint8]
    train: Labelled
    test: Labelled
    predicted: NDArray[np.uint8]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Boundaries":
        """Read a boundary file."""
        with open_hdf5(Path(path), "boundary") as file:
            train, test = (Labelled(file[f"{part}/x"][...], file[f"{part}/y"][...]) for part in ("train", "test"))
            x, y, label, predicted = (file[name][...] for name in ("x", "y", "label", "test/predicted"))
            return cls(table_in(file), x, y, label, train, test, predicted)
