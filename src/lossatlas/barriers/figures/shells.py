"""Figures of kinds ``shells`` and ``kernels``: where sets of minima lie about their centroid, and what kernels see."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lossatlas.barriers import numbers as measured
from lossatlas.barriers.spec import KernelComponents, OfTwo, Shells
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

FIRST, SECOND = "#0072B2", "#D55E00"
MARKERS = ("o", "^")


def compose_shells(spec: Shells, inputs: Inputs) -> Drawn:
    """Draw histograms of the distances of two sets from their common origin.

    Returns:
        The figure and its numbers, one row a point: panel, set, distance, and the panel's centroid_distance and
        by_chance (what independent deviations from one common point would give).
    """
    found = [measured.shells(inputs.one("gram", panel.cloud), panel.sets, panel.centres) for panel in spec.panels]
    heads = [panel.title for panel in spec.panels]
    figure, panels = layout(len(found), spec.columns, (2.6, 1.75), _legend(spec), titles=heads)
    for axes, shell in zip(panels, found, strict=True):
        _draw_shells(axes, shell)
    return Drawn(figure, _shell_numbers(spec, found))


def _draw_shells(axes: Axes, shell: measured.Shells) -> None:
    values = np.concatenate(shell.distances)
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1
    edges = [*np.linspace(low - margin, high + margin, 25)]
    for color, distances in zip((FIRST, SECOND), shell.distances, strict=True):
        axes.hist(distances, edges, color=color, alpha=0.35)
        axes.hist(distances, edges, histtype="step", color=color, linewidth=1.2)
    axes.axvline(shell.centroid, color=style.INK, linewidth=1.0, linestyle=":")
    axes.axvline(shell.by_chance, color=style.FAINT, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.set_xlim(0, high + 2 * margin)
    axes.set_xlabel("distance from the common origin")
    axes.set_ylabel("weight vectors")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


def _legend(spec: OfTwo) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Weight vectors")
    for color, label in zip((FIRST, SECOND), spec.labels, strict=True):
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
    heads = [KERNEL_NAMES[kernel] if variant == "trained" else VARIANT_NAMES[variant] for variant, kernel in columns]
    page = grid(
        len(loaded) * len(columns),
        len(columns),
        1.1,
        lambda width: width,
        _kernel_legend(spec),
        titles=[*heads, *[""] * (len(columns) * (len(loaded) - 1))],
        gap=(0.24, 0.05, 0.08),
        least=0.7,
        letters=False,
        over=0.15,
    )
    for i, (panel, (scores, points)) in enumerate(zip(spec.panels, loaded, strict=True)):
        for k, (variant, kernel) in enumerate(columns):
            axes = page.axes(i * len(columns) + k)
            _draw_kernel(axes, _at(points, variant, kernel), _at(scores, variant, kernel))
            if k == 0:
                axes.set_ylabel(panel.title, fontsize=style.TITLE, fontweight="bold")
    return Drawn(page.figure, _kernel_numbers(spec, loaded))


def _at(table: pd.DataFrame, variant: str, kernel: str) -> pd.DataFrame:
    return table[(table["variant"] == variant) & (table["kernel"] == kernel)]


def _draw_kernel(axes: Axes, points: pd.DataFrame, scores: pd.DataFrame) -> None:
    sets = dict.fromkeys(points["set"])  # those of the probe, in its order
    for name, color, marker in zip(sets, (FIRST, SECOND), MARKERS, strict=True):
        mine = points[points["set"] == name]
        axes.plot(mine["pc1"], mine["pc2"], marker, color=color, markersize=3, alpha=0.75, markeredgewidth=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.12)
    if not scores.empty:
        row = scores.iloc[0]
        text = f"{row['plane']:.2f}, p {row['plane_p']:.2g}"
        axes.text(0.5, 1.02, text, transform=axes.transAxes, ha="center", va="bottom", fontsize=style.SMALL)


def _kernel_legend(spec: OfTwo) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Weight vectors")
    for label, color, marker in zip(spec.labels, (FIRST, SECOND), MARKERS, strict=True):
        sidebar.marker(label, marker=marker, color=color, markersize=4)
    sidebar.heading("Axes: PC 1 and PC 2")
    sidebar.heading("Above each panel")
    explained = (
        "area under ROC along the",
        "best direction: 1 = a line",
        "separates the sets, 0.5 =",
        "nothing does; p: random labels",
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
