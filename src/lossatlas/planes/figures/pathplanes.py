"""Figures of kind ``pathplanes``: a recorded training projected on a plane, over the contours of the loss there.

And the table of kind ``variance``: how much of each path's variation two principal axes and random planes hold.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import GAP, layout
from lossatlas.draw.plane import MAP
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.contours import Covered, heading, levelled, lost_notes, verdicts
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import step_lengths, walk_share
from lossatlas.planes.spec import PathPlanes, VarianceTable
from lossatlas.specs.registry import Inputs

PATH, DROP = "#1a1a1a", "#D62728"
"""Epochs, and those at which the learning rate was lowered: red as in the paper, and of another shape."""

SMALL_PART = 0.12
"""Share of a panel's side below which what follows the first drop of the learning rate is shown larger, in an inset."""

AXES = {
    "pca": ("PC 1", "PC 2"),
    "random": ("random direction 1", "random direction 2"),
    "start": ("to the start", "random direction"),
}


def compose(spec: PathPlanes, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (panel, what, epoch, x, y, loss) and notes on points without a loss.
    """
    grids: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    titles = [panel.title for panel in spec.panels]
    norm = LogNorm(spec.shown[0], spec.shown[1])
    sidebar = Sidebar()
    sidebar.heading("Path")
    sidebar.marker("epoch", marker="o", color=PATH, markersize=2.8)
    sidebar.marker("learning rate lowered", marker="D", color=DROP, markeredgecolor="white", markersize=5)
    sidebar.marker("initialisation", marker="s", color="white", markeredgecolor=PATH, markersize=4.5)
    sidebar.marker("end", marker="*", color="white", markeredgecolor=PATH, markersize=8)
    sidebar.heading("Plane")
    sidebar.colorbar(norm, MAP, "training loss", 1.4)
    notes = lost_notes(
        [(t, g.lost("train_loss"), g.measured["train_loss"].size) for t, g in zip(titles, grids, strict=True)]
    )
    words = verdicts(spec.panels, inputs)
    heads = [
        heading(title, f"{percent(float(grid.explained.sum()))} of the variance", word)
        for title, grid, word in zip(titles, grids, words, strict=True)
    ]
    figure, panels = layout(len(grids), spec.columns, (2.3, 2.3), sidebar, notes, (0.7, *GAP[1:]), titles=heads)
    for axes, grid in zip(panels, grids, strict=True):
        _draw(axes, grid, norm, spec.levels)
    return Drawn(figure, _numbers(titles, grids), notes)


def _draw(axes: Axes, grid: Grid, norm: LogNorm, levels: Sequence[float]) -> None:
    closer = _closer(grid)
    levelled(axes, grid, grid.measured["train_loss"], norm, levels, closer and closer[0])
    _draw_path(axes, grid)
    names = [
        f"{name} ({percent(float(share))})"
        for name, share in zip(AXES[grid.slice["axes"]], grid.explained, strict=True)
    ]
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    if closer is not None:
        covered, x, y = closer
        inset = axes.inset_axes(covered)
        _draw_path(inset, grid)
        inset.set_xlim(*x)
        inset.set_ylim(*y)
        inset.set_xticks([])
        inset.set_yticks([])
        axes.indicate_inset_zoom(inset, edgecolor=PATH, alpha=0.9, linewidth=0.6)


def _closer(grid: Grid) -> tuple[Covered, tuple[float, float], tuple[float, float]] | None:
    """Return where an inset goes and what it shows, if all after the first drop lies in a small part of the panel.

    Returns:
        Where, in the corner with the least of the path, in shares of the panel, and both ranges; None without need.
    """
    path = grid.path.sort_values("epoch", kind="stable")
    late = path[path["epoch"] >= min(grid.slice["drops"], default=np.inf)]
    width, height = grid.x[-1] - grid.x[0], grid.y[-1] - grid.y[0]
    if len(late) < 3 or max(np.ptp(late["x"]) / width, np.ptp(late["y"]) / height) > SMALL_PART:
        return None
    along = np.linspace(0, len(path) - 1, 20 * len(path))  # the lines between epochs, too
    across = (np.interp(along, np.arange(len(path)), path["x"]) - grid.x[0]) / width
    up = (np.interp(along, np.arange(len(path)), path["y"]) - grid.y[0]) / height
    corners = [(i, j) for i in (0, 1) for j in (0, 1)]
    taken = [int(((np.abs(across - i) < 0.43) & (np.abs(up - j) < 0.41)).sum()) for i, j in corners]
    half = max(0.6 * np.ptp(late["x"]), 0.6 * np.ptp(late["y"]) * width / height, 0.02 * width)
    middle = [(late[name].max() + late[name].min()) / 2 for name in ("x", "y")]
    tall = half * height / width
    x, y = (middle[0] - half, middle[0] + half), (middle[1] - tall, middle[1] + tall)
    right, top = corners[int(np.argmin(taken))]
    return (0.58 * right + 0.02, 0.6 * top + 0.02, 0.38, 0.36), x, y


def _draw_path(axes: Axes, grid: Grid) -> None:
    path = grid.path.sort_values("epoch", kind="stable")
    x, y = path["x"].to_numpy(), path["y"].to_numpy()
    axes.plot(x, y, color="white", linewidth=1.6, zorder=2)
    axes.plot(x, y, color=PATH, linewidth=0.7, marker="o", markersize=2.2, zorder=3)
    drops = path["epoch"].isin(grid.slice["drops"]).to_numpy()
    axes.plot(
        x[drops], y[drops], linestyle="none", marker="D", color=DROP, markeredgecolor="white", markersize=5, zorder=4
    )
    axes.plot(x[0], y[0], marker="s", color="white", markeredgecolor=PATH, markersize=4.5, zorder=5)
    axes.plot(x[-1], y[-1], marker="*", color="white", markeredgecolor=PATH, markersize=12, zorder=3.5)


def percent(share: float) -> str:
    """Return a share in per cent, small ones with two significant digits."""
    return f"{100 * share:.1f}%" if share >= 0.001 else f"{100 * share:.2g}%"


def _numbers(titles: list[str], grids: list[Grid]) -> pd.DataFrame:
    parts = []
    for title, grid in zip(titles, grids, strict=True):
        x, y = np.meshgrid(grid.x, grid.y)
        plane = pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "loss": grid.measured["train_loss"].ravel()})
        path = grid.path[["epoch", "x", "y"]].assign(loss=grid.path["train_loss"])
        parts += [plane.assign(what="plane", panel=title), path.assign(what="path", panel=title)]
    return pd.concat(parts, ignore_index=True)[["panel", "what", "epoch", "x", "y", "loss"]]


def tabulate(spec: VarianceTable, inputs: Inputs) -> pd.DataFrame:
    """Return how much of a path's variation planes hold.

    Returns:
        Columns row, points, dimension, pc1, pc2, two_pcs, three_pcs (shares of the variance), walk (what two axes hold
        of a random walk with the path's own step lengths), and for each other plane ``<its axes>_plane`` (both its
        directions) and expected_random (2 / D, a random plane's share on average for a path without a preferred
        direction).
    """
    rows = []
    for entry in spec.rows:
        gram: Gram = inputs.one("path_gram", entry.run)
        count = min(3, gram.n - 1)
        shares = principal_axes(gram, np.arange(gram.n), count).explained
        row: dict[str, Any] = {
            "row": entry.title,
            "paper": "40% to 90%",
            "points": gram.n,
            "dimension": gram.dimension,
        }
        row |= {"pc1": shares[0], "pc2": shares[1], "two_pcs": shares[:2].sum(), "three_pcs": shares.sum()}
        row["walk"] = walk_share(step_lengths(gram))
        for name in entry.planes:
            grid: Grid = inputs.one("grid", name)
            row[f"{grid.slice['axes']}_plane"] = float(grid.explained.sum())
        row["expected_random"] = 2 / gram.dimension
        rows.append(row)
    return pd.DataFrame(rows)
