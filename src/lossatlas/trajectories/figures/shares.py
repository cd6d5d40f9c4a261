"""Figure kind ``shares``: what is left of the jump and of theta_o, against weight decay alone, and filters' angles."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs
from lossatlas.trajectories.numbers import SHARES, share_ends
from lossatlas.trajectories.spec import SharesFigure

NUMBERS = ["group", "cloud", "seed", "step", "epoch", *SHARES, "jump_angle"]
"""Columns of the figure's CSV: the end of each retraining, and the filters' angle of its jump."""

PANELS = (
    ("predicted", "jump_left", "left by decay alone,\nexp(-lr λ steps / (1 - m))", "share of the jump left"),
    ("predicted", "theta_left", "left by decay alone,\nexp(-lr λ steps / (1 - m))", "share of $\\theta_o$ left"),
    (
        "jump_angle",
        "angle",
        "angle of the filters with those of $\\theta_o$\nat the jump (degrees)",
        "at the end (degrees)",
    ),
)
"""Column across, column upwards, and the names of both axes."""

MARKERS = "osD^vP*X"


def compose(spec: SharesFigure, inputs: Inputs) -> Drawn:
    """Draw the end of every retraining of some clouds.

    Args:
        spec: of the figure.
        inputs: ``shares`` of each cloud.

    Returns:
        The figure, its numbers (:data:`NUMBERS`) and notes.
    """
    parts = []
    for entry in spec.points:
        table = inputs.one("shares", entry.cloud)
        jumps = table[table["epoch"] == 0].set_index(["seed", "step"])["angle"].rename("jump_angle")
        ends = share_ends(table).join(jumps, on=["seed", "step"])
        parts.append(ends.assign(group=entry.group, cloud=entry.cloud))
    numbers = pd.concat(parts, ignore_index=True)[NUMBERS]
    return Drawn(_layout(numbers), numbers, ())


def _layout(numbers: pd.DataFrame) -> Any:
    groups = list(dict.fromkeys(numbers["group"]))
    looks = {
        group: {"color": color, "marker": MARKERS[i % len(MARKERS)]}
        for i, (group, color) in enumerate(zip(groups, _hues(len(groups)), strict=True))
    }
    sidebar = Sidebar()
    sidebar.heading("Retrained")
    for group in groups:
        sidebar.marker(group, markersize=4.5, **looks[group])
    sidebar.heading("Lines")
    sidebar.line("as predicted (a, b)", color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    sidebar.line("as far as at the jump (c)", color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    figure, places = layout(len(PANELS), 3, (1.95, 1.95), sidebar, gap=(0.5, 0.56, 0.1))
    for axes, (x, y, below, beside) in zip(places, PANELS, strict=True):
        _scatter(axes, numbers, x, y, looks)
        axes.set_xlabel(below, linespacing=1.2)
        axes.set_ylabel(beside)
    return figure


def _hues(count: int) -> list[tuple[float, float, float]]:
    """Return as many colours: those that colour-blind eyes tell apart, black, then the same again."""
    palette = [*style.hues(7), (0.0, 0.0, 0.0)]
    return [palette[i % len(palette)] for i in range(count)]


def _scatter(axes: Axes, numbers: pd.DataFrame, x: str, y: str, looks: dict[str, dict[str, Any]]) -> None:
    scale = 180.0 / np.pi if y == "angle" else 1.0
    for group, look in looks.items():
        mine = numbers[(numbers["group"] == group) & np.isfinite(numbers[y])]
        axes.scatter(scale * mine[x], scale * mine[y], s=13, alpha=0.75, linewidths=0, zorder=3, **look)
    shown = numbers[np.isfinite(numbers[y])]
    most = scale * float(max(shown[x].max(), shown[y].max()))
    least = scale * float(min(shown[x].min(), shown[y].min(), 0.0))
    margin = 0.05 * (most - least)
    axes.plot([least, most], [least, most], color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(least - margin, most + margin)
    axes.set_ylim(least - margin, most + margin)
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
