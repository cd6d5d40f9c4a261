"""Losses on a grid of a plane in weight space, row by row, resumable; and the plane of a cloud's principal axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.embed.gram import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.points import remove_state
from lossatlas.files.rows import compute
from lossatlas.landscape.analytic import NAMED
from lossatlas.landscape.landscape import Landscape
from lossatlas.probes.networks import member
from lossatlas.probes.principal import Axes, principal_axes, sides


@dataclass(frozen=True)
class Plane:
    """The points origin + x first + y second.

    Attributes:
        origin: (D,) float64.
        directions: first and second direction, (2, D) float64; they need not be orthogonal or of unit length.
    """

    origin: Tensor
    directions: Tensor

    def at(self, x: Array, y: float) -> Tensor:
        """Return the points (n, D) of one row of the grid: x (n,), one y."""
        device = self.origin.device
        return self.origin + y * self.directions[1] + torch.from_numpy(x).to(device)[:, None] * self.directions[0]


def surface(landscape: Landscape, plane: Plane, x: Array, y: Array, state: Path | None = None, name: str = "") -> Array:
    """Return the losses (len(y), len(x)), float64: row i, column j is L(origin + x_j first + y_i second).

    Args:
        landscape: L.
        plane: the plane in weight space.
        x: coordinates of the columns.
        y: coordinates of the rows.
        state: folder of the unfinished job (:func:`lossatlas.files.rows.compute`), or None.
        name: what the progress bar calls the job.
    """
    rows = compute(lambda i: {"loss": _losses(landscape, plane.at(x, float(y[i])))}, len(y), state, name or "surface")
    return rows["loss"]


def _losses(landscape: Landscape, points: Tensor) -> Array:
    return landscape.losses(points).cpu().numpy()


def probe(
    spec: Mapping[str, Any],
    cloud_file: Path,
    gram_file: Path | None,
    data_file: Path | None,
    output: Path,
    state: Path,
    provenance: Mapping,
) -> None:
    """Compute the surface of one artefact.

    Args:
        spec: resolved spec (:func:`lossatlas.probes.plan.surface`): grid (points a side), limits ([[x], [y]] or None =
            the paths' range), margin (share of that range added on each side), replicas (whose paths span the plane;
            None = all), and a network or a function.
        cloud_file: points of the traversals.
        gram_file: their Gram matrix; None for a function, whose own two axes are the plane.
        data_file: data.h5, or None for a function.
        output: surface.h5 to make: ``/x``, ``/y``, ``/loss`` (y, x), ``/coordinates`` (n, 2) of the paths' points and
            their ``/table``; attribute ``explained``, the share of the paths' variance along each axis.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    with open_hdf5(cloud_file, "points") as file:
        table = table_in(file)
        chosen = _paths(table, spec["replicas"], cloud_file)
        if gram_file is None or data_file is None:
            landscape: Landscape = NAMED[spec["function"]]()
            plane = Plane(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
            coordinates, explained = file["theta"][...][chosen].astype(np.float64), np.full(2, np.nan)
        else:
            axes = principal_axes(Gram.load(gram_file), chosen, 2)
            plane = _span(file["theta"], axes)
            first = next(m for m in spec["members"] if m["replica"] == int(table["replica"].iloc[chosen[0]]))
            network = member(spec, first["seeds"], data_file).train
            landscape, coordinates, explained = network, axes.coordinates[chosen], axes.explained
            plane = Plane(plane.origin.to(network.device), plane.directions.to(network.device))
    x, y = _grid(coordinates, spec)
    losses = surface(landscape, plane, x, y, state, f"surface {spec.get('label', spec.get('function'))}")
    with create(output, "surface", provenance) as file:
        for name, values in (("x", x), ("y", y), ("loss", losses), ("coordinates", coordinates)):
            file.create_dataset(name, data=values)
        file.attrs["explained"] = explained
        write_table(file, table.iloc[chosen].reset_index(drop=True))
    remove_state(state)


def _paths(table: pd.DataFrame, replicas: list[int] | None, cloud: Path) -> NDArray[np.intp]:
    """Return the rows of the traversals of some replicas."""
    wanted = table["source"] == "levelset"
    if replicas is not None:
        missing = set(replicas) - set(table.loc[wanted, "replica"])
        if missing:
            raise LossatlasError(f"{cloud}: no traversal of replica {min(missing)}; correct `replicas` of the surface")
        wanted &= table["replica"].isin(replicas)
    return np.flatnonzero(wanted)


def _span(theta: h5py.Dataset, axes: Axes) -> Plane:
    """Return the plane of principal axes in weight space, in one pass over the rows behind them."""
    origin = np.zeros(theta.shape[1])
    directions = np.zeros((2, theta.shape[1]))
    for row, mean, weights in zip(axes.rows, axes.mean_weights, axes.weights, strict=True):
        point = theta[row].astype(np.float64)
        origin += mean * point
        directions += weights[:, None] * point
    return Plane(torch.from_numpy(origin), torch.from_numpy(directions))


def _grid(coordinates: Array, spec: Mapping) -> tuple[Array, Array]:
    """Return the grid's coordinates along both axes."""
    if spec["limits"] is not None:
        x, y = (np.linspace(low, high, spec["grid"]) for low, high in spec["limits"])
        return x, y
    return sides(coordinates, spec["margin"], (spec["grid"], spec["grid"]))
