"""A plane's losses in three dimensions: an interactive page by plotly, and files for ParaView."""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from lossatlas.arrays import Array
from lossatlas.draw.plane import LEAST, MOST, PAGE, SCENE
from lossatlas.draw.vtk import quads, write_polydata
from lossatlas.errors import LossatlasError
from lossatlas.own.result import Result


def scale(loss: Array) -> Normalize:
    """Return the colour scale of losses: logarithmic where all are above zero, linear otherwise.

    Raises:
        LossatlasError: none of them is finite.
    """
    finite = loss[np.isfinite(loss)]
    if not len(finite):
        raise LossatlasError("picture: no point has a finite loss; make the range smaller")
    low, high = float(finite.min()), float(finite.max())
    if low > 0:
        low, high = float(np.clip(low, LEAST, MOST)), float(np.clip(high, LEAST, MOST))
        return LogNorm(low, max(high, 1.01 * low))
    return Normalize(low, high if high > low else low + 1.0)


def heights(loss: Array, norm: Normalize) -> tuple[Array, str]:
    """Return what is drawn upwards, NaN where there is no finite loss, and what its axis says."""
    shown = np.where(np.isfinite(loss), loss, np.nan)
    if isinstance(norm, LogNorm):
        return np.log10(np.clip(shown, norm.vmin, norm.vmax)), "log10 loss"
    return shown, "loss"


def page(x: Array, y: Array, loss: Array, axes: tuple[str, str], title: str, marks: dict[str, Any]) -> Any:
    """Return a plotly figure of a surface.

    Args:
        x: (nx,).
        y: (ny,).
        loss: (ny, nx).
        axes: names of the coordinates.
        title: what stands above.
        marks: name -> (x, y, loss) arrays of points to be marked on it; a name that ends in ``path`` is a line, too.

    Raises:
        LossatlasError: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise LossatlasError(
            "plot3d: plotly is not installed; pip install 'lossatlas[3d]', or use .plot() or .save('surface.vtk')"
        ) from error
    norm = scale(loss)
    z, up = heights(loss, norm)
    figure = go.Figure(
        go.Surface(
            x=x,
            y=y,
            z=np.round(z, 5),
            customdata=loss,
            colorscale="Viridis",
            colorbar={"title": {"text": up}, "len": 0.7},
            contours={"z": {"show": True, "usecolormap": True, "project_z": True}},
            hovertemplate="(%{x:.3g}, %{y:.3g}): loss %{customdata:.4g}<extra></extra>",
        )
    )
    for name, (mx, my, losses) in marks.items():
        height, _ = heights(np.atleast_1d(losses), norm)
        figure.add_trace(
            go.Scatter3d(
                x=np.atleast_1d(mx),
                y=np.atleast_1d(my),
                z=height,
                customdata=np.atleast_1d(losses),
                name=name,
                mode="lines+markers" if name.endswith("path") else "markers",
                marker={"size": 5, "color": "#D55E00", "line": {"color": "white", "width": 1}},
                line={"color": "#D55E00", "width": 4},
                hovertemplate=name + ": loss %{customdata:.4g}<extra></extra>",
            )
        )
    figure.update_layout(
        title={"text": title, "font": {"size": 14}},
        scene={
            **SCENE,
            "xaxis": {"title": {"text": axes[0]}},
            "yaxis": {"title": {"text": axes[1]}},
            "zaxis": {"title": {"text": up}},
        },
        margin={"l": 0, "r": 0, "t": 50, "b": 0},
        legend={"x": 0, "y": 1},
    )
    return figure


def write_page(path: Path, figure: Any, record: str) -> None:
    """Write a plotly figure as a page that works offline, with a record (JSON) in an element that nothing runs."""
    text = figure.to_html(include_plotlyjs=True, div_id="surface", **PAGE)
    kept = record.replace("</", "<\\/")
    tag = f'<script type="application/json" id="lossatlas">{kept}</script>'
    path.write_text(text.replace("</head>", f"{tag}</head>", 1), encoding="utf-8")


def write_vtp(path: Path, x: Array, y: Array, loss: Array, record: str) -> None:
    """Write a surface as VTK PolyData (XML): heights scaled to half its width, values ``loss`` and ``height``.

    A quadrilateral with a corner without a finite loss is left out. Field data ``titles`` holds the record.
    """
    z, up = heights(loss, scale(loss))
    low, high = float(np.nanmin(z)), float(np.nanmax(z))
    gx, gy = np.meshgrid(x, y)
    flat = np.where(np.isfinite(z), z, low)
    scaled = (flat - low) / max(high - low, 1e-9) * float(x[-1] - x[0]) / 2
    points = np.stack([gx, gy, scaled], axis=-1).reshape(-1, 3)
    name = up.replace(" ", "_")
    values = {"loss": np.where(np.isfinite(loss), loss, np.nan).ravel(), name: z.ravel()}
    write_polydata(
        path, points, quads(np.isfinite(z)), values if name != "loss" else {"loss": z.ravel()}, name, [record]
    )


def write_vtk(path: Path, x: Array, y: Array, loss: Array, record: str) -> None:
    """Write a surface as a legacy VTK file (structured grid, text): the height is the one that is drawn, not scaled.

    Its second line, at most 256 characters, is a title; the record stands in the field ``provenance`` as the bytes of
    its text. Points without a finite loss have the value NaN and the height of the lowest.
    """
    z, _ = heights(loss, scale(loss))
    flat = np.where(np.isfinite(z), z, np.nanmin(z))
    gx, gy = np.meshgrid(x, y)
    lines = ["# vtk DataFile Version 3.0", "loss surface (lossatlas)", "ASCII", "DATASET STRUCTURED_GRID"]
    codes = record.encode()
    lines += ["FIELD FieldData 1", f"provenance 1 {len(codes)} unsigned_char", " ".join(map(str, codes))]
    lines += [f"DIMENSIONS {len(x)} {len(y)} 1", f"POINTS {z.size} double"]
    lines += [f"{a!r} {b!r} {c!r}" for a, b, c in zip(*(v.ravel().tolist() for v in (gx, gy, flat)), strict=True)]
    lines += [f"POINT_DATA {z.size}", "SCALARS loss double 1", "LOOKUP_TABLE default"]
    shown = np.where(np.isfinite(loss), loss, np.nan)
    lines += [repr(value) for value in shown.ravel().tolist()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False, repr=False)
class OnPlane(Result):
    """A result with losses on a plane, which is saved as an interactive page and for ParaView, too.

    Attributes:
        x: (nx,) coordinates along the first direction.
        y: (ny,) along the second.
        loss: (ny, nx) float64; inf or NaN where the network gave that, NaN also where memory was not enough.
    """

    x: Array
    y: Array
    loss: Array

    formats: ClassVar[tuple[str, ...]] = (*Result.formats, "vtk", "vtp", "html")

    @abstractmethod
    def plot3d(self) -> Any:
        """Return the surface as a plotly figure; a notebook shows it, else ``.show()`` does."""

    def _write_other(self, path: Path, suffix: str) -> None:
        record = json.dumps(self.record())
        if suffix == "html":
            write_page(path, self.plot3d(), record)
        else:
            write = write_vtk if suffix == "vtk" else write_vtp
            write(path, self.x, self.y, self.loss, record)
