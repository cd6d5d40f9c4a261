"""The loss on a plane through one's own network (Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure

from lossatlas.arrays import Array
from lossatlas.draw import style, ticks
from lossatlas.draw.plane import MAP, filled
from lossatlas.landscape.large import along, vector_type
from lossatlas.own import relief, slices
from lossatlas.own.measured import asking, losses, lost_note
from lossatlas.own.point import Placed
from lossatlas.own.result import Clock
from lossatlas.own.slices import Chosen, ends, sized
from lossatlas.planes.trust import SliceTrust, Verdict

AXES = ("first direction", "second direction")


@dataclass(frozen=True, eq=False, repr=False)
class Surface(relief.OnPlane):
    """Losses on a plane: L(theta + x_j u + y_i v).

    Attributes:
        x: (nx,) coordinates along u.
        y: (ny,) along v.
        loss: (ny, nx) float64; inf or NaN where the network gave that, NaN also where memory was not enough.
        centre: the loss at theta, the network's own on the examples of the picture.
        norms: |u| and |v|, (2,): the length of a unit of each coordinate.
        name: what the directions are.
    """

    centre: float
    norms: Array
    name: str

    kind: ClassVar[str] = "own-surface"
    size: ClassVar[tuple[float, float]] = (4.4, 3.6)

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        norm = relief.scale(self.loss)
        filled(axes, self.x, self.y, self.loss, norm)
        axes.plot(0, 0, marker="o", color="white", markeredgecolor=style.INK, markersize=5, zorder=5)
        mappable = style.mpl.cm.ScalarMappable(norm, MAP)
        bar = figure.colorbar(mappable, ax=axes, label="loss (lines: equal areas)", pad=0.02)
        if isinstance(norm, relief.LogNorm):
            ticks.round_numbers(bar.ax.yaxis, float(norm.vmin or 1.0), float(norm.vmax or 1.0))
        label = self.provenance["network"]["label"]
        axes.set(xlabel=AXES[0], ylabel=AXES[1])
        axes.set_title(f"{label}: loss {self.centre:.4g} at the dot\n{self.name}", fontsize=8)
        return axes

    def plot3d(self) -> Any:
        """Return the surface as a plotly figure, the network marked; a notebook shows it, else ``.show()`` does.

        Raises:
            LossatlasError: plotly is not installed.
        """
        label = self.provenance["network"]["label"]
        marks = {f"{label}, loss {self.centre:.4g}": (0.0, 0.0, self.centre)}
        return relief.page(self.x, self.y, self.loss, AXES, f"{label}, {self.name}", marks)

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``x``, ``y``, ``loss`` of every point, row by row."""
        x, y = np.meshgrid(self.x, self.y)
        return {"x": x.ravel(), "y": y.ravel(), "loss": self.loss.ravel()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``x``, ``y``, ``loss``, ``centre``, ``norms``."""
        return {"x": self.x, "y": self.y, "loss": self.loss, "centre": np.array(self.centre), "norms": self.norms}

    def headline(self) -> str:
        """Return its size, range and losses."""
        finite = self.loss[np.isfinite(self.loss)]
        span = f"{finite.min():.4g} to {finite.max():.4g}" if len(finite) else "nowhere finite"
        return (
            f"Surface of {self.provenance['network']['label']}: {len(self.x)} x {len(self.y)} points, {self.name}; "
            f"loss {self.centre:.6g} at the centre, {span} on the plane ({self.provenance['seconds']:.0f} s)"
        )


def surface(
    network: Placed,
    grid: Any = None,
    range: Any = 1.0,
    directions: Any = "filter-normalised",
    *,
    examples: Any = None,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Surface:
    """Measure the loss on a plane through the network.

    L(theta + x u + y v) at every point of a grid, one forward pass over the examples each; u and v random and
    filter-normalised unless said otherwise, so that x = 1 changes every filter by as much as it is long. Without
    ``grid`` and ``examples`` the network is timed and both chosen so that a first picture takes a minute at most; the
    result says what was taken.

    Args:
        network: from :func:`lossatlas.load`, or any :class:`lossatlas.own.point.Point`.
        grid: points along both sides, or (nx, ny).
        range: r for -r ... r along both, (rx, ry), or ((x0, x1), (y0, y1)).
        directions: ``filter-normalised``, ``layer`` or ``none``: random, so scaled; ``pca``: principal axes of the
            network's checkpoints; or two tensors (D,).
        examples: how many, drawn at random; ``all``; None = as many as a minute affords.
        seed: of directions and examples.
        check: whether to ask if the picture is right (:mod:`lossatlas.planes.trust`), some 5% more at 41 x 41 points.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: arguments that do not fit.
    """
    chosen = slices.directions(network, directions, 2, seed)
    (x0, x1), (y0, y1) = ends(range, 2)
    smaller, counts, said = sized(network, 2, grid, examples, seed)
    settings = {"grid": list(counts), "range": [[x0, x1], [y0, y1]], "directions": chosen.name, "seed": seed}
    clock = Clock("surface", smaller, settings)
    x, y = np.linspace(x0, x1, counts[0]), np.linspace(y0, y1, counts[1])
    found, lost = on_plane(smaller, chosen, x, y, "surface", progress)
    norms = np.array([float(v.norm()) for v in chosen.vectors])
    verdict = Verdict()
    if check:
        reach, step = max(abs(x0), abs(x1)), float(x[1] - x[0])
        asked = SliceTrust(smaller, chosen.vectors, reach, chosen.how, seed, found.size, step, asking(progress))
        verdict = asked.verdict(chosen.explained)
    notes = tuple(note for note in (said, lost_note(found, lost)) if note)
    centre = float(smaller.landscape.loss(smaller.theta))
    return Surface(clock.record(), verdict, notes, x, y, found, centre, norms, chosen.name)


def on_plane(
    network: Placed, chosen: Chosen, x: Array, y: Array, what: str, progress: bool | None
) -> tuple[Array, int]:
    """Return the losses (ny, nx) at theta + x u + y v, and how many points did not fit into memory."""
    theta, (first, second) = network.theta.to(vector_type(network.landscape)), chosen.vectors
    place = torch.empty_like(theta)
    points = (point for row in along(theta, second, y) for point in along(row, first, x, place))
    found, lost = losses(network.landscape, points, len(x) * len(y), what, progress)
    return found.reshape(len(y), len(x)), lost
