"""Figures of kind ``curvatures``: how curved the loss is at the solutions of two optimisers, against how low it is."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
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
    shown_at = [
        (panel.title, sets, quantity, title)
        for quantity, title in QUANTITIES.items()
        for panel, sets in zip(spec.panels, tables, strict=True)
    ]
    heads = [title for title, *_ in shown_at]

    def named(i: int, columns: int) -> bool:
        return i % columns == 0 or columns != len(tables)

    gap = (lambda i, columns: 0.95 if named(i, columns) else 0.5, 0.42, 0.1)
    figure, panels = layout(len(shown_at), len(tables), (1.75, 1.25), sidebar, titles=heads, gap=gap, least=1.0)
    across = len({round(axes.get_position().x0, 3) for axes in panels})
    for i, (axes, (_, sets, quantity, title)) in enumerate(zip(panels, shown_at, strict=True)):
        _draw(axes, sets, quantity, looks)
        if named(i, across):
            axes.set_ylabel(title)
        axes.set_xlabel("training loss")
    return Drawn(figure, numbers)


def _draw(axes: Axes, sets: dict[str, pd.DataFrame], quantity: str, looks: dict[str, tuple[str, str]]) -> None:
    for name, rows in sets.items():
        color, marker = looks[name]
        values = rows[quantity].where(rows[quantity] > 0)
        look: dict[str, Any] = {"markersize": 3.6, "alpha": 0.75, "markeredgewidth": 0, "zorder": 3}
        axes.plot(rows["loss"], values, marker, color=color, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _sidebar(spec: Curvatures, looks: dict[str, tuple[str, str]], lost: int) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Solutions")
    for name, (color, marker) in looks.items():
        sidebar.marker(spec.labels.get(name, name), marker=marker, color=color, markersize=4.5)
    sidebar.heading("A mark: one solution")
    if lost:
        sidebar.text(f"below zero and not drawn: {lost}")
    return sidebar
