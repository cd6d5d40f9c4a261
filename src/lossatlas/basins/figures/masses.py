"""Figure of kind ``masses``: Gaussian masses of basins, when to believe them, and the open cone."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.basins.files import Masses
from lossatlas.basins.spec import MassFigure
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.errors import LossatlasError
from lossatlas.specs.registry import Inputs

ORDER = 1 / np.log(10)
"""From natural to decimal logarithms."""

BOUNDS = (
    ("log_low_rays", "<", "rays, preconditioner alone"),
    ("log_low_shaped", "v", "rays, shaped by the ladder"),
    ("log_low", "|", "ladder: Gibbs and Bogoliubov"),
    ("log_mass", "o", "estimate"),
    ("log_high", ">", "ladder: Chernoff"),
)
"""Column, marker and name of what brackets a mass, from below to above."""


def compose(spec: MassFigure, inputs: Inputs) -> Drawn:
    """Draw masses against the width, the bracket at one width, samples' accuracy and sight, and the head's ray.

    Returns:
        The figure and its numbers: a row for each minimum and rung, with ``group``.
    """
    found = [(group.title, list(_minima(inputs.all("mass", group.mass), group.value))) for group in spec.groups]
    for title, minima in found:
        if not minima:
            raise LossatlasError(f"masses: group {title!r} has no minimum")
    sidebar = _sidebar([title for title, _ in found])
    titles = (
        "Gaussian mass below the cutoff",
        f"Bracket at width {spec.width:g}, one line a minimum",
        "What samples of a rung are",
        "The open cone",
    )
    figure, places = layout(4, 2, (2.45, 1.95), sidebar, titles=titles)
    for axes in places:
        axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    numbers = _ladders(places[0], places[2], found)
    _bracket(places[1], found, spec.width)
    _heads(places[3], found)
    return Drawn(figure, numbers)


Minimum = tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]
"""Rows of the table and of the rungs of one minimum, factors and losses along its head's ray."""


def _minima(files: Sequence[Masses], value: float | None) -> Iterable[Minimum]:
    """Yield the minima of one swept value."""
    for file in files:
        widths = file.table["width"].nunique()
        for number in range(len(file.head)):
            rows = file.table.iloc[number * widths : (number + 1) * widths]
            if value is None or np.isclose(rows["value"].iloc[0], value):
                rungs = file.rungs[(file.rungs["minimum"] == number) & np.isfinite(file.rungs["width"])]
                yield rows, rungs, file.factors, file.head[number]


def _ladders(masses: Axes, samples: Axes, found: Sequence[tuple[str, list[Minimum]]]) -> pd.DataFrame:
    """Draw log10 M and its bounds, and the samples' test accuracy and sight, against the width."""
    numbers = []
    for (title, minima), color in zip(found, style.HUES, strict=False):
        for rows, rungs, _, _ in minima:
            width = rungs["width"].to_numpy()
            masses.fill_between(
                width, rungs["log_low"] * ORDER, rungs["log_high"] * ORDER, color=color, alpha=0.1, lw=0
            )
            masses.plot(width, rungs["log_mass"] * ORDER, color=color, linewidth=1.1, zorder=3)
            masses.plot(width, rungs["log_mass_back"] * ORDER, ".", color=color, markersize=3.2, zorder=4)
            exact = rows[rows["beta"] == 0]
            masses.plot(
                exact["width"], exact["log_mass"] * ORDER, "s", color=color, markersize=3.4, mfc="white", zorder=4
            )
            samples.plot(width, 100 * rungs["sample_test_accuracy"], color=color, linewidth=1.1, zorder=3)
            samples.plot(width, 100 * rungs["straight"], color=color, linewidth=0.9, linestyle=":", zorder=3)
            numbers.append(rungs.assign(group=title, replica=rows["replica"].iloc[0], value=rows["value"].iloc[0]))
    for axes in (masses, samples):
        axes.set_xscale("log")
        axes.set_xlabel("width of the Gaussian (steps)")
    masses.set_ylabel("log10 M")
    samples.set_ylabel("%")
    samples.set_ylim(-3, 103)
    return pd.concat(numbers, ignore_index=True)


def _bracket(axes: Axes, found: Sequence[tuple[str, list[Minimum]]], width: float) -> None:
    """Draw the bounds and the estimate of each minimum at one width, on a scale that is linear only near zero."""
    line = 0
    for (_, minima), color in zip(found, style.HUES, strict=False):
        for rows, _, _, _ in minima:
            row = rows[np.isclose(rows["width"], width)]
            if row.empty:
                raise LossatlasError(f"width: {width:g} was not measured; valid: {sorted(set(rows['width']))}")
            values = [float(row[column].iloc[0]) * ORDER for column, _, _ in BOUNDS]
            axes.plot([min(values), max(values)], [line, line], color=color, linewidth=0.7, alpha=0.6)
            for value, (_, marker, _) in zip(values, BOUNDS, strict=True):
                axes.plot(value, line, marker, color=color, markersize=4.2, markerfacecolor="none", zorder=4)
            line -= 1
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(right=4)
    axes.set_ylim(line + 0.3, 0.7)
    axes.set_xticks([-1000, -100, -10, -5, 0], ["-1,000", "-100", "-10", "-5", "0"])
    axes.set_yticks([])
    axes.set_xlabel("log10 M (linear above -10)")


def _heads(axes: Axes, found: Sequence[tuple[str, list[Minimum]]]) -> None:
    """Draw the loss along the ray of the last layer's weights, and the largest of draws about it."""
    for (_, minima), color in zip(found, style.HUES, strict=False):
        for rows, _, factors, head in minima:
            axes.plot(factors, np.maximum(head[0], 1e-12), color=color, linewidth=1.0, zorder=3)
            axes.plot(factors, np.maximum(head[1], 1e-12), color=color, linewidth=0.9, linestyle="--", zorder=3)
            cutoff = float(rows["cutoff"].iloc[0])
    axes.axhline(cutoff, color=style.INK, linewidth=0.9, linestyle=(0, (1, 1)))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=3e-13)
    axes.set_xlabel("factor of the last layer's weights")
    axes.set_ylabel("training loss")


def _sidebar(titles: Sequence[str]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Minima")
    for title, color in zip(titles, style.HUES, strict=False):
        sidebar.line(title, color=color, linewidth=1.4)
    ink = {"color": style.FAINT}
    sidebar.heading("a: ladders")
    sidebar.line("outwards", **ink, linewidth=1.1)
    sidebar.marker("walked back", **ink, marker=".", markersize=4)
    sidebar.marker("counted among exact draws", **ink, marker="s", markersize=3.4, markerfacecolor="white")
    sidebar.line("bounds", **ink, linewidth=6, alpha=0.2)
    sidebar.heading("b: bracket")
    for _, marker, name in BOUNDS:
        sidebar.marker(name, **ink, marker=marker, markersize=4.2, markerfacecolor="none")
    sidebar.heading("c: samples")
    sidebar.line("their test accuracy", **ink, linewidth=1.1)
    sidebar.line("minimum in straight sight", **ink, linewidth=0.9, linestyle=":")
    sidebar.heading("d: last layer alone (floor 1e-12)")
    sidebar.line("the minimum", **ink, linewidth=1.0)
    sidebar.line("worst of 16 draws about it", **ink, linewidth=0.9, linestyle="--")
    sidebar.line("cutoff", color=style.INK, linewidth=0.9, linestyle=(0, (1, 1)))
    return sidebar
