"""A path on a level set of the training loss as Tahir & Katz 2021 print it (section III and V-A), with plain autograd.

Predictor: a step along -grad |theta|^2 without its component along grad L (Eq. 6). Corrector: steps of its own length
down (L - L0)^2, orthogonal to the predictor (Eq. 8), until |L - L0| is small enough. Both lengths grow by a factor
where the direction turned by less than a threshold since the last step, and shrink where it turned by more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Scheme:
    """The numbers of section V-A.

    Attributes:
        step: first length of both kinds of step.
        grow, shrink: factors of a length.
        threshold: angle in degrees up to which a direction has not turned.
        tolerance: largest |L - L0|.
        corrections: most corrector steps; then the predictor step is taken back and shortened.
    """

    step: float
    grow: float
    shrink: float
    threshold: float
    tolerance: float
    corrections: int


def gradient_of(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Callable[[Tensor], tuple[float, Tensor]]:
    """Return loss and gradient (D,) of a network as a function of its weights (D,)."""

    def at(theta: Tensor) -> tuple[float, Tensor]:
        nn.utils.vector_to_parameters(theta, model.parameters())
        model.zero_grad()
        value = loss(model(x), y)
        value.backward()
        return value.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    return at


def degrees(a: Tensor, b: Tensor) -> float:
    """Return the angle between two vectors in degrees."""
    cosine = float(a @ b / (a.norm() * b.norm()))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def traverse(
    gradient: Callable[[Tensor], tuple[float, Tensor]], theta: Tensor, scheme: Scheme, angle: float, most: int
) -> tuple[Tensor, float, int, float]:
    """Walk towards the least norm on the level set of the start.

    Args:
        gradient: of the loss.
        theta: where to begin (D,).
        scheme: lengths and tolerances.
        angle: of grad L and grad |theta|^2, in degrees, at which to stop; 180 at a minimum of the norm.
        most: gradients after which to give up.

    Returns:
        The last point (D,), its loss, gradients taken, and the angle there.
    """
    level, slope = gradient(theta)
    loss, count = level, 1
    predictor = corrector = scheme.step
    last_way = last_back = None
    while count < most and degrees(theta, slope) < angle:
        way = theta - slope * (slope @ theta) / (slope @ slope)
        way = -way / way.norm()
        if last_way is not None:
            predictor *= scheme.grow if degrees(way, last_way) < scheme.threshold else scheme.shrink
        last_way = way
        while count < most:
            point = theta + predictor * way
            value, found = gradient(point)
            count += 1
            for _ in range(scheme.corrections):
                if abs(value - level) <= scheme.tolerance or count >= most:
                    break
                back = -math.copysign(1.0, value - level) * (found - way * (way @ found))
                back = back / back.norm()
                if last_back is not None:
                    corrector *= scheme.grow if degrees(back, last_back) < scheme.threshold else scheme.shrink
                last_back = back
                point = point + corrector * back
                value, found = gradient(point)
                count += 1
            if abs(value - level) <= scheme.tolerance:
                theta, loss, slope = point, value, found
                break
            predictor *= scheme.shrink
    return theta, loss, count, degrees(theta, slope)
