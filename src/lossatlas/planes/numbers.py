"""Numbers for how sharp a minimum is, from the losses along random lines through it or on a plane. Imports no torch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.planes.curves import difference
from lossatlas.planes.files import Grid
from lossatlas.planes.spec import REACH


def rise(x: Array, loss: Array, reach: float = REACH) -> float:
    """Return the mean rise of the loss at the two points of a line at distance ``reach``."""
    there = [float(np.interp(s * reach, x, loss)) for s in (-1, 1)]
    return float(np.mean(there) - np.interp(0.0, x, loss))


def worst(x: Array, loss: Array, reach: float = REACH) -> float:
    """Return the largest rise within ``reach`` over 1 + the loss at the minimum (sharpness of Keskar et al. 2017)."""
    centre = float(np.interp(0.0, x, loss))
    return float((loss[np.abs(x) <= reach * (1 + 1e-9)].max() - centre) / (1 + centre))


def curvature(x: Array, loss: Array, reach: float = REACH) -> float:
    """Return the second difference of the loss at the minimum, over the spacing of the points squared."""
    middle = int(np.abs(x).argmin())
    return float((loss[middle + 1] - 2 * loss[middle] + loss[middle - 1]) / (x[middle + 1] - x[middle]) ** 2)


MEASURES: dict[str, Callable[..., float]] = {"rise": rise, "worst": worst, "curvature": curvature}
"""Sharpness of a line by name."""


def apart(grid: Grid, other: Grid, normalise: str) -> Array:
    """Return how far lines of two grids with the same directions differ, (directions,): :func:`difference`.

    In units of the first grid's rise, the largest finite one of a line over its middle.
    """
    if grid.slice["directions"] != other.slice["directions"] or not np.array_equal(grid.x, other.x):
        raise LossatlasError("lines of two networks have other directions or points; give both probes the same keys")
    found = []
    for i, entry in enumerate(grid.slice["directions"]):
        if entry["normalise"] == normalise:
            a, b = (one.measured["train_loss"][i] for one in (grid, other))
            rises = np.abs(a - np.interp(0.0, grid.x, a))
            found.append(difference(a, b, float(np.max(rises[np.isfinite(rises)], initial=0.0))))
    return np.array(found)


def sharpness(grid: Grid, normalise: str, measure: str, reach: float = REACH) -> Array:
    """Return a measure (directions,) along every line of a grid under one normalisation.

    A loss that is not finite counts as infinite: there the network is as sharp as it gets.
    """
    found = []
    for entry, loss in zip(grid.slice["directions"], grid.measured["train_loss"], strict=True):
        if entry["normalise"] == normalise:
            value = MEASURES[measure](grid.x, np.where(np.isfinite(loss), loss, np.inf), reach)
            found.append(np.inf if np.isnan(value) else value)
    return np.array(found)


def on_plane(grid: Grid, reach: float = REACH) -> float:
    """Return the median rise of the loss over the points of a plane within ``reach`` of the minimum."""
    x, y = np.meshgrid(grid.x, grid.y)
    radius, loss = np.hypot(x, y), grid.measured["train_loss"]
    inside = radius <= reach * (1 + 1e-9)
    return float(np.median(np.where(np.isfinite(loss), loss, np.inf)[inside]) - loss.flat[radius.argmin()])


def bends(grid: Grid, quantity: str = "train_loss") -> NDArray[np.bool_]:
    """Return at which inner points (ny - 2, nx - 2) of a plane its surface is not convex.

    The 2 x 2 Hessian of the surface by central differences has a negative eigenvalue there; points beside a loss that
    is not finite count as not convex.
    """
    loss = np.where(np.isfinite(grid.measured[quantity]), grid.measured[quantity], np.nan)
    h, k = np.diff(grid.x).mean(), np.diff(grid.y).mean()
    middle = loss[1:-1, 1:-1]
    xx = (loss[1:-1, 2:] - 2 * middle + loss[1:-1, :-2]) / h**2
    yy = (loss[2:, 1:-1] - 2 * middle + loss[:-2, 1:-1]) / k**2
    xy = (loss[2:, 2:] - loss[2:, :-2] - loss[:-2, 2:] + loss[:-2, :-2]) / (4 * h * k)
    least = (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)
    return ~(least >= 0)


def towards(grid: Grid, quantity: str = "train_loss") -> Array:
    """Return at which inner points (ny - 2, nx - 2) the negative gradient on the plane leads nearer to its centre.

    1 where it makes less than 90 degrees with the way to (0, 0), 0 where it does not, or where there is no gradient or
    a point beside has no finite loss; NaN at the centre. Of a function that is convex on the plane and lowest at its
    centre it is 1 everywhere, flat tails or not; of one without any relation to the centre it is 1/2 on average.
    """
    loss = np.where(np.isfinite(grid.measured[quantity]), grid.measured[quantity], np.nan)
    x, y = np.meshgrid(grid.x[1:-1], grid.y[1:-1])
    along = (loss[1:-1, 2:] - loss[1:-1, :-2]) / (grid.x[2:] - grid.x[:-2])
    across = (loss[2:, 1:-1] - loss[:-2, 1:-1]) / (grid.y[2:] - grid.y[:-2])[:, None]
    found = np.where(along * x + across * y > 0, 1.0, 0.0)
    radius = np.hypot(x, y)
    return np.where(radius <= 1e-9 * max(radius.max(), 1e-300), np.nan, found)


def region(grid: Grid, level: float, quantity: str = "train_loss") -> float:
    """Return the share of a plane's points that are joined to its centre by points with a loss below a level.

    Points are joined by sides. 0 where the centre itself is not below it.
    """
    return float(inside(grid, level, quantity).mean())


def inside(grid: Grid, level: float, quantity: str = "train_loss") -> NDArray[np.bool_]:
    """Return which points (ny, nx) are joined to the centre by points with a loss below a level."""
    loss = grid.measured[quantity]
    labels, _ = ndimage.label(np.isfinite(loss) & (loss < level))
    own = labels[int(np.abs(grid.y).argmin()), int(np.abs(grid.x).argmin())]
    return (labels == own) & (own > 0)


def contrast(grid: Grid, level: float) -> float:
    """Return the share of :func:`towards` inside of a low region less that outside; NaN where one has no points."""
    leads, low = towards(grid), inside(grid, level)[1:-1, 1:-1]
    shares = [leads[side & np.isfinite(leads)] for side in (low, ~low)]
    return float(shares[0].mean() - shares[1].mean()) if all(len(side) for side in shares) else float("nan")


def ratio(grid: Grid) -> Array:
    """Return |lambda_min / lambda_max| (ny, nx) of a curvature map, lambda_min counted where it is negative.

    A Hessian without negative eigenvalues has ratio 0; NaN where the spectrum could not be had.
    """
    low, high = grid.measured["lambda_min"], grid.measured["lambda_max"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(low), np.maximum(-low, 0.0) / np.abs(high), np.nan)


def step_lengths(gram: Gram) -> Array:
    """Return the lengths (n - 1,) of the steps between a path's recorded points."""
    size = np.diagonal(gram.gram)
    steps = size[1:] + size[:-1] - 2 * np.diagonal(gram.gram, 1)
    for (i, j), squared in zip(gram.near_pairs, gram.near_distances2, strict=True):
        if j == i + 1:  # measured apart: a difference of large numbers does not hold it
            steps[i] = squared
    return np.sqrt(np.maximum(steps, 0.0))


def walk_share(lengths: Array, axes: int = 2) -> float:
    """Return the share of a random walk's variance in its first principal axes, in a high dimension.

    Independent directions are orthogonal there, so the Gram matrix of the points is that of cumulative sums of
    orthogonal steps, whose spectrum needs no drawing; equal steps give 1 / k^2 over their sum, some 76% in two axes
    (Antognini and Sohl-Dickstein 2018).

    Args:
        lengths: of the steps (n,), those of a recorded path: they hold its learning-rate schedule.
        axes: how many.
    """
    sums = np.tril(np.ones((len(lengths) + 1, len(lengths))), -1) * lengths
    values = np.linalg.svd(sums - sums.mean(axis=0), compute_uv=False) ** 2
    return float(values[:axes].sum() / values.sum())


def barrier(x: Array, losses: Array) -> dict[str, float]:
    """Return what the segment from x = 0 to x = 1 climbs.

    Args:
        x: (n,) increasing coordinates, among them 0 and 1.
        losses: (n,) losses there; points outside the segment do not count.

    Returns:
        first, second: losses at 0 and 1; highest, at: the largest loss and where; barrier: the largest of
        L(x) - ((1 - x) L(0) + x L(1)) (Frankle et al. 2020, section 2, there of the error); above_higher: the largest
        loss less that of the higher end. Infinite or NaN losses make the barrier infinite or NaN, not less.
    """
    inside = (x >= -1e-9) & (x <= 1 + 1e-9)
    x, losses = x[inside], losses[inside]
    if abs(x[0]) > 1e-9 or abs(x[-1] - 1) > 1e-9:
        raise LossatlasError(
            f"a barrier needs the losses at both ends, 0 and 1, of a line; this one goes from {x[0]:g} to {x[-1]:g}: "
            "give its probe `limits: [0, 1]`"
        )
    first, second = float(losses[0]), float(losses[-1])
    highest = int(np.argmax(losses))
    return {
        "first": first,
        "second": second,
        "highest": float(losses[highest]),
        "at": float(x[highest]),
        "barrier": float(np.max(losses - ((1 - x) * first + x * second))),
        "above_higher": float(losses[highest]) - max(first, second),
    }
