"""Figures of basins: accuracy, radius and log-volume against a swept value; the loss along random directions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lossatlas.basins.files import Volumes
from lossatlas.basins.numbers import Found, at_cutoff, find, joined, of_value, radii_at
from lossatlas.basins.spec import Basins, Groups, Profiles
from lossatlas.draw import style, text
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, layout
from lossatlas.draw.style import Drawn
from lossatlas.draw.ticks import short_labels
from lossatlas.errors import LossatlasError
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import Correlation, rank_correlation

TRAIN, TEST, MEDIAN, LARGEST = "#6B6B6B", "#0072B2", "#0072B2", "#D55E00"

NAMES = {"beta": "β"}


# ---------------------------------------------------------------------------------------------------------------------
# kind basins


def compose(spec: Basins, inputs: Inputs) -> Drawn:
    """Draw accuracy, radius and log-volume against the swept value, and volume against accuracy for every cutoff.

    Returns:
        The figure and its numbers: the table of the files.
    """
    table = joined(inputs.all("volume", spec.volume))
    chosen = at_cutoff(table, spec.cutoff)
    cutoffs = sorted(set(table["cutoff"]))
    values = sorted(set(table["value"]))
    sidebar = _sidebar(values, int(table["directions"].iloc[0]))
    of_cutoff = {cutoff: at_cutoff(table, cutoff) for cutoff in cutoffs}
    heads = ["Accuracy", f"Radius at loss {spec.cutoff:g} (steps)", f"log10 volume at loss {spec.cutoff:g}"]
    for cutoff, rows in of_cutoff.items():
        heads.append(f"cutoff {cutoff:g}: {_in_words(rank_correlation(rows, 'test_accuracy', 'log10_volume'))}")
    notes = _without_volume(of_cutoff)
    figure, places = layout(len(heads), 3, (2.25, 1.85), sidebar, notes, titles=heads, gap=(0.68, 0.4, 0.1))
    for axes in places:
        axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    name = NAMES.get(str(table["parameter"].iloc[0]), str(table["parameter"].iloc[0]))
    _against(places[0], chosen, values, [("train_accuracy", TRAIN, "--"), ("test_accuracy", TEST, "-")])
    _against(places[1], chosen, values, [("radius_median", MEDIAN, "-"), ("radius_largest", LARGEST, "--")])
    _against(places[2], chosen, values, [("log10_volume", TEST, "-")])
    for axes in places[:3]:
        axes.set_xlabel(f"{name} (not to scale)")
    _scatters(places[3:], of_cutoff, values)
    return Drawn(figure, table, tuple(notes))


def _against(axes: Axes, table: pd.DataFrame, values: Sequence[float], columns: Sequence[tuple[str, str, Any]]) -> None:
    """Draw mean and range over replicas of some columns, the values at equal distances."""
    place = range(len(values))
    for column, color, dash in columns:
        groups = [table.loc[table["value"] == v, column] for v in values]
        groups = [g[np.isfinite(g)] for g in groups]
        mean, low, high = ([getattr(g, f)() if len(g) else np.nan for g in groups] for f in ("mean", "min", "max"))
        axes.plot(place, mean, color=color, linestyle=dash, marker="o", markersize=3, linewidth=1.4, zorder=3)
        axes.fill_between(place, low, high, color=color, alpha=0.18, linewidth=0)
    axes.set_xticks(list(place), short_labels(values))


def _without_volume(of_cutoff: Mapping[float, pd.DataFrame]) -> list[str]:
    """Return notes on minima without a volume, one for each cutoff that has any."""
    lost = {cutoff: int((~np.isfinite(rows["log10_volume"])).sum()) for cutoff, rows in of_cutoff.items()}
    return [
        f"Cutoff {cutoff:g}: {count} of {len(of_cutoff[cutoff])} minima lie above it: no volume."
        for cutoff, count in lost.items()
        if count
    ]


def _scatters(places: Sequence[Axes], of_cutoff: Mapping[float, pd.DataFrame], values: Sequence[float]) -> None:
    """Draw log-volume against test accuracy at each cutoff."""
    colors = _colors(values)
    for axes, rows in zip(places, of_cutoff.values(), strict=True):
        finite = rows[np.isfinite(rows["log10_volume"])]
        axes.scatter(
            100 * finite["test_accuracy"],
            finite["log10_volume"],
            c=[colors[v] for v in finite["value"]],
            s=11,
            zorder=3,
        )
        axes.set_xlabel("test accuracy (%)")
        axes.set_ylabel("log10 volume")


def _in_words(rank: Correlation) -> str:
    """Return a rank correlation and its interval as two lines of a title."""
    if not np.isfinite(rank.value):
        return f"{rank.rows} minima:\ntoo few for a rank correlation"
    if rank.interval is None:
        return f"rank correlation {rank.value:.2f}\nreplicas: {rank.replicas}, no interval"
    return f"rank correlation {rank.value:.2f}\n95% interval [{rank.interval.low:.2f}, {rank.interval.high:.2f}]"


def _colors(values: Sequence[float]) -> dict[float, Any]:
    import matplotlib as mpl

    shades = np.linspace(0.0, 0.88, len(values)) if len(values) > 1 else [0.0]
    return dict(zip(values, mpl.colormaps["viridis"](shades), strict=True))


def _sidebar(values: Sequence[float], directions: int) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Accuracy")
    sidebar.line("test", color=TEST, linewidth=1.4)
    sidebar.line("train", color=TRAIN, linewidth=1.4, linestyle="--")
    sidebar.heading("Radius")
    sidebar.line("median direction", color=MEDIAN, linewidth=1.4)
    sidebar.line("largest", color=LARGEST, linewidth=1.4, linestyle="--")
    sidebar.heading("Replicas")
    sidebar.line("line: mean", color=style.FAINT, linewidth=1.4)
    sidebar.line("band: range", color=style.FAINT, linewidth=6, alpha=0.22)
    sidebar.heading(f"{directions:,} directions")
    sidebar.heading("β of each minimum")
    for value, color in _colors(values).items():
        sidebar.marker(f"{value:g}", marker="o", color=color, markersize=3.8)
    return sidebar


# ---------------------------------------------------------------------------------------------------------------------
# kind groups


def groups(spec: Groups, inputs: Inputs) -> Drawn:
    """Draw log-volume, radius and test accuracy of groups of minima beside each other, one dot a minimum.

    Returns:
        The figure and its numbers: the rows behind the dots, with ``group``.
    """
    parts = []
    for group in spec.groups:
        rows = of_value(at_cutoff(joined(inputs.all("volume", group.volume)), spec.cutoff), group.value)
        if rows.empty:
            raise LossatlasError(f"groups: {group.volume!r} has no minimum of value {group.value}")
        parts.append(rows.assign(group=group.title, section=group.section))
    table = pd.concat(parts, ignore_index=True)
    sections = list(dict.fromkeys(group.section for group in spec.groups))
    named = {section: [group.title for group in spec.groups if group.section == section] for section in sections}
    wide = 0.15 + max(text.width(group.title, style.SMALL) for group in spec.groups)
    notes = (f"Basin below loss {spec.cutoff:g}. Dots: minima; bars: means.",)
    shown = [(section, column, label) for section in sections for column, label in GROUP_PANELS]
    tall = 0.2 * max(map(len, named.values()))
    heads = [section for section, _, _ in shown] if len(sections) > 1 else ()
    page = grid(len(shown), 2, 2.3, tall, Sidebar(), notes, titles=heads, gap=(wide, 0.42, 0.08))
    for k, (section, column, label) in enumerate(shown):
        axes = page.axes(k)
        _dots(axes, table[table["section"] == section], named[section], column)
        axes.set_xlabel(label)
    return Drawn(page.figure, table)


GROUP_PANELS = (
    ("log10_volume", "log10 volume"),
    ("radius_median", "median radius"),
    ("test_accuracy", "test accuracy"),
    ("train_loss", "training loss"),
)
"""Columns of a figure of groups. Each section has scales of its own: steps and distances are no common one."""


def _dots(axes: Axes, table: pd.DataFrame, titles: Sequence[str], column: str) -> None:
    """Draw a column of the groups of one section, one row a group."""
    place = np.arange(len(titles))[::-1]
    for y, title in zip(place, titles, strict=True):
        found = table.loc[table["group"] == title, column].to_numpy(float)
        axes.plot(found, np.full(len(found), y), "o", color=TEST, markersize=3.2, alpha=0.7, zorder=3)
        if np.isfinite(found).any():
            axes.plot([np.nanmean(found)] * 2, [y - 0.32, y + 0.32], color=style.INK, linewidth=1.2, zorder=4)
    axes.set_ylim(-0.6, len(titles) - 0.4)
    axes.set_yticks(place, titles)
    if column == "train_loss":
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=3)
        axes.ticklabel_format(axis="x", useOffset=False)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


# ---------------------------------------------------------------------------------------------------------------------
# kind profiles


def profiles(spec: Profiles, inputs: Inputs) -> Drawn:
    """Draw the loss along random directions from one minimum a panel, with the cutoff and the basin beneath it.

    Returns:
        The figure and its numbers (panel, direction, step, loss).
    """
    sidebar = Sidebar()
    sidebar.line("one random direction", color=TEST, linewidth=0.8)
    sidebar.line("cutoff", color=LARGEST, linewidth=1.2, linestyle="--")
    sidebar.line("median radius", color=LARGEST, linewidth=6, alpha=0.15)
    minima = [find(inputs.all("volume", panel.volume), panel) for panel in spec.panels]
    heads = [_profiled(panel.title, found, spec.cutoff) for panel, found in zip(spec.panels, minima, strict=True)]
    figure, places = layout(len(heads), None, (2.6, 2.0), sidebar, titles=heads, gap=(0.56, 0.54, 0.1))
    numbers = []
    for axes, panel, found in zip(places, spec.panels, minima, strict=True):
        steps, losses = found.file.steps, found.file.profile[found.place].astype(float)
        radii = radii_at(found.file, spec.cutoff)[found.place]
        axes.plot(steps, losses.T, color=TEST, linewidth=0.7, alpha=0.75, zorder=3)
        axes.axhline(spec.cutoff, color=LARGEST, linewidth=1.1, linestyle="--", zorder=4)
        axes.axvspan(0, float(np.median(radii)), color=LARGEST, alpha=0.12, linewidth=0)
        axes.set_yscale("log")
        # A basin may end before the second step of the profile: the first step gets a decade's room.
        axes.set_xscale("symlog", linthresh=float(steps[1]))
        axes.set_xlim(0, float(steps[-1]))
        ticks = [0.0, *(tick for tick in (0.01, 0.03, 0.1, 0.3, 1.0) if steps[1] < tick <= steps[-1])]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"step along the direction (linear up to {steps[1]:.2g})")
        axes.set_ylabel("training loss")
        axes.spines[["top", "right"]].set_visible(False)
        direction = np.repeat(np.arange(len(losses)), len(steps))
        numbers.append(
            pd.DataFrame({"direction": direction, "step": np.tile(steps, len(losses)), "loss": losses.ravel()}).assign(
                panel=panel.title
            )
        )
    ends = [axes.get_ylim() for axes in places]
    for axes in places:
        axes.set_ylim(min(low for low, _ in ends), max(high for _, high in ends))
    return Drawn(figure, pd.concat(numbers)[["panel", "direction", "step", "loss"]].reset_index(drop=True))


def _profiled(title: str, found: Found[Volumes], cutoff: float) -> str:
    """Return a panel's title with the minimum's accuracy and radii."""
    radii = radii_at(found.file, cutoff)[found.place]
    return (
        f"{title}: test accuracy {100 * found.row['test_accuracy']:.1f}%\n"
        f"median radius {np.median(radii):.3g}, range\u00a0{radii.min():.3g}\u00a0to\u00a0{radii.max():.3g}"
    )
