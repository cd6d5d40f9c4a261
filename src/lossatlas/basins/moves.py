"""Hamiltonian moves of many chains under a Gaussian times exp(-beta L).

H = beta L(x) + |x|^2 / 2 + |u|^2 / 2. The Gaussian part flows exactly, by a rotation of each (x_i, u_i), and only L
kicks: so a step does not shrink with the number of weights that L hardly sees (Shahbaba et al. 2014). Each coordinate
runs at its own frequency, x' = w u, u' = -w (x + beta grad L), which keeps H and the volume of phase space; slow ones
where L is stiff.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Energy(Protocol):
    """A loss in the coordinates of a standard Gaussian.

    Attributes:
        dim: n.
        like: of the type and on the device in which it is evaluated.
    """

    dim: int
    like: Tensor

    def losses(self, x: Tensor, width: float) -> Tensor:
        """Return the losses (m,), float64, of the rows of x (m, n)."""

    def losses_and_grads(self, x: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Return the losses (m,), float64, and their gradients (m, n) by x."""


@dataclass
class Chains:
    """Where m chains are.

    Attributes:
        x: (m, n).
        loss: (m,) float64, at x.
        gradient: (m, n), of the loss.
        gradients: evaluated so far, chains counted one by one.
    """

    x: Tensor
    loss: Tensor
    gradient: Tensor
    gradients: int = 0

    @classmethod
    def at(cls, energy: Energy, x: Tensor, width: float) -> "Chains":
        """Return chains at x, evaluated."""
        return cls(x, *energy.losses_and_grads(x, width), gradients=len(x))


def move(
    energy: Energy,
    chains: Chains,
    width: float,
    beta: float,
    step: float,
    angle: float,
    frequency: Tensor,
    generator: torch.Generator,
) -> float:
    """Move the chains once, in place, and return the mean probability that a proposal is taken.

    Args:
        energy: L in Gaussian coordinates.
        chains: where they are, at this width.
        width: of the Gaussian, which scales x.
        beta: factor of L.
        step: of the integrator, an angle.
        angle: of the whole trajectory.
        frequency: (n,).
        generator: of velocities and acceptances, on the CPU.
    """
    x, gradient, frequency = chains.x, chains.gradient, frequency.to(chains.x)
    u = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)
    before = beta * chains.loss + _kinetic(x, u)
    count = max(1, round(angle / step))
    size = angle / count
    cosine, sine = (frequency * size).cos(), (frequency * size).sin()
    kick = size * beta * frequency
    u = u - 0.5 * kick * gradient
    for k in range(count):
        x, u = x * cosine + u * sine, u * cosine - x * sine
        loss, gradient = energy.losses_and_grads(x, width)
        u = u - (kick if k < count - 1 else 0.5 * kick) * gradient
    change = before - (beta * loss + _kinetic(x, u))
    chance = torch.nan_to_num(change, nan=-math.inf).clamp(max=0.0).exp()
    taken = torch.rand(len(x), generator=generator, dtype=torch.float64).to(chance) < chance
    chains.x = torch.where(taken[:, None], x, chains.x)
    chains.loss = torch.where(taken, loss, chains.loss)
    chains.gradient = torch.where(taken[:, None], gradient, chains.gradient)
    chains.gradients += count * len(x)
    return float(chance.mean())


def _kinetic(x: Tensor, u: Tensor) -> Tensor:
    """Return (|x|^2 + |u|^2) / 2 of each row, float64."""
    return 0.5 * (x.square().sum(1, dtype=torch.float64) + u.square().sum(1, dtype=torch.float64))
