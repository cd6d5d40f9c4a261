"""Figures of kind ``score_panels``: embedding methods beside each other by their scores, a panel a score and metric."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.clouds.numbers import Scores
from lossatlas.clouds.spec import EXACT, SETTINGS, ScorePanels
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

NUMBERS = ["score", "metric", "cloud", "method", "settings", "mean", "low", "high", "seeds", "counts"]
"""Columns of the figure's CSV; ``metric`` is the panel's, ``counts`` whether the cloud ranks methods by this score."""

METHODS = {
    "phate": "PHATE",
    "tsne": "t-SNE",
    "umap": "UMAP",
    "pca": "PCA",
    "random": "random\nplane",
    EXACT: "$R^D$",
}

SCORES = {
    "demap": "DEMaP",
    "continuity": "continuity",
    "trustworthiness": "trustworthiness",
    "wholeness": "wholeness",
}

METRICS = {"euclidean": "Euclidean"}

MARKERS = "osD^vP*X"

HEIGHT, SLOT = 1.75, 0.46
"""Height of a panel and width of a method in it, inches."""

FAINT = 0.22
"""Opacity of clouds that rank nothing."""


def compose(spec: ScorePanels, inputs: Inputs) -> Drawn:
    """Draw the scores of embedding methods on some clouds.

    Args:
        spec: of the figure.
        inputs: ``scores`` of each cloud.

    Returns:
        The figure, its numbers (:data:`NUMBERS`) and notes.
    """
    parts = [_of_cloud(spec, row.title, inputs.one("scores", row.scores)) for row in spec.rows]
    numbers = pd.DataFrame([one for part in parts for one in part], columns=NUMBERS)
    return Drawn(_layout(spec, numbers), numbers, ())


def _of_cloud(spec: ScorePanels, title: str, scores: Scores) -> list[dict[str, Any]]:
    """Return a row for each score, metric, method and setting; a method without the metric stands under its own."""
    taken: dict[str, list[str]] = {}
    for method, metric in scores.methods():
        taken.setdefault(method, []).append(metric)
    asked = [metric for metric in spec.metrics if any(metric in metrics for metrics in taken.values())]
    found = []
    for score in spec.show:
        least = spec.least.get(score, -np.inf)
        exact = scores.values(EXACT, taken[EXACT][0], score, "defaults")
        counts = bool(len(exact) and exact.mean() >= least)
        for metric in asked:
            for method, metrics in taken.items():
                own = metric if metric in metrics else metrics[0]
                for settings in SETTINGS:
                    values = scores.values(method, own, score, settings)
                    if not len(values) or (settings != "defaults" and scores.chosen(method, own, score) == "{}"):
                        continue
                    spread = {"mean": values.mean(), "low": values.min(), "high": values.max(), "seeds": len(values)}
                    one = {"score": score, "metric": metric, "cloud": title, "method": method, "settings": settings}
                    found.append({**one, **spread, "counts": counts})
    return found


def _layout(spec: ScorePanels, numbers: pd.DataFrame) -> Any:
    metrics = list(dict.fromkeys(numbers["metric"]))
    methods = sorted(dict.fromkeys(numbers["method"]), key=lambda method: method == EXACT)  # R^D last
    clouds = list(dict.fromkeys(numbers["cloud"]))
    looks = {
        cloud: {"color": color, "marker": MARKERS[i % len(MARKERS)]}
        for i, (cloud, color) in enumerate(zip(clouds, style.hues(len(clouds)), strict=True))
    }
    sidebar = _sidebar(spec, numbers, looks)
    shown = [(metric, score) for score in spec.show for metric in metrics]
    heads = [f"{SCORES[score]}, {METRICS.get(metric, metric)} distance" for metric, score in shown]
    width = max(SLOT * len(methods), 1.6)
    page = grid(len(shown), len(metrics), width, HEIGHT, sidebar, titles=heads, least=width)
    for i, (metric, score) in enumerate(shown):
        axes = page.axes(i)
        mine = numbers[(numbers["metric"] == metric) & (numbers["score"] == score)]
        _panel(axes, mine, methods, looks)
        everywhere = numbers[numbers["score"] == score]
        low, high = min(float(everywhere["low"].min()), 0.0), max(float(everywhere["high"].max()), 1.0)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set_ylabel(SCORES[score])
    return page.figure


def _sidebar(spec: ScorePanels, numbers: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Cloud")
    for cloud, look in looks.items():
        sidebar.marker(cloud, markersize=4.5, **look)
    sidebar.heading("Settings")
    grey: dict[str, Any] = {"marker": "o", "markersize": 4.5, "color": style.FAINT}
    sidebar.marker("library defaults", **grey)
    sidebar.marker("chosen on other clouds", **{**grey, "markerfacecolor": "white"})
    left_out = [score for score in spec.least if not numbers[numbers["score"] == score]["counts"].all()]
    if left_out:
        sidebar.heading("Faint")
        sidebar.text("$R^D$ itself scores below")
        sidebar.text(", ".join(f"{spec.least[score]:g} ({SCORES[score]})" for score in left_out))
        sidebar.text("there: it ranks nothing")
    return sidebar


def _panel(axes: Axes, mine: pd.DataFrame, methods: list[str], looks: dict[str, dict[str, Any]]) -> None:
    offsets = np.linspace(-0.3, 0.3, len(looks)) if len(looks) > 1 else [0.0]
    axes.axhline(1.0, color=style.FAINT, linewidth=0.6, linestyle=(0, (4, 3)), zorder=1)
    for i in range(1, len(methods)):
        axes.axvline(i - 0.5, color="#e4e4e4", linewidth=0.5, zorder=0)
    for offset, (cloud, look) in zip(offsets, looks.items(), strict=True):
        for settings in SETTINGS:
            rows = mine[(mine["cloud"] == cloud) & (mine["settings"] == settings)]
            if rows.empty:
                continue
            # The hollow mark of a setting that was chosen stands a little beside that of the defaults.
            place = [
                methods.index(method) + offset + (0.07 if settings != "defaults" else 0.0) for method in rows["method"]
            ]
            face = look["color"] if settings == "defaults" else "white"
            alpha = 1.0 if rows["counts"].all() else FAINT
            axes.vlines(place, rows["low"], rows["high"], color=look["color"], linewidth=0.8, alpha=alpha, zorder=2)
            marker: dict[str, Any] = {
                "linestyle": "none",
                "markersize": 3.8,
                "markeredgewidth": 0.8,
                "alpha": alpha,
                "zorder": 3,
            }
            axes.plot(place, rows["mean"], markerfacecolor=face, **look, **marker)
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_xticks(range(len(methods)), [METHODS.get(method, method) for method in methods])
    axes.tick_params(axis="x", length=0)
    axes.grid(True, axis="y", color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
