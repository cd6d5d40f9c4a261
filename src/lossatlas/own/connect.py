"""What lies between two networks: the straight line, the line after matching their units, a low path.

The *barrier* of a path is its highest loss less that of its higher end, max_t L(t) - max(L(0), L(1)), at the points
that were measured; 0 where no point is higher than that end. (Frankle et al. 2020 subtract the mean of the ends, which
counts a mere difference of the ends as half a barrier; the highest loss and both ends are in the result.)
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.barriers.pathfinder import FourierPath, Settings, minibatches
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.landscape.alignment import Dense, match
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.own.bars import ticking
from lossatlas.own.measured import losses, lost_note
from lossatlas.own.point import Placed, about, anywhere, has_statistics, limited, recomputed, same_model
from lossatlas.own.result import Clock, Result
from lossatlas.planes.trust import SAME, Check, Outcome, Verdict
from lossatlas.seeds import derive

EXAMPLES = 1000
"""Examples of a connection where nobody says how many."""

BATCH = 128
"""Examples of a step of the low path's optimisation."""

SECONDS = 40.0
"""Time for that optimisation where nobody says how many steps; 10 steps at least, 100 at most."""

STEP = 0.05
"""Adam's step for each coordinate, in units of the root mean square distance of the ends: a path of 100 steps may bend
by several times that distance."""


@dataclass(frozen=True, eq=False, repr=False)
class Connection(Result):
    """Losses between two networks; t = 0 is the first, 1 the second.

    Attributes:
        t: (n,) from 0 to 1.
        line: (n,) losses on the straight line.
        path: (n,) losses on the low path; empty where none was asked for.
        aligned: (n,) losses on the line to the second network with its units matched to the first's; empty where
            matching is not supported, which ``notes`` say.
        lengths: of line, path and aligned line in R^D, NaN where there is none.
        labels: of the two networks.
    """

    t: Array
    line: Array
    path: Array
    aligned: Array
    lengths: Array
    labels: tuple[str, str]

    kind: ClassVar[str] = "own-connection"
    size: ClassVar[tuple[float, float]] = (4.6, 3.3)

    @property
    def barriers(self) -> dict[str, float]:
        """The barrier of each curve by name, above its higher end; NaN where a point has no finite loss."""
        return {name: barrier(losses) for name, losses in self._curves().items()}

    def _curves(self) -> dict[str, Array]:
        named = {"straight line": self.line, "low path": self.path, "line, units matched": self.aligned}
        return {name: curve for name, curve in named.items() if len(curve)}

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        for (name, curve), color, dash in zip(self._curves().items(), style.HUES, style.DASHES, strict=False):
            label = f"{name}: barrier {self.barriers[name]:.3g}"
            axes.plot(self.t, np.where(np.isfinite(curve), curve, np.nan), color=color, ls=dash, lw=1.3, label=label)
        everything = np.concatenate(list(self._curves().values()))
        finite = everything[np.isfinite(everything)]
        if len(finite) and finite.min() > 0 and finite.max() > 100 * finite.min():
            axes.set_yscale("log")
        axes.set(xlabel=f"t (0: {self.labels[0]}, 1: {self.labels[1]})", ylabel="loss", xlim=(0, 1))
        axes.set_title("barrier: highest loss above the higher end", fontsize=7.5)
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``t`` and the losses of the curves that there are: ``line``, ``path``, ``aligned``."""
        named = {"t": self.t, "line": self.line, "path": self.path, "aligned": self.aligned}
        return {name: curve for name, curve in named.items() if len(curve)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the curves, ``lengths`` and the barriers as ``barrier_line`` and so on."""
        heights = {f"barrier_{name}": np.array(barrier(v)) for name, v in self.columns().items() if name != "t"}
        return {**self.columns(), "lengths": self.lengths, **heights}

    def headline(self) -> str:
        """Return the barriers."""
        first = f"Between {self.labels[0]} (loss {self.line[0]:.4g}) and {self.labels[1]} (loss {self.line[-1]:.4g})"
        known = self.lengths[np.isfinite(self.lengths)]
        rows = [
            f"  {name:20} barrier {height:.4g} above the higher end, length {length:.4g}"
            for (name, height), length in zip(self.barriers.items(), known, strict=True)
        ]
        return "\n".join([f"{first}, {self.provenance['seconds']:.0f} s", *rows])


def barrier(curve: Array) -> float:
    """Return the highest loss above the higher end, at least 0; NaN where a point has no finite loss."""
    if not np.isfinite(curve).all():
        return float("nan")
    return float(curve.max() - max(curve[0], curve[-1]))


def connect(
    a: Placed,
    b: Placed,
    points: int = 21,
    *,
    path: bool | None = None,
    align: bool = True,
    terms: int = 4,
    steps: int | None = None,
    examples: Any = None,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Connection:
    """Measure the loss between two networks of one model.

    The straight line; a low path, (1 - t) a + t b + sum_n c_n sin(n pi t), whose coefficients Adam moves to a low mean
    loss on minibatches (FourierPathFinder, Yu & Morozov); and, for chains of fully connected layers, the straight line
    to b with its hidden units in the order in which they are nearest to a's (weight matching, Ainsworth et al. 2023),
    where outputs were found not to change by it. Batch-norm statistics are computed anew at every point of all of them:
    those of one end give wrong losses elsewhere (Izmailov et al. 2018).

    Args:
        a: the network at t = 0, from :func:`lossatlas.load`; ``a.at("b.pt")`` gives the other.
        b: that at t = 1.
        points: of each curve, both ends included.
        path: whether to look for a low path; None = where the straight line has a barrier.
        align: whether to match units.
        terms: sines of the low path.
        steps: of its optimisation; None = as many as 40 seconds afford, 10 to 100.
        examples: how many the losses are taken on; ``all``; None = 1,000 at most.
        seed: of examples and minibatches.
        check: whether to ask if the picture is right.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: networks of other models or examples, or numbers out of range.
    """
    if points < 3 or terms < 1 or (steps is not None and steps < 1):
        raise LossatlasError(
            f"connect: got points {points!r}, terms {terms!r}, steps {steps!r}; expected 3, 1, 1 or more"
        )
    same_model(a, b)
    smaller, said = limited(a, examples, EXAMPLES, seed)
    smaller, anew = anywhere(smaller)
    landscape = smaller.landscape
    first, last = a.theta.double(), b.theta.double().to(a.theta.device)
    clock = Clock("connect", smaller, {"points": points, "terms": terms, "seed": seed, "other": about(b)})
    t = np.linspace(0, 1, points)
    straight, lost = losses(landscape, _on_line(first, last, t), points, "straight line", progress)
    notes = [note for note in (said, anew, lost_note(straight, lost)) if note]
    lengths = [float((last - first).norm()), np.nan, np.nan]
    low, finder = np.zeros(0), None
    if path is None and barrier(straight) == 0:
        notes.append("the straight line has no barrier: no other path was looked for; path=True looks for one")
    elif path is not False:
        finder, taken = _low_path(landscape, first, last, Settings(terms, points), steps, seed, progress)
        low, lost = losses(landscape, iter(finder.points()), points, "low path", progress)
        clock.settings |= {"steps": taken, "lr": finder.settings.lr}
        lengths[1] = finder.length()
        notes += [note for note in (lost_note(low, lost),) if note]
    placed = np.zeros(0)
    if align:
        matched, why = aligned(landscape, smaller.layout, first, last)
        if matched is None:
            notes.append(f"units not matched: {why}")
        else:
            placed, _ = losses(landscape, _on_line(first, matched, t), points, "line, units matched", progress)
            lengths[2] = float((matched - first).norm())
    verdict = _verdict(smaller, first, last, t, straight, finder, low, seed, progress) if check else Verdict()
    labels = (a.label, b.label)
    return Connection(clock.record(), verdict, tuple(notes), t, straight, low, placed, np.array(lengths), labels)


def _on_line(first: Tensor, last: Tensor, t: Array) -> Any:
    return ((1 - float(x)) * first + float(x) * last for x in t)


def _low_path(
    landscape: Landscape,
    first: Tensor,
    last: Tensor,
    shape: Settings,
    steps: int | None,
    seed: int,
    progress: bool | None,
) -> tuple[FourierPath, int]:
    """Return a path whose coefficients were optimised on minibatches, and the steps that were taken."""
    rate = STEP * float((last - first).square().mean().sqrt()) or STEP
    path = FourierPath(first, last, Settings(shape.terms, shape.points, lr=rate))
    count = len(landscape.y) if isinstance(landscape, NetworkLandscape) else 1
    rows = minibatches(count, BATCH, derive(seed, "connect", "batches") % 2**31)
    started = time.perf_counter()
    path.advance(_minibatch(landscape, rows(0)))
    taken = 1
    total = steps or int(np.clip(SECONDS / max(time.perf_counter() - started, 1e-6), 10, 100))
    with ticking("low path", total, progress) as tick:
        tick()
        while taken < total:
            path.advance(_minibatch(landscape, rows(taken)))
            taken += 1
            tick()
    return path, taken


def _minibatch(landscape: Landscape, rows: Tensor | None) -> Landscape:
    """Return the landscape of a minibatch; recomputed batch-norm statistics are then its own."""
    if rows is None or not isinstance(landscape, NetworkLandscape) or landscape.batch_norm == "batch":
        return landscape
    part = landscape.at_examples(rows)
    return recomputed(part) if landscape.batch_norm == "recompute" else part


def aligned(landscape: Landscape, layout: Any, first: Tensor, last: Tensor) -> tuple[Tensor | None, str]:
    """Return the second point with its units matched to the first's, or None and why that is not supported.

    Units may change signs where activations are odd. Whether they are, and whether the network is the chain that its
    shapes suggest, is seen from the outputs, which a matching must leave as they are.
    """
    if not isinstance(landscape, NetworkLandscape):
        return None, "a function has no units"
    try:
        dense = Dense(layout)
    except LossatlasError:
        return None, "supported for chains of fully connected layers only"
    if len(dense.weights) < 2:
        return None, "there is no hidden layer"
    ours, theirs = last.cpu().numpy(), first.cpu().numpy()
    before = landscape.outputs(last).double()
    for odd in (True, False):
        moved = torch.from_numpy(dense.applied(ours, match(layout, ours, theirs, odd))).to(last.device)
        after = landscape.outputs(moved).double()
        if float((after - before).abs().max()) <= 1e-3 * float(before.abs().max()):
            return moved, ""
    return None, "outputs change when hidden units change places, so its layers are no plain chain"


def _verdict(
    network: Placed,
    first: Tensor,
    last: Tensor,
    t: Array,
    straight: Array,
    path: FourierPath | None,
    low: Array,
    seed: int,
    progress: bool | None,
) -> Verdict:
    """Return the checks of a connection: between its points, halves of the examples, statistics, the low path."""
    landscape, taken = network.landscape, 0.0
    rise = float(straight.max() - straight[[0, -1]].min()) if np.isfinite(straight).all() else float("nan")
    checks = []
    middles = (t[1:] + t[:-1]) / 2
    between, _ = losses(landscape, _on_line(first, last, middles), len(middles), "is it right?", progress)
    taken += len(middles)
    hidden = float(between.max() - straight.max()) / rise if rise > 0 else float("nan")
    if path is not None and len(low):
        finer = FourierPath(first, last, Settings(path.settings.terms, 2 * len(t) - 1))
        finer.state = path.state
        inner, _ = losses(landscape, iter(finer.points()[1::2]), len(middles), "is it right?", progress)
        taken += len(middles)
        hidden = max(hidden, float(inner.max() - low.max()) / rise) if rise > 0 else hidden
    words = f"between the points the loss is higher by {max(hidden, 0):.2g} of the line's rise"
    outcome: Outcome = "undecided" if not np.isfinite(hidden) else "yes" if hidden <= SAME else "no"
    checks.append(Check("grid", outcome, hidden, f"at most {SAME} of the rise of the straight line", words))
    if isinstance(landscape, NetworkLandscape) and landscape.batch_norm != "batch" and len(landscape.y) > 1:
        check, cost = _halves(landscape, first, last, t, straight, rise, seed)
        checks.append(check)
        taken += cost
    if has_statistics(network):
        words = "statistics belong to each point" if isinstance(landscape, NetworkLandscape) else ""
        checks.append(Check("batch norm", "stated", float("nan"), "none", words))
    if len(low) and np.isfinite(low).all():
        height = barrier(low)
        words = "0: the ends are connected"
        if height > 0:
            words = f"{height:.3g}, an upper bound: a longer search may find a lower path"
        checks.append(Check("low path", "stated", height, "none", f"its barrier is {words}"))
    return Verdict(tuple(checks), taken / (len(t) * (2 if path is not None else 1)))


def _halves(
    landscape: NetworkLandscape, first: Tensor, last: Tensor, t: Array, straight: Array, rise: float, seed: int
) -> tuple[Check, float]:
    """Compare the straight line's barrier on two halves of the examples: ends and highest point."""
    count = len(landscape.y)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "trust", "halves")))
    at = np.array([0.0, float(t[int(np.nanargmax(straight))]) if np.isfinite(straight).any() else 0.5, 1.0])
    heights = []
    for rows in (order[: count // 2], order[count // 2 :]):
        half = landscape.at_examples(rows.sort().values)
        heights.append(barrier(np.array([float(half.loss(point)) for point in _on_line(first, last, at)])))
    gap = abs(heights[0] - heights[1]) / rise if rise > 0 else float("nan")
    outcome: Outcome = "undecided" if not np.isfinite(gap) else "yes" if gap <= SAME else "no"
    words = f"the line's barrier is {heights[0]:.3g} and {heights[1]:.3g} on two halves of the examples"
    return Check("examples", outcome, gap, f"differ by at most {SAME} of the line's rise", words), 3.0
