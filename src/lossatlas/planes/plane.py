"""Lines and planes through weight space, as rows of points: a slice of a landscape.

Row i of a slice is the straight line start_i + x direction_i. A plane's rows are parallel, their starts shifted along
its second direction; a bundle of lines through one minimum has one start and a direction a row; the segment between two
minima is a bundle of one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.files.rows import compute
from lossatlas.landscape.landscape import Landscape


@dataclass(frozen=True)
class Slice:
    """Points start_i + x_j direction_i.

    Attributes:
        start: (D,) of row 0 (of all rows, where nothing shifts them), float64.
        shift: (D,) along which row i starts y_i further, or None.
        directions: (1, D) for all rows, or (rows, D), float64.
        x: (nx,) coordinates along the rows.
        y: (rows,) coordinates of the rows; their number where there is no shift.
        path: the points of a recorded path that spans the plane, with columns x and y; None for other slices.
        explained: share of the path's variance along each direction, (2,).
    """

    start: Tensor
    shift: Tensor | None
    directions: Tensor
    x: Array
    y: Array
    path: pd.DataFrame | None = None
    explained: Array | None = None

    def line(self, row: int) -> tuple[Tensor, Tensor]:
        """Return start and direction, each (D,), of a row."""
        start = self.start if self.shift is None else self.start + float(self.y[row]) * self.shift
        return start, self.directions[row if len(self.directions) > 1 else 0]


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


def sides(coordinates: Array, margin: float, counts: tuple[int, int]) -> tuple[Array, Array]:
    """Return a grid's coordinates along both axes: the range of points (n, 2), and ``margin`` of it at each end."""
    low, high = coordinates.min(0), coordinates.max(0)
    more = margin * (high - low)
    x, y = (np.linspace(low[k] - more[k], high[k] + more[k], counts[k]) for k in range(2))
    return x, y
