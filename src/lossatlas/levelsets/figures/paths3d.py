"""Figures of kind ``paths3d``: traversals in their first six principal axes."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid
from lossatlas.draw.style import PROGRESS, Drawn
from lossatlas.levelsets.numbers import best, ends, sweeps
from lossatlas.levelsets.spec import Paths3d
from lossatlas.specs.registry import Inputs

AXES = 6
MEAN_END, MEAN_DECAY, ORIGIN = "#0072B2", "#D55E00", "#1a1a1a"


def compose(spec: Paths3d, inputs: Inputs) -> Drawn:
    """Draw two three-dimensional panels for every cloud.

    Returns:
        The figure, and its numbers (panel, what, replica, steps, pc1 ... pc6): every point of every path, the mean of
        the end points and the mean of the weight-decay points at the best lambda.
    """
    found = [_coordinates(inputs.one("gram", panel.cloud), spec.choose) for panel in spec.panels]
    sidebar = Sidebar()
    sidebar.heading("Paths")
    sidebar.ramps([PROGRESS(np.linspace(0, 1, 64))[:, :3]], "first step", "last step")
    sidebar.heading("Means")
    sidebar.marker("end points", marker="P", color=MEAN_END, markersize=6)
    sidebar.marker("weight decay", marker="*", color=MEAN_DECAY, markersize=8)
    sidebar.marker("origin of weight space", marker="o", color=ORIGIN, markersize=6, fillstyle="none")
    sidebar.text("Panels have scales of their own.")
    heads = [
        f"{panel.title}, PCs\u00a0{words}: {100 * part.sum():.1f}%\u00a0of\u00a0the\u00a0variance"
        for panel, (_, shares) in zip(spec.panels, found, strict=True)
        for part, words in ((shares[:3], "1-3"), (shares[3:], "4-6"))
    ]
    page = grid(len(heads), 2, 2.75, lambda width: 0.86 * width, sidebar, titles=heads, gap=(0.25, 0.1, 0.08))
    for i, (table, _) in enumerate(found):
        for half in range(2):
            _draw(page.axes(2 * i + half, projection="3d"), table, [3 * half + k for k in range(3)])
    numbers = pd.concat([t.assign(panel=p.title) for p, (t, _) in zip(spec.panels, found, strict=True)])
    return Drawn(page.figure, numbers[["panel", "what", "replica", "steps", *(f"pc{k + 1}" for k in range(AXES))]])


def _coordinates(gram: Gram, choose: str) -> tuple[pd.DataFrame, Any]:
    """Return the coordinates of a cloud's paths and means, one row a point, and the shares of variance."""
    table = gram.table
    paths = np.flatnonzero(table["source"] == "levelset")
    axes = principal_axes(gram, paths, AXES)
    names = [f"pc{k + 1}" for k in range(AXES)]
    points = table.iloc[paths][["replica", "steps"]].assign(what="path")
    points[names] = axes.coordinates[paths]
    means = {"mean end point": ends(table)[1].index.to_numpy()}
    value = best(table, choose)
    if value is not None:
        chosen = sweeps(table, "weight_decay")
        means[f"mean decay point, lambda {value:g}"] = chosen.index[chosen["value"] == value].to_numpy()
    for what, rows in means.items():
        points.loc[len(table) + len(points)] = [-1, np.nan, what, *axes.of_mean(rows)]
    origin = -axes.weights.T @ gram.raw()[np.ix_(paths, paths)] @ axes.mean_weights
    points.loc[len(table) + len(points)] = [-1, np.nan, "origin", *origin]
    return points, axes.explained


def _draw(axes: Any, table: pd.DataFrame, components: list[int]) -> None:
    names = [f"pc{k + 1}" for k in components]
    for _, path in table[table["what"] == "path"].groupby("replica", sort=True):
        path = path.sort_values("steps")
        progress = (path["steps"] / max(path["steps"].max(), 1)).to_numpy(float)
        points = path[names].to_numpy(float)
        axes.plot(*points.T, color="#8c8c8c", linewidth=0.4)
        axes.scatter(*points.T, c=PROGRESS(progress), s=5, linewidths=0, depthshade=False)
    # The largest first, and hollow: what coincides is seen.
    looks: tuple[tuple[str, str, int, dict[str, str]], ...] = (
        ("mean decay", "*", 130, {"color": MEAN_DECAY, "edgecolors": "white"}),
        ("mean end", "P", 45, {"color": MEAN_END, "edgecolors": "white"}),
        ("origin", "o", 70, {"facecolors": "none", "edgecolors": ORIGIN}),
    )
    for what, marker, size, look in looks:
        point = table.loc[table["what"].str.startswith(what), names].to_numpy(float)
        if len(point):
            axes.scatter(*point.T, marker=marker, s=size, linewidths=0.8, zorder=10, depthshade=False, **look)
    for axis, k in zip((axes.xaxis, axes.yaxis, axes.zaxis), components, strict=True):
        axis.set_label_text(f"PC {k + 1}")
        axis.labelpad = -4
        axis.set_major_locator(MaxNLocator(4))  # more labels run into one another on the slanted axes
        axis.pane.set_facecolor("#f7f7f7")
    style.box3d(axes)
    axes.view_init(elev=22, azim=-58)
