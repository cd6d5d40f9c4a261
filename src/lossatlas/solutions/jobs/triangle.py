"""Losses on the plane through three points of a cloud."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.data.dataset import load
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.state import State
from lossatlas.planes.plane import Plane, sides, surface, through
from lossatlas.specs.registry import Job
from lossatlas.train.networks import member


def triangle(job: Job) -> None:
    """Compute the losses on the plane through three points.

    Args:
        job: its spec is a :class:`lossatlas.solutions.spec.TriangleJob`, its files ``cloud`` (points) and ``data``. Its
            output, triangle.h5, has ``/x`` (n,), ``/y`` (n,), ``/train`` and ``/test`` (n, n), the losses at origin + x
            u + y v; ``/coordinates`` (3, 2) of the corners and their ``/table``; attribute ``layout``; of images with
            labels also ``/images`` (k, H, W), the first training example of each class, and their ``/labels`` (k,).
    """
    spec, data_file = job.spec, job.file("data")
    with open_hdf5(job.file("cloud"), "points") as file:
        rows = list(spec["corners"])
        corners = np.stack([file["theta"][row] for row in rows]).astype(np.float64)
        table = table_in(file).iloc[rows].reset_index(drop=True)
    origin, directions, coordinates = through(corners)
    x, y = sides(coordinates, spec["margin"], (spec["grid"], spec["grid"]))
    network = member(spec, spec["seeds"], data_file)
    plane = Plane(*(torch.from_numpy(part).to(network.train.device) for part in (origin, directions)))
    parts = {"train": network.train, "test": network.test}
    state = State(job.state, job.provenance)
    found = {
        part: surface(landscape, plane, x, y, state.within(part), f"triangle {spec['label']}, {part}")
        for part, landscape in parts.items()
    }
    with create(job.output, "triangle", job.provenance) as file:
        for name, values in (("x", x), ("y", y), *found.items(), ("coordinates", coordinates)):
            file.create_dataset(name, data=values)
        file.attrs["layout"] = network.train.layout.to_json()
        for name, values in samples(data_file).items():
            file.create_dataset(name, data=values)
        write_table(file, table)
    state.remove()


def samples(data_file: Path) -> dict[str, NDArray[Any]]:
    """Return the first training image of each class (k, H, W), uint8, and the classes (k,); nothing of other data."""
    data = load(data_file)
    if data.task != "classification" or data.x_train.ndim != 4 or data.x_train.shape[1] != 1:
        return {}
    classes, first = np.unique(data.y_train.numpy(), return_index=True)
    return {"images": data.x_train.numpy()[first, 0], "labels": classes.astype(np.int64)}
