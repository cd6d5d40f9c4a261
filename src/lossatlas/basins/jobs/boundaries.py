"""What classifiers of points in the plane decide, on a grid and on the examples."""

from collections.abc import Mapping
from functools import partial

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.jobs.minima import Minimum, minima
from lossatlas.data.dataset import load
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.state import State
from lossatlas.specs.registry import Job


def boundaries(job: Job) -> None:
    """Evaluate classifiers of points in the plane on a grid, and on the examples.

    Args:
        job: spec: :class:`lossatlas.basins.spec.BoundaryJob`. File ``data``: data.h5 whose inputs have two features;
            its points are drawn and evaluated. Output: boundary.h5 with ``/x``, ``/y`` (k,) in the data's own units;
            ``/label`` (minima, k, k) the class predicted there, uint8; ``/train/x``, ``/train/y`` and ``/test/x``,
            ``/test/y`` with ``/test/predicted`` (minima, n); ``/table``, a row for each minimum.
    """
    data = load(job.file("data"))
    if data.is_images or data.x_train.shape[1] != 2:
        raise LossatlasError(f"{job.file('data')}: boundaries are drawn for inputs of two features")
    x, y = _grid(data.x_train.numpy(), job.spec)
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).float()
    points = points if job.spec["scale"] == "raw" else data.normalised(points)
    rows, labels, predicted = [], [], []
    state = State(job.state, job.provenance)
    ledger = Ledger(state)
    ledger.begin(0)
    for minimum in minima(job):
        on_grid = ledger(partial(_decided, minimum, points))
        labels.append(on_grid.reshape(len(y), len(x)).astype(np.uint8))
        predicted.append(ledger(partial(_predicted, minimum)))
        rows.append(minimum.row)
    with create(job.output, "boundary", job.provenance) as file:
        for name, values in (("x", x), ("y", y), ("label", np.stack(labels))):
            file.create_dataset(name, data=values, compression="gzip" if name == "label" else None)
        _write_part(file, "train", minimum.nets.train.y, data.x_train)
        _write_part(file, "test", minimum.nets.test.y, data.x_test)
        file["test"].create_dataset("predicted", data=np.stack(predicted).astype(np.uint8))
        write_table(file, pd.DataFrame(rows))
    state.remove()


def _decided(minimum: Minimum, points: Tensor) -> NDArray[np.int64]:
    """Return the classes (n,) that a minimum's network decides for points of the plane (n, 2)."""
    return minimum.decisions(points).cpu().numpy()


def _predicted(minimum: Minimum) -> NDArray[np.int64]:
    """Return those of the test examples (n,)."""
    return minimum.nets.test.outputs(minimum.theta).argmax(1).cpu().numpy()


def _write_part(file: h5py.File, part: str, y: Tensor, x: Tensor) -> None:
    group = file.create_group(part)
    group.create_dataset("x", data=x.numpy())
    group.create_dataset("y", data=y.cpu().numpy())


def _grid(points: NDArray[np.float32], spec: Mapping) -> tuple[Array, Array]:
    """Return coordinates along both axes of a square that holds all points."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    centre, half = (low + high) / 2, float((high - low).max()) * (0.5 + spec["margin"])
    sides = [np.linspace(centre[k] - half, centre[k] + half, spec["grid"]) for k in (0, 1)]
    return sides[0], sides[1]
