"""Riemannian conjugate gradients on a level set: the minimum of R in a tenth of the paper's gradients.

The paper's path is the projected flow of -grad R, which is stiff. Conjugate gradients explore the same level set with
long steps: tangent directions with a Polak-Ribiere term, transported by projection; a line search on the merit
R + mu (L - L0), mu = - grad R . grad L / |grad L|^2, which is R on the level set to second order; and a retraction by
Newton steps along grad L (Absil, Mahony, Sepulchre 2008, chapter 8).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import Landscape
from lossatlas.levelsets.interest import Interest
from lossatlas.levelsets.spec import Settings
from lossatlas.levelsets.traversal import MOST_REJECTED, Traversal, without

_ARMIJO = 1e-4
"""Share of the decrease that the slope promises and a step must bring."""


@dataclass
class _Trial:
    """A point along the search direction, before it is brought back to the level."""

    length: float
    theta: Tensor
    loss: float
    gradient: Tensor
    merit: float


class Conjugate(Traversal):
    """Minimise R on the level set by conjugate gradients; a ``step`` is one search direction."""

    def __init__(
        self,
        landscape: Landscape,
        interest: Interest,
        start: Tensor,
        settings: Settings,
        level: float | None = None,
        move: bool = True,
    ) -> None:
        if not interest.smooth:
            raise LossatlasError(
                "level set: traversal 'conjugate' minimises a function; a walk has none: use predictor"
            )
        super().__init__(landscape, interest, start, settings, level, move)

    def advance(self) -> None:
        """Take one step along a conjugate direction."""
        s = self.state
        toward = self.interest.gradient(s.theta, s.steps)
        size2 = float(s.gradient @ s.gradient)
        normal = s.gradient / math.sqrt(size2) if size2 > 0 else s.gradient
        along = without(toward, normal)
        if size2 == 0.0 or float(along.norm()) <= 1e-14 * float(toward.norm()):
            self.stopped = "stationary"
            return
        direction, slope = self._direction(along, normal)
        mu = -float(toward @ s.gradient) / size2
        # The last step's decrease is expected again: the usual first trial of conjugate gradients.
        last = s.memory.get("decrease")
        length = s.predictor / float(direction.norm()) if last is None else 2 * last / -slope
        if self.settings.longest is not None:
            length = self.settings.longest / float(direction.norm())
        for _ in range(MOST_REJECTED):
            trial = self._search(direction, slope, mu, length)
            found = self._newton(trial.theta, trial.loss, trial.gradient, None) if trial else None
            if trial is not None and found is not None:
                s.memory |= {"direction": direction, "along": along, "decrease": -0.5 * slope * trial.length}
                s.predictor = trial.length * float(direction.norm())
                self._arrive(*found)
                return
            if trial is None and s.memory.get("direction") is not None:
                s.memory = {}  # start again from steepest descent
                self.advance()
                return
            if trial is None:
                self.stopped = "stationary"  # no decrease along steepest descent beyond rounding
                return
            length = 0.1 * trial.length
            s.rejected += 1
        raise self._give_up("no step, however short, could be brought back to the level")

    def _direction(self, along: Tensor, normal: Tensor) -> tuple[Tensor, float]:
        """Return the search direction (D,) and the slope of R along it, which is negative."""
        memory = self.state.memory
        if memory.get("direction") is not None:
            before = memory["along"]
            beta = float(along @ (along - without(before, normal))) / float(before @ before)
            direction = torch.add(-along, without(memory["direction"], normal), alpha=max(beta, 0.0))
            slope = float(along @ direction)
            if slope < 0:
                return direction, slope
        return -along, -float(along @ along)

    def _search(self, direction: Tensor, slope: float, mu: float, length: float) -> _Trial | None:
        """Return a trial with sufficient decrease of the merit, near its minimum if a parabola can tell; None if none.

        The first trial fixes the parabola through the merit, its slope and the trial's merit; where its minimum is more
        than a third away from the trial, it is tried too.
        """
        s = self.state
        start = self.interest.value(s.theta) + mu * (s.loss - self.level)

        def at(length: float) -> _Trial:
            theta = torch.add(s.theta, direction, alpha=length)
            loss, gradient = self._evaluate(theta)
            merit = self.interest.value(theta) + mu * (loss - self.level)
            return _Trial(length, theta, loss, gradient, merit if math.isfinite(merit) else math.inf)

        def enough(trial: _Trial) -> bool:
            return trial.merit <= start + _ARMIJO * trial.length * slope

        trial = at(length)
        for _ in range(40):
            curvature = (trial.merit - start - slope * trial.length) / trial.length**2
            best = -slope / (2 * curvature) if curvature > 0 else math.inf
            if enough(trial):
                if 0.67 * trial.length <= best <= 1.5 * trial.length:
                    return trial
                if self.settings.longest is not None and best > trial.length:
                    return trial
                other = at(min(max(best, 0.1 * trial.length), 4 * trial.length))
                return other if enough(other) and other.merit < trial.merit else trial
            length = min(max(best, 0.1 * trial.length), 0.5 * trial.length)
            if length * float(direction.norm()) <= 1e-15 * float(s.theta.norm()):
                return None
            trial = at(length)
        return None
