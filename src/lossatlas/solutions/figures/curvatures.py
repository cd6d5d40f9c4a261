"""Figures of kind ``curvatures``: how curved the loss is at the solutions of two optimisers, set beside set."""

from typing import Any

import numpy as np
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

DECADES = 6
"""How far below its highest value a panel reaches: where a cross entropy is nearly zero its Hessian is too, by a dozen
decades and more, and on an axis with all of them sets of one loss are a single mark."""

ASIDE = 0.24
"""How far to either side of a set's place its marks go."""


def compose(spec: Curvatures, inputs: Inputs) -> Drawn:
    """Draw the curvature at each point, a row a quantity, a column a network, a place a set with its median loss.

    Values far below a panel's highest (:data:`DECADES`) are hollow marks at its foot. Values that are not above zero (a
    trace within its error) cannot be drawn on the logarithmic axis; the sidebar says how many there are.

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
    below = any((rows[q] < _floor(sets, q)).any() for sets in tables for rows in sets.values() for q in QUANTITIES)
    sidebar = _sidebar(spec, {name: looks[name] for name in names if name in shown}, bool(below), lost)
    shown_at = [
        (panel.title, sets, quantity, title)
        for quantity, title in QUANTITIES.items()
        for panel, sets in zip(spec.panels, tables, strict=True)
    ]
    heads = [title for title, *_ in shown_at]

    def named(i: int, columns: int) -> bool:
        return i % columns == 0 or columns != len(tables)

    gap = (lambda i, columns: 0.95 if named(i, columns) else 0.5, 0.6, 0.1)
    most = len(tables) if len(tables) > 1 else 2
    figure, panels = layout(len(shown_at), most, (1.75, 1.25), sidebar, titles=heads, gap=gap, least=1.0)
    across = len({round(axes.get_position().x0, 3) for axes in panels})
    for i, (axes, (_, sets, quantity, title)) in enumerate(zip(panels, shown_at, strict=True)):
        _draw(axes, sets, quantity, looks)
        if named(i, across):
            axes.set_ylabel(title)
        axes.set_xlabel("median training loss")
    return Drawn(figure, numbers)


def _draw(axes: Axes, sets: dict[str, pd.DataFrame], quantity: str, looks: dict[str, tuple[str, str]]) -> None:
    floor = _floor(sets, quantity)
    for place, (name, rows) in enumerate(sets.items()):
        color, marker = looks[name]
        values = rows[quantity].to_numpy()
        x = place + (np.linspace(-ASIDE, ASIDE, len(values)) if len(values) > 1 else np.zeros(1))
        look: dict[str, Any] = {"color": color, "markersize": 3.6, "zorder": 3}
        shown, below = values >= floor, (values > 0) & (values < floor)
        axes.plot(x[shown], values[shown], marker, alpha=0.75, markeredgewidth=0, **look)
        axes.plot(x[below], np.full(int(below.sum()), floor), "v", markerfacecolor="white", markeredgewidth=0.8, **look)
    axes.set_yscale("log")
    axes.set_xlim(-0.6, len(sets) - 0.4)
    axes.set_xticks(range(len(sets)), [_short(float(rows["loss"].median())) for rows in sets.values()])
    axes.tick_params(axis="x", length=0, labelsize=style.SMALL, rotation=40)
    axes.grid(True, axis="y", color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _floor(sets: dict[str, pd.DataFrame], quantity: str) -> float:
    """Return the lowest value that a panel shows: all of them where they are near enough to one another."""
    values = np.concatenate([rows[quantity].to_numpy() for rows in sets.values()])
    values = values[values > 0]
    return max(float(values.min()), float(values.max()) / 10**DECADES) if len(values) else 1.0


def _short(loss: float) -> str:
    """Return a loss by its first digit: 0.03, 5e-19."""
    mantissa, exponent = f"{loss:.0e}".split("e")
    return f"{float(f'{loss:.0e}'):g}" if 1e-2 <= loss < 1e3 else f"{mantissa}e{int(exponent)}"


def _sidebar(spec: Curvatures, looks: dict[str, tuple[str, str]], below: bool, lost: int) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Solutions")
    for name, (color, marker) in looks.items():
        sidebar.marker(spec.labels.get(name, name), marker=marker, color=color, markersize=4.5)
    sidebar.heading("A mark: one solution")
    if below:
        look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": style.FAINT}
        sidebar.marker("below the axis", marker="v", color=style.FAINT, markersize=4.5, **look)
    if lost:
        sidebar.text(f"below zero and not drawn: {lost}")
    return sidebar
