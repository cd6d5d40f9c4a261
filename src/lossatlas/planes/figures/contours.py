"""Figures of kind ``contours``: losses on planes of weight space, with a logarithmic scale that survives chaos."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.plane import MAP, filled, scale
from lossatlas.draw.style import Drawn
from lossatlas.planes.files import Grid
from lossatlas.planes.spec import Contours
from lossatlas.specs.registry import Inputs


def compose(spec: Contours, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (panel, x, y, loss, accuracy of the part drawn) and notes on points without a loss.
    """
    grids: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    titles = [panel.title for panel in spec.panels]
    quantity = f"{spec.part}_loss"
    norm = scale([grid.measured[quantity] for grid in grids])
    sidebar = Sidebar()
    sidebar.colorbar(norm, MAP, "training loss" if spec.part == "train" else "test loss")
    sidebar.marker("the minimum", marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
    sidebar.text("lines: equal areas")
    notes = lost_notes([(t, g.lost(quantity), g.measured[quantity].size) for t, g in zip(titles, grids, strict=True)])
    heads = [heading(title, f"test error {error(grid):.1f}%") for title, grid in zip(titles, grids, strict=True)]
    figure, panels = layout(len(grids), spec.columns, (2.3, 2.3), sidebar, notes, titles=heads)
    for axes, grid in zip(panels, grids, strict=True):
        filled(axes, grid.x, grid.y, grid.measured[quantity], norm)
        axes.plot(0, 0, marker="o", color="white", markeredgecolor=style.INK, markersize=4.5)
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
    return Drawn(figure, numbers(titles, grids, spec.part), notes)


def heading(title: str, below: str) -> str:
    """Return a title with a last line below it."""
    return "\n".join(filter(None, [title, below]))


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
