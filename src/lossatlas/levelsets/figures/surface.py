"""Figures of kind ``surface``: the loss on a plane of weight space, and the paths that span it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import GROUND, PROGRESS, Drawn
from lossatlas.errors import LossatlasError
from lossatlas.levelsets.files import Surface
from lossatlas.levelsets.spec import SurfaceFigure, SurfacePanel
from lossatlas.specs.registry import Inputs

WIDTH, HEIGHT = 3.3, 2.9
"""Of a panel where there is room for it, inches; a smaller one has the same shape."""


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
    heads = [_title(panel, found) for panel, found in zip(spec.panels, surfaces, strict=True)]
    sidebar = _sidebar(norm, spec.panels)
    figure, axes_of = layout(len(surfaces), spec.columns, (WIDTH, HEIGHT), sidebar, notes, titles=heads)
    for axes, panel, found in zip(axes_of, spec.panels, surfaces, strict=True):
        _draw(axes, panel, found, norm)
    return Drawn(figure, _numbers(spec, surfaces), notes)


def _norm(losses: NDArray[np.float64], log: bool) -> Normalize:
    if log and losses.min() > 0:
        return LogNorm(losses.min(), losses.max())
    return Normalize(losses.min(), losses.max())


def _planar(found: Surface) -> bool:
    """Tell whether a plane is one of principal components."""
    return bool(np.isfinite(found.explained).all())


def _title(panel: SurfacePanel, found: Surface) -> str:
    """Return a panel's title; of a plane of principal components what it holds and how it is stretched."""
    if not _planar(found):
        return panel.title
    stretch = (np.ptp(found.x) / np.ptp(found.y)) * (HEIGHT / WIDTH)
    said = f"{100 * found.explained.sum():.2f}% of the variance in two PCs; "
    said += f"PC 2 drawn {stretch:.2g} times as large".replace(" ", "\u00a0")
    return "\n".join(filter(None, [panel.title, said]))


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
    shares, planar = found.explained, _planar(found)
    for k, name in enumerate("xy"):
        label = f"PC {k + 1} ({100 * shares[k]:.1f}%)" if planar else name
        (axes.set_xlabel if k == 0 else axes.set_ylabel)(label)
    if not planar:
        axes.set_aspect("equal")


def _sidebar(norm: Normalize, panels: list[SurfacePanel]) -> Sidebar:
    sidebar = Sidebar()
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
