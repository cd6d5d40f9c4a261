"""Figures of kinds ``shells`` and ``kernels``: where sets of minima lie about their centroid, and what kernels see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lossatlas.barriers import numbers as measured
from lossatlas.barriers.figures.heights import FEW, SET_COLORS
from lossatlas.barriers.spec import KernelComponents, OfTwo, Shells
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

FIRST, SECOND = "#0072B2", "#D55E00"
MARKERS = ("o", "^")

ROLES = ("lbfgs_train", "lbfgs_test", "sgd_train", "sgd_test")
"""Ends of the names of the paper's sets, in the order of the colours that they have in figure 4."""


def colours(names: Sequence[str]) -> tuple[str, str]:
    """Return the colours of two sets: the paper's own where both are of its sets, as in figure 4."""
    places = [next((k for k, role in enumerate(ROLES) if name.endswith(role)), None) for name in names]
    if None in places or places[0] == places[1]:
        return FIRST, SECOND
    return SET_COLORS[places[0] or 0], SET_COLORS[places[1] or 0]


def compose_shells(spec: Shells, inputs: Inputs) -> Drawn:
    """Draw histograms of the distances of two sets from their common origin.

    Returns:
        The figure and its numbers, one row a point: panel, set, distance, and the panel's centroid_distance and
        by_chance (what independent deviations from one common point would give).
    """
    found = [measured.shells(inputs.one("gram", panel.cloud), panel.sets, panel.centres) for panel in spec.panels]
    colors = colours(spec.panels[0].sets)
    heads = [f"{panel.title}: {_vectors(shell)}" for panel, shell in zip(spec.panels, found, strict=True)]
    figure, panels = layout(len(found), spec.columns, (2.6, 1.75), _legend(spec, colors), titles=heads)
    for axes, shell in zip(panels, found, strict=True):
        _draw_shells(axes, shell, colors)
    return Drawn(figure, _shell_numbers(spec, found))


def _draw_shells(axes: Axes, shell: measured.Shells, colors: tuple[str, str]) -> None:
    """Draw histograms, or of few vectors a row of marks a set, a longer one at their mean."""
    values = np.concatenate(shell.distances)
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1
    edges = [*np.linspace(low - margin, high + margin, 25)]
    few = min(map(len, shell.distances)) < FEW
    for place, (color, distances) in enumerate(zip(colors, shell.distances, strict=True)):
        if few:
            look: dict[str, Any] = {"markersize": 4.2, "alpha": 0.65, "markeredgewidth": 0}
            axes.plot(distances, np.full(len(distances), float(place)), "o", color=color, **look)
            axes.plot([distances.mean()] * 2, [place - 0.32, place + 0.32], color=color, linewidth=1.8)
            continue
        counts = np.histogram(distances, edges)[0].astype(float)
        counts[counts == 0] = np.nan  # no outline along zero
        axes.stairs(counts, edges, fill=True, color=color, alpha=0.35)
        axes.stairs(counts, edges, color=color, linewidth=1.2)
    axes.axvline(shell.centroid, color=style.INK, linewidth=1.0, linestyle=":")
    axes.axvline(shell.by_chance, color=style.FAINT, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.set_xlim(0, high + 2 * margin)
    axes.set_xlabel("distance from the common origin")
    axes.spines[["top", "right"]].set_visible(False)
    if few:
        axes.set_ylim(1.6, -0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        return
    axes.set_ylabel("weight vectors")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _vectors(shell: measured.Shells) -> str:
    return " + ".join(str(len(distances)) for distances in shell.distances) + " vectors"


def _legend(spec: OfTwo, colors: tuple[str, str]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Weight vectors")
    for color, label in zip(colors, spec.labels, strict=True):
        sidebar.line(label, color=color, linewidth=5, alpha=0.6)
    sidebar.heading("Centroids")
    sidebar.line("half their distance", color=style.INK, linewidth=1.0, linestyle=":")
    sidebar.line("the same by chance", color=style.FAINT, linewidth=1.0, linestyle=(0, (4, 2)))
    return sidebar


def _shell_numbers(spec: Shells, found: list[measured.Shells]) -> pd.DataFrame:
    parts = []
    for panel, shell in zip(spec.panels, found, strict=True):
        for name, distances in zip(panel.sets, shell.distances, strict=True):
            about: dict[str, Any] = {"panel": panel.title, "set": name, "centroid_distance": shell.centroid}
            parts.append(pd.DataFrame({"distance": distances}).assign(**about, by_chance=shell.by_chance))
    numbers = pd.concat(parts, ignore_index=True)
    return numbers[["panel", "set", "distance", "centroid_distance", "by_chance"]]


# ---------------------------------------------------------------------------------------------------------------------
# kernels

KERNEL_NAMES = {"rbf": "RBF", "linear": "linear", "poly": "polynomial", "sigmoid": "sigmoid"}
VARIANT_NAMES = {
    "equal_norms": "RBF, equal norms",
    "random_directions": "RBF, random directions",
    "gaussian": "RBF, Gaussian weights",
}


def compose_kernels(spec: KernelComponents, inputs: Inputs) -> Drawn:
    """Draw two sets under kernel PCA: a row a network, a column a kernel, then the controls of the RBF kernel.

    Returns:
        The figure and its numbers, one row a vector, kernel and variant: panel, variant, kernel, set, pc1, pc2, norm,
        and the scores of that projection.
    """
    loaded = [inputs.one("kernels", panel.kernels) for panel in spec.panels]
    columns = [("trained", kernel) for kernel in KERNEL_NAMES]
    columns += [(variant, "rbf") for variant in VARIANT_NAMES]
    shown = {(v, k) for scores, _ in loaded for v, k in zip(scores["variant"], scores["kernel"], strict=True)}
    columns = [column for column in columns if column in shown]
    colors = colours(list(dict.fromkeys(loaded[0][1]["set"])))
    heads = [KERNEL_NAMES[kernel] if variant == "trained" else VARIANT_NAMES[variant] for variant, kernel in columns]
    page = grid(
        len(loaded) * len(columns),
        len(columns),
        1.1,
        lambda given: given,
        _kernel_legend(spec, colors),
        titles=[*heads, *[""] * (len(columns) * (len(loaded) - 1))],
        gap=(0.24, 0.05, 0.08),
        least=0.7,
        letters=False,
        over=0.45,
    )
    for i, (panel, (scores, points)) in enumerate(zip(spec.panels, loaded, strict=True)):
        for k, (variant, kernel) in enumerate(columns):
            axes = page.axes(i * len(columns) + k)
            radius = measured.by_radius(points, variant, kernel)
            _draw_kernel(axes, _at(points, variant, kernel), _at(scores, variant, kernel), radius, colors)
            if k == 0:
                axes.set_ylabel(panel.title, fontsize=style.TITLE, fontweight="bold")
    return Drawn(page.figure, _kernel_numbers(spec, loaded))


def _at(table: pd.DataFrame, variant: str, kernel: str) -> pd.DataFrame:
    return table[(table["variant"] == variant) & (table["kernel"] == kernel)]


def _draw_kernel(
    axes: Axes, points: pd.DataFrame, scores: pd.DataFrame, radius: float, colors: tuple[str, str]
) -> None:
    sets = dict.fromkeys(points["set"])  # those of the probe, in its order
    for name, color, marker in zip(sets, colors, MARKERS, strict=True):
        mine = points[points["set"] == name]
        axes.plot(mine["pc1"], mine["pc2"], marker, color=color, markersize=3, alpha=0.75, markeredgewidth=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.12)
    if not scores.empty:
        row = scores.iloc[0]
        counts = f"{row['first']:.0f} + {row['second']:.0f}"
        text = f"{counts}\nline {row['plane']:.2f}\np {row['plane_p']:.2g}\nradius {radius:.2f}"
        axes.text(0.5, 1.02, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=style.SMALL)


def _kernel_legend(spec: OfTwo, colors: tuple[str, str]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Weight vectors")
    for label, color, marker in zip(spec.labels, colors, MARKERS, strict=True):
        sidebar.marker(label, marker=marker, color=color, markersize=4)
    sidebar.heading("Axes: PC 1 and PC 2")
    sidebar.heading("Above each panel")
    explained = (
        "how many of each set;",
        "area under ROC: 1 = separated,",
        "0.5 = not at all; line: along the",
        "best direction, p: of random",
        "labels; radius: by the distance",
        "from the middle of the plane",
    )
    for text in explained:
        sidebar.text(text)
    return sidebar


def _kernel_numbers(spec: KernelComponents, loaded: list[tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    parts = []
    for panel, (scores, points) in zip(spec.panels, loaded, strict=True):
        kept = ["variant", "kernel", "plane", "plane_p", "pc1", "pc1_p", "silhouette", "explained1", "explained2"]
        named = scores[kept].rename(columns={name: f"score_{name}" for name in kept[2:7]})
        parts.append(points.merge(named, on=["variant", "kernel"]).assign(panel=panel.title))
    numbers = pd.concat(parts, ignore_index=True)
    about = ["panel", "variant", "kernel", "set"]
    return numbers[[*about, *(name for name in numbers if name not in about)]]
