"""Figures of kind ``invariance``: the same random lines through a network and through rescaled copies of its function.

Curves that depend on nothing but the function coincide; where they do not, sharpness seen along such lines is a matter
of how the weights are written down.
"""

from typing import Any, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.sharpness import TITLES
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import apart
from lossatlas.planes.spec import Invariance, Normalise
from lossatlas.specs.registry import Inputs

NORMALISATIONS: tuple[str, ...] = get_args(Normalise)


def compose(spec: Invariance, inputs: Inputs) -> Drawn:
    """Draw a row of panels for every way of rescaling, a panel for every normalisation, their first direction each.

    Returns:
        The figure, its numbers (row, panel, network, x, loss, gap: the largest difference of a copy over all
        directions, in units of the original's rise) and notes on points without a loss.
    """
    rows: list[tuple[str, Grid, list[Grid]]] = [
        (row.title, inputs.one("grid", row.original), [inputs.one("grid", name) for name in row.copies])
        for row in spec.rows
    ]
    count = max(len(copies) for _, _, copies in rows)
    colors = style.hues(count)
    sidebar = Sidebar()
    sidebar.line("as it was trained", color="#b5b5b5", linewidth=4.5)
    for i, color in enumerate(colors):
        sidebar.line(f"rescaled copy {i + 1}", color=color, linewidth=1.2, linestyle=style.DASHES[1 + i % 4])
    lost = sum(grid.lost("train_loss") for _, first, copies in rows for grid in (first, *copies))
    notes = (f"{lost} points without a finite loss (inf or NaN) are gaps.",) if lost else ()
    heads = [f"{title},\n{TITLES[how]}" for title, _, _ in rows for how in NORMALISATIONS]
    figure, panels = layout(len(heads), 3, (2.15, 1.7), sidebar, notes, titles=heads)
    parts = []
    for i, (title, original, copies) in enumerate(rows):
        for axes, how in zip(panels[3 * i :], NORMALISATIONS, strict=False):
            gaps = [float(np.max(apart(original, copy, how), initial=0.0)) for copy in copies]
            parts.append(_draw(axes, original, copies, how, colors).assign(row=title, panel=how, gap=max(gaps)))
            words = _said(max(gaps))
            axes.text(0.5, 0.96, words, transform=axes.transAxes, ha="center", va="top", fontsize=style.SMALL)
    numbers = pd.concat(parts, ignore_index=True)[["row", "panel", "network", "x", "loss", "gap"]]
    return Drawn(figure, numbers, notes)


def _said(gap: float) -> str:
    """Return the largest difference of curves in words."""
    if gap < 1e-3:
        return f"one curve (to {gap:.0e} of its rise)"
    if not np.isfinite(gap):
        return "apart: some overflow"
    if gap >= 1e5:
        return f"apart by {gap / 1e6:.1f} million times the rise"
    return f"apart by {gap:,.0f} times the rise" if gap >= 10 else f"apart by {gap:.2g} of the rise"


def _draw(axes: Axes, original: Grid, copies: list[Grid], how: str, colors: Any) -> pd.DataFrame:
    """Draw the first direction of a normalisation and return what was drawn."""
    (number, *_) = [i for i, entry in enumerate(original.slice["directions"]) if entry["normalise"] == how]
    parts = []
    for i, grid in enumerate((original, *copies)):
        loss = grid.measured["train_loss"][number]
        shown = np.where(np.isfinite(loss), np.clip(loss, 1e-6, 1e6), np.nan)
        look: dict[str, Any] = {"color": "#b5b5b5", "linewidth": 4.5}
        if i:
            look = {"color": colors[i - 1], "linewidth": 1.2, "linestyle": style.DASHES[1 + (i - 1) % 4]}
        axes.plot(grid.x, shown, **look)
        name = "as it was trained" if i == 0 else f"rescaled copy {i}"
        parts.append(pd.DataFrame({"network": name, "x": grid.x, "loss": loss}))
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.22)  # room for the words above the curves
    scale = original.slice["directions"][number]["scale"]
    axes.set_xlabel("position on the line" + (f" (unit: {scale:g} a weight)" if how == "none" else ""))
    axes.set_ylabel("training loss")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return pd.concat(parts, ignore_index=True)
