"""Figures of kind ``contours``: losses on planes of weight space, with a logarithmic scale that survives chaos."""

from collections.abc import Sequence
from textwrap import wrap

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from lossatlas.draw import style
from lossatlas.draw.panels import layout, letter
from lossatlas.draw.style import Drawn, Sidebar
from lossatlas.errors import LossatlasError
from lossatlas.planes.files import Grid
from lossatlas.planes.spec import Contours
from lossatlas.specs.registry import Inputs

LEAST, MOST = 1e-6, 1e6
"""Losses beyond are drawn as these: the scale of a figure is not one point's to decide."""

SHADES, LINES = 100, 13
"""Filled steps of the scale that all panels share, and lines of a panel, with equal areas between them."""

MAP = mpl.colormaps[style.VALUE_MAP]


def compose(spec: Contours, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (panel, x, y, loss, accuracy of the part drawn) and notes on points without a loss.
    """
    grids: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    titles = [panel.title for panel in spec.panels]
    quantity = f"{spec.part}_loss"
    norm = scale([grid.measured[quantity] for grid in grids])
    sidebar = Sidebar(width=1.25)
    sidebar.colorbar(norm, MAP, "training loss" if spec.part == "train" else "test loss", plain=True)
    sidebar.marker("the minimum", marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
    sidebar.text("lines: equal areas")
    notes = lost_notes([(t, g.lost(quantity), g.measured[quantity].size) for t, g in zip(titles, grids, strict=True)])
    figure, panels = layout(len(grids), spec.columns, (2.05, 2.05), sidebar, notes)
    for i, (axes, title, grid) in enumerate(zip(panels, titles, grids, strict=True)):
        draw_plane(axes, grid, grid.measured[quantity], norm)
        axes.plot(0, 0, marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
        axes.set_title(heading(title, f"test error {error(grid):.1f}%"))
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
        letter(axes, i, len(grids))
    return Drawn(figure, numbers(titles, grids, spec.part), notes)


def heading(title: str, below: str) -> str:
    """Return a title in lines that are no wider than a panel, with a last line below it."""
    return "\n".join([*wrap(title, 27), below])


def error(grid: Grid) -> float:
    """Return the test error of the minimum in per cent."""
    return 100 * (1 - float(grid.minimum["test_accuracy"]))


def scale(losses: Sequence[NDArray[np.float64]]) -> LogNorm:
    """Return a logarithmic scale that holds all finite losses of a figure."""
    finite = np.concatenate([loss[np.isfinite(loss)].ravel() for loss in losses])
    if not len(finite):
        raise LossatlasError("grids: no finite loss in any panel; make the limits smaller")
    low, high = np.clip([finite.min(), finite.max()], LEAST, MOST)
    return LogNorm(low, max(high, 1.01 * low))


def draw_plane(axes: Axes, grid: Grid, loss: NDArray[np.float64], norm: LogNorm) -> None:
    """Draw losses as filled contours and lines of equal areas; where a point has none, hatched ground shows."""
    axes.set_facecolor("#e6e6e6")
    axes.patch.set(hatch="////", edgecolor="#a6a6a6", linewidth=0.0)
    levels = np.geomspace(norm.vmin or LEAST, norm.vmax or MOST, SHADES)
    shown = np.ma.masked_invalid(np.clip(np.where(np.isfinite(loss), loss, np.nan), levels[0], levels[-1]))
    axes.set_xlim(grid.x[0], grid.x[-1])
    axes.set_ylim(grid.y[0], grid.y[-1])
    if shown.count() > 3:
        axes.contourf(grid.x, grid.y, shown, levels=levels, norm=norm, cmap=MAP)
        # Quantiles: beside cliffs of many orders of magnitude, lines at equal ratios would leave the rest bare.
        own = np.unique(np.quantile(shown.compressed(), np.linspace(0, 1, LINES + 1)[1:-1]))
        axes.contour(grid.x, grid.y, shown, levels=own, colors="white", linewidths=0.4, alpha=0.85)


def lost_notes(found: Sequence[tuple[str, int, int]]) -> tuple[str, ...]:
    """Return the sentence that counts the points without a finite loss; none where there are none.

    Args:
        found: title, points lost, and points of each panel.
    """
    parts = [f"{lost} of {count}" + (f" in {title!r}" if title else "") for title, lost, count in found if lost]
    return (f"Points without a finite value (inf or NaN) are hatched: {', '.join(parts)}.",) if parts else ()


def numbers(titles: Sequence[str], grids: Sequence[Grid], part: str) -> pd.DataFrame:
    """Return the points of all panels: panel, x, y, loss, accuracy, and the test error of the minimum."""
    parts = []
    for title, grid in zip(titles, grids, strict=True):
        x, y = np.meshgrid(grid.x, grid.y)
        columns = {"x": x.ravel(), "y": y.ravel(), "loss": grid.measured[f"{part}_loss"].ravel()}
        if f"{part}_accuracy" in grid.measured:
            columns["accuracy"] = grid.measured[f"{part}_accuracy"].ravel()
        parts.append(pd.DataFrame(columns).assign(panel=title, test_error=error(grid)))
    return pd.concat(parts, ignore_index=True)[
        [*("panel", "x", "y"), *[c for c in parts[0] if c not in ("panel", "x", "y")]]
    ]
