"""The paper's path on a level set: predictor steps of adapted length, each with its corrections."""

import math

import torch
from torch import Tensor

from lossatlas.levelsets.traversal import MOST_REJECTED, Traversal, degrees_between, without

LONGEST = 0.01
"""Longest predictor step where the path's length is given, as a share of it: all such paths have a hundred points."""


class Predictor(Traversal):
    """The paper's path: unit steps of adapted length against the projected grad R, and a corrector across it.

    The step length is multiplied by ``grow`` after a change of the direction below the threshold, by ``shrink`` above
    it (section V-A). A step whose corrections do not come back to the level is taken back and tried shorter.
    """

    def advance(self) -> None:
        """Take one predictor step with its corrections."""
        settings, s = self.settings, self.state
        size2 = float(s.gradient @ s.gradient)
        toward = self.interest.gradient(s.theta, s.steps)
        along = torch.sub(toward, s.gradient, alpha=float(toward @ s.gradient) / size2) if size2 > 0 else toward
        length = float(along.norm())
        if size2 == 0.0 or length <= 1e-14 * float(toward.norm()):
            self.stopped = "stationary"
            return
        unit = along.div_(length)
        if self.interest.smooth and s.memory.get("predictor") is not None:
            turned = degrees_between(unit, s.memory["predictor"])
            s.predictor *= settings.grow if turned < settings.threshold else settings.shrink
        elif not self.interest.smooth:  # its angles say nothing: it returns to the first length after one taken back
            s.predictor = min(settings.grow * s.predictor, settings.step)
        if settings.length is not None:
            s.predictor = min(s.predictor, LONGEST * settings.length)
        if settings.longest is not None:
            s.predictor = min(s.predictor, settings.longest)
        s.memory["predictor"] = unit
        correct = self._newton if settings.corrector == "newton" else self._printed
        for _ in range(MOST_REJECTED):
            theta = torch.sub(s.theta, unit, alpha=s.predictor)
            loss, gradient = self._evaluate(theta)
            found = correct(theta, loss, gradient, unit) if math.isfinite(loss) else None
            if found is not None:
                self._arrive(*found)
                return
            s.predictor *= settings.shrink
            s.rejected += 1
        raise self._give_up("no predictor step, however short, could be corrected")

    def _printed(
        self, theta: Tensor, loss: float, gradient: Tensor, unit: Tensor
    ) -> tuple[Tensor, float, Tensor] | None:
        """Correct as printed (Eq. 8): unit steps down (L - L0)^2, orthogonal to the predictor, of adapted length."""
        settings, s = self.settings, self.state
        for _ in range(settings.corrections):
            if abs(loss - self.level) <= self.tolerance:
                return theta, loss, gradient
            across = without(gradient, unit) * math.copysign(1.0, loss - self.level)
            length = float(across.norm())
            if not math.isfinite(length) or length == 0.0:
                return None
            across = across / length
            if s.memory.get("corrector") is not None:
                turned = degrees_between(across, s.memory["corrector"])
                s.corrector *= settings.grow if turned < settings.threshold else settings.shrink
            s.memory["corrector"] = across
            theta = torch.sub(theta, across, alpha=s.corrector)
            loss, gradient = self._evaluate(theta)
            s.corrections += 1
        return (theta, loss, gradient) if abs(loss - self.level) <= self.tolerance else None
