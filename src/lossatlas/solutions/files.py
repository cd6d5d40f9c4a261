"""Triangle files and the histories of sets of solutions, read. Imports no torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table, table_in


@dataclass(frozen=True)
class Triangle:
    """A triangle file as figures read it: the losses on a grid, its corners, some inputs and the layers' sizes.

    ``losses``: part of the data (``train``, ``test``) -> (y, x).
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    losses: dict[str, NDArray[np.float64]]
    coordinates: NDArray[np.float64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    layers: list[int]
    table: pd.DataFrame

    @classmethod
    def load(cls, path: Path) -> "Triangle":
        """Read a triangle file."""
        with open_hdf5(path, "triangle") as file:
            if "images" not in file:
                raise LossatlasError(f"{path}: its examples are no images; an overview shows some")
            shapes = [shape for _, shape, kind in json.loads(file.attrs["layout"]) if kind == "weight"]
            if any(len(shape) != 2 for shape in shapes):
                raise LossatlasError(f"{path}: an overview draws fully connected networks; this one has other layers")
            layers = [shapes[0][1], *(shape[0] for shape in shapes)]
            values = {name: file[name][...] for name in ("x", "y", "coordinates", "images", "labels")}
            losses = {part: file[part][...] for part in ("train", "test")}
            return cls(**values, losses=losses, layers=layers, table=table_in(file))


def hessians(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Return the curvatures of a probe's jobs together, one row a point (:mod:`lossatlas.solutions.jobs.hessians`)."""
    return pd.concat([read_table(Path(path), "hessians") for path in paths], ignore_index=True)


def read_history(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of a set of solutions, and what was evaluated during their trainings, from its Gram file."""
    table, history = (read_table(path, "gram", group) for group in ("table", "history"))
    if history.empty:
        raise LossatlasError(f"{path}: no history; name a cloud `best` with `stop: last`")
    return table, history
