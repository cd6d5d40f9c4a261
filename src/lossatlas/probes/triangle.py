"""Losses on the plane through three points of a cloud."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.data.prepare import load
from lossatlas.landscape import Landscape
from lossatlas.probes.networks import member
from lossatlas.store import create, open_hdf5, table_in, write_table

Array = NDArray[np.float64]


def through(corners: Array) -> tuple[Array, Array, Array]:
    """Return the plane of three points: origin (D,), two orthonormal directions (2, D), coordinates (3, 2).

    The first direction runs from the first point to the second; the third point has a positive second coordinate. The
    origin is the middle of the first two.
    """
    origin = (corners[0] + corners[1]) / 2
    first = corners[1] - corners[0]
    first = first / np.linalg.norm(first)
    second = corners[2] - origin
    second = second - (second @ first) * first
    length = np.linalg.norm(second)
    if not length > 1e-9 * np.linalg.norm(corners[1] - corners[0]):
        raise ValueError("corners: three points on one line span no plane")
    directions = np.stack([first, second / length])
    return origin, directions, (corners - origin) @ directions.T


def losses(landscape: Landscape, origin: Array, directions: Array, x: Array, y: Array) -> Array:
    """Return the losses (len(y), len(x)): row i, column j is L(origin + x_j first + y_i second)."""
    rows = []
    for height in y:
        points = origin + height * directions[1] + x[:, None] * directions[0]
        rows.append(landscape.losses(torch.from_numpy(points)).cpu().numpy())
    return np.stack(rows)


def probe(spec: Mapping[str, Any], cloud_file: Path, data_file: Path, output: Path, provenance: Mapping) -> None:
    """Compute the losses of one artefact.

    Args:
        spec: resolved spec (:func:`lossatlas.probes.plan_sets.triangle`): corners (three rows of the cloud), grid
            (points a side), margin (share of the corners' range added on each side), and a network.
        cloud_file: points of the cloud.
        data_file: data.h5.
        output: triangle.h5 to make: ``/x`` (n,), ``/y`` (n,), ``/train`` and ``/test`` (n, n): the losses at origin + x
            u + y v; ``/coordinates`` (3, 2) of the corners and their ``/table``; attribute ``layout``; of images with
            labels also ``/images`` (k, H, W), the first training example of each class, and their ``/labels`` (k,).
        provenance: written into the output.
    """
    with open_hdf5(cloud_file, "points") as file:
        rows = list(spec["corners"])
        corners = np.stack([file["theta"][row] for row in rows]).astype(np.float64)
        table = table_in(file).iloc[rows].reset_index(drop=True)
    origin, directions, coordinates = through(corners)
    low, high = coordinates.min(0), coordinates.max(0)
    margin = spec["margin"] * (high - low)
    x, y = (np.linspace(low[k] - margin[k], high[k] + margin[k], spec["grid"]) for k in range(2))
    network = member(spec, spec["seeds"], data_file)
    parts = {"train": network.train, "test": network.test}
    found = {part: losses(landscape, origin, directions, x, y) for part, landscape in parts.items()}
    with create(output, "triangle", provenance) as file:
        for name, values in (("x", x), ("y", y), *found.items(), ("coordinates", coordinates)):
            file.create_dataset(name, data=values)
        file.attrs["layout"] = network.train.layout.to_json()
        for name, values in samples(data_file).items():
            file.create_dataset(name, data=values)
        write_table(file, table)


def samples(data_file: Path) -> dict[str, NDArray[Any]]:
    """Return the first training image of each class (k, H, W), uint8, and the classes (k,); nothing of other data."""
    data = load(data_file)
    if data.task != "classification" or data.x_train.ndim != 4 or data.x_train.shape[1] != 1:
        return {}
    classes, first = np.unique(data.y_train.numpy(), return_index=True)
    return {"images": data.x_train.numpy()[first, 0], "labels": classes.astype(np.int64)}
