"""Triangle files, read. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, table_in


@dataclass(frozen=True)
class Triangle:
    """A triangle file as figures read it: the loss on a grid, its corners, some inputs and the layers' sizes."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    loss: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    layers: list[int]
    table: pd.DataFrame

    @classmethod
    def load(cls, path: Path, part: str) -> "Triangle":
        """Read a triangle file with the losses of one part of the data."""
        with open_hdf5(path, "triangle") as file:
            if "images" not in file:
                raise LossatlasError(f"{path}: its examples are no images; an overview shows some")
            shapes = [shape for _, shape, kind in json.loads(file.attrs["layout"]) if kind == "weight"]
            if any(len(shape) != 2 for shape in shapes):
                raise LossatlasError(f"{path}: an overview draws fully connected networks; this one has other layers")
            layers = [shapes[0][1], *(shape[0] for shape in shapes)]
            values = {name: file[name][...] for name in ("x", "y", "coordinates", "images", "labels")}
            return cls(**values, loss=file[part][...], layers=layers, table=table_in(file))
