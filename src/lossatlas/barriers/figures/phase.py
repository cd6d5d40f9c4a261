"""Figure of kind ``kernel_phase``: how many vectors kernel PCA needs to separate two sets, and how many there are."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

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
            place = row["narrower"], max(row["difference"], LEAST * 1.2)
            face = color if row["pc1"] > CLEAR else "white"
            shape = marker if row["difference"] >= LEAST else "v"
            look: dict[str, Any] = {"markersize": 6, "markeredgecolor": color, "markeredgewidth": 1.2, "zorder": 4}
            axes.plot(*place, shape, markerfacecolor=face, clip_on=False, **look)
        _names(axes, mine, -1 if variant == "gaussian" else 1, color)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1.5, right)
    axes.set_ylim(LEAST, high)
    words: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8, "color": style.FAINT}
    axes.text(0.97, 0.97, "PC 1 separates", ha="right", va="top", **words)
    axes.text(0.97, 0.03, "it does not", ha="right", va="bottom", **words)
    axes.set_xlabel("vectors of the narrower set")
    axes.set_ylabel("$a^2 - b^2$, a and b: deviations of the weights")
    axes.spines[["top", "right"]].set_visible(False)


def _names(axes: Axes, rows: pd.DataFrame, side: int, color: str) -> None:
    """Write the points' titles beside them; those of one number of vectors whose names would overlap share one."""
    for count, mine in rows.groupby("narrower"):
        groups: list[tuple[float, list[str]]] = []
        for _, row in mine.sort_values("difference").iterrows():
            height, title = max(float(row["difference"]), LEAST * 1.2), str(row["title"])
            if groups and height < 1.25 * groups[-1][0]:
                groups[-1][1].append(title)
            else:
                groups.append((height, [title]))
        for height, titles in groups:
            look: dict[str, Any] = {"ha": "left" if side > 0 else "right", "va": "center", "fontsize": style.SMALL}
            axes.annotate(
                "; ".join(titles),
                (float(count), height),  # type: ignore[arg-type]
                xytext=(6 * side, 0),
                textcoords="offset points",
                color=color,
                zorder=5,
                **look,
            )


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
