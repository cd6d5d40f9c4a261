"""Figures of kind ``path_plane``: optimised paths over the contours of a function of two variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.arrays import Array
from lossatlas.barriers import files
from lossatlas.barriers.spec import PathPlane
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import GROUND, Drawn
from lossatlas.specs.registry import Inputs

STRAIGHT = "straight"
TITLES = {"squared": "first term squared", "identity": "first term as printed"}


@dataclass(frozen=True)
class Line:
    """One path as it is drawn.

    Attributes:
        objective, penalty: how it was optimised; the straight line's are ``straight`` and infinity.
        height, argmax, length, steps: of the table.
        points: (M, 2).
        losses: (M,).
    """

    objective: str
    penalty: float
    height: float
    argmax: float
    length: float
    steps: int
    points: Array
    losses: Array


def compose(spec: PathPlane, inputs: Inputs) -> Drawn:
    """Draw paths on the plane and the losses along them, one row of panels an objective.

    Returns:
        The figure and its numbers, one row a path: objective, lambda, height, the t at which it is reached, length of
        the path, and ``x_m``, ``y_m``, ``f_m`` at its points. The straight line's objective is ``straight`` and its
        lambda infinite, the limit in which a path is straight.
    """
    paths = inputs.paths("paths", spec.paths)
    lines, plane = _lines(*files.read(paths, ["train_losses", "points"])), files.plane(paths[0])
    objectives = [name for name in TITLES if any(line.objective == name for line in lines)]
    penalties = sorted({line.penalty for line in lines if line.objective != STRAIGHT})
    colors = dict(zip(penalties, style.HUES, strict=False))
    sidebar = _sidebar(colors)
    heads = [head for objective in objectives for head in (TITLES[objective], "f along these paths")]
    figure, panels = layout(len(heads), 2, (2.5, 2.5), sidebar, titles=heads)
    for i, objective in enumerate(objectives):
        shown = [line for line in lines if line.objective in (STRAIGHT, objective)]
        _draw_plane(panels[2 * i], plane, shown, colors)
        _draw_losses(panels[2 * i + 1], shown, colors)
    return Drawn(figure, _numbers(lines))


def _lines(table: pd.DataFrame, arrays: Mapping[str, Array]) -> list[Line]:
    """Return the straight line (step 0 of any path), then the optimised ones."""
    first = int(np.flatnonzero(table["step"] == 0)[0])
    last = np.flatnonzero(table["step"] == table["step"].max())
    found = []
    for i in (first, *last):
        row = table.iloc[i]
        how = (STRAIGHT, np.inf) if i == first else (str(row["objective"]), float(row["penalty"]))
        height, argmax, length = (float(row[name]) for name in ("train_height", "train_argmax", "length"))
        values = arrays["points"][i], arrays["train_losses"][i]
        found.append(Line(*how, height, argmax, length, int(row["step"]), *values))
    return found


def _look(line: Line, colors: Mapping[float, str]) -> dict[str, Any]:
    if line.objective == STRAIGHT:
        return {"color": style.INK, "linestyle": (0, (4, 2))}
    return {"color": colors[line.penalty], "linestyle": "-"}


def _draw_plane(axes: Axes, plane: Mapping[str, Array], lines: Sequence[Line], colors: Mapping[float, str]) -> None:
    levels = np.linspace(plane["loss"].min(), plane["loss"].max(), 17)
    axes.contourf(plane["x"], plane["y"], plane["loss"], levels=levels, cmap=GROUND)
    axes.contour(plane["x"], plane["y"], plane["loss"], levels=levels, colors="#5c5c5c", linewidths=0.35)
    for line in lines:
        look = _look(line, colors)
        axes.plot(line.points[:, 0], line.points[:, 1], linewidth=1.1, zorder=3, **look)
        if line.objective != STRAIGHT:
            axes.plot(line.points[:, 0], line.points[:, 1], ".", color=look["color"], markersize=2.6, zorder=4)
    ends = lines[0].points[[0, -1]]
    axes.plot(ends[:, 0], ends[:, 1], "o", color=style.INK, markersize=4.5, markeredgecolor="white", zorder=5)
    for end, name in zip(ends, ("$w_1$", "$w_2$"), strict=True):
        axes.annotate(name, end, xytext=(5, -13), textcoords="offset points", fontsize=8)
    axes.set_xlim(plane["x"][0], plane["x"][-1])
    axes.set_ylim(plane["y"][0], plane["y"][-1])
    axes.set_aspect("equal")
    axes.set_xlabel("x")
    axes.set_ylabel("y")


def _draw_losses(axes: Axes, lines: Sequence[Line], colors: Mapping[float, str]) -> None:
    for k, line in enumerate(lines):
        look = _look(line, colors)
        axes.plot(np.linspace(0, 1, len(line.losses)), line.losses, linewidth=1.3, **look)
        axes.plot(line.argmax, line.height, "o", color="black", markersize=3.5, zorder=5)
        name, place = f"$H_{k}$ = {line.height:.3f}", (0.97, 0.97 - 0.07 * k)
        axes.text(*place, name, transform=axes.transAxes, va="top", ha="right", color=look["color"], fontsize=7.5)
    axes.set_xlabel("t, from $w_1$ to $w_2$")
    axes.set_ylabel("f along the path")
    axes.set_ylim(bottom=0)
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _sidebar(colors: Mapping[float, str]) -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Paths")
    sidebar.line("straight ($H_0$)", color=style.INK, linewidth=1.2, linestyle=(0, (4, 2)))
    for k, (penalty, color) in enumerate(colors.items()):
        sidebar.line(f"λ = {penalty:g} ($H_{k + 1}$)", color=color, linewidth=1.4)
    sidebar.marker("highest point", marker="o", color="black", markersize=3.5)
    return sidebar


def _numbers(lines: Sequence[Line]) -> pd.DataFrame:
    """Return the CSV: what a path is, then what is drawn of it, a column a point and coordinate."""
    rows = []
    for line in lines:
        row: dict[str, Any] = {"objective": line.objective, "lambda": line.penalty, "height": line.height}
        row |= {"argmax_t": line.argmax, "length": line.length, "steps": line.steps}
        for name, values in (("x", line.points[:, 0]), ("y", line.points[:, 1]), ("f", line.losses)):
            row |= {f"{name}_{m}": value for m, value in enumerate(values, 1)}
        rows.append(row)
    return pd.DataFrame(rows)
