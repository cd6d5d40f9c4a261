"""What spans the lines and planes of a job."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import Axes, principal_axes
from lossatlas.files.hdf5 import open_hdf5, table_in
from lossatlas.landscape.directions import gaussian, normalise, orthogonalise
from lossatlas.landscape.layout import Layout
from lossatlas.planes.plane import Plane, Slice, sides


def span(theta: h5py.Dataset, axes: Axes) -> Plane:
    """Return the plane of principal axes in weight space, in one pass over the rows behind them."""
    origin = np.zeros(theta.shape[1])
    directions = np.zeros((2, theta.shape[1]))
    for row, mean, weights in zip(axes.rows, axes.mean_weights, axes.weights, strict=True):
        point = theta[row].astype(np.float64)
        origin += mean * point
        directions += weights[:, None] * point
    return Plane(torch.from_numpy(origin), torch.from_numpy(directions))


def make(
    spec: Mapping[str, Any], theta: Tensor, layout: Layout, to: Tensor | None, run: Path, gram: Path | None
) -> Slice:
    """Return the slice of a resolved spec.

    Args:
        spec: of a :class:`lossatlas.planes.spec.SliceJob`.
        theta: (D,) float64, the minimum.
        layout: of theta.
        to: (D,) float64, the other end of a segment; None for other kinds.
        run: points.h5 of the run, whose recorded points span a plane of kind ``path``.
        gram: their Gram matrix; None for other kinds.
    """
    kind = spec["slice"]["kind"]
    if kind == "path":
        return _of_path(spec, theta, layout, run, Gram.load(gram or run))
    x = _grid(spec["x"])
    if kind == "segment":
        assert to is not None
        return Slice(theta, None, (to - theta)[None], x, np.zeros(1))
    drawn = torch.stack([_drawn(entry, theta, layout) for entry in spec["slice"]["directions"]])
    if kind == "lines":
        return Slice(theta, None, drawn, x, np.arange(len(drawn), dtype=np.float64))
    return Slice(theta, drawn[1], drawn[:1], x, _grid(spec["y"]))


def _grid(limits: Sequence[float]) -> Array:
    low, high, count = limits
    return np.linspace(low, high, int(count))


def _drawn(entry: Mapping[str, Any], theta: Tensor, layout: Layout) -> Tensor:
    """Return a random direction (D,): Gaussian by its seed, normalised to theta, times its scale."""
    direction = normalise(gaussian(layout, entry["seed"], torch.float64), theta, layout, entry["normalise"])
    return float(entry["scale"]) * direction


def _of_path(spec: Mapping[str, Any], theta: Tensor, layout: Layout, run: Path, gram: Gram) -> Slice:
    """Return a plane through the end of a recorded path; its two directions are orthonormal.

    ``pca``: the first two principal axes of the recorded points. ``random``: two random directions. ``start``: from the
    end back to the initialisation, and a random one.
    """
    about = spec["slice"]
    rows = np.arange(gram.n)
    axes = principal_axes(gram, rows, 2)
    with open_hdf5(run, "points") as file:
        points, table = file["theta"], table_in(file)
        if about["axes"] == "pca":
            directions = torch.zeros((2, len(theta)), dtype=torch.float64, device=theta.device)
            for row in rows:
                point = torch.from_numpy(points[row].astype(np.float64)).to(theta.device)
                directions += torch.from_numpy(axes.weights[row]).to(theta.device)[:, None] * point
            coordinates, explained = axes.coordinates - axes.coordinates[-1], axes.explained
        else:
            first, second = (gaussian(layout, seed, torch.float64).to(theta.device) for seed in about["seeds"])
            if about["axes"] == "start":
                first = torch.from_numpy(points[0].astype(np.float64)).to(theta.device) - theta
            second = orthogonalise(second, first)
            directions = torch.stack([first / first.norm(), second / second.norm()])
            moved = (torch.from_numpy(points[row].astype(np.float64)).to(theta.device) - theta for row in rows)
            coordinates = np.stack([(directions @ offset).cpu().numpy() for offset in moved])
            explained = coordinates.var(axis=0) / _variance(gram)
    x, y = sides(coordinates, spec["margin"], (int(spec["x"][2]), int(spec["y"][2])))
    path = table.assign(x=coordinates[:, 0], y=coordinates[:, 1])
    return Slice(theta, directions[1], directions[:1], x, y, path, explained)


def _variance(gram: Gram) -> float:
    """Return the total variance of a cloud: the mean squared distance from its mean."""
    return float(np.trace(gram.gram) / gram.n - gram.gram.mean())
