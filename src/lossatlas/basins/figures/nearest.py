"""Figure of kind ``nearest``: paths of a training and the nearest bad minima found from them, with true distances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.arrays import Array
from lossatlas.basins.numbers import Search, searches
from lossatlas.basins.spec import NearestFigure
from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs

PATH, BAD, CLEAN, END = "#D55E00", "#0072B2", "#009E73", "#F0B429"


def compose(spec: NearestFigure, inputs: Inputs) -> Drawn:
    """Draw the first path with its bad minima in the plane that keeps most of their distances, and all distances.

    Returns:
        The figure and its numbers: a row for each path and start.
    """
    gram = inputs.one("gram", spec.cloud)
    found = searches(gram)
    picture = _Picture.of(gram, found[0])
    titles = (
        f"One path: the plane keeps {100 * picture.kept:.0f}% of the squared distances",
        "How near",
        "How bad, and what is left of it",
    )
    figure, places = layout(3, 3, (2.3, 2.3), _sidebar(), titles=titles)
    for axes in places:
        axes.spines[["top", "right"]].set_visible(False)
    _plane(places[0], picture)
    _distances(places[1], found)
    _accuracies(places[2], found)
    rows = []
    for number, one in enumerate(found):
        clean = one.clean.set_index("start")["distance"]
        table = one.nearest.assign(path=number, displacement=one.displacement, sgd_test_accuracy=one.test_accuracy)
        rows.append(table.assign(clean_distance=[float(clean.get(start, np.nan)) for start in table["start"]]))
    return Drawn(figure, pd.concat(rows, ignore_index=True).drop(columns="row"))


def scaled(gram: Gram, rows: Array) -> tuple[Array, float]:
    """Return coordinates (k, 2) of rows by classical multidimensional scaling, and the share of the variance they keep.

    That is the projection onto the first two principal components: no distance in the picture exceeds the true one.
    """
    chosen = gram.gram[np.ix_(rows, rows)]
    centred = chosen - chosen.mean(0) - chosen.mean(1)[:, None] + chosen.mean()
    values, vectors = np.linalg.eigh(centred)
    top = np.argsort(values)[::-1][:2]
    return vectors[:, top] * np.sqrt(np.maximum(values[top], 0.0)), float(values[top].sum() / values.sum())


@dataclass(frozen=True)
class _Picture:
    """A path, starts of searches and what they found, in the plane that keeps most distances; the share it keeps."""

    path: Array
    starts: Array
    bad: Array
    kept: float

    @classmethod
    def of(cls, gram: Gram, one: Search) -> "_Picture":
        hits = one.nearest[one.nearest["row"] >= 0]
        points, kept = scaled(gram, np.concatenate([one.path, hits["row"].to_numpy(int)]))
        epochs = gram.table["epoch"].to_numpy()[one.path]
        path, bad = points[: len(one.path)], points[len(one.path) :]
        return cls(path, path[[int(np.flatnonzero(epochs == start)[0]) for start in hits["start"]]], bad, kept)


def _plane(axes: Axes, picture: _Picture) -> None:
    """Draw a path, the nearest bad minimum from each start, and a line between them."""
    path, starts, bad = picture.path, picture.starts, picture.bad
    for start, end in zip(starts, bad, strict=True):
        axes.plot(*np.stack([start, end]).T, color="#b0b0b0", linewidth=0.8, zorder=1)
    axes.plot(*path.T, "-o", color=PATH, markersize=2.6, linewidth=0.7, zorder=2)
    axes.plot(*bad.T, "s", color=BAD, markersize=4.6, zorder=5)
    axes.plot(*path[-1], "*", color=END, markersize=11, markeredgecolor=style.INK, zorder=4)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("distance in weight space")


def _distances(axes: Axes, found: Sequence[Search]) -> None:
    """Draw, for each path, distances of bad minima and of clean trainings from their starts over SGD's displacement."""
    for k, one in enumerate(found):
        for source, color, shift in ((one.nearest, BAD, -0.14), (one.clean, CLEAN, 0.14)):
            ratios = source["distance"].to_numpy(float) / one.displacement
            axes.plot(np.full(len(ratios), k + shift), ratios, "o", color=color, markersize=3.2, alpha=0.75)
            if np.isfinite(ratios).any():
                axes.plot([k + shift - 0.11, k + shift + 0.11], [np.nanmedian(ratios)] * 2, color=style.INK, lw=1.2)
    axes.axhline(1.0, color=PATH, linewidth=1.0, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(len(found)), [str(k + 1) for k in range(len(found))])
    axes.set_xlabel("path of SGD")
    axes.set_ylabel("distance / that of SGD, first to last")


def _accuracies(axes: Axes, found: Sequence[Search]) -> None:
    """Draw test accuracy of the bad minima before and after training without poison, and that of SGD's end."""
    for k, one in enumerate(found):
        before, after = (100 * one.nearest[name].to_numpy(float) for name in ("test_accuracy", "settled_accuracy"))
        for low, high in zip(before, after, strict=True):
            axes.plot([k - 0.16, k + 0.1], [low, high], color="#b0b0b0", linewidth=0.6, zorder=1)
        axes.plot(np.full(len(before), k - 0.16), before, "s", color=BAD, markersize=3.4, zorder=3)
        axes.plot(np.full(len(after), k + 0.1), after, "s", color=BAD, markersize=3.6, mfc="white", zorder=3)
        axes.plot(k + 0.28, 100 * one.test_accuracy, "*", color=END, markersize=9, markeredgecolor=style.INK, zorder=4)
    axes.axhline(50, color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 1)))
    axes.set_ylim(-2, 102)
    axes.set_xticks(range(len(found)), [str(k + 1) for k in range(len(found))])
    axes.set_xlabel("path of SGD")
    axes.set_ylabel("test accuracy (%)")


def _sidebar() -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Points")
    sidebar.marker("iterate of SGD", marker="o", color=PATH, markersize=3.4)
    sidebar.marker("where SGD ends", marker="*", color=END, markersize=9, markeredgecolor=style.INK)
    sidebar.marker("nearest bad minimum found", marker="s", color=BAD, markersize=4.2)
    sidebar.marker("after training without poison", marker="s", color=BAD, markersize=4.2, markerfacecolor="white")
    sidebar.heading("Distances")
    sidebar.marker("start to nearest bad minimum", marker="o", color=BAD, markersize=3.4)
    sidebar.marker("control: clean training, same length", marker="o", color=CLEAN, markersize=3.4)
    sidebar.line("median over starts", color=style.INK, linewidth=1.2)
    sidebar.line("SGD, first to last iterate", color=PATH, linewidth=1.0, linestyle="--")
    sidebar.line("chance", color=style.FAINT, linewidth=0.8, linestyle=(0, (1, 1)))
    return sidebar
