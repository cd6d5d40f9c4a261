"""A walk along a level set of a landscape: where it stands, and corrector steps (Tahir & Katz 2021, section III).

A predictor step moves along the unit vector of grad R minus its component along grad L (Eq. 6), so the loss changes to
second order only; corrector steps then bring it back to the level L0, orthogonally to the predictor (Eq. 8). Points are
float64 whatever the landscape's own precision, so that a step of 1e-9 is not lost in rounding.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import Landscape
from lossatlas.levelsets.interest import Interest
from lossatlas.levelsets.spec import Settings

MOST_REJECTED = 60
"""Step lengths tried at one point; each is a tenth of the one before."""

CLIMB, MOST_CLIMBED = 1e-4, 200
"""First step uphill to a higher level, in multiples of |theta|, and most of them."""

MOST_MOVED = 20_000
"""Steps in which a start may be moved onto a level far from its own (Polyak's steps of gradient descent)."""


@dataclass
class State:
    """Where a traversal stands; it continues from here to the same bits.

    Attributes:
        theta, gradient: the point and the gradient of the loss there, (D,) float64.
        loss: the loss there.
        steps, corrections, rejected: predictor steps, corrector steps, steps taken back, so far.
        length: of the path so far, the sum of the distances between its points.
        gradients: evaluations of the loss's gradient so far, the one at the start included.
        predictor, corrector: step lengths.
        between: largest |L - L0| half-way between two points so far, where steps have a longest length; else 0.
        worst: largest |L - L0| at the end of a step since it was last reported.
        memory: tensors and numbers of the step rule (directions of the last step).
    """

    theta: Tensor
    gradient: Tensor
    loss: float
    predictor: float
    corrector: float
    steps: int = 0
    corrections: int = 0
    rejected: int = 0
    length: float = 0.0
    between: float = 0.0
    gradients: int = 1
    worst: float = 0.0
    memory: dict[str, Any] = field(default_factory=dict)


def tolerance(kind: float | str, level: float) -> float:
    """Return the largest |L - L0| allowed at a level (:class:`lossatlas.levelsets.spec.Settings`)."""
    if kind == "paper":
        return 1e-5
    if kind == "scaled":
        return min(1e-5, 5e-3 * abs(level))
    return float(kind)


def degrees_between(a: Tensor, b: Tensor) -> float:
    """Return the angle of two unit vectors in degrees, by 2 asin(|a - b| / 2): exact where acos loses its digits.

    Beyond a right angle the same is done with -b.
    """
    half = min(float((a - b).norm()), 2.0) / 2
    if half > math.sqrt(0.5):
        return 180.0 - math.degrees(2 * math.asin(min(float((a + b).norm()) / 2, 1.0)))
    return math.degrees(2 * math.asin(half))


def without(vector: Tensor, unit: Tensor) -> Tensor:
    """Return a vector without its component along a unit vector (Eq. 7)."""
    return torch.sub(vector, unit, alpha=float(vector @ unit))


def multipliers(toward: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Return the multiplier a point stands for, and how far it is from a stationary point of L + lambda R.

    Where R is least on a level set, grad L + lambda grad R = 0 with lambda = |grad L| / |grad R|; of the squared norm
    that is the weight decay whose minimum the point is.

    Args:
        toward: grad R (D,).
        gradient: grad L (D,).

    Returns:
        lambda, and |grad L + lambda grad R| / |grad L|, which is zero there and at most 2.
    """
    pull, slope = float(toward.norm()), float(gradient.norm())
    if pull == 0.0 or slope == 0.0:
        return math.nan, math.nan
    implied = slope / pull
    return implied, float((gradient + implied * toward).norm()) / slope


class Traversal(ABC):
    """A path on the level set {L = L0} of a landscape, one step at a time.

    Args:
        landscape: L; any dtype and device.
        interest: where to go.
        start: theta_0 (D,).
        settings: how.
        level: L0; the loss at the start by default. With another level the start is first moved onto it.
        move: False = it is not, since the caller sets where it stands, to resume.

    Attributes:
        state: where it stands; settable, to resume.
        level, tolerance: L0 and the largest |L - L0|.
    """

    def __init__(
        self,
        landscape: Landscape,
        interest: Interest,
        start: Tensor,
        settings: Settings,
        level: float | None = None,
        move: bool = True,
    ) -> None:
        self.landscape, self.interest, self.settings = landscape, interest, settings
        theta = start.detach().to(landscape.device, torch.float64)
        loss, gradient = landscape.loss_and_grad(theta)
        self.state = State(theta, gradient.to(torch.float64), float(loss), settings.step, settings.step)
        self.level = self.state.loss if level is None else level
        self.tolerance = tolerance(settings.tolerance, self.level)
        if not math.isfinite(self.level) or self.tolerance <= 0:
            raise LossatlasError(
                f"level set: the level is {self.level:g} and the tolerance {self.tolerance:g}; a path needs a finite "
                "level and a tolerance above zero: start where the loss is not zero, or set `tolerance`"
            )
        self.stopped: str | None = None
        if level is not None and move:
            self._move_onto_level()

    def _move_onto_level(self) -> None:
        s = self.state
        below = self.level - s.loss > self.tolerance
        moved = self._newton(*(self._climbed() if below else (s.theta, s.loss, s.gradient)), None, MOST_MOVED)
        if moved is None:
            raise LossatlasError(
                f"level set: no point of level {self.level:g} found from a start of loss {s.loss:g}; start nearer to it"
            )
        s.theta, s.loss, s.gradient = moved

    def _climbed(self) -> tuple[Tensor, float, Tensor]:
        """Return a point near the level, with its loss and gradient, from a start below it: uphill, then bisected.

        Near a minimum a Newton step to a higher level is as long as the gradient is small, and ends anywhere.
        """
        s = self.state
        here, length = (s.theta, s.loss, s.gradient), CLIMB * float(s.theta.norm())
        for _ in range(MOST_CLIMBED):
            size = float(here[2].norm())
            if size == 0.0:
                break
            theta = torch.add(here[0], here[2], alpha=length / size)
            there = (theta, *self._evaluate(theta))
            if abs(there[1] - self.level) <= 0.01 * abs(self.level):
                return there
            if there[1] < self.level:
                here, length = there, 2 * length
            else:  # also where the loss is no number
                length /= 2
        return here

    @abstractmethod
    def advance(self) -> None:
        """Take one step: a predictor and the corrections it needs. Sets ``stopped`` where there is no way on."""

    @property
    def finished(self) -> str | None:
        """Why the traversal ends here (``steps``, ``gradients``, ``length``, ``angle``, ``stationary``), or None."""
        settings, s = self.settings, self.state
        if self.stopped is not None:
            return self.stopped
        if s.steps >= settings.steps:
            return "steps"
        if settings.gradients is not None and s.gradients >= settings.gradients:
            return "gradients"
        if settings.length is not None and s.length >= settings.length:
            return "length"
        if settings.angle is not None and self.angle() >= settings.angle:
            return "angle"
        return None

    def angle(self) -> float:
        """Return the angle of grad L and grad R in degrees; 180 at a minimum of R on the level set."""
        toward = self.interest.gradient(self.state.theta, self.state.steps)
        sizes = float(toward.norm()), float(self.state.gradient.norm())
        if min(sizes) == 0.0:
            return math.nan
        return degrees_between(toward / sizes[0], self.state.gradient / sizes[1])

    def observe(self) -> dict[str, float]:
        """Return what a row of the table says of the present point, and start ``worst`` anew."""
        s = self.state
        implied, residual = multipliers(self.interest.gradient(s.theta, s.steps), s.gradient)
        row = {
            "steps": s.steps,
            "angle": self.angle(),
            "norm2": float(s.theta @ s.theta),
            "objective": self.interest.value(s.theta),
            "deviation": s.loss - self.level,
            "worst_deviation": max(s.worst, abs(s.loss - self.level)),
            "tolerance": self.tolerance,
            "gradients": s.gradients,
            "corrections": s.corrections,
            "rejected": s.rejected,
            "length": s.length,
            "between": s.between if self.settings.longest is not None else math.nan,
            "step_length": s.predictor,
            "implied_decay": implied,
            "lagrange_residual": residual,
        }
        s.worst = 0.0
        return row

    def _evaluate(self, theta: Tensor) -> tuple[float, Tensor]:
        """Return loss and gradient (D,) float64, counted."""
        self.state.gradients += 1
        loss, gradient = self.landscape.loss_and_grad(theta)
        return float(loss), gradient.to(torch.float64)

    def _newton(
        self, theta: Tensor, loss: float, gradient: Tensor, unit: Tensor | None, most: int | None = None
    ) -> tuple[Tensor, float, Tensor] | None:
        """Bring a point back to the level by steps (L - L0) / (c . grad L) along c, or return None where that fails.

        c is grad L without its component along ``unit``. A loss that is linear along c is met in one step. ``most``
        steps; by default those of the settings.
        """
        for _ in range(most or self.settings.corrections):
            if abs(loss - self.level) <= self.tolerance:
                return theta, loss, gradient
            across = gradient if unit is None else without(gradient, unit)
            slope = float(across @ gradient)
            if not math.isfinite(slope) or slope <= 0.0:
                return None
            theta = torch.sub(theta, across, alpha=(loss - self.level) / slope)
            loss, gradient = self._evaluate(theta)
            self.state.corrections += 1
        return (theta, loss, gradient) if abs(loss - self.level) <= self.tolerance else None

    def _arrive(self, theta: Tensor, loss: float, gradient: Tensor) -> None:
        """Make a point that lies on the level set the present one."""
        s = self.state
        s.length += float((theta - s.theta).norm())
        if self.settings.longest is not None:
            s.between = max(s.between, abs(float(self.landscape.loss((theta + s.theta) / 2)) - self.level))
        s.theta, s.loss, s.gradient = theta, loss, gradient
        s.steps += 1
        s.worst = max(s.worst, abs(loss - self.level))

    def _give_up(self, what: str) -> LossatlasError:
        s = self.state
        return LossatlasError(
            f"level set: at step {s.steps} (loss {s.loss:.6g}, level {self.level:.6g}) {what}; raise `tolerance` "
            f"(now {self.tolerance:g}) or `corrections`, or start from another level"
        )
