"""Figures of kind ``relief``: loss surfaces in three dimensions, as a picture, an interactive page and a VTK file.

The height is log10 of the loss, clipped to the range of a figure's scale. The page (plotly) carries its own script, so
it works offline; the VTK file is PolyData in XML, which ParaView opens. Points without a finite loss are holes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LightSource, LogNorm

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid as layout_of
from lossatlas.draw.plane import MAP, PAGE, SCENE, ruggedness, scale
from lossatlas.draw.style import Drawn
from lossatlas.draw.ticks import log_labels, log_ticks
from lossatlas.draw.vtk import quads, write_polydata
from lossatlas.planes.figures.contours import error, errors, heading, lost_notes, numbers
from lossatlas.planes.files import Grid
from lossatlas.planes.spec import Relief
from lossatlas.specs.registry import Inputs

SPACING = 1.25
"""Distance between neighbouring surfaces of a VTK file, in widths of a surface."""

LIGHT = LightSource(azdeg=300, altdeg=50)
"""Light from the left: it darkens a surface by a quarter at most, so that its colours, which are losses, stay what they
are."""

SPACE = (0.15, 0.2, 0.08)
"""Room left of, below and above a box, inches: its numbers are inside its place."""


def compose(spec: Relief, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers and notes, and writers of its page (``html``) and its VTK file (``vtp``).
    """
    grids: list[Grid] = [inputs.one("grid", panel.plane) for panel in spec.panels]
    titles = [panel.title for panel in spec.panels]
    norm = scale([grid.measured["train_loss"] for grid in grids])
    heights = [_height(grid, norm) for grid in grids]
    notes = lost_notes(
        [(t, g.lost("train_loss"), g.measured["train_loss"].size) for t, g in zip(titles, grids, strict=True)]
    )
    notes = tuple(note.replace("are hatched", "are holes") for note in notes)
    writers = {
        "html": lambda path: write_page(path, titles, grids, heights),
        "vtp": lambda path: write_vtp(path, titles, grids, heights),
    }
    heads = [heading(panel.title, errors(panel, grid)) for panel, grid in zip(spec.panels, grids, strict=True)]
    figure = _picture(spec.columns, heads, grids, heights, norm, notes)
    return Drawn(figure, numbers(titles, grids, "train"), notes, writers=writers)


def _height(grid: Grid, norm: LogNorm) -> Array:
    """Return log10 of the clipped loss (ny, nx), NaN where there is no finite one."""
    loss = grid.measured["train_loss"]
    return np.log10(np.clip(np.where(np.isfinite(loss), loss, np.nan), norm.vmin, norm.vmax))


def _picture(
    columns: int | None,
    heads: Sequence[str],
    grids: Sequence[Grid],
    heights: Sequence[Array],
    norm: LogNorm,
    notes: Sequence[str],
) -> Any:
    sidebar = Sidebar()
    sidebar.colorbar(norm, MAP, "training loss")
    page = layout_of(len(grids), columns, 2.6, lambda width: 0.94 * width, sidebar, notes, titles=heads, gap=SPACE)
    low, high = np.log10([norm.vmin or 1.0, norm.vmax or 1.0])
    ticks = log_ticks(float(norm.vmin or 1.0), float(norm.vmax or 1.0), 5)
    for i, (grid, z) in enumerate(zip(grids, heights, strict=True)):
        axes: Any = page.axes(i, projection="3d")
        x, y = np.meshgrid(grid.x, grid.y)
        colors = MAP((np.nan_to_num(z, nan=low) - low) / (high - low))
        shade = LIGHT.hillshade(np.nan_to_num(z, nan=low), vert_exag=0.3)
        lit = colors[..., :3] * (0.75 + 0.25 * shade[..., None])
        axes.plot_surface(x, y, z, facecolors=lit, rstride=1, cstride=1, linewidth=0, antialiased=False, shade=False)
        axes.set_xlabel("direction 1", labelpad=-7)
        axes.set_ylabel("direction 2", labelpad=-7)
        axes.set_zlim(low, high)
        axes.set_zticks(np.log10(ticks), log_labels(ticks))
        axes.view_init(30, -60)
        style.box3d(axes)
        for name in ("x", "y"):
            getattr(axes, f"set_{name}ticks")(np.linspace(getattr(grid, name)[0], getattr(grid, name)[-1], 3))
    return page.figure


def write_page(path: Path, titles: Sequence[str], grids: Sequence[Grid], heights: Sequence[Array]) -> None:
    """Write a page with one surface at a time, chosen from a list; plotly's script is inside.

    The most rugged one is first in sight; a pin stands on the lowest point of each.
    """
    import plotly.graph_objects as go

    low = min(float(np.nanmin(z)) for z in heights)
    high = max(float(np.nanmax(z)) for z in heights)
    first = int(np.argmax([ruggedness(grid.measured["train_loss"]) for grid in grids]))
    figure = go.Figure()
    for draw in (_surface, _pin):
        for i, (grid, z) in enumerate(zip(grids, heights, strict=True)):
            figure.add_trace(draw(grid, z, low, high).update(visible=i == first))
    names = [f"{title}, test error {error(grid):.1f}%" for title, grid in zip(titles, grids, strict=True)]
    buttons = [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": 2 * [j == i for j in range(len(names))]}, {"title.text": name}],
        }
        for i, name in enumerate(names)
    ]
    ends: dict[str, Any] = {**SCENE, "zaxis": {"title": {"text": "log10 training loss"}, "range": [low, high]}}
    for axis, text in (("xaxis", "first direction"), ("yaxis", "second direction")):
        ends[axis] = {"title": {"text": text}}
    figure.update_layout(
        title={"text": names[first]},
        scene=ends,
        margin={"l": 0, "r": 0, "t": 90, "b": 0},
        updatemenus=[{"buttons": buttons, "active": first, "x": 0.0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"}],
    )
    text = figure.to_html(include_plotlyjs=True, div_id="surfaces", **PAGE)
    path.write_text(text, encoding="utf-8")


def _surface(grid: Grid, z: Array, low: float, high: float) -> Any:
    """Return a surface and the lines of equal height below it."""
    import plotly.graph_objects as go

    return go.Surface(
        x=grid.x,
        y=grid.y,
        z=np.round(z, 4),
        customdata=grid.measured["train_loss"],
        colorscale="Viridis",
        cmin=low,
        cmax=high,
        colorbar={"title": {"text": "log10 loss"}},
        contours={"z": {"show": True, "usecolormap": True, "project_z": True}},
        hovertemplate="(%{x:.3g}, %{y:.3g}): loss %{customdata:.4g}<extra></extra>",
    )


def _pin(grid: Grid, z: Array, _: float, high: float) -> Any:
    """Return a line from the lowest point of a surface up to where it is seen."""
    import plotly.graph_objects as go

    row, column = np.unravel_index(np.nanargmin(z), z.shape)
    loss = grid.measured["train_loss"][row, column]
    return go.Scatter3d(
        x=[grid.x[column]] * 2,
        y=[grid.y[row]] * 2,
        z=[z[row, column], high],
        mode="lines+markers+text",
        text=["", "lowest point"],
        line={"color": "#d81b60", "width": 4},
        marker={"color": "#d81b60", "size": [4, 0.1]},
        showlegend=False,
        hovertemplate=f"lowest point of the grid: loss {loss:.4g}<extra></extra>",
    )


def write_vtp(path: Path, titles: Sequence[str], grids: Sequence[Grid], heights: Sequence[Array]) -> None:
    """Write all surfaces as one VTK PolyData file, side by side along x.

    Heights are scaled so that the highest is half a surface's width above the lowest. Point data: ``loss``,
    ``log10_loss``, ``surface`` (its number; the field data ``titles`` names them in order). A quadrilateral with a
    corner without a finite loss is left out.
    """
    low = min(float(np.nanmin(z)) for z in heights)
    high = max(float(np.nanmax(z)) for z in heights)
    points, cells, columns, offset, shift = [], [], [], 0, 0.0
    for i, (grid, z) in enumerate(zip(grids, heights, strict=True)):
        width = float(grid.x[-1] - grid.x[0])
        x, y = np.meshgrid(grid.x, grid.y)
        flat = np.where(np.isfinite(z), z, low)
        scaled = (flat - low) / max(high - low, 1e-9) * width / 2
        points.append(np.stack([x + shift, y, scaled], axis=-1).reshape(-1, 3))
        loss = np.where(np.isfinite(z), grid.measured["train_loss"], np.nan)
        columns.append(pd.DataFrame({"loss": loss.ravel(), "log10_loss": z.ravel(), "surface": float(i)}))
        cells.append(offset + quads(np.isfinite(z)))
        offset += z.size
        shift += SPACING * width
    values = {str(name): column.to_numpy() for name, column in pd.concat(columns, ignore_index=True).items()}
    write_polydata(path, np.concatenate(points), np.concatenate(cells), values, "log10_loss", titles)
