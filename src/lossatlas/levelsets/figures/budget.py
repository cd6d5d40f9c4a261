"""Figures of kind ``budget``: test performance against the number of example-wise gradients."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import AXIS_LABELS, Drawn
from lossatlas.draw.ticks import log_ticks
from lossatlas.levelsets.files import history
from lossatlas.levelsets.numbers import best, continued, metric, sweeps
from lossatlas.levelsets.spec import Budget
from lossatlas.specs.registry import Inputs

LOOKS: dict[str, dict[str, Any]] = {
    "traversal": {"color": "#0072B2"},
    "decay": {"color": "#D55E00", "linestyle": (0, (5, 1.6))},
    "adam": {"color": "#009E73", "linestyle": (0, (1.2, 1.2))},
    "sgd": {"color": "#992E70", "linestyle": (0, (6, 1.5, 1.2, 1.5))},
}
SPACE = (0.56, 0.54, 0.1)
"""Inches left of, below and above a panel."""

APART = 0.16
"""Least share of an axis between two marks of the upper one."""

NAMES = {
    "traversal": "level-set traversal",
    "decay": "weight decay, best λ",
    "adam": "from the same start, Adam",
    "sgd": "from the same start, SGD",
}

PRINTED = ("traversal", "decay")
"""The paper's curves, which have bands; four of them over one another would hide all (the numbers have every one)."""


def compose(spec: Budget, inputs: Inputs) -> Drawn:
    """Draw the panels, a cloud of traversals and its sweep with its history each.

    Returns:
        The figure and its numbers (panel, label, quantity, example_gradients, mean, std, replicas). Traversals begin
        where phase 1 ended; replicas are averaged at equal numbers of steps, at their mean number of gradients.
    """
    curves = [_curves(inputs, panel.cloud, spec.choose) for panel in spec.panels]
    heads = [_title(panel.title, table) for panel, table in zip(spec.panels, curves, strict=True)]
    figure, panels = layout(len(curves), spec.columns, (2.45, 2.0), _sidebar(), gap=SPACE, titles=heads, over=0.16)
    for axes, table in zip(panels, curves, strict=True):
        _draw(axes, table)
    numbers = pd.concat([t.assign(panel=p.title) for p, t in zip(spec.panels, curves, strict=True)])
    names = ["panel", "label", "quantity", "example_gradients", "mean", "std", "replicas"]
    return Drawn(figure, numbers[names].reset_index(drop=True))


def _sidebar() -> Sidebar:
    sidebar = Sidebar()
    for label, look in LOOKS.items():
        sidebar.line(NAMES[label], linewidth=1.5, **look)
    sidebar.line("its last value", color=LOOKS["decay"]["color"], linewidth=0.6)
    sidebar.line("end of phase 1", color=style.FAINT, linewidth=0.8, linestyle=":")
    sidebar.text("upper axis: of phase 2 alone")
    sidebar.text("lines: means over replicas")
    sidebar.text("bands: ± 1 std. dev. (first two)")
    return sidebar


def _title(title: str, table: pd.DataFrame) -> str:
    """Return a panel's title with the chosen strength of weight decay."""
    chosen = table.loc[table["label"].str.startswith("decay"), "label"]
    return title + (f" ({chosen.iloc[0].split(', ')[1]})" if len(chosen) else "")


def _draw(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the curves of one cloud (:func:`_curves`)."""
    most = float(table["example_gradients"].max())
    for label, look in LOOKS.items():
        mine = table[table["label"].str.startswith(label)]
        if mine.empty:
            continue
        x = mine["example_gradients"]
        if label == "decay":
            axes.plot([x.iloc[-1], most], [mine["mean"].iloc[-1]] * 2, color=look["color"], linewidth=0.6, zorder=2)
        axes.plot(x, mine["mean"], linewidth=1.4, zorder=3, **look)
        if label in PRINTED:
            low, high = mine["mean"] - mine["std"], mine["mean"] + mine["std"]
            axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    begin = table.loc[table["label"] == "traversal", "example_gradients"].min()
    axes.axvline(begin, color=style.FAINT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    least = float(table["example_gradients"].min())
    span = np.diff(np.log(axes.get_xlim()))[0]
    ticks = log_ticks(least, most, 5)
    axes.set_xticks(ticks, [_thousands(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("example-wise gradients,\nphase 1 included")
    after = axes.secondary_xaxis("top", functions=(lambda x: x, lambda x: x))
    marks: list[float] = []
    for mark in 10.0 ** np.arange(9, 2, -1):
        if mark <= most - begin and (not marks or np.log((begin + marks[0]) / (begin + mark)) > APART * span):
            marks.insert(0, float(mark))
    after.set_xticks([begin + mark for mark in marks], [_thousands(mark) for mark in marks])
    after.tick_params(labelsize=style.SMALL, length=2, pad=1)
    after.minorticks_off()
    quantity = str(table["quantity"].iloc[0])
    axes.set_ylabel(AXIS_LABELS[quantity] if quantity == "test_accuracy" else "test mean squared error")
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _thousands(value: float) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _curves(inputs: Inputs, cloud: str, choose: str) -> pd.DataFrame:
    """Return the curves of one cloud."""
    table = inputs.one("gram", cloud).table
    quantity = metric(table)
    ours = table[table["source"] == "levelset"]
    ours = ours.assign(example_gradients=ours["start_gradients"] + ours["example_gradients"])
    parts = [_summary(ours, quantity, "steps").assign(label="traversal")]
    value = best(table, choose)
    if value is not None:
        (path,) = inputs.paths("gram", cloud)
        seen = history(path)
        scratch = sweeps(seen, "weight_decay")
        parts.append(
            _summary(scratch[scratch["value"] == value], quantity, "epoch").assign(label=f"decay, λ = {value:g}")
        )
        for optimizer in ("adam", "sgd"):
            rows = continued(seen, optimizer, quantity)
            if not rows.empty:
                spent = rows["replica"].map(ours.groupby("replica")["start_gradients"].first())
                rows = rows.assign(example_gradients=rows["example_gradients"] + spent)
                label = f"{optimizer}, λ = {rows['value'].iloc[0]:g}"
                parts.append(_summary(rows, quantity, "epoch").assign(label=label))
    return pd.concat(parts).assign(quantity=quantity)


def _summary(rows: pd.DataFrame, quantity: str, by: str) -> pd.DataFrame:
    """Return mean and sample deviation over replicas at equal steps or epochs that all replicas have."""
    grouped = rows.groupby(by, sort=True)
    found = pd.DataFrame(
        {
            "example_gradients": grouped["example_gradients"].mean(),
            "mean": grouped[quantity].mean(),
            "std": grouped[quantity].std(ddof=1).fillna(0.0),
            "replicas": grouped["replica"].nunique(),
        }
    )
    found = found[found["replicas"] == found["replicas"].max()]
    return found[np.isfinite(found["mean"])].reset_index(drop=True)
