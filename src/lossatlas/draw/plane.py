"""Losses on a plane of weight space as filled contours, on a scale that survives chaos."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.errors import LossatlasError

LEAST, MOST = 1e-6, 1e6
"""Losses beyond are drawn as these: the scale of a figure is not one point's to decide."""

SHADES, LINES = 100, 13
"""Filled steps of the scale that all panels share, and lines of a panel, with equal areas between them."""

MAP = mpl.colormaps[style.VALUE_MAP]

SCENE = {
    "aspectmode": "manual",
    "aspectratio": {"x": 1.0, "y": 1.0, "z": 0.65},
    "camera": {"eye": {"x": 1.35, "y": -1.5, "z": 0.85}, "center": {"x": 0.0, "y": 0.0, "z": -0.1}},
}
"""How an interactive page first shows a surface: from afar enough that the box and what its axes say are in view."""

PAGE: dict[str, Any] = {"full_html": True, "config": {"displaylogo": False}, "default_height": "min(100vh, 80vw)"}
"""How plotly writes such a page. A scene is as large as its page is high: on a phone that is held upright, as wide."""


def scale(losses: Sequence[Array]) -> LogNorm:
    """Return a logarithmic scale that holds all finite losses of a figure."""
    finite = np.concatenate([loss[np.isfinite(loss)].ravel() for loss in losses])
    if not len(finite):
        raise LossatlasError("grids: no finite loss in any panel; make the limits smaller")
    low, high = np.clip([finite.min(), finite.max()], LEAST, MOST)
    return LogNorm(low, max(high, 1.01 * low))


def filled(axes: Axes, x: Array, y: Array, loss: Array, norm: Normalize) -> None:
    """Draw losses as filled contours and lines of equal areas; where a point has none, hatched ground shows.

    Args:
        axes: where.
        x: (nx,) coordinates of the columns.
        y: (ny,) of the rows.
        loss: (ny, nx).
        norm: the scale, logarithmic or linear; what lies beyond it is drawn as its end.
    """
    axes.set_facecolor("#e6e6e6")
    axes.patch.set(hatch="////", edgecolor="#a6a6a6", linewidth=0.0)
    if isinstance(norm, LogNorm):
        levels = np.geomspace(norm.vmin or LEAST, norm.vmax or MOST, SHADES)
    else:
        levels = np.linspace(float(norm.vmin or 0.0), float(norm.vmax or 0.0), SHADES)
    shown = np.ma.masked_invalid(np.clip(np.where(np.isfinite(loss), loss, np.nan), levels[0], levels[-1]))
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    if shown.count() > 3:
        axes.contourf(x, y, shown, levels=levels, norm=norm, cmap=MAP)
        # Quantiles: beside cliffs of many orders of magnitude, lines at equal ratios would leave the rest bare.
        own = np.unique(np.quantile(shown.compressed(), np.linspace(0, 1, LINES + 1)[1:-1]))
        axes.contour(x, y, shown, levels=own, colors="white", linewidths=0.4, alpha=0.85)


def ruggedness(loss: Array) -> float:
    """Return how much a surface says: the mean step of log10 of its clipped loss from a point to the next.

    A bowl that rises by two orders of magnitude has little; cliffs and chaos have much.

    Args:
        loss: (ny, nx); steps from or to a point without a finite loss do not count.
    """
    height = np.log10(np.clip(np.where(np.isfinite(loss), loss, np.nan), LEAST, MOST))
    steps = np.abs(np.concatenate([np.diff(height, axis=0).ravel(), np.diff(height, axis=1).ravel()]))
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else 0.0
