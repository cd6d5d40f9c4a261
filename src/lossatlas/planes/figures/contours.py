"""Figures of kind ``contours``: losses on planes of weight space, on one scale and with the same lines in all panels.

Lines at equal losses are what makes panels comparable: where the line of 1 encloses more, the minimum is wider.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.plane import MAP, SHADES
from lossatlas.draw.style import Drawn
from lossatlas.planes.files import Grid, Trust
from lossatlas.planes.spec import Contours, PlanePanel
from lossatlas.specs.registry import Inputs

EDGE, ROOM = np.array([0.2, 0.13]), np.array([0.36, 0.17])
"""Inches that a line's number keeps from the edges of its panel, and from other numbers, across and up."""

Covered = tuple[float, float, float, float]
"""Left, bottom, width and height of a part of axes, in shares of theirs."""


def compose(spec: Contours, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (panel, x, y, loss, accuracy of the part drawn, test errors, verdict) and notes on
        points without a loss.
    """
    grids: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    titles = [panel.title for panel in spec.panels]
    words = verdicts(spec.panels, inputs)
    quantity = f"{spec.part}_loss"
    norm = LogNorm(spec.shown[0], spec.shown[1])
    sidebar = Sidebar()
    sidebar.colorbar(norm, MAP, "training loss" if spec.part == "train" else "test loss")
    sidebar.marker("the minimum", marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
    sidebar.text("lines: equal losses")
    notes = lost_notes([(t, g.lost(quantity), g.measured[quantity].size) for t, g in zip(titles, grids, strict=True)])
    heads = [
        heading(panel.title, errors(panel, grid), word)
        for panel, grid, word in zip(spec.panels, grids, words, strict=True)
    ]
    figure, panels = layout(len(grids), spec.columns, (2.3, 2.3), sidebar, notes, titles=heads)
    for axes, grid in zip(panels, grids, strict=True):
        levelled(axes, grid, grid.measured[quantity], norm, spec.levels)
        axes.plot(0, 0, marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
    table = numbers(titles, grids, spec.part)
    told = dict(zip(titles, zip([panel.paper for panel in spec.panels], words, strict=True), strict=True))
    table["paper_test_error"] = [told[title][0] for title in table["panel"]]
    table["verdict"] = [told[title][1] for title in table["panel"]]
    return Drawn(figure, table, notes)


def verdicts(panels: Sequence[PlanePanel], inputs: Inputs) -> list[str]:
    """Return whether the picture of each panel is right, in a few words; empty where it was not asked."""
    found: list[Trust | None] = [None if p.trust is None else inputs.one("trust", p.trust) for p in panels]
    return ["" if one is None else one.words() for one in found]


def errors(panel: PlanePanel, grid: Grid) -> str:
    """Return the test error of a panel's minimum in words, and the paper's beside it."""
    return f"test error {error(grid):.1f}%" + ("" if panel.paper is None else f" (paper {panel.paper:.1f}%)")


def levelled(
    axes: Axes, grid: Grid, loss: Array, norm: LogNorm, levels: Sequence[float], covered: Covered | None = None
) -> None:
    """Draw losses (ny, nx) as filled contours with labelled lines; where a point has none, hatched ground shows.

    Lines change from white to ink where the ground becomes light. What lies beyond the scale has the colour of its end.
    No number stands in the part that is ``covered``, by an inset.
    """
    axes.set_facecolor("#e6e6e6")
    axes.patch.set(hatch="////", edgecolor="#a6a6a6", linewidth=0.0)
    low, high = float(norm.vmin or 0.1), float(norm.vmax or 20.0)
    shown = np.ma.masked_invalid(np.where(np.isfinite(loss), loss, np.nan))
    axes.set_xlim(grid.x[0], grid.x[-1])
    axes.set_ylim(grid.y[0], grid.y[-1])
    if shown.count() <= 3:
        return
    axes.contourf(
        grid.x, grid.y, np.ma.clip(shown, low, high), levels=np.geomspace(low, high, SHADES), norm=norm, cmap=MAP
    )
    inside = [level for level in levels if shown.min() < level < shown.max()]
    if not inside:
        return
    middle = np.sqrt(low * high)
    colors = ["white" if level < middle else style.INK for level in inside]
    # On a logarithmic surface lines of cliffs lie where they belong, not beside them.
    logs = np.ma.log10(np.ma.clip(shown, 1e-12, 1e12))
    lines = axes.contour(grid.x, grid.y, logs, levels=np.log10(inside), colors=colors, linewidths=0.7)
    lines.set(linestyle="-")
    named = dict(zip(lines.levels, [f"{level:g}" for level in inside], strict=True))
    places = _places(axes, lines, covered)
    if places:
        axes.clabel(lines, fmt=named, fontsize=style.SMALL, inline=True, inline_spacing=1.5, manual=places)


def _places(axes: Axes, lines: Any, covered: Covered | None = None) -> list[tuple[float, float]]:
    """Return where lines are labelled, in data coordinates: each once, on its longest piece, apart from each other.

    A line that has no room for its number goes without: beside cliffs ten of them may lie in a hair's breadth.
    """
    size = np.array([axes.bbox.width, axes.bbox.height]) / axes.figure.dpi
    low = np.array([axes.get_xlim()[0], axes.get_ylim()[0]])
    reach = np.array([axes.get_xlim()[1], axes.get_ylim()[1]]) - low
    taken: list[Array] = []
    for pieces in lines.allsegs:
        longest = max(pieces, key=len, default=np.zeros((0, 2)))
        at = (longest - low) / reach * size  # inches from the corner
        kept = at[(at > EDGE).all(axis=1) & (at < size - EDGE).all(axis=1)]
        if covered is not None:
            corner, span = np.array(covered[:2]) * size, np.array(covered[2:]) * size
            kept = kept[~((kept > corner - EDGE) & (kept < corner + span + EDGE)).all(axis=1)]
        if taken and len(kept):
            gaps = np.abs(kept[:, None] - np.array(taken)[None]) / ROOM
            kept = kept[(gaps.max(axis=2) > 1).all(axis=1)]
        if len(kept):
            taken.append(kept[len(kept) // 3])
    return [tuple(place / size * reach + low) for place in taken]


def heading(title: str, *below: str) -> str:
    """Return a title with further lines below it."""
    return "\n".join(filter(None, [title, *below]))


def error(grid: Grid) -> float:
    """Return the test error of the minimum in per cent."""
    return 100 * (1 - float(grid.minimum["test_accuracy"]))


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
