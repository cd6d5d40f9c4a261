"""First crossings along rays, one ray and one loss at a time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST = 1e6
"""Step beyond which a ray never crosses."""


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[Tensor], float]:
    """Return the mean cross entropy of a network as a function of its weights (D,)."""

    @torch.no_grad()
    def loss(theta: Tensor) -> float:
        nn.utils.vector_to_parameters(theta, model.parameters())
        return F.cross_entropy(model(x).double(), y).item()

    return loss


def radii(
    loss: Callable[[Tensor], float],
    centre: Tensor,
    directions: Tensor,
    cutoff: float,
    first: float,
    growth: float,
    tolerance: float,
) -> tuple[np.ndarray, int]:
    """Return the radii (n,) at which the loss first reaches the cutoff, and how many losses that took.

    Args:
        loss: of weights (D,).
        centre: from where (D,).
        directions: (n, D).
        cutoff: loss at the rim.
        first: step to walk from; where it is outside already, the walk begins further in.
        growth: factor between steps outwards.
        tolerance: relative width of the bracket that bisection ends with.
    """
    found, count = np.full(len(directions), np.inf), 0
    for i, direction in enumerate(directions):
        low, step = 0.0, first
        while step < MOST:
            count += 1
            if not loss(centre + step * direction) < cutoff:  # also where it is no number
                if low > 0.0 or step < 1e-9:
                    break
                step /= 8.0
                continue
            low, step = step, step * growth
        if step >= MOST:
            continue
        high = step
        while high - low > tolerance * high:
            count += 1
            middle = (low + high) / 2
            low, high = (middle, high) if loss(centre + middle * direction) < cutoff else (low, middle)
        found[i] = (low + high) / 2
    return found, count
