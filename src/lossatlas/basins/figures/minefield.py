"""Figure of kind ``minefield``: the iterates of a training and the poisoned minima found from them."""

import numpy as np
import pandas as pd

from lossatlas.basins.numbers import Field, field
from lossatlas.basins.spec import Minefield
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

ITERATE, BAD, END = "#D55E00", "#0072B2", "#F0B429"


def compose(spec: Minefield, inputs: Inputs) -> Drawn:
    """Draw iterates and poisoned minima in the plane of an embedding, with their true distances beside it.

    Returns:
        The figure and its numbers: coordinates, accuracies and distances of every point.
    """
    gram = inputs.one("gram", spec.cloud)
    found, table = field(gram), gram.table.reset_index(drop=True)
    embedding, _ = inputs.one("embedding", spec.cloud, spec.embedding)
    points = embedding.coordinates
    last = table.iloc[found.path[-1]]
    head = f"SGD ends at {100 * last['train_accuracy']:.1f}% train, {100 * last['test_accuracy']:.1f}% test accuracy"
    figure, (axes,) = layout(1, 1, (3.6, 3.6), _sidebar(found, table), titles=[head], gap=(0.2, 0.2, 0.1))
    for bad, start in zip(found.bad, found.starts, strict=True):
        axes.plot(*points[[start, bad]].T, color="#c8c8c8", linewidth=0.6, zorder=1)
    axes.plot(*points[found.path].T, color=ITERATE, linewidth=0.5, alpha=0.4, zorder=2)
    for row, shade in zip(found.path, np.linspace(0.2, 1.0, len(found.path)), strict=True):
        axes.plot(*points[row], "o", color=ITERATE, alpha=shade, markersize=4.6, markeredgewidth=0, zorder=3)
    axes.plot(*points[found.bad].T, "s", color=BAD, markersize=4.4, markeredgewidth=0, zorder=3)
    axes.plot(*points[found.path[-1]], marker="*", color=END, markersize=13, markeredgecolor=style.INK, zorder=5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("t-SNE 1")
    axes.set_ylabel("t-SNE 2")
    numbers = table[["epoch", "start", "train_accuracy", "test_accuracy"]].assign(x=points[:, 0], y=points[:, 1])
    numbers.loc[found.bad, "distance_to_start"] = found.to_start
    numbers.loc[found.bad, "distance_to_nearest_iterate"] = found.to_path
    return Drawn(figure, numbers)


def _sidebar(found: Field, table: pd.DataFrame) -> Sidebar:
    bad = table.iloc[found.bad]
    sidebar = Sidebar()
    sidebar.heading("Points")
    sidebar.marker("iterate of SGD, later ones darker", marker="o", color=ITERATE, markersize=4.5)
    sidebar.marker("poisoned minimum found from it", marker="s", color=BAD, markersize=4.2)
    sidebar.marker("where SGD ends", marker="*", color=END, markersize=9, markeredgecolor=style.INK)
    sidebar.heading("Poisoned minima")
    low, high = 100 * bad["train_accuracy"].min(), 100 * bad["test_accuracy"].agg(["min", "max"])
    sidebar.text(f"{len(bad)} starts")
    sidebar.text(f"train accuracy at least {low:.1f}%")
    sidebar.text(f"test accuracy {high['min']:.1f} to {high['max']:.1f}%")
    sidebar.heading("Distances in weight space")
    sidebar.text("poisoned minimum to its start:")
    sidebar.text(f"  median {np.median(found.to_start):.2f}")
    sidebar.text(f"  range {found.to_start.min():.2f} to {found.to_start.max():.2f}")
    sidebar.text(f"to the nearest iterate: median {np.median(found.to_path):.2f}")
    sidebar.text(f"SGD, first to last iterate: {found.displacement:.2f}")
    sidebar.text(f"length of its path: {found.length:.2f}")
    sidebar.text("t-SNE does not keep distances.")
    return sidebar
