"""Grid and descent files, read: what was measured on a slice of a landscape. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.files.hdf5 import open_hdf5, read_table, table_in


@dataclass(frozen=True)
class Grid:
    """A grid file as figures and claims read it.

    Attributes:
        x, y: (nx,), (ny,) coordinates.
        measured: quantity -> (ny, nx, ...).
        slice: what spans it: its kind and directions.
        minimum: the run's last table row.
        histogram: of the minimum's weights: low, high, count.
        path: the points of the path that spans the plane, with columns x and y; empty for other slices.
        explained: share of the path's variance along each direction, (2,); NaN for other slices.
    """

    x: Array
    y: Array
    measured: dict[str, Array]
    slice: dict[str, Any]
    minimum: pd.Series
    histogram: pd.DataFrame
    path: pd.DataFrame
    explained: Array

    @classmethod
    def load(cls, path: Path | str) -> "Grid":
        """Read a tile or a gathered grid."""
        with open_hdf5(Path(path), "grid") as file:
            values = file["values"]
            return cls(
                file["x"][...],
                file["y"][...],
                {name: values[name][...] for name in values},
                json.loads(file.attrs["slice"]),
                table_in(file, "minimum").iloc[0],
                table_in(file, "histogram"),
                table_in(file, "path"),
                np.asarray(file.attrs.get("explained", [np.nan, np.nan])),
            )

    def lost(self, quantity: str) -> int:
        """Return how many points have no finite value of a quantity."""
        return int((~np.isfinite(self.measured[quantity])).sum())


@dataclass(frozen=True)
class Trust:
    """The checks of a slice.

    Attributes:
        outcome: ``yes``, ``no`` or ``undecided``.
        checks: one row a check: name, outcome, number, criterion, sentence.
    """

    outcome: str
    checks: pd.DataFrame

    @classmethod
    def load(cls, path: Path | str) -> "Trust":
        """Read a trust file."""
        with open_hdf5(Path(path), "trust") as file:
            return cls(str(file.attrs["outcome"]), table_in(file))

    def words(self) -> str:
        """Return the verdict in a few words, with the checks that say no, or are undecided where none does."""
        if self.outcome == "yes":
            return "is it right? yes"
        against = self.checks["name"][self.checks["outcome"] == self.outcome]
        return f"is it right? {self.outcome}: {', '.join(against)}"


def descent(path: Path | str) -> pd.DataFrame:
    """Return the table of a descent file, one row a step (:mod:`lossatlas.planes.jobs.descent`)."""
    return read_table(Path(path), "descent")
