"""Margins, islands and stable labels of a classifier of points in the plane (Huang et al. 2020, section 4).

The paper's account of why bad minima are sharp: their boundaries squeeze through small gaps, training points sit on
islands of their class, and a small change flips labels. All three are read from the decisions on a grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lossatlas.arrays import Array

NOISE = 0.02
"""Standard deviation of the noise on inputs under which labels are to be stable, as a share of the square's side."""

SAMPLES = 256
"""Noisy copies of each training point."""


@dataclass(frozen=True)
class Margins:
    """What the decisions on a grid say of the training points.

    Attributes:
        margin: median over training points of the distance to the nearest other decision, as a share of the side of
            the square; half a cell is its resolution. Points that are decided wrongly have margin 0.
        islands: regions of one decision that hold training points, of both classes together.
        largest: share of the training points that lie in the largest region of their own class.
        stability: share of noisy copies of training points that are decided as the point is.
    """

    margin: float
    islands: int
    largest: float
    stability: float


def margins(
    x: Array, y: Array, label: NDArray[np.uint8], points: Array, classes: NDArray[np.int64], seed: int = 0
) -> Margins:
    """Return what a grid says.

    Args:
        x: (k,) coordinates of columns, evenly spaced.
        y: (k,) of rows, likewise.
        label: (k, k) the class decided at (y_i, x_j).
        points: (n, 2) training points, in the square.
        classes: (n,) their classes.
        seed: of the noise.
    """
    side = float(x[-1] - x[0])
    columns, rows = _cells(x, points[:, 0]), _cells(y, points[:, 1])
    spacing = (float(y[1] - y[0]), float(x[1] - x[0]))
    distance, regions = np.zeros(len(points)), np.zeros(len(points), dtype=np.int64)
    found = 0
    for one in np.unique(label):
        inside = label == one
        # the boundary runs half a cell before the nearest cell of another decision
        far = np.maximum(ndimage.distance_transform_edt(inside, spacing) - 0.5 * min(spacing), 0.0)
        numbered, count = ndimage.label(inside)
        mine = (classes == one) & inside[rows, columns]
        distance[mine] = far[rows, columns][mine] if count else 0.0
        regions[mine] = found + numbered[rows, columns][mine]
        found += count
    shares = [
        np.bincount(regions[(classes == one) & (regions > 0)]).max(initial=0) / len(points)
        for one in np.unique(classes)
    ]
    return Margins(
        margin=float(np.median(distance)) / side,
        islands=len(np.unique(regions[regions > 0])),
        largest=float(np.sum(shares)),
        stability=_stability(x, y, label, points, (rows, columns), NOISE * side, seed),
    )


def _stability(
    x: Array,
    y: Array,
    label: NDArray[np.uint8],
    points: Array,
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    noise: float,
    seed: int,
) -> float:
    """Return the share of noisy copies of points that are decided as the point is; copies off the grid at its edge."""
    moved = points[None] + noise * np.random.default_rng(seed).standard_normal((SAMPLES, *points.shape))
    decided = label[_cells(y, moved[..., 1]), _cells(x, moved[..., 0])]
    return float((decided == label[cells][None]).mean())


def _cells(axis: Array, values: Array) -> NDArray[np.int64]:
    """Return the places of the nearest grid lines."""
    step = float(axis[1] - axis[0])
    return np.clip(np.rint((values - axis[0]) / step), 0, len(axis) - 1).astype(np.int64)
