"""Is my plot right? Checks of a picture against what it leaves out, each a number with its criterion.

Every check of a slice compares two *curves*: the loss along a line through the minimum, less the loss there, at the
same few steps. Their difference is the largest over the steps, as a share of the *rise*, the largest excess of the
curves that the picture shows::

    d(a, b) = max_i |a(x_i) - b(x_i)| / max_i |shown(x_i)|

Two curves count as one where d <= 1/2 (:data:`SAME`). The number is not tuned: below it every height of the picture is
right to within half of its own range, so that a valley, ridge or basin as large as the one shown can neither be missing
nor made up; above it the opposite of what one sees may be the case. One tolerance serves all checks.

What they say is about the picture and what lies beside it. None says that a slice of two directions represents a
landscape of thousands: for that there is no check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.large import along, vector_type
from lossatlas.landscape.placed import Placed, has_statistics, recomputed
from lossatlas.planes.curves import SAME, difference
from lossatlas.seeds import derive

DIRECTIONS = 5
"""Other random directions that a picture is compared with. Were more than half of all directions unlike it, five alike
would be seen once in 32 times."""

Outcome = Literal["yes", "no", "undecided", "stated"]


@dataclass(frozen=True)
class Check:
    """One question put to a picture.

    Attributes:
        name: what is asked about: ``directions``, ``batch norm``, ``examples``, ``range``, ...
        outcome: ``yes``, ``no``, ``undecided``, or ``stated``: a number with no right or wrong.
        number: what was measured; NaN where nothing could be.
        criterion: what ``yes`` asks of the number.
        sentence: the answer in words.
    """

    name: str
    outcome: Outcome
    number: float
    criterion: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """The checks of a picture and what they cost.

    Attributes:
        checks: in the order they are printed.
        cost: evaluations of the loss for them, in units of those of the picture.
    """

    checks: tuple[Check, ...] = ()
    cost: float = 0.0

    @property
    def outcome(self) -> str:
        """``no`` where one check says no, else ``undecided`` where one is, else ``yes``; ``not asked`` without any."""
        outcomes = [check.outcome for check in self.checks]
        if not outcomes:
            return "not asked"
        return next((word for word in ("no", "undecided", "yes") if word in outcomes), "undecided")

    def record(self) -> dict[str, Any]:
        """Return all of it, JSON-able."""
        return {
            "outcome": self.outcome,
            "cost": self.cost,
            "checks": [{**asdict(c), "number": c.number if np.isfinite(c.number) else None} for c in self.checks],
        }

    def __str__(self) -> str:
        paid = f" (asked at {self.cost:.0%} of its cost)" if self.cost else ""
        lines = [f"  is it right? {self.outcome}{paid}"]
        width = max((len(check.name) for check in self.checks), default=0)
        lines += [f"    {c.name:{width}}  {c.outcome:9}  {c.sentence}" for c in self.checks]
        return "\n".join(lines)


def compared(name: str, number: float, sentence: str) -> Check:
    """Return the check of a difference of curves against :data:`SAME`; undecided where it is not a number."""
    outcome: Outcome = "undecided" if not np.isfinite(number) else "yes" if number <= SAME else "no"
    return Check(name, outcome, number, f"difference of curves at most {SAME} of the rise shown", sentence)


def one_by_one(landscape: Landscape, points: Iterable[Tensor], total: int) -> Array:
    """Return the losses (total,), float64, of points (D,) that come one after the other."""
    return np.array([float(landscape.loss(point)) for point in points])


def common(curves: Array) -> float:
    """Return the share of the variance of curves (k, steps) that their mean curve explains; NaN where they are flat.

    What is left is what they differ by from one direction to another.
    """
    curves = curves[:, np.isfinite(curves).all(axis=0)]
    total = float(((curves - curves.mean()) ** 2).sum()) if curves.size else 0.0
    return 1 - float(((curves - curves.mean(axis=0)) ** 2).sum()) / total if total > 0 else float("nan")


@dataclass
class SliceTrust:
    """Checks of a slice through a point: a line or a plane.

    Attributes:
        network: the point, on the examples that the picture has.
        shown: the directions of the picture, (D,) each, in units of its coordinates.
        reach: its largest coordinate.
        how: normalisation of random directions (``filter``, ``layer``, ``none``); None for chosen ones.
        seed: of other directions and of halves of the examples.
        evaluations: evaluations of the loss on all examples of the picture.
        step: distance of its grid's points.
        evaluate: landscape, points and their number -> losses; for progress, and for points that do not fit.
        scale: factor of the picture's random directions beside their normalisation.
        between: whether the slice leads to another network: stored statistics are then those of one end alone.
    """

    network: Placed
    shown: Sequence[Tensor]
    reach: float
    how: str | None
    seed: int
    evaluations: int
    step: float
    evaluate: Callable[[Landscape, Iterable[Tensor], int], Array] = one_by_one
    between: bool = False
    scale: float = 1.0

    def verdict(self, explained: float | None = None, others: int = DIRECTIONS) -> Verdict:
        """Return the verdict.

        Args:
            explained: share of a path's variance that lies in the plane, where one spans it.
            others: other random directions to look along.
        """
        self.taken = 0.0
        # A picture of many points affords more steps a curve: the checks stay a fraction of it.
        half = np.array([0.25, 0.5, 0.75, 1.0] if self.evaluations >= 900 else [0.5, 1.0])
        self.steps = self.reach * np.concatenate([-half[::-1], half])
        self.theta = self.network.theta.to(vector_type(self.network.landscape))
        landscape = self.network.landscape
        self.base = float(landscape.loss(self.theta))
        self.taken += 1
        self.curves = [self._excess(landscape, direction) for direction in self.shown]
        finite = np.abs(np.concatenate(self.curves))
        finite = finite[np.isfinite(finite)]
        self.rise = float(finite.max()) if len(finite) else float("nan")
        checks = [self._directions(others), self._share(explained), self._statistics(), *self._examples()]
        checks += [self._grid(), self._beyond()]
        return Verdict(tuple(checks), self.taken / max(self.evaluations, 1))

    def _excess(
        self, landscape: Landscape, direction: Tensor, base: float | None = None, steps: Array | None = None
    ) -> Array:
        """Return the loss along a direction less that at the point (or another number), at the steps."""
        chosen = self.steps if steps is None else steps
        found = self.evaluate(landscape, along(self.theta, direction, chosen), len(chosen))
        count = len(landscape.y) if isinstance(landscape, NetworkLandscape) else 1
        whole = self.network.landscape
        self.taken += len(chosen) * count / (len(whole.y) if isinstance(whole, NetworkLandscape) else 1)
        return found - (self.base if base is None else base)

    def _other(self, number: int, how: str) -> Tensor:
        """Return another random direction (D,); no other vector outlives the call."""
        drawn = gaussian(self.network.layout, derive(self.seed, "trust", "direction", number))
        return normalise(drawn, self.network.theta, self.network.layout, how).mul_(self.scale)

    def _directions(self, count: int) -> Check:
        if self.how is None:
            sentence = "the directions were chosen: no others are meant"
            return Check("directions", "stated", float("nan"), "none", sentence)
        reference = np.mean(self.curves, axis=0)
        gaps, curves = [], [*self.curves]
        for i in range(count):
            curves.append(self._excess(self.network.landscape, self._other(i, self.how)))
            gaps.append(difference(curves[-1], reference, self.rise))
        alike = sum(gap <= SAME for gap in gaps)
        worst = float(np.max(gaps)) if gaps else float("nan")
        criterion = f"every other direction within {SAME} of the rise: yes; most of them not: no"
        if np.isnan(worst):
            return Check("directions", "undecided", worst, criterion, "the picture is flat or has no finite loss")
        outcome: Outcome = "yes" if alike == count else "no" if alike < count / 2 else "undecided"
        sentence = f"the shape survives {alike} of {count} other directions (worst: {worst:.2g} of the rise"
        sentence += f"; distance alone explains {common(np.array(curves)):.0%} of their variance)"
        return Check("directions", outcome, worst, criterion, sentence)

    def _share(self, explained: float | None) -> Check:
        criterion = f"at least {SAME} of the path's variance in the plane"
        if explained is not None:
            outcome: Outcome = "yes" if explained >= SAME else "no"
            return Check("variance", outcome, explained, criterion, f"the plane holds {explained:.1%} of the path")
        count, dim = len(self.shown), self.network.landscape.dim
        sentence = f"{count} of {dim:,} dimensions ({count / dim:.1g} of the variance of a random step)"
        return Check("variance", "stated", count / dim, "none: a random slice holds next to nothing", sentence)

    def _statistics(self) -> Check:
        nothing = float("nan")
        if not has_statistics(self.network):
            return Check("batch norm", "stated", nothing, "none", "no batch-norm statistics")
        if self.between:
            sentence = "computed anew at every point: those of one end do not belong to the other"
            return Check("batch norm", "stated", nothing, "none", sentence)
        landscape = self.network.landscape
        assert isinstance(landscape, NetworkLandscape)
        other = "stored" if landscape.batch_norm == "recompute" else "recompute"
        changed = recomputed(landscape) if other == "recompute" else landscape.at_policy("stored")
        # Levels are compared, not excesses: statistics that are not the weights' own lift the minimum itself.
        gap = difference(self._excess(changed, self.shown[0]), self.curves[0], self.rise)
        words = f"{'the same' if gap <= SAME else 'another'} curve with statistics {other!r}"
        return compared("batch norm", gap, f"{words} in place of {landscape.batch_norm!r} (difference {gap:.2g})")

    def _examples(self) -> list[Check]:
        landscape = self.network.landscape
        if not isinstance(landscape, NetworkLandscape):
            return []
        count = len(landscape.y)
        if landscape.batch_norm == "batch" or count < 2:
            why = "statistics of a half are another function" if count > 1 else "one example has no halves"
            return [Check("examples", "undecided", float("nan"), "none", why)]
        order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(self.seed, "trust", "halves")))
        curves = []
        for rows in (order[: count // 2], order[count // 2 :]):
            half = landscape.at_examples(rows.sort().values)
            curves.append(self._excess(half, self.shown[0], float(half.loss(self.theta))))
            self.taken += len(rows) / count
        gap = difference(curves[0], curves[1], self.rise)
        words = "show one curve" if gap <= SAME else "show different curves"
        return [compared("examples", gap, f"two halves of the {count:,} examples {words} (difference {gap:.2g})")]

    def _grid(self) -> Check:
        """Compare the loss half-way between points of the picture with its interpolation, nearest the minimum."""
        middles = self.step * np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
        middles = middles[np.abs(middles) <= self.reach]
        if not len(middles) or not self.rise > 0:
            return Check("grid", "undecided", float("nan"), "none", "too few points, or a flat picture")
        ends = np.unique(np.round(np.concatenate([middles - self.step / 2, middles + self.step / 2]) / self.step))
        at_ends = self._excess(self.network.landscape, self.shown[0], steps=self.step * ends)
        between = self._excess(self.network.landscape, self.shown[0], steps=middles)
        gap = difference(np.interp(middles, self.step * ends, at_ends), between, self.rise)
        words = "the grid hides nothing between its middle points" if gap <= SAME else "the grid is too coarse"
        return compared("grid", gap, f"{words} (loss between them off by {gap:.2g} of the rise)")

    def _beyond(self) -> Check:
        """Look for lower points in the picture's directions: on its lines and to twice its range."""
        beyond = self.reach * np.array([-2.0, -1.5, 1.5, 2.0])
        further = [self._excess(self.network.landscape, direction, steps=beyond) for direction in self.shown]
        found = np.concatenate([*self.curves, *further])
        criterion = f"no loss below the middle's by more than {SAME} of the rise, to twice the range"
        if not np.isfinite(found).any() or not self.rise > 0:
            return Check(
                "range", "undecided", float("nan"), criterion, "no finite loss beside the middle, or all equal"
            )
        depth = max(0.0, -float(found[np.isfinite(found)].min())) / self.rise
        outcome: Outcome = "yes" if depth <= SAME else "no"
        words = "nothing lower" if depth == 0 else f"lower by {depth:.2g} of the rise somewhere"
        return Check("range", outcome, depth, criterion, f"{words} on the lines shown, to twice their range")
