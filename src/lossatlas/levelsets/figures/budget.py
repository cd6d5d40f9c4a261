"""Figures of kind ``budget``: test performance against the number of example-wise gradients."""

from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lossatlas.draw import style
from lossatlas.draw.style import AXIS_LABELS, Drawn, Sidebar
from lossatlas.levelsets.files import history
from lossatlas.levelsets.numbers import best, metric
from lossatlas.levelsets.spec import Budget
from lossatlas.specs.registry import Inputs

OURS, THEIRS = "#0072B2", "#D55E00"
DASHES = (0, (5, 1.6))


def compose(spec: Budget, inputs: Inputs) -> Drawn:
    """Draw the panels, a cloud of traversals and its sweep with its history each.

    Returns:
        The figure and its numbers (panel, label, quantity, example_gradients, mean, std, replicas). Traversals begin
        where phase 1 ended; replicas are averaged at equal numbers of steps, at their mean number of gradients.
    """
    curves = [_curves(inputs, panel.cloud, spec.choose) for panel in spec.panels]
    count = len(curves)
    columns = min(spec.columns or min(count, 3), count)
    rows = -(-count // columns)
    width, height, left, below, above = 2.45, 2.0, 0.62, 0.46, 0.36
    sidebar = _sidebar()
    total = max(rows * (above + height + below), sidebar.height + above) + 0.05
    figure = style.new_figure(columns * (left + width) + 0.25 + sidebar.width, total)
    for i, (panel, table) in enumerate(zip(spec.panels, curves, strict=True)):
        row, column = divmod(i, columns)
        axes = style.axes_at(
            figure, left + column * (left + width), above + row * (above + height + below), width, height
        )
        _draw(axes, panel.title, table)
        if count > 1:
            axes.text(-0.12, 1.03, ascii_lowercase[i], transform=axes.transAxes, fontweight="bold", fontsize=9.5)
    sidebar.draw(figure, columns * (left + width) + 0.25, above)
    numbers = pd.concat([t.assign(panel=p.title) for p, t in zip(spec.panels, curves, strict=True)])
    names = ["panel", "label", "quantity", "example_gradients", "mean", "std", "replicas"]
    return Drawn(figure, numbers[names].reset_index(drop=True))


def _sidebar() -> Sidebar:
    sidebar = Sidebar(width=1.75)
    sidebar.line("level-set traversal", color=OURS, linewidth=1.5)
    sidebar.line("weight decay, best λ", color=THEIRS, linewidth=1.5, linestyle=DASHES)
    sidebar.line("end of phase 1", color=style.FAINT, linewidth=0.8, linestyle=":")
    sidebar.heading("Replicas")
    sidebar.line("line: mean", color=style.FAINT, linewidth=1.4)
    sidebar.line("band: ± 1 std. dev.", color=style.FAINT, linewidth=6, alpha=0.22)
    return sidebar


def _draw(axes: Axes, title: str, table: pd.DataFrame) -> None:
    """Draw the curves of one cloud (:func:`_curves`)."""
    for label, look in (("traversal", {"color": OURS}), ("decay", {"color": THEIRS, "linestyle": DASHES})):
        mine = table[table["label"].str.startswith(label)]
        x = mine["example_gradients"]
        axes.plot(x, mine["mean"], linewidth=1.4, zorder=3, **look)
        low, high = mine["mean"] - mine["std"], mine["mean"] + mine["std"]
        axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
    begin = table.loc[table["label"] == "traversal", "example_gradients"].min()
    axes.axvline(begin, color=style.FAINT, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    least, most = table["example_gradients"].min(), table["example_gradients"].max()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if most > 60 * least else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("example-wise gradients, phase 1 included")
    quantity = str(table["quantity"].iloc[0])
    axes.set_ylabel(AXIS_LABELS[quantity] if quantity == "test_accuracy" else "test mean squared error")
    chosen = table.loc[table["label"].str.startswith("decay"), "label"]
    axes.set_title(title + (f" ({chosen.iloc[0].split(', ')[1]})" if len(chosen) else ""))
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _thousands(value: float, _: object = None) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _curves(inputs: Inputs, cloud: str, choose: str) -> pd.DataFrame:
    """Return the two curves of one cloud."""
    table = inputs.one("gram", cloud).table
    quantity = metric(table)
    ours = table[table["source"] == "levelset"]
    ours = ours.assign(example_gradients=ours["start_gradients"] + ours["example_gradients"])
    parts = [_summary(ours, quantity, "steps").assign(label="traversal")]
    value = best(table, choose)
    if value is not None:
        (path,) = inputs.paths("gram", cloud)
        seen = history(path)
        chosen = (seen["parameter"] == "weight_decay") & (seen["value"] == value) & (seen["held_out"] == 0)
        parts.append(_summary(seen[chosen], quantity, "epoch").assign(label=f"decay, λ = {value:g}"))
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
