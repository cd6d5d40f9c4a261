"""Directions of interest of a level-set traversal: where to go while the loss stays fixed.

Each is a function R that the traversal makes smaller (its gradient is what is projected onto the level set), or a
random walk, which has a direction at every step but no function behind it.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lossatlas.landscape.landscape import Landscape
from lossatlas.seeds import derive


class Interest(ABC):
    """What a traversal goes after.

    Attributes:
        smooth: whether the direction turns gradually from step to step, so that its change of angle says how rough the
            way is. The step length follows the angle only then.
    """

    smooth = True

    @abstractmethod
    def value(self, theta: Tensor) -> float:
        """Return R(theta) for theta (D,) float64; NaN where there is no such function."""

    @abstractmethod
    def gradient(self, theta: Tensor, step: int) -> Tensor:
        """Return the gradient of R (D,), float64, at the ``step``-th point: the traversal goes against it."""


class SquaredNorm(Interest):
    """R = |theta - target|^2; without a target the squared norm, which Tahir & Katz minimise (section III).

    Args:
        target: (D,); the origin by default.
        sign: -1 makes R the negative of that, so that the traversal goes away from the target.
    """

    def __init__(self, target: Tensor | None = None, sign: float = 1.0) -> None:
        self.target = None if target is None else target.detach().to(torch.float64)
        self.sign = sign

    def _offset(self, theta: Tensor) -> Tensor:
        return theta if self.target is None else theta - self.target

    def value(self, theta: Tensor) -> float:
        """Return the squared distance from the target, with its sign."""
        offset = self._offset(theta)
        return self.sign * float(offset @ offset)

    def gradient(self, theta: Tensor, step: int) -> Tensor:
        """Return 2 (theta - target), with its sign."""
        return 2 * self.sign * self._offset(theta)


class Linear(Interest):
    """R = c . theta: the traversal goes along -c, as far as the level set allows."""

    def __init__(self, coefficients: Tensor) -> None:
        self.coefficients = coefficients.detach().to(torch.float64)

    def value(self, theta: Tensor) -> float:
        """Return c . theta."""
        return float(self.coefficients @ theta)

    def gradient(self, theta: Tensor, step: int) -> Tensor:
        """Return c."""
        return self.coefficients


class Function(Interest):
    """R is any landscape: a differentiable torch function (``FunctionLandscape``), or another network's loss."""

    def __init__(self, function: Landscape) -> None:
        self.function = function

    def value(self, theta: Tensor) -> float:
        """Return R(theta)."""
        return float(self.function.loss(theta))

    def gradient(self, theta: Tensor, step: int) -> Tensor:
        """Return its gradient."""
        return self.function.grad(theta).to(torch.float64)


class Walk(Interest):
    """A random walk: at every step a new Gaussian direction, drawn from (seed, step), so that it can be resumed."""

    smooth = False

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def value(self, theta: Tensor) -> float:
        """Return NaN: a walk makes nothing smaller."""
        return math.nan

    def gradient(self, theta: Tensor, step: int) -> Tensor:
        """Return the step's Gaussian vector (D,)."""
        generator = torch.Generator().manual_seed(derive(self.seed, "walk", step))
        return torch.randn(len(theta), generator=generator, dtype=torch.float64).to(theta.device)


def random_direction(dim: int, seed: int) -> Linear:
    """Return the interest that goes along one Gaussian direction drawn from ``seed``."""
    return Linear(torch.randn(dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
