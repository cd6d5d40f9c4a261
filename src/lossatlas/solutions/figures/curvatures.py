"""Figures of kind ``curvatures``: how curved the loss is at the solutions of two optimisers, against how low it is."""

from string import ascii_lowercase
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from lossatlas.draw import style
from lossatlas.draw.style import Drawn, Sidebar
from lossatlas.solutions.spec import Curvatures
from lossatlas.specs.registry import Inputs

QUANTITIES = {
    "raw_max": "largest\neigenvalue",
    "raw_trace": "trace",
    "filter_max": "largest eigenvalue,\nfilter-normalised",
    "filter_trace": "trace,\nfilter-normalised",
}
"""Rows of the figure."""

MARKERS = ("o", "^", "s", "D", "v", "P", "X")


def compose(spec: Curvatures, inputs: Inputs) -> Drawn:
    """Draw the curvature at each point against its training loss, a row a quantity, a column a network.

    Values that are not above zero (a trace within its error) cannot be drawn on the logarithmic axis; the sidebar says
    how many there are.

    Returns:
        The figure and its numbers: panel, set and the columns of :func:`lossatlas.solutions.files.hessians`.
    """
    tables = [{name: inputs.one("hessians", probe) for name, probe in panel.sets.items()} for panel in spec.panels]
    names = list(dict.fromkeys([*spec.labels, *(name for sets in tables for name in sets)]))
    looks = {name: (style.HUES[k % len(style.HUES)], MARKERS[k % len(MARKERS)]) for k, name in enumerate(names)}
    shown = {name for sets in tables for name in sets}
    parts = [
        rows.assign(panel=panel.title, set=name)
        for panel, sets in zip(spec.panels, tables, strict=True)
        for name, rows in sets.items()
    ]
    numbers = pd.concat(parts, ignore_index=True)
    numbers = numbers[["panel", "set", *(c for c in numbers if c not in ("panel", "set"))]]
    lost = int((numbers[list(QUANTITIES)] <= 0).to_numpy().sum())
    sidebar = _sidebar(spec, {name: looks[name] for name in names if name in shown}, lost)
    width, height, left, gap, above, below = 1.75, 1.25, 0.9, 0.13, 0.36, 0.46
    count, rows_ = len(tables), len(QUANTITIES)
    total = max(above + rows_ * (height + gap) + below, sidebar.height + above) + 0.05
    figure = style.new_figure(count * (left + width) + 0.25 + sidebar.width, total)
    for i, (panel, sets) in enumerate(zip(spec.panels, tables, strict=True)):
        for k, (quantity, title) in enumerate(QUANTITIES.items()):
            axes = style.axes_at(figure, left + i * (left + width), above + k * (height + gap), width, height)
            _draw(axes, sets, quantity, looks)
            if i == 0:
                axes.set_ylabel(title)
            if k == 0:
                axes.set_title(panel.title)
                axes.text(-0.16, 1.05, ascii_lowercase[i], transform=axes.transAxes, fontweight="bold", fontsize=9.5)
            if k < rows_ - 1:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("training loss")
    sidebar.draw(figure, count * (left + width) + 0.25, above)
    return Drawn(figure, numbers)


def _draw(axes: Axes, sets: dict[str, pd.DataFrame], quantity: str, looks: dict[str, tuple[str, str]]) -> None:
    for name, rows in sets.items():
        color, marker = looks[name]
        values = rows[quantity].where(rows[quantity] > 0)
        look: dict[str, Any] = {"markersize": 3.6, "alpha": 0.75, "markeredgewidth": 0, "zorder": 3}
        axes.plot(rows["loss"], values, marker, color=color, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if high < 100 * low:
            style.plain_log(axis, low, high)
            continue
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _sidebar(spec: Curvatures, looks: dict[str, tuple[str, str]], lost: int) -> Sidebar:
    sidebar = Sidebar(width=1.95)
    sidebar.heading("Solutions")
    for name, (color, marker) in looks.items():
        sidebar.marker(spec.labels.get(name, name), marker=marker, color=color, markersize=4.5)
    sidebar.heading("A mark: one solution")
    if lost:
        sidebar.text(f"below zero and not drawn: {lost}")
    return sidebar
