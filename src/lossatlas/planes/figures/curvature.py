"""Figures of kind ``curvature``: |lambda_min / lambda_max| of the Hessian over a plane, beside the plane's contours."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.plane import MAP
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.contours import errors, heading, levelled, lost_notes, verdicts
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import bends, ratio
from lossatlas.planes.spec import CurvatureMaps
from lossatlas.specs.registry import Inputs

RATIO_MAP = mpl.colormaps["cividis"]

MOST = 0.5
"""Ratio from which on all have one colour, as in the paper: its maps go from 0 to some 0.5."""

EDGE = "#E0218A"
"""A pink that neither map has and that protanopes and deuteranopes tell from both by its lightness."""


def compose(spec: CurvatureMaps, inputs: Inputs) -> Drawn:
    """Draw the panels: contours above, curvature below.

    Returns:
        The figure, its numbers (panel, x, y, loss, lambda_min, lambda_max, residuals, products, converged, ratio) and
        notes on points without a spectrum or whose eigenvalues have not converged.
    """
    planes: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    maps: list[Grid] = [inputs.one("grid", panel.map) for panel in spec.panels]
    count, titles = len(planes), [panel.title for panel in spec.panels]
    norm = LogNorm(spec.shown[0], spec.shown[1])
    share = Normalize(0.0, MOST)
    sidebar = Sidebar()
    sidebar.colorbar(norm, MAP, "training loss")
    sidebar.colorbar(share, RATIO_MAP, r"$|\lambda_{min}\,/\,\lambda_{max}|$", 1.5)
    sidebar.heading("Eigenvalues")
    sidebar.text(f"(above {MOST:g}: as {MOST:g})")
    sidebar.line("edge of where the drawn", color=EDGE, linewidth=1.3)
    sidebar.text("        surface is convex")
    sidebar.marker("not converged", marker="x", color="white", markeredgecolor=style.INK, markersize=4)
    notes = [
        *lost_notes(
            [
                (f"{t}, loss", g.lost("train_loss"), g.measured["train_loss"].size)
                for t, g in zip(titles, planes, strict=True)
            ]
        ),
        *lost_notes(
            [
                (f"{t}, spectrum", g.lost("lambda_max"), g.measured["lambda_max"].size)
                for t, g in zip(titles, maps, strict=True)
            ]
        ),
    ]
    loose = sum(int((m.measured["converged"] == 0).sum()) - m.lost("lambda_max") for m in maps)
    if loose:
        notes.append(f"Crossed: points where an eigenvalue has not reached the tolerance ({loose}).")
    words = verdicts(spec.panels, inputs)
    heads = [heading(p.title, errors(p, plane), w) for p, plane, w in zip(spec.panels, planes, words, strict=True)]
    heads += [heading(p.title, _summary(found)) for p, found in zip(spec.panels, maps, strict=True)]
    figure, panels = layout(2 * count, count, (2.3, 2.3), sidebar, notes, titles=heads)
    for i, (plane, found) in enumerate(zip(planes, maps, strict=True)):
        levelled(panels[i], plane, plane.measured["train_loss"], norm, spec.levels)
        _draw_map(panels[count + i], found, share)
        for axes in (panels[i], panels[count + i]):
            _draw_edge(axes, plane)
        for axes in (panels[i], panels[count + i]):
            axes.set_xlabel("first direction")
            axes.set_ylabel("second direction")
            axes.set_xlim(plane.x[0], plane.x[-1])
            axes.set_ylim(plane.y[0], plane.y[-1])
    return Drawn(figure, _numbers(titles, maps), tuple(notes))


def _draw_map(axes: Axes, found: Grid, norm: Normalize) -> None:
    axes.set_facecolor("#e6e6e6")
    axes.patch.set(hatch="////", edgecolor="#a6a6a6", linewidth=0.0)
    values = np.ma.masked_invalid(ratio(found))
    axes.pcolormesh(found.x, found.y, np.ma.clip(values, 0, MOST), cmap=RATIO_MAP, norm=norm, shading="nearest")
    x, y = np.meshgrid(found.x, found.y)
    loose = (found.measured["converged"] == 0) & np.isfinite(found.measured["lambda_max"])
    axes.plot(x[loose], y[loose], linestyle="none", marker="x", color="white", markersize=2.5, markeredgewidth=0.6)


def _draw_edge(axes: Axes, plane: Grid) -> None:
    """Draw the edge of where the drawn surface is convex, by the differences that claims take."""
    bent = bends(plane).astype(float)
    if 0 < bent.mean() < 1:
        axes.contour(plane.x[1:-1], plane.y[1:-1], bent, levels=[0.5], colors=[EDGE], linewidths=1.1)


def _summary(found: Grid) -> str:
    """Return a map in a line: how much of it is not convex in the whole space, by more than a tenth."""
    values = ratio(found)
    finite = values[np.isfinite(values)]
    return f"curvature: {np.mean(finite > 0.1):.0%} above 0.1" if len(finite) else "curvature"


def _numbers(titles: list[str], maps: list[Grid]) -> pd.DataFrame:
    parts = []
    for title, grid in zip(titles, maps, strict=True):
        x, y = np.meshgrid(grid.x, grid.y)
        names = ("train_loss", "lambda_min", "lambda_max", "residual_min", "residual_max", "products", "converged")
        columns = {name: grid.measured[name].ravel() for name in names}
        parts.append(
            pd.DataFrame({"panel": title, "x": x.ravel(), "y": y.ravel(), **columns, "ratio": ratio(grid).ravel()})
        )
    return pd.concat(parts, ignore_index=True)
