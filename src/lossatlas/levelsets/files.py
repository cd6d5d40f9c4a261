"""Surface and average files, and the histories in Gram files, read. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.files.hdf5 import open_hdf5, read_table, table_in


@dataclass(frozen=True)
class Surface:
    """A surface file as figures read it: the loss on a grid, and the points of the paths that span its plane."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    loss: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    explained: NDArray[np.float64]
    table: pd.DataFrame

    @classmethod
    def load(cls, path: Path) -> "Surface":
        """Read a surface file."""
        with open_hdf5(path, "surface") as file:
            values = {name: file[name][...] for name in ("x", "y", "loss", "coordinates")}
            return cls(**values, explained=file.attrs["explained"][...], table=table_in(file))


def average(path: Path) -> pd.DataFrame:
    """Return the table of an average file (:func:`lossatlas.levelsets.jobs.average.average`)."""
    return read_table(path, "average")


def history(path: Path) -> pd.DataFrame:
    """Return the evaluations during the trainings of a cloud's sweeps, one row each, from its Gram file."""
    return read_table(path, "gram", "history")
