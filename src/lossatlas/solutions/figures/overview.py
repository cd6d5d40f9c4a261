"""Figures of kind ``overview``: sample inputs, the network, and the loss on a plane through three of its minima."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lossatlas.draw import style
from lossatlas.draw.style import Drawn
from lossatlas.draw.ticks import log_labels, log_ticks
from lossatlas.solutions.files import Triangle
from lossatlas.solutions.spec import Overview
from lossatlas.specs.registry import Inputs

SHOWN = (9, 6, 6, 5)
"""Units drawn of the input layer, of hidden layers and of the output layer at most; dots stand for the rest."""


def compose(spec: Overview, inputs: Inputs) -> Drawn:
    """Draw inputs, network and landscape.

    Returns:
        The figure and its numbers (what, x, y, loss): the grid of the plane, then the three minima.
    """
    found: Triangle = inputs.one("triangle", spec.triangle)
    loss = found.losses[spec.part]
    figure = style.new_figure(style.PAGE, 2.95)
    _letter(figure, 0.15, "a", "inputs")
    _inputs(figure, found)
    _letter(figure, 1.45, "b", "network")
    _network(style.axes_at(figure, 1.45, 0.38, 2.3, 2.3), found.layers)
    _letter(figure, 3.8, "c", "landscape")
    _landscape(figure, found, spec.part)
    x, y = np.meshgrid(found.x, found.y)
    grid = pd.DataFrame({"what": "plane", "x": x.ravel(), "y": y.ravel(), "loss": loss.ravel()})
    minima = pd.DataFrame({"what": "minimum", "x": found.coordinates[:, 0], "y": found.coordinates[:, 1]})
    minima["loss"] = found.table[f"{spec.part}_loss"].to_numpy()
    return Drawn(figure, pd.concat([grid, minima], ignore_index=True))


def _letter(figure: Figure, left: float, letter: str, text: str) -> None:
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - 0.12 / height, letter, fontweight="bold", fontsize=style.LETTER, va="top")
    figure.text((left + 0.16) / width, 1 - 0.125 / height, text, fontsize=style.TITLE, va="top")


def _inputs(figure: Figure, found: Triangle) -> None:
    for i, (image, label) in enumerate(zip(found.images[:10], found.labels[:10], strict=True)):
        row, column = divmod(i, 2)
        axes = style.axes_at(figure, 0.15 + 0.58 * column, 0.42 + 0.46 * row, 0.42, 0.42)
        axes.imshow(image, cmap="gray_r", interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_ylabel(str(label), rotation=0, fontsize=style.SMALL, labelpad=5, va="center")


def _network(axes: Axes, layers: Sequence[int]) -> None:
    """Draw layers as columns of units with the connections of those that are shown; numbers give the true sizes."""
    axes.set_axis_off()
    places = []
    for k, size in enumerate(layers):
        most = SHOWN[0] if k == 0 else SHOWN[3] if k == len(layers) - 1 else SHOWN[1]
        count = min(size, most)
        places.append([(float(k), (i - (count - 1) / 2) * (8.0 / max(most, 5))) for i in range(count)])
    for before, after in pairwise(places):
        for a in before:
            for b in after:
                axes.plot([a[0], b[0]], [a[1], b[1]], color="#b8b8b8", linewidth=0.3, zorder=1)
    for k, (size, column) in enumerate(zip(layers, places, strict=True)):
        x, y = zip(*column, strict=True)
        color = style.HUES[0] if k in (0, len(layers) - 1) else style.HUES[2]
        axes.scatter(x, y, s=26, color=color, edgecolors="white", linewidths=0.6, zorder=3)
        if size > len(column):
            for shift in (0.75, 1.05, 1.35):
                axes.plot(float(k), min(y) - shift, ".", color=style.FAINT, markersize=1.8)
        name = "input" if k == 0 else "output" if k == len(layers) - 1 else f"hidden {k}"
        axes.text(k, -6.3, f"{name}\n{size}", ha="center", va="top", fontsize=7)
    axes.set_xlim(-0.45, len(layers) - 0.55)
    axes.set_ylim(-7.9, 4.6)


def _landscape(figure: Figure, found: Triangle, part: str) -> None:
    width = figure.get_figwidth()
    axes: Any = figure.add_axes((3.75 / width, 0.02, 2.7 / width, 0.9), projection="3d", computed_zorder=False)
    loss = found.losses[part]
    heights = np.log10(loss)
    x, y = np.meshgrid(found.x, found.y)
    norm = LogNorm(float(loss.min()), float(loss.max()))
    cmap = mpl.colormaps[style.VALUE_MAP]
    axes.plot_surface(x, y, heights, facecolors=cmap(norm(loss)), rstride=1, cstride=1, linewidth=0, zorder=1)
    axes.contour(x, y, heights, levels=14, colors="white", linewidths=0.35, linestyles="solid", zorder=2)
    values = np.log10(found.table[f"{part}_loss"].to_numpy(float))
    outline = [patheffects.withStroke(linewidth=1.8, foreground="white")]
    rise = 0.1 * (heights.max() - heights.min())
    for i, ((u, v), value) in enumerate(zip(found.coordinates, values, strict=True), start=1):
        axes.plot([u], [v], [value], "o", color=style.HUES[1], markersize=5, markeredgecolor="white", zorder=5)
        axes.text(u, v, value + rise, f"$w_{i}$", fontsize=9, zorder=6, ha="center", path_effects=outline)
    axes.set_xlabel("along $w_2 - w_1$", labelpad=-9)
    axes.set_ylabel("towards $w_3$", labelpad=-7)
    axes.tick_params(labelsize=style.SMALL, pad=-4)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.set_zticks([])
    axes.view_init(elev=62, azim=-72)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, cmap), cax=style.axes_at(figure, 6.5, 0.75, 0.1, 1.5))
    bar.set_label("training loss" if part == "train" else "test loss", fontsize=7.5)
    ticks = log_ticks(float(loss.min()), float(loss.max()))
    bar.set_ticks(ticks, labels=log_labels(ticks))
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.5)
