"""Figures of kind ``lines``: loss and accuracy along the segment between two minima (linear interpolation)."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.contours import heading
from lossatlas.planes.files import Grid
from lossatlas.planes.spec import Lines, Segment
from lossatlas.specs.registry import Inputs

LOSS, ACCURACY = style.HUES[0], style.HUES[1]
TALLEST = 20.0
"""Largest loss that decides how high the axis is: nine times that of ten classes unknown."""
DASHES = {"train": "-", "test": (0, (4, 1.5))}


def compose(spec: Lines, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (panel, x, loss and accuracy of each part) and notes on points without a loss.
    """
    grids: list[Grid] = [inputs.one("grid", panel.line) for panel in spec.panels]
    sidebar = Sidebar()
    sidebar.line("loss (left)", color=LOSS, linewidth=1.5)
    sidebar.line("accuracy (right)", color=ACCURACY, linewidth=1.5)
    sidebar.heading("Part of the data")
    for part, dashes in DASHES.items():
        if any(part in _parts(grid) for grid in grids):
            sidebar.line(
                {"train": "training", "test": "test"}[part], color=style.FAINT, linewidth=1.3, linestyle=dashes
            )
    sidebar.heading("Points")
    sidebar.line("the two minima", color="#8c8c8c", linewidth=0.7, linestyle=":")
    lost = sum(grid.lost("train_loss") for grid in grids)
    total = sum(grid.measured["train_loss"].size for grid in grids)
    notes = (f"{lost} of {total} points without a finite loss (inf or NaN) are gaps.",) if lost else ()
    heads = [heading(panel.title, _ends(grid)) for panel, grid in zip(spec.panels, grids, strict=True)]
    figure, panels = layout(len(grids), spec.columns, (2.6, 1.9), sidebar, notes, right=0.45, titles=heads)
    low, high = _range(grids)
    for axes, panel, grid in zip(panels, spec.panels, grids, strict=True):
        _draw(axes, panel, grid, (low, high))
    return Drawn(figure, _numbers(spec, grids), notes)


def _ends(grid: Grid) -> str:
    """Return the test errors at both minima in words; empty where the test part or one of them was not measured."""
    found = []
    for end in (0.0, 1.0):
        at = int(np.abs(grid.x - end).argmin())
        if "test_accuracy" in grid.measured and abs(grid.x[at] - end) < 1e-9:
            found.append(f"{100 * (1 - grid.measured['test_accuracy'][0, at]):.1f}%")
    return f"test errors {found[0]} and {found[1]}" if len(found) == 2 else ""


def _parts(grid: Grid) -> list[str]:
    """Return the parts of the data that are drawn: a test part that is the training part again would hide it."""
    parts = [part for part in DASHES if f"{part}_loss" in grid.measured]
    same = len(parts) == 2 and np.array_equal(grid.measured["train_loss"], grid.measured["test_loss"], equal_nan=True)
    return parts[:1] if same else parts


def _range(grids: list[Grid]) -> tuple[float, float]:
    """Return the limits of the losses, shared by all panels; what lies above the upper one is outside of the picture.

    Beyond the minima losses may be larger by orders of magnitude, which would leave nothing of what lies between them.
    """
    losses = np.concatenate([v.ravel() for g in grids for name, v in g.measured.items() if name.endswith("loss")])
    finite = np.clip(losses[np.isfinite(losses)], 1e-6, TALLEST)
    return float(finite.min()) / 1.5, float(finite.max()) * 1.5


def _draw(axes: Axes, panel: Segment, grid: Grid, limits: tuple[float, float]) -> None:
    right = axes.twinx()
    for end in (0.0, 1.0):
        axes.axvline(end, color="#8c8c8c", linewidth=0.7, linestyle=":", zorder=0)
    for part in _parts(grid):
        look: dict[str, Any] = {"linestyle": DASHES[part], "linewidth": 1.3}
        loss = grid.measured[f"{part}_loss"][0]
        axes.plot(grid.x, np.where(np.isfinite(loss), np.clip(loss, 1e-6, 1e6), np.nan), color=LOSS, **look)
        right.plot(grid.x, 100 * grid.measured[f"{part}_accuracy"][0], color=ACCURACY, **look)
    axes.set_xlim(grid.x[0], grid.x[-1])
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    right.set_ylim(0, 102)
    axes.set_xlabel(f"0: {panel.ends[0]},  1: {panel.ends[1]}" if panel.ends else "position on the segment")
    axes.set_ylabel("loss", color=LOSS)
    right.set_ylabel("accuracy (%)", color=ACCURACY)
    for side, color in ((axes, LOSS), (right, ACCURACY)):
        side.tick_params(axis="y", colors=color)
        side.spines["top"].set_visible(False)


def _numbers(spec: Lines, grids: list[Grid]) -> pd.DataFrame:
    parts = []
    for panel, grid in zip(spec.panels, grids, strict=True):
        columns = {name: values[0] for name, values in grid.measured.items()}
        parts.append(pd.DataFrame({"panel": panel.title, "x": grid.x, **columns}))
    return pd.concat(parts, ignore_index=True)
