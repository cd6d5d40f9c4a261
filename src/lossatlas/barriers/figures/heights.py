"""Figures of kinds ``path_heights`` and ``path_convergence``: how high the paths between minima are, set by set.

Of fewer than :data:`FEW` paths a set a histogram shows bins and not the paths: each path is then a mark of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lossatlas.barriers.dyads import compare
from lossatlas.barriers.numbers import at_step, measured, sample
from lossatlas.barriers.spec import OfSets, PathConvergence, PathHeights
from lossatlas.claims.measurement import counted
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, layout
from lossatlas.draw.style import Drawn, axes_at
from lossatlas.specs.registry import Inputs

SET_COLORS = ("#16336B", "#56B4E9", "#D55E00", "#E8A800")
"""Colours of the sets in the order of a figure's ``labels``; as in the paper navy, light blue, red and gold."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), "-", (0, (5, 1.6)))
BINS = 14

FEW = 20
"""Paths of a set below which they are drawn one by one."""

LOSSES = {"train": "training loss", "test": "test loss"}


# ---------------------------------------------------------------------------------------------------------------------
# histograms


def compose_heights(spec: PathHeights, inputs: Inputs) -> Drawn:
    """Draw a histogram of path heights for each set of every panel, or the heights themselves where they are few.

    Returns:
        The figure and its numbers, one row a path: panel, set, pair, the replicas it joins, step, height, end (loss at
        the higher end point), excess (height - end), argmax (t of the highest point), length.
    """
    tables = [
        {
            name: measured(at_step(inputs.one("paths", paths), spec.step), spec.part)
            for name, paths in panel.sets.items()
        }
        for panel in spec.panels
    ]
    names = _ordered(spec, tables)
    sidebar = _legend(spec, names, [min(map(len, sets.values())) < FEW for sets in tables])
    heads = [f"{panel.title}: {_counts(sets)}" for panel, sets in zip(spec.panels, tables, strict=True)]
    figure, axes_of = layout(len(tables), spec.columns, (2.6, 1.85), sidebar, titles=heads)
    for axes, sets in zip(axes_of, tables, strict=True):
        few = min(map(len, sets.values())) < FEW
        (_strips if few else _histograms)(axes, sets, names)
        axes.set_xlabel(f"path height H, {LOSSES[spec.part]}")
        axes.set_ylabel("" if few else "paths")
    parts = [
        rows.assign(panel=panel.title, set=name)
        for panel, sets in zip(spec.panels, tables, strict=True)
        for name, rows in sets.items()
    ]
    numbers = pd.concat(parts, ignore_index=True)
    return Drawn(figure, numbers[["panel", "set", *(c for c in numbers if c not in ("panel", "set"))]])


def _ordered(spec: OfSets, panels: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the sets that some panel has, and the place of each among the labels: its colour in every figure."""
    found = list(dict.fromkeys(name for sets in panels for name in sets))
    places = list(dict.fromkeys([*spec.labels, *found]))
    return {name: places.index(name) for name in sorted(found, key=places.index)}


def _counts(sets: Mapping[str, pd.DataFrame]) -> str:
    """Return how many paths a set has and after how many steps they were measured."""
    shown = []
    for values, word in (([len(rows) for rows in sets.values()], "paths"), (_steps(sets), "steps")):
        low, high = min(values), max(values)
        shown.append(counted(low, word) if low == high else f"{low} to {high} {word}")
    return ", ".join(shown)


def _steps(sets: Mapping[str, pd.DataFrame]) -> list[int]:
    return [int(rows["step"].max()) for rows in sets.values()]


def _strips(axes: Axes, sets: Mapping[str, pd.DataFrame], names: Mapping[str, int]) -> None:
    """Draw a row a set, a mark a path, and the median as a longer one."""
    heights = np.concatenate([rows["height"].to_numpy() for rows in sets.values()])
    order = sorted(sets, key=lambda name: names[name])
    for place, name in enumerate(order):
        color, values = SET_COLORS[names[name]], sets[name]["height"].to_numpy()
        look: dict[str, Any] = {"markersize": 4.2, "alpha": 0.65, "markeredgewidth": 0, "zorder": 3}
        axes.plot(values, np.full(len(values), float(place)), "o", color=color, **look)
        middle = float(np.median(values))
        axes.plot([middle, middle], [place - 0.32, place + 0.32], color=color, linewidth=1.8, zorder=4)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_yticks([])
    positive = heights[heights > 0]
    if len(positive) == len(heights) and positive.max() > 5 * positive.min():
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="x", useOffset=False)
    axes.margins(x=0.08)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _histograms(axes: Axes, sets: Mapping[str, pd.DataFrame], names: Mapping[str, int]) -> None:
    heights = np.concatenate([rows["height"].to_numpy() for rows in sets.values()])
    low, high = heights[heights > 0].min(), heights.max()
    wide = high > 5 * low
    if not high > low:
        low, high = 0.9 * low, 1.1 * high
    edges = [*(np.geomspace if wide else np.linspace)(low, high, BINS + 1)]
    for name, rows in sets.items():
        k = names[name]
        values = np.clip(rows["height"].to_numpy(), edges[0], edges[-1])
        counts = np.histogram(values, edges)[0].astype(float)
        counts[counts == 0] = np.nan  # no outline along zero
        axes.stairs(counts, edges, fill=True, color=SET_COLORS[k], alpha=0.3, zorder=2 + k)
        axes.stairs(counts, edges, color=SET_COLORS[k], linewidth=1.3, linestyle=DASHES[k], zorder=6 + k)
        median = float(np.median(rows["height"]))
        axes.plot(
            median, 0, marker="^", color=SET_COLORS[k], markersize=6, markeredgecolor="white", clip_on=False, zorder=12
        )
    if wide:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _legend(spec: OfSets, names: Mapping[str, int], few: Sequence[bool] = ()) -> Sidebar:
    """Return the legend of sets, and of the medians of panels whose paths are drawn one by one or are not."""
    sidebar = Sidebar()
    sidebar.heading("Paths between")
    for name, k in names.items():
        sidebar.line(spec.labels.get(name, name), color=SET_COLORS[k], linewidth=1.8, linestyle=DASHES[k])
    if False in few:
        sidebar.marker("median (bars)", marker="^", color=style.FAINT, markersize=6)
    if True in few:
        sidebar.line("median (points)", color=style.FAINT, linewidth=1.8)
        sidebar.marker("one path", marker="o", color=style.FAINT, markersize=4.2, alpha=0.65, markeredgewidth=0)
    return sidebar


# ---------------------------------------------------------------------------------------------------------------------
# convergence

ROWS = {
    "height": "path height H",
    "excess": "H above the higher end",
    "superiority": "P(first higher)",
}


def compose_convergence(spec: PathConvergence, inputs: Inputs) -> Drawn:
    """Draw height and height above the higher end against optimisation steps, and what becomes of the comparison.

    A panel is a column of axes.

    Returns:
        The figure and its numbers: panel, set, step, quantity (height, excess: median, low and high = quartiles;
        superiority of one set over another: value, 95% interval, p and disjoint pairs), pairs.
    """
    count = len(spec.panels)
    tables = [
        {name: measured(inputs.one("paths", probe), spec.part) for name, probe in panel.sets.items()}
        for panel in spec.panels
    ]
    names = _ordered(spec, tables)
    numbers = pd.concat(
        [_numbers(spec, panel.title, sets) for panel, sets in zip(spec.panels, tables, strict=True)],
        ignore_index=True,
    )
    sidebar = _convergence_legend(spec, names)
    heights, gap, heads = (1.6, 1.6, 1.15), 0.16, [panel.title for panel in spec.panels]
    wide = 0.72, 0.4, 0.1  # small heights have long numbers
    page = grid(count, None, 2.15, sum(heights) + 2 * gap, sidebar, titles=heads, gap=wide)
    for panel, place in zip(spec.panels, page.places, strict=True):
        mine, top = numbers[numbers["panel"] == panel.title], place.top
        for k, quantity in enumerate(ROWS):
            axes = axes_at(page.figure, place.left, top, place.width, heights[k])
            top += heights[k] + gap
            _draw_rows(axes, mine[mine["quantity"] == quantity], quantity, names, spec)
            if k < 2:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("steps of Adam")
            if place.left == page.places[0].left:
                axes.set_ylabel(ROWS[quantity])
    return Drawn(page.figure, numbers)


def _numbers(spec: PathConvergence, title: str, sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    found = []
    for name, table in sets.items():
        for step, rows in table.groupby("step"):
            for quantity in ("height", "excess"):
                low, middle, high = np.quantile(rows[quantity], [0.25, 0.5, 0.75])
                found.append(
                    {"set": name, "step": step, "quantity": quantity, "value": middle, "low": low, "high": high}
                    | {"pairs": len(rows)}
                )
    for first, second in spec.compare:
        if first not in sets or second not in sets:
            continue
        for step in sorted(set(sets[first]["step"]) & set(sets[second]["step"])):
            chosen = [sets[name][sets[name]["step"] == step] for name in (first, second)]
            result = compare(*(sample(rows, "height") for rows in chosen))
            found.append(
                {"set": f"{first} over {second}", "step": step, "quantity": "superiority", "value": result.superiority}
                | {
                    "low": result.interval.low,
                    "high": result.interval.high,
                    "pairs": min(map(len, chosen)),
                    "p": result.p,
                }
                | {"least_p": result.least_p, "disjoint_pairs": min(result.disjoint)}
            )
    return pd.DataFrame(found).assign(panel=title)[
        ["panel", "set", "step", "quantity", "value", "low", "high", "pairs"]
        + [c for c in ("p", "least_p", "disjoint_pairs") if c in found[-1]]
    ]


def _draw_rows(axes: Axes, rows: pd.DataFrame, quantity: str, names: Mapping[str, int], spec: PathConvergence) -> None:
    if rows.empty:  # nothing to compare in this panel
        axes.set_axis_off()
        return
    for name, mine in rows.groupby("set", sort=False):
        mine = mine.sort_values("step")
        k = names[str(name).split(" over ")[0]]
        look = {"color": SET_COLORS[k], "linestyle": DASHES[k], "marker": "o"}
        if quantity == "superiority":
            error = np.abs(mine[["low", "high"]].to_numpy().T - mine["value"].to_numpy())
            axes.errorbar(mine["step"], mine["value"], error, markersize=3, capsize=2, linewidth=1.2, **look)
            continue
        below = mine["value"] < spec.floor
        axes.plot(mine["step"], mine["value"].mask(below), markersize=2.8, linewidth=1.4, zorder=3, **look)
        low_ones: dict[str, Any] = {"markersize": 4, "markerfacecolor": "white", "markeredgecolor": SET_COLORS[k]}
        axes.plot(mine["step"][below], np.full(int(below.sum()), spec.floor), "v", zorder=4, **low_ones)
        low, high = (mine[side].clip(lower=spec.floor) for side in ("low", "high"))
        axes.fill_between(mine["step"], low.mask(below), high.mask(below), color=SET_COLORS[k], alpha=0.15, linewidth=0)
    if quantity == "superiority":
        axes.axhline(0.5, color=style.FAINT, linewidth=0.8, linestyle=":")
        axes.set_ylim(-0.06, 1.06)
    else:
        axes.set_yscale("log")
    axes.set_xlim(left=-0.04 * float(rows["step"].max()))
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _convergence_legend(spec: PathConvergence, names: Mapping[str, int]) -> Sidebar:
    sidebar = _legend(spec, names)
    sidebar.heading("Paths of a set")
    sidebar.line("line: median", color=style.FAINT, linewidth=1.4)
    sidebar.line("band: quartiles", color=style.FAINT, linewidth=6, alpha=0.22)
    hollow: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "white", "markeredgecolor": style.FAINT}
    sidebar.marker(f"less than {spec.floor:g}", marker="v", color=style.FAINT, **hollow)
    if spec.compare:
        sidebar.heading("P(first higher)")
        for first, second in spec.compare:
            k = names.get(first, 0)
            sidebar.line(f"{spec.labels.get(first, first)}", color=SET_COLORS[k], linewidth=1.4, linestyle=DASHES[k])
            sidebar.text(f"        over {spec.labels.get(second, second)}")
        sidebar.line("bar: 95%, disjoint pairs", color=style.FAINT, linewidth=1.4)
        sidebar.line("1/2: no difference", color=style.FAINT, linewidth=0.8, linestyle=":")
    return sidebar
