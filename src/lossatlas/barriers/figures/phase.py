"""Figure of kind ``kernel_phase``: how many vectors kernel PCA needs to separate two sets, and how many there are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from lossatlas.barriers.measures import CLEAR
from lossatlas.barriers.numbers import by_radius
from lossatlas.barriers.separation import needed
from lossatlas.barriers.spec import KernelPhase
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

LOOKS: dict[str, tuple[str, str, str]] = {
    "trained": ("these minima", "o", style.HUES[0]),
    "gaussian": ("Gaussian, published widths", "D", style.HUES[1]),
}
"""Variant -> name, marker, colour."""

LEAST = 1e-3
"""Least difference of squared deviations that is shown: it needs 2,000 vectors. Smaller ones stand at the edge."""

FLOOR = 1.2 * LEAST
"""Where those stand."""


def compose(spec: KernelPhase, inputs: Inputs) -> Drawn:
    """Draw the line n = coth((a^2 - b^2) / 2) and the sets of every probe beside it.

    Returns:
        The figure and its numbers, one row a probe and variant: title, variant, first and second (vectors), the
        deviations of their components, difference (of the squares), narrower (its vectors), needed, and the areas under
        the ROC curve of PC 1, the best line and the radius.
    """
    numbers = pd.DataFrame([row for point in spec.points for row in _rows(point.title, inputs, point.kernels)])
    sidebar = _sidebar(list(dict.fromkeys(numbers["variant"])))
    figure, (axes,) = layout(1, 1, (3.9, 3.0), sidebar)
    _draw(axes, numbers)
    return Drawn(figure, numbers)


def _rows(title: str, inputs: Inputs, probe: str) -> list[dict[str, Any]]:
    scores, points = inputs.one("kernels", probe)
    found = []
    for _, row in scores[(scores["kernel"] == "rbf") & scores["variant"].isin(LOOKS)].iterrows():
        a, b = float(row["deviation_first"]), float(row["deviation_second"])
        wanted, have = needed(a, b, (int(row["first"]), int(row["second"])))
        about = {"title": title, "variant": row["variant"], "first": int(row["first"]), "second": int(row["second"])}
        about |= {"deviation_first": a, "deviation_second": b, "difference": abs(a**2 - b**2)}
        about |= {"narrower": have, "needed": wanted, "pc1": float(row["pc1"]), "plane": float(row["plane"])}
        found.append({**about, "radius": by_radius(points, str(row["variant"]), "rbf")})
    return found


def _draw(axes: Axes, numbers: pd.DataFrame) -> None:
    high = max(float(numbers["difference"].max()), 0.6) * 2
    y = np.geomspace(LEAST, high, 400)
    line = 1 / np.tanh(y / 2)
    right = max(600.0, 3 * float(numbers["narrower"].max()))
    axes.fill_betweenx(y, line, right, color="#e9eef5", linewidth=0, zorder=0)
    axes.plot(line, y, color=style.INK, linewidth=1.3, zorder=2)
    for variant, mine in numbers.groupby("variant", sort=False):
        _, marker, color = LOOKS[str(variant)]
        for _, row in mine.iterrows():
            place = row["narrower"], max(row["difference"], FLOOR)
            face = color if row["pc1"] > CLEAR else "white"
            shape = marker if row["difference"] >= LEAST else "v"
            look: dict[str, Any] = {"markersize": 6, "markeredgecolor": color, "markeredgewidth": 1.2, "zorder": 4}
            axes.plot(*place, shape, markerfacecolor=face, clip_on=False, **look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1.5, right)
    axes.set_ylim(LEAST, high)
    _names(axes, numbers)
    words: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "color": style.FAINT}
    axes.text(0.97, 0.97, "PC 1 separates", ha="right", va="top", **words)
    axes.text(0.97, 0.03, "it does not", ha="right", va="bottom", **words)
    axes.set_xlabel("vectors of the narrower set")
    axes.set_ylabel("$a^2 - b^2$, a and b: deviations of the weights")
    axes.spines[["top", "right"]].set_visible(False)


def _names(axes: Axes, numbers: pd.DataFrame) -> None:
    """Write the points' titles beside them, Gaussian sets' at the left, the others' at the right.

    Where there are marks further right, all are at the left, where nothing else is.
    """
    places = _places(np.unique(numbers["narrower"]))
    for place in places:
        here = numbers[numbers["narrower"].isin(place)]
        left = (here["variant"] == "gaussian") | (place is not places[-1])
        _beside(axes, here[left], float(place.min()), -1)
        _beside(axes, here[~left], float(place.max()), 1)


def _beside(axes: Axes, rows: pd.DataFrame, edge: float, side: int) -> None:
    """Write titles of points at a side, none over another: where one had to move, a line leads to its mark.

    Args:
        axes: with its scales and limits.
        rows: points.
        edge: number of vectors beside which the titles stand.
        side: 1 = at the right, -1 = at the left.
    """
    rows = rows.sort_values("difference")
    heights = axes.transData.transform([(1.0, max(h, FLOOR)) for h in (1.0, *rows["difference"])])[1:, 1]
    for row, y in zip(rows.itertuples(), _spread(heights, 1.25 * axes.figure.dpi * style.SMALL / 72), strict=True):
        color = LOOKS[str(row.variant)][2]
        at = edge * 1.16**side, axes.transData.inverted().transform((0.0, y))[1]
        mark = float(row.narrower), max(float(row.difference), FLOOR)  # type: ignore[arg-type]
        axes.plot(*zip(mark, at, strict=True), color=color, linewidth=0.6, alpha=0.6, zorder=3)
        look: dict[str, Any] = {"ha": "left" if side > 0 else "right", "va": "center", "fontsize": style.SMALL}
        text = axes.text(*at, f" {row.title} ", color=color, zorder=5, **look)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white", alpha=0.8)])


def _places(counts: np.ndarray) -> list[np.ndarray]:
    """Return numbers of vectors in groups whose marks stand nearly over one another."""
    cuts = np.nonzero(np.diff(np.log(counts)) > np.log(1.5))[0] + 1
    return np.split(counts, cuts)


def _spread(heights: Sequence[float] | np.ndarray, least: float) -> list[float]:
    """Return ascending heights moved as little as keeps them ``least`` apart, groups about their means."""
    groups: list[list[float]] = []
    for height in heights:
        group = [float(height)]
        while groups and np.mean(group) - np.mean(groups[-1]) < least * (len(group) + len(groups[-1])) / 2:
            group = groups.pop() + group
        groups.append(group)
    return [float(np.mean(group)) + (k - (len(group) - 1) / 2) * least for group in groups for k in range(len(group))]


def _sidebar(variants: list[str]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Two isotropic sets")
    sidebar.line("$n = \\coth((a^2 - b^2)/2)$", color=style.INK, linewidth=1.3)
    sidebar.heading("Sets of minima")
    for variant in variants:
        name, marker, color = LOOKS[variant]
        sidebar.marker(name, marker=marker, color=color, markersize=5.5)
    full: dict[str, Any] = {"marker": "o", "color": style.FAINT, "markersize": 5.5}
    sidebar.marker(f"full: PC 1 separates (area > {CLEAR:g})", **full)
    sidebar.marker("hollow: it does not", markerfacecolor="white", markeredgecolor=style.FAINT, **full)
    return sidebar
