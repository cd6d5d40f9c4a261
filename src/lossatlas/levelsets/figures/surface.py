"""Figures of kind ``surface``: the loss on a plane of weight space, and the paths that span it."""

from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from lossatlas.draw import style
from lossatlas.draw.style import GROUND, PROGRESS, Drawn, Sidebar
from lossatlas.errors import LossatlasError
from lossatlas.levelsets.files import Surface
from lossatlas.levelsets.spec import SurfaceFigure, SurfacePanel
from lossatlas.specs.registry import Inputs


def compose(spec: SurfaceFigure, inputs: Inputs) -> Drawn:
    """Draw the panels, one surface each.

    Returns:
        The figure and its numbers (panel, what, replica, steps, x, y, loss): the grid, then the points of the paths
        with their own training loss.
    """
    surfaces = [inputs.one("surface", panel.surface) for panel in spec.panels]
    finite = np.concatenate([s.loss[np.isfinite(s.loss)] for s in surfaces])
    if not len(finite):
        raise LossatlasError("surface: no finite loss on the plane; make the limits smaller")
    norm = _norm(finite if spec.scale is None else np.array(spec.scale), spec.log)
    lost = sum(int((~np.isfinite(s.loss)).sum()) for s in surfaces)
    notes = (f"{lost} points of the plane without a finite loss left white.",) if lost else ()
    count = len(surfaces)
    columns = min(spec.columns or min(count, 2), count)
    rows = -(-count // columns)
    width, height, left, below, above = 3.3, 2.9, 0.62, 0.46, 0.42
    sidebar = _sidebar(norm, spec.panels)
    grid = rows * (above + height + below)
    total = max(grid + (0.16 if notes else 0.0), sidebar.height + above) + 0.05
    figure = style.new_figure(columns * (left + width) + 0.25 + sidebar.width, total)
    for i, (panel, found) in enumerate(zip(spec.panels, surfaces, strict=True)):
        row, column = divmod(i, columns)
        axes = style.axes_at(
            figure, left + column * (left + width), above + row * (above + height + below), width, height
        )
        _draw(axes, panel, found, norm)
        if count > 1:
            axes.text(0.0, 1.02, ascii_lowercase[i], transform=axes.transAxes, fontweight="bold", fontsize=9.5)
    sidebar.draw(figure, columns * (left + width) + 0.25, above)
    if notes:
        figure.text(left / figure.get_figwidth(), 1 - grid / total, notes[0], fontsize=6.3, color=style.FAINT, va="top")
    return Drawn(figure, _numbers(spec, surfaces), notes)


def _norm(losses: NDArray[np.float64], log: bool) -> Normalize:
    if log and losses.min() > 0:
        return LogNorm(losses.min(), losses.max())
    return Normalize(losses.min(), losses.max())


def _level(found: Surface) -> float:
    return float(found.table["train_loss"].mean())


def _draw(axes: Axes, panel: SurfacePanel, found: Surface, norm: Normalize) -> None:
    log = isinstance(norm, LogNorm)
    if log:
        levels = np.geomspace(norm.vmin or 1.0, norm.vmax or 1.0, 19)
    else:
        levels = np.linspace(norm.vmin or 0.0, norm.vmax or 1.0, 19)
    loss = np.ma.masked_invalid(found.loss)
    axes.contourf(found.x, found.y, loss, levels=levels, norm=norm, cmap=GROUND, extend="both")
    axes.contour(found.x, found.y, loss, levels=levels[2::2], colors="#5c5c5c", linewidths=0.35)
    paths = [path.sort_values("steps") for _, path in found.table.groupby("replica", sort=True)]
    if panel.replicas is not None:
        paths = [path for path in paths if int(path["replica"].iloc[0]) in panel.replicas]
    for level in sorted({float(path["train_loss"].iloc[0]) for path in paths} if log else {_level(found)}):
        axes.contour(found.x, found.y, loss, levels=[level], colors="#0072B2", linewidths=0.8)
    if panel.objective:
        x, y = np.meshgrid(found.x, found.y)
        a, b = panel.objective
        axes.contour(found.x, found.y, a * x + b * y, levels=9, colors="#009E73", linewidths=0.6, linestyles="--")
    for path in paths:
        points, progress = found.coordinates[path.index], (path["steps"] / max(path["steps"].max(), 1)).to_numpy()
        if panel.show == "path":
            axes.plot(points[:, 0], points[:, 1], color="#1a1a1a", linewidth=0.4, zorder=3)
            axes.scatter(points[:, 0], points[:, 1], c=PROGRESS(progress), s=7, linewidths=0, zorder=4)
            axes.plot(*points[-1], marker="X", color="#1a1a1a", markersize=5, markeredgecolor="white", zorder=6)
        axes.plot(*points[0], marker="o", color="#1a1a1a", markersize=4.5, markeredgecolor="white", zorder=5)
    shares = found.explained
    planar = np.isfinite(shares).all()
    for k, name in enumerate("xy"):
        label = f"PC {k + 1} ({100 * shares[k]:.1f}%)" if planar else name
        (axes.set_xlabel if k == 0 else axes.set_ylabel)(label)
    title = panel.title
    if planar:
        stretch = (np.ptp(found.x) / np.ptp(found.y)) * (axes.bbox.height / axes.bbox.width)
        title += f"\n{100 * shares.sum():.2f}% of the variance in two PCs; PC 2 drawn {stretch:.2g} times as large"
    axes.set_title(title.strip())
    if not planar:
        axes.set_aspect("equal")


def _sidebar(norm: Normalize, panels: list[SurfacePanel]) -> Sidebar:
    sidebar = Sidebar(width=1.75)
    sidebar.heading("Paths")
    sidebar.marker("start", marker="o", color="#1a1a1a", markersize=4.5)
    if any(panel.show == "path" for panel in panels):
        sidebar.marker("end", marker="X", color="#1a1a1a", markersize=5)
        sidebar.ramps([PROGRESS(np.linspace(0, 1, 64))[:, :3]], "first step", "last step")
    sidebar.heading("Plane")
    sidebar.line("level of each path", color="#0072B2", linewidth=1.2)
    if any(panel.objective for panel in panels):
        sidebar.line("objective R", color="#009E73", linewidth=0.8, linestyle="--")
    sidebar.colorbar(norm, GROUND, "L on the plane", 1.3)
    return sidebar


def _numbers(spec: SurfaceFigure, surfaces: list[Surface]) -> pd.DataFrame:
    parts = []
    for panel, s in zip(spec.panels, surfaces, strict=True):
        x, y = np.meshgrid(s.x, s.y)
        grid = pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "loss": s.loss.ravel()}).assign(what="plane")
        path = s.table[["replica", "steps"]].assign(
            x=s.coordinates[:, 0], y=s.coordinates[:, 1], loss=s.table["train_loss"], what="path"
        )
        parts.append(pd.concat([grid, path]).assign(panel=panel.title))
    return pd.concat(parts)[["panel", "what", "replica", "steps", "x", "y", "loss"]]
