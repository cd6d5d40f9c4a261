"""Figures of kind ``contours``: losses on planes of weight space, with a logarithmic scale that survives chaos."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossatlas.errors import LossatlasError
from lossatlas.figures import style
from lossatlas.figures.style import Drawn, Sidebar
from lossatlas.probes.grid import Grid

LEAST, MOST = 1e-6, 1e6
"""Losses beyond are drawn as these: the scale of a figure is not one point's to decide."""

SHADES, LINES = 100, 13
"""Filled steps of the scale that all panels share, and lines of a panel, with equal areas between them."""

MAP = mpl.colormaps[style.VALUE_MAP]

GAP = (0.62, 0.46, 0.7)
"""Inches left of, below and above a panel."""


def compose(spec: Mapping[str, Any], inputs: Mapping[str, Any]) -> Drawn:
    """Draw the panels of a resolved spec.

    Args:
        spec: what :func:`lossatlas.figures.catalogue.resolve` returned.
        inputs: ``grids``: one grid file a panel.

    Returns:
        The figure, its numbers (panel, x, y, loss, accuracy of the part drawn) and notes on points without a loss.
    """
    grids = [Grid.load(path) for path in inputs["grids"]]
    quantity = f"{spec['part']}_loss"
    norm = scale([grid.measured[quantity] for grid in grids])
    sidebar = Sidebar(width=1.25)
    sidebar.colorbar(norm, MAP, "training loss" if spec["part"] == "train" else "test loss", plain=True)
    sidebar.marker("the minimum", marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
    sidebar.text("lines: equal areas")
    notes = lost_notes(
        [(p["title"], grid.lost(quantity), grid.measured[quantity].size) for p, grid in _both(spec, grids)]
    )
    figure, panels = layout(len(grids), spec["columns"], (2.05, 2.05), sidebar, notes)
    for i, (axes, (panel, grid)) in enumerate(zip(panels, _both(spec, grids), strict=True)):
        draw_plane(axes, grid, grid.measured[quantity], norm)
        axes.plot(0, 0, marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
        axes.set_title(heading(panel["title"], f"test error {error(grid):.1f}%"))
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
        letter(axes, i, len(grids))
    return Drawn(figure, numbers(spec, grids, spec["part"]), notes)


def _both(spec: Mapping[str, Any], grids: Sequence[Grid]) -> list[tuple[Mapping[str, Any], Grid]]:
    return list(zip(spec["panels"], grids, strict=True))


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


def layout(
    count: int,
    columns: int | None,
    size: tuple[float, float],
    sidebar: Sidebar,
    notes: Sequence[str],
    gap: tuple[float, float, float] = GAP,
    right: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of one size (inches) in rows, a sidebar beside them and notes below.

    Args:
        count: of panels.
        columns: panels a row; None = four at most.
        size: of a panel.
        sidebar: drawn at the right.
        notes: drawn below.
        gap: left of, below and above each panel.
        right: of each panel, for a second axis.
    """
    columns = min(columns or min(count, 4), count)
    rows = -(-count // columns)
    (width, height), (left, below, above) = size, gap
    step = left + width + right
    grid = rows * (above + height + below)
    total = max(grid + (0.2 if notes else 0.0), sidebar.height + above) + 0.05
    figure = style.new_figure(columns * step + 0.25 + sidebar.width, total)
    panels = []
    for i in range(count):
        row, column = divmod(i, columns)
        corner = (left + column * step, above + row * (above + height + below))
        panels.append(style.axes_at(figure, *corner, width, height))
    sidebar.draw(figure, columns * step + 0.25, above)
    if notes:
        place = (left / figure.get_figwidth(), 1 - grid / total)
        figure.text(*place, " ".join(notes), fontsize=6.3, color=style.FAINT, va="top")
    return figure, panels


def letter(axes: Axes, number: int, count: int) -> None:
    """Name a panel by a letter at its top left, where there are several."""
    if count > 1:
        look: dict[str, Any] = {"fontweight": "bold", "fontsize": 9.5, "ha": "right", "va": "bottom"}
        axes.text(-0.06, 1.04, ascii_lowercase[number % 26], transform=axes.transAxes, **look)


def numbers(spec: Mapping[str, Any], grids: Sequence[Grid], part: str) -> pd.DataFrame:
    """Return the points of all panels: panel, x, y, loss, accuracy, and the test error of the minimum."""
    parts = []
    for panel, grid in _both(spec, grids):
        x, y = np.meshgrid(grid.x, grid.y)
        columns = {"x": x.ravel(), "y": y.ravel(), "loss": grid.measured[f"{part}_loss"].ravel()}
        if f"{part}_accuracy" in grid.measured:
            columns["accuracy"] = grid.measured[f"{part}_accuracy"].ravel()
        parts.append(pd.DataFrame(columns).assign(panel=panel["title"], test_error=error(grid)))
    return pd.concat(parts, ignore_index=True)[
        [*("panel", "x", "y"), *[c for c in parts[0] if c not in ("panel", "x", "y")]]
    ]
