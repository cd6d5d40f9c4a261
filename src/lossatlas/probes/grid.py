"""Grid files: what was measured on a slice of a landscape, read, and gathered from tiles. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table


def gather(sources: Sequence[Path], output: Path, provenance: Mapping) -> None:
    """Put the rows of tiles together, in order, into one grid.h5 of the same form."""
    grids = [Grid.load(path) for path in sources]
    with open_hdf5(sources[0], "grid") as first, create(output, "grid", provenance) as file:
        for name, value in first.attrs.items():
            if name in ("slice", "directions_norm", "explained"):
                file.attrs[name] = value
        for name in ("minimum", "histogram", "path"):
            if name in first:
                write_table(file, table_in(first, name), name)
        file.create_dataset("x", data=grids[0].x)
        file.create_dataset("y", data=np.concatenate([grid.y for grid in grids]))
        for name in grids[0].measured:
            file.create_dataset(f"values/{name}", data=np.concatenate([grid.measured[name] for grid in grids]))
        if any(not np.array_equal(grid.x, grids[0].x) for grid in grids):
            raise LossatlasError(f"{output}: its tiles have different columns; delete them and run again")


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
