"""Figures of classifiers in the plane: decision boundaries with the training points, and slices of the loss below."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lossatlas.basins.defaults import MARKER
from lossatlas.basins.files import Boundaries, Slices
from lossatlas.basins.numbers import Found, find
from lossatlas.basins.spec import BoundaryFigure, Shown, SliceFigure
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, layout
from lossatlas.draw.style import Drawn, axes_at
from lossatlas.specs.registry import Inputs

POINTS = ("#0072B2", "#D55E00", "#009E73", "#992E70", "#F0B429", "#56B4E9")
GROUNDS = ("#bcd9ec", "#f6cdb0", "#b5dfd1", "#dcc2d3", "#fbe6b5", "#cfe8f6")
MARKERS = ("o", "s", "^", "D", "v", "P")

BETWEEN = 0.22
"""Inches between a panel and the slice below it."""

SHADES = LinearSegmentedColormap.from_list("losses", ["#ffffff", "#cfcfcf", "#7d7d7d"])
"""Losses of slices, low ones light: dark enough to be read, light enough for a contour on the highest."""


def compose(spec: BoundaryFigure, inputs: Inputs) -> Drawn:
    """Draw decision boundaries, one minimum a panel, and below each a slice of the loss where the panel has one.

    Returns:
        The figure and its numbers (panel, what, x, y, value): points with their class, the grid with the class decided
        there, and of slices the loss.
    """
    panels = spec.panels
    found = [find(inputs.all("boundaries", panel.boundaries), panel) for panel in panels]
    planes = [find(inputs.all("slices", panel.slices), panel) for panel in panels if panel.slices is not None]
    sliced = bool(planes)
    sidebar = Sidebar()
    sidebar.heading("Training points")
    for label in sorted({int(c) for one in found for c in one.file.train.y}):
        name = str(spec.classes[label]) if label < len(spec.classes) else f"class {label}"
        sidebar.marker(name, **_look(label))
    sidebar.heading("Ground")
    sidebar.marker("class decided there", marker="s", color=GROUNDS[0], markersize=6)
    norm = _norm(planes)
    if sliced:
        sidebar.heading("Slices")
        sidebar.line(f"loss {spec.cutoff:g}", color="#D55E00", linewidth=1.2)
        sidebar.marker("minimum", marker="o", color=style.INK, markersize=7, markerfacecolor="none")
        sidebar.colorbar(norm, SHADES, "training loss", 1.3)
    heads = [_title(panel, one.row) for panel, one in zip(panels, found, strict=True)]
    gap, tall = ((0.5, 0.42, 0.08), 2.0) if sliced else ((0.2, 0.08, 0.1), 1.0)
    page = grid(
        len(panels), spec.columns, 2.3, lambda side: tall * side + BETWEEN * sliced, sidebar, titles=heads, gap=gap
    )
    numbers = []
    for i, (panel, one, place) in enumerate(zip(panels, found, page.places, strict=True)):
        side = place.width
        _decide(axes_at(page.figure, place.left, place.top, side, side), one, _limits(spec, one.file), spec.marker)
        numbers += _numbers(panel, one)
        if sliced:
            axes = axes_at(page.figure, place.left, place.top + side + BETWEEN, side, side)
            numbers.append(_slice(axes, planes[i], norm, spec.cutoff, panel.title))
    return Drawn(page.figure, pd.concat(numbers, ignore_index=True))


def _title(panel: Shown, row: pd.Series) -> str:
    head = f"{panel.title}\n" if panel.title else ""
    train, test = (100 * row[f"{part}_accuracy"] for part in ("train", "test"))
    return f"{head}train {train:.1f}%, test {test:.1f}%\ngap {train - test:.1f} points"


def _look(label: int, size: float = MARKER) -> dict[str, Any]:
    k = label % len(POINTS)
    return {
        "marker": MARKERS[k],
        "color": POINTS[k],
        "markersize": size,
        "markeredgecolor": "white",
        "markeredgewidth": 0.3 if size > 2.5 else 0.0,
    }


def _limits(spec: BoundaryFigure, file: Boundaries) -> tuple[float, float, float, float]:
    if spec.limits is not None:
        (x0, x1), (y0, y1) = spec.limits
        return x0, x1, y0, y1
    return file.x[0], file.x[-1], file.y[0], file.y[-1]


def _decide(axes: Axes, found: Found[Boundaries], limits: tuple[float, float, float, float], size: float) -> None:
    file, decided = found.file, found.file.label[found.place]
    classes = max(int(decided.max()), int(file.train.y.max())) + 1
    axes.imshow(
        decided,
        extent=(file.x[0], file.x[-1], file.y[0], file.y[-1]),
        origin="lower",
        cmap=ListedColormap([GROUNDS[k % len(GROUNDS)] for k in range(classes)]),
        vmin=-0.5,
        vmax=classes - 0.5,
        interpolation="nearest",
        aspect="auto",
    )
    for label in range(classes):
        points = file.train.x[file.train.y == label]
        axes.plot(points[:, 0], points[:, 1], linestyle="none", **_look(label, size))
    axes.set_xlim(*limits[:2])
    axes.set_ylim(*limits[2:])
    axes.set_xticks([])
    axes.set_yticks([])


def _norm(planes: Sequence[Found[Slices]]) -> LogNorm:
    losses = [plane.file.loss[plane.place] for plane in planes]
    finite = np.concatenate([loss[np.isfinite(loss)] for loss in losses]) if planes else np.array([1e-3, 1.0])
    low = max(float(finite.min()), 1e-6)
    return LogNorm(low, max(float(finite.max()), 2 * low))


_HALO: dict[str, Any] = {"bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}}


def _slice(axes: Axes, found: Found[Slices], norm: LogNorm, cutoff: float, title: str) -> pd.DataFrame:
    """Draw the loss on a plane; return its numbers."""
    x, loss = found.file.x, found.file.loss[found.place]
    shown = np.ma.masked_invalid(np.clip(loss, norm.vmin, norm.vmax))
    levels = np.geomspace(norm.vmin or 1e-6, norm.vmax or 1.0, 17)
    axes.contourf(x, x, shown, levels=levels, norm=norm, cmap=SHADES)
    axes.contour(x, x, shown, levels=levels[::2], colors="#5c5c5c", linewidths=0.3)
    if np.nanmin(loss) < cutoff < np.nanmax(loss):
        axes.contour(x, x, loss, levels=[cutoff], colors="#D55E00", linewidths=1.4)
    else:
        side = "above" if np.nanmin(loss) >= cutoff else "below"
        look = {"ha": "center", "fontsize": style.SMALL, **_HALO}
        axes.text(0.5, 0.03, f"all {side} loss {cutoff:g}", transform=axes.transAxes, **look)
    # A ring, within which a contour close about the minimum is still seen.
    axes.plot(0, 0, marker="o", color=style.INK, markersize=11, markerfacecolor="none", markeredgewidth=0.6)
    axes.set_xlabel("step, first direction")
    axes.set_ylabel("step, second direction", labelpad=3)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_aspect("equal")
    return _grid_numbers(title, "slice", x, x, loss)


def _numbers(panel: Shown, found: Found[Boundaries]) -> list[pd.DataFrame]:
    file = found.file
    columns = {"x": file.train.x[:, 0], "y": file.train.x[:, 1], "value": file.train.y}
    points = pd.DataFrame(columns).assign(what="point")
    grid = _grid_numbers(panel.title, "decided", file.x, file.y, file.label[found.place])
    return [points.assign(panel=panel.title)[["panel", "what", "x", "y", "value"]], grid]


def _grid_numbers(title: str, what: str, x: NDArray, y: NDArray, values: NDArray) -> pd.DataFrame:
    step = max(1, len(x) // 60)  # every so many points: the whole grid stands in the artefact
    u, v = np.meshgrid(x[::step], y[::step])
    found = pd.DataFrame({"x": u.ravel(), "y": v.ravel(), "value": values[::step, ::step].ravel()})
    return found.assign(panel=title, what=what)[["panel", "what", "x", "y", "value"]]


# ---------------------------------------------------------------------------------------------------------------------
# kind slices


def slices(spec: SliceFigure, inputs: Inputs) -> Drawn:
    """Draw random planes through minima beside each other: contours above a profile through the middle.

    Returns:
        The figure and its numbers (panel, what, x, y, value): the loss on the grid.
    """
    planes = [find(inputs.all("slices", panel.slices), panel) for panel in spec.panels]
    norm = _norm(planes)
    sidebar = Sidebar()
    sidebar.line(f"loss {spec.cutoff:g}", color="#D55E00", linewidth=1.2)
    sidebar.marker("minimum", marker="o", color=style.INK, markersize=7, markerfacecolor="none")
    sidebar.colorbar(norm, SHADES, "training loss", 1.3)
    heads = [_title(panel, plane.row) for panel, plane in zip(spec.panels, planes, strict=True)]
    figure, panels = layout(len(planes), None, (2.3, 2.3), sidebar, titles=heads)
    numbers = [
        _slice(axes, plane, norm, spec.cutoff, panel.title)
        for axes, panel, plane in zip(panels, spec.panels, planes, strict=True)
    ]
    return Drawn(figure, pd.concat(numbers, ignore_index=True))
