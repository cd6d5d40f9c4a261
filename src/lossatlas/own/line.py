"""The loss along a line: through one's own network in a random direction, or from it to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.landscape.large import along, vector_type
from lossatlas.own import slices
from lossatlas.own.measured import asking, losses, lost_note
from lossatlas.own.point import Placed, about, anywhere, same_model
from lossatlas.own.result import Clock, Result
from lossatlas.own.slices import Chosen, ends, sized
from lossatlas.planes.trust import SliceTrust, Verdict


@dataclass(frozen=True, eq=False, repr=False)
class Line(Result):
    """Losses along a line: L(theta + t_i d).

    Attributes:
        t: (n,) coordinates; 0 is the network, 1 the other one where there is another.
        loss: (n,) float64; inf or NaN where the network gave that, NaN also where memory was not enough.
        centre: the loss at t = 0.
        norm: |d|.
        name: what the direction is.
    """

    t: Array
    loss: Array
    centre: float
    norm: float
    name: str

    kind: ClassVar[str] = "own-line"
    size: ClassVar[tuple[float, float]] = (4.4, 3.0)

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        lost = ~np.isfinite(self.loss)
        axes.plot(self.t, np.where(lost, np.nan, self.loss), color=style.HUES[0], lw=1.2, marker=".", ms=3)
        for t in self.t[lost]:
            axes.axvline(t, color="#a6a6a6", lw=2, alpha=0.5, zorder=0)
        axes.plot(0, self.centre, marker="o", color="white", markeredgecolor=style.INK, markersize=5, zorder=5)
        finite = self.loss[~lost]
        if len(finite) and finite.min() > 0 and finite.max() > 100 * finite.min():
            axes.set_yscale("log")
        axes.set(xlabel="t", ylabel="loss")
        title = f"{self.provenance['network']['label']}: loss {self.centre:.4g} at the dot\n{self.name}"
        axes.set_title(title + ("; grey: no finite loss" if lost.any() else ""), fontsize=8)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``t`` and ``loss``."""
        return {"t": self.t, "loss": self.loss}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``t``, ``loss``, ``centre``, ``norm``."""
        return {"t": self.t, "loss": self.loss, "centre": np.array(self.centre), "norm": np.array(self.norm)}

    def headline(self) -> str:
        """Return its range and losses."""
        finite = self.loss[np.isfinite(self.loss)]
        span = f"{finite.min():.4g} to {finite.max():.4g}" if len(finite) else "nowhere finite"
        return (
            f"Line through {self.provenance['network']['label']}: {len(self.t)} points, {self.name}; loss "
            f"{self.centre:.6g} at 0, {span} in all ({self.provenance['seconds']:.0f} s)"
        )


def line(
    network: Placed,
    other: Any = None,
    grid: int | None = 51,
    range: Any = None,
    directions: Any = "filter-normalised",
    *,
    examples: Any = None,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Line:
    """Measure the loss along a line through the network.

    With another network of the same model the line leads to it (t = 1); batch-norm statistics are then computed anew at
    every point, since those of one end are not those of the other. Without, in one direction.

    Args:
        network: from :func:`lossatlas.load`, or any :class:`lossatlas.own.point.Point`.
        other: the network at t = 1, or None.
        grid: number of points.
        range: r for -r ... r or (low, high); -1 ... 1 by default, -0.25 ... 1.25 to another network.
        directions: ``filter-normalised``, ``layer``, ``none``, ``pca``, or a tensor (D,); without ``other``.
        examples: how many, drawn at random; ``all``; None = as many as a minute affords.
        seed: of direction and examples.
        check: whether to ask if the picture is right; it costs about as much as the line itself.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: arguments that do not fit, or networks of other models or examples.
    """
    notes: list[str] = []
    if other is None:
        chosen = slices.directions(network, directions, 1, seed)
        ((low, high),) = ends(1.0 if range is None else range, 1)
    else:
        same_model(network, other)
        kind = vector_type(network.landscape)
        step = other.theta.to(network.theta.device, kind) - network.theta.to(kind)
        chosen = Chosen((step,), None, f"to {other.label} at t = 1")
        ((low, high),) = ends((-0.25, 1.25) if range is None else range, 1)
    smaller, (count,), said = sized(network, 1, grid, examples, seed)
    if other is not None:
        smaller, anew = anywhere(smaller)
        notes.append(anew)
    settings: dict[str, Any] = {"grid": count, "range": [low, high], "direction": chosen.name, "seed": seed}
    if other is not None:
        settings["other"] = about(other)
    clock = Clock("line", smaller, settings)
    t = np.linspace(low, high, count)
    theta, direction = smaller.theta.to(vector_type(smaller.landscape)), chosen.vectors[0]
    found, lost = losses(smaller.landscape, along(theta, direction, t), count, "line", progress)
    verdict = Verdict()
    if check:
        reach = max(abs(low), abs(high))
        spacing = float(t[1] - t[0])
        between = other is not None and getattr(smaller.landscape, "batch_norm", "") == "recompute"
        asked = SliceTrust(smaller, chosen.vectors, reach, chosen.how, seed, count, spacing, asking(progress), between)
        verdict = asked.verdict(chosen.explained)
    notes = [note for note in (*notes, said, lost_note(found, lost)) if note]
    centre = float(smaller.landscape.loss(smaller.theta))
    return Line(clock.record(), verdict, tuple(notes), t, found, centre, float(direction.norm()), chosen.name)
