"""The path of a training in the plane that holds most of it: losses on the plane, and on the path itself.

The plane of the first two principal axes of the checkpoints (Li et al. 2018, section 7), through the network. What the
contours show below a checkpoint is the loss at its shadow on the plane, not its own: both are measured, and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.draw import style, ticks
from lossatlas.draw.plane import MAP, filled
from lossatlas.errors import LossatlasError
from lossatlas.own import relief
from lossatlas.own.measured import asking, losses, lost_note
from lossatlas.own.point import Placed, anywhere, limited
from lossatlas.own.result import Clock
from lossatlas.own.slices import Chosen, principal
from lossatlas.own.surface import on_plane
from lossatlas.planes.plane import sides
from lossatlas.planes.trust import SliceTrust, Verdict, compared

EXAMPLES = 500
"""Examples of a trajectory's plane where nobody says how many."""

MARGIN = 0.2
"""Ground beyond the path on each side, in units of its extent."""


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(relief.OnPlane):
    """A path and the plane of its principal axes.

    Attributes:
        x: (nx,) coordinates along the first axis, distances in R^D; 0 is the network.
        y: (ny,) along the second.
        loss: (ny, nx) losses on the plane.
        path: (n, 2) coordinates of the checkpoints.
        path_loss: (n,) losses of the checkpoints themselves.
        shadow_loss: (n,) losses at their shadows on the plane.
        off: (n,) distances of the checkpoints from the plane, in R^D.
        explained: (2,) share of the path's variance along each axis.
        labels: of the checkpoints.
    """

    path: Array
    path_loss: Array
    shadow_loss: Array
    off: Array
    explained: Array
    labels: tuple[str, ...]

    kind: ClassVar[str] = "own-trajectory"
    size: ClassVar[tuple[float, float]] = (7.4, 3.4)

    def _draw(self, figure: Figure) -> Any:
        left, right = axes = figure.subplots(1, 2, width_ratios=(1.25, 1))
        norm = relief.scale(self.loss)
        filled(left, self.x, self.y, self.loss, norm)
        left.plot(*self.path.T, color="white", lw=2.6, zorder=4)
        left.plot(*self.path.T, color=style.HUES[1], lw=1.2, marker=".", ms=5, zorder=5)
        left.plot(*self.path[-1], marker="o", color="white", markeredgecolor=style.INK, markersize=5, zorder=6)
        bar = figure.colorbar(style.mpl.cm.ScalarMappable(norm, MAP), ax=left, label="loss on the plane", pad=0.02)
        if isinstance(norm, relief.LogNorm):
            ticks.round_numbers(bar.ax.yaxis, float(norm.vmin or 1.0), float(norm.vmax or 1.0))
        shares = [f"{name} principal axis ({share:.1%})" for name, share in zip(AXES, self.explained, strict=True)]
        left.set(xlabel=shares[0], ylabel=shares[1])
        label = self.provenance["network"]["label"]
        left.set_title(f"{label}: {len(self.path)} checkpoints, the last at the dot", fontsize=8)
        number = np.arange(len(self.path))
        right.plot(number, self.path_loss, color=style.HUES[1], marker=".", label="on the path itself")
        shadow = "at its shadow on the plane"
        right.plot(number, self.shadow_loss, color=style.HUES[0], ls="--", marker=".", label=shadow)
        finite = np.concatenate([self.path_loss, self.shadow_loss])
        finite = finite[np.isfinite(finite)]
        if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
            right.set_yscale("log")
        right.set(xlabel="checkpoint", ylabel="loss")
        right.legend(fontsize=6.5, frameon=False)
        return axes

    def plot3d(self) -> Any:
        """Return the plane as a plotly figure with the path, at its shadow's losses, on it.

        Raises:
            LossatlasError: plotly is not installed.
        """
        label = self.provenance["network"]["label"]
        px, py = self.path.T
        marks = {"shadow of the path": (px, py, self.shadow_loss)}
        marks[f"{label}, loss {self.path_loss[-1]:.4g}"] = (px[-1:], py[-1:], self.shadow_loss[-1:])
        names = ("first principal axis", "second principal axis")
        return relief.page(self.x, self.y, self.loss, names, f"{label}, plane of its checkpoints", marks)

    def columns(self) -> dict[str, np.ndarray]:
        """Return a row a checkpoint: label, coordinates, losses, distance from the plane. The plane is in ``.h5``."""
        named = {"checkpoint": np.array(self.labels), "x": self.path[:, 0], "y": self.path[:, 1]}
        return {**named, "path_loss": self.path_loss, "shadow_loss": self.shadow_loss, "off_plane": self.off}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every number by name."""
        names = ("x", "y", "loss", "path", "path_loss", "shadow_loss", "off", "explained")
        return {name: getattr(self, name) for name in names}

    def headline(self) -> str:
        """Return what the plane holds of the path."""
        return (
            f"Trajectory of {self.provenance['network']['label']}: {len(self.path)} checkpoints, "
            f"{self.explained.sum():.1%} of their variance in the plane; loss {self.path_loss[0]:.4g} to "
            f"{self.path_loss[-1]:.4g} on the path ({self.provenance['seconds']:.0f} s)"
        )


AXES = ("first", "second")


def trajectory(
    network: Placed,
    checkpoints: Sequence[Any] | None = None,
    grid: int | tuple[int, int] = 21,
    *,
    examples: Any = None,
    margin: float = MARGIN,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Trajectory:
    """Measure the loss on the plane of a training's checkpoints, and on the checkpoints themselves.

    Args:
        network: from :func:`lossatlas.load`, the end of the path; it is added where it is not the last checkpoint.
        checkpoints: whatever ``network.at`` takes (paths, states, weights), or networks, in order; None = those of the
            directory that the network was loaded from.
        grid: points along both sides, or (nx, ny).
        examples: how many, drawn at random; ``all``; None = 500 at most.
        margin: ground beyond the path on each side, in units of its extent.
        seed: of the examples.
        check: whether to ask if the picture is right.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: fewer than three different checkpoints, or of another model.
    """
    points, labels = _points(network, checkpoints)
    counts = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if len(counts) != 2 or min(counts) < 3:
        raise LossatlasError(f"grid: got {grid!r}; expected numbers of points, 2 of at least 3")
    smaller, said = limited(network, examples, EXAMPLES, seed)
    smaller, anew = anywhere(smaller)
    settings = {"grid": list(counts), "checkpoints": list(labels), "margin": margin, "seed": seed}
    clock = Clock("trajectory", smaller, settings)
    axes, explained, _ = principal(points, 2)
    theta = smaller.theta.double()
    apart = [point - theta for point in points]
    path = np.array([[float(step @ axis) for axis in axes] for step in apart])
    off = np.array([max(float(s @ s) - float(c @ c), 0.0) ** 0.5 for s, c in zip(apart, path, strict=True)])
    x, y = sides(path, margin, (counts[0], counts[1]))
    chosen = Chosen(tuple(axes), None, "principal axes of the checkpoints", float(explained.sum()))
    found, lost = on_plane(smaller, chosen, x, y, "plane of the path", progress)
    own, _ = losses(smaller.landscape, iter(points), len(points), "path", progress)
    shadows = (theta + float(a) * axes[0] + float(b) * axes[1] for a, b in path)
    below, _ = losses(smaller.landscape, shadows, len(points), "path", progress)
    verdict = Verdict()
    if check:
        reach = float(max(abs(x[0]), abs(x[-1])))
        asked = SliceTrust(smaller, axes, reach, None, seed, found.size, float(x[1] - x[0]), asking(progress))
        verdict = asked.verdict(float(explained.sum()))
        rise = float(np.ptp(own)) if np.isfinite(own).all() else float("nan")
        gap = float(np.abs(own - below).max()) / rise if rise > 0 else float("nan")
        words = f"the contours below the path are off by {gap:.2g} of the path's own range of losses"
        verdict = Verdict((compared("path", gap, words), *verdict.checks), verdict.cost)
    notes = tuple(note for note in (said, anew, lost_note(found, lost)) if note)
    return Trajectory(clock.record(), verdict, notes, x, y, found, path, own, below, off, explained, labels)


def _points(network: Placed, checkpoints: Sequence[Any] | None) -> tuple[list[Tensor], tuple[str, ...]]:
    """Return the weights (D,) of the checkpoints, the network's own last, and what to call them."""
    given = list(getattr(network, "checkpoints", ()) if checkpoints is None else checkpoints)
    points, labels = [], []
    for item in given:
        placed = item if hasattr(item, "theta") and hasattr(item, "layout") else _at(network, item)
        if placed.layout != network.layout:
            raise LossatlasError(f"checkpoints: {placed.label} is of another model than {network.label}")
        points.append(placed.theta.double().to(network.theta.device))
        labels.append(placed.label)
    if not points or not bool((points[-1] == network.theta.double()).all()):
        points.append(network.theta.double())
        labels.append(network.label)
    if len(points) < 3:
        raise LossatlasError(
            f"checkpoints: got {len(points)} with the network itself; expected at least 3: load a directory of them"
        )
    return points, tuple(labels)


def _at(network: Any, item: Any) -> Placed:
    if hasattr(network, "at"):
        found: Placed = network.at(item)
        return found
    raise LossatlasError(
        f"checkpoints: got {type(item).__name__}; expected points, or a network made by lossatlas.load"
    )
