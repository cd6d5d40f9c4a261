"""Lines and planes through weight space, as rows of points, and the one place where what lies on them is evaluated.

Row i of a slice is the straight line start_i + x direction_i. A plane's rows are parallel, their starts shifted along
its second direction; a bundle of lines through one minimum has one start and a direction a row; the segment between two
minima is a bundle of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.files.rows import Row, Rows, compute
from lossatlas.landscape.landscape import Landscape

if TYPE_CHECKING:
    import pandas as pd

    from lossatlas.files.ledger import Ledger
    from lossatlas.files.state import State


@dataclass(frozen=True)
class Line:
    """The points start + x_j direction.

    Attributes:
        start: (D,) float64.
        direction: (D,) float64.
        x: (nx,) coordinates.
    """

    start: Tensor
    direction: Tensor
    x: Array

    def at(self, x: float) -> Tensor:
        """Return one point, (D,) float64."""
        return self.start + x * self.direction

    def points(self) -> Tensor:
        """Return all points, (nx, D) float64."""
        return self.start + torch.from_numpy(self.x).to(self.start.device)[:, None] * self.direction


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

    def line(self, row: int) -> Line:
        """Return a row."""
        start = self.start if self.shift is None else self.start + float(self.y[row]) * self.shift
        return Line(start, self.directions[row if len(self.directions) > 1 else 0], self.x)


@dataclass(frozen=True)
class Plane:
    """The points origin + x first + y second.

    Attributes:
        origin: (D,) float64.
        directions: first and second direction, (2, D) float64; they need not be orthogonal or of unit length.
    """

    origin: Tensor
    directions: Tensor

    def at(self, x: Array, y: Array) -> Slice:
        """Return the points of a grid: columns at x (nx,), rows at y (ny,)."""
        return Slice(self.origin, self.directions[1], self.directions[:1], x, y)


Measure = Callable[[Line], Row]
"""What is measured along a row: quantity -> (nx, ...) float64."""


AtPoint = Callable[[Tensor, float], Mapping[str, Any]]
"""What is measured at a point (D,) with coordinate x along its row: quantities, each a number or an array."""


def evaluate(
    measure: Measure, cut: Slice, rows: range | None = None, state: State | None = None, name: str = "slice"
) -> Rows:
    """Return what is measured on rows of a slice, all points of one at once: quantity -> (rows, nx, ...), float64.

    Args:
        measure: :func:`losses` of a landscape.
        cut: the slice.
        rows: which of its rows; None = all.
        state: of the unfinished job (:func:`lossatlas.files.rows.compute`), or None.
        name: what the progress bar calls the job.
    """
    chosen = range(len(cut.y)) if rows is None else rows
    return compute(lambda i: measure(cut.line(chosen[i])), len(chosen), state, name)


def losses(landscape: Landscape) -> Measure:
    """Return the measure of a landscape's loss, all points of a row at once: quantity ``loss``."""
    return lambda line: {"loss": landscape.losses(line.points()).cpu().numpy()}


def pointwise(
    measure: AtPoint, cut: Slice, rows: range, state: State, name: str = "slice", ledger: Ledger | None = None
) -> Rows:
    """Return what is measured on rows of a slice, one point after the other: quantity -> (rows, nx, ...), float64.

    No more than one point is ever held, and each is committed by itself: of a large network one takes a minute.

    Args:
        measure: what is measured.
        cut: the slice.
        rows: which of its rows.
        state: of the unfinished job (:func:`lossatlas.files.rows.compute`).
        name: what the progress bar calls the job.
        ledger: in which ``measure`` keeps what it evaluates, where a point takes minutes.
    """
    width = len(cut.x)

    def at(number: int) -> Row:
        row, column = divmod(number, width)
        line, x = cut.line(rows[row]), float(cut.x[column])
        return {key: np.asarray(value, np.float64) for key, value in measure(line.at(x), x).items()}

    found = compute(at, len(rows) * width, state, name, ledger)
    return {key: values.reshape(len(rows), width, *values.shape[1:]) for key, values in found.items()}


def surface(
    landscape: Landscape, plane: Plane, x: Array, y: Array, state: State | None = None, name: str = ""
) -> Array:
    """Return the losses (len(y), len(x)), float64: row i, column j is L(origin + x_j first + y_i second).

    Args:
        landscape: L.
        plane: the plane in weight space.
        x: coordinates of the columns.
        y: coordinates of the rows.
        state: of the unfinished job (:func:`lossatlas.files.rows.compute`), or None.
        name: what the progress bar calls the job.
    """
    return evaluate(losses(landscape), plane.at(x, y), state=state, name=name or "surface")["loss"]


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
