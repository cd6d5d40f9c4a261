"""Figures of kind ``sharpness_scatter``: sharpness of many networks under each normalisation against test errors."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.contours import error
from lossatlas.planes.figures.sharpness import NORMALISATIONS, TITLES
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import sharpness
from lossatlas.planes.spec import SharpnessScatter
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import spearman

MARKERS = ("o", "^", "s", "D", "v", "P", "X")


def compose(spec: SharpnessScatter, inputs: Inputs) -> Drawn:
    """Draw a panel a normalisation, a point a network.

    Returns:
        The figure, its numbers (recipe, family, kind, replica, test_error, train_loss, sharpness under each
        normalisation) and notes on networks that are off the scale.
    """
    table = _table(spec, inputs)
    families, kinds = list(dict.fromkeys(table["family"])), list(dict.fromkeys(table["kind"]))
    colors = dict(zip(families, style.hues(len(families)), strict=True))
    markers = {kind: MARKERS[i % len(MARKERS)] for i, kind in enumerate(kinds)}
    sidebar = Sidebar()
    sidebar.heading("Colour")
    for family, color in colors.items():
        sidebar.marker(family, marker="o", color=color, markersize=4.5)
    if len(kinds) > 1:
        sidebar.heading("Marker")
        for kind, marker in markers.items():
            sidebar.marker(kind, marker=marker, color=style.FAINT, markersize=4.5)
    lost = int((~np.isfinite(table[list(NORMALISATIONS)]) | (table[list(NORMALISATIONS)] <= 0)).sum().sum())
    notes = (
        (f"{lost} points with an infinite or no positive sharpness are not on the logarithmic scale.",) if lost else ()
    )
    errors = table["test_error"].to_numpy(float)
    ranks = [spearman(table[how].to_numpy(float), errors) for how in NORMALISATIONS]
    heads = [f"{TITLES[how]}\nrank correlation {rank:.2f}" for how, rank in zip(NORMALISATIONS, ranks, strict=True)]
    figure, panels = layout(3, 3, (2.3, 2.1), sidebar, notes, titles=heads)
    for axes, how in zip(panels, NORMALISATIONS, strict=True):
        _draw(axes, table, how, colors, markers)
        axes.set_xlabel({"rise": "rise of the loss", "worst": "largest rise / (1 + loss)"}.get(spec.by, spec.by))
        axes.set_ylabel("test error (%)")
    return Drawn(figure, table, notes)


def _table(spec: SharpnessScatter, inputs: Inputs) -> pd.DataFrame:
    rows = []
    for group in spec.groups:
        grids: list[Grid] = inputs.all("grids", group.line)
        for replica, grid in enumerate(grids):
            row: dict[str, Any] = {"recipe": group.line, "family": group.family, "kind": group.kind, "replica": replica}
            row |= {"test_error": error(grid), "train_loss": float(grid.minimum["train_loss"])}
            for how in NORMALISATIONS:
                values = sharpness(grid, how, spec.by, spec.reach)
                row[how] = float(np.median(values)) if len(values) else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def _draw(axes: Axes, table: pd.DataFrame, how: str, colors: Any, markers: Any) -> None:
    for (family, kind), group in table.groupby(["family", "kind"], sort=False):
        x = group[how].to_numpy(float)
        shown = np.isfinite(x) & (x > 0)
        axes.plot(
            x[shown],
            group["test_error"].to_numpy(float)[shown],
            linestyle="none",
            marker=markers[kind],
            color=colors[family],
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
    axes.set_xscale("log")
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
