"""Landscapes with known answers: they test the probes, and one is a figure of the optimizers study."""

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import FunctionLandscape

TWO_WELLS_OFFSET = 1.019
TWO_WELLS_MINIMA = ((-0.62, -0.54), (0.49, -0.02))
"""The minima as Yu & Morozov print them, to two digits."""


def quadratic(A: Tensor, b: Tensor | None = None) -> FunctionLandscape:
    """Return theta^T A theta / 2 + b^T theta, with gradient A theta + b and Hessian A.

    Args:
        A: symmetric (D, D).
        b: shape (D,), zero by default.
    """
    if A.ndim != 2 or A.shape[0] != A.shape[1] or not torch.equal(A, A.T):
        raise LossatlasError(f"landscape: quadratic got A of shape {tuple(A.shape)}; expected a symmetric (D, D)")
    offset = torch.zeros(len(A), dtype=A.dtype) if b is None else b
    if tuple(offset.shape) != (len(A),):
        raise LossatlasError(f"landscape: quadratic got b of shape {tuple(offset.shape)}; expected ({len(A)},)")
    return FunctionLandscape(lambda theta: 0.5 * theta @ (A @ theta) + offset @ theta, len(A), A.dtype, A.device)


def rosenbrock(dim: int = 2) -> FunctionLandscape:
    """Return sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, float64, whose minimum is 0 at (1, ..., 1)."""
    if dim < 2:
        raise LossatlasError(f"landscape: rosenbrock got dimension {dim}; expected at least 2")

    def function(theta: Tensor) -> Tensor:
        head, tail = theta[:-1], theta[1:]
        return (100 * (tail - head.square()).square() + (1 - head).square()).sum()

    return FunctionLandscape(function, dim)


def circle() -> FunctionLandscape:
    """Return x^2 + y^2, float64, whose level set 1 is the unit circle of Tahir & Katz (Eq. 11)."""
    return FunctionLandscape(lambda theta: theta.square().sum(), 2)


def two_wells(offset: float = TWO_WELLS_OFFSET) -> FunctionLandscape:
    """Return the plane with two wells and two peaks of Yu & Morozov (figure 3), float64.

    f(r) = - sum_i exp(-3 |r - c_i|^2) + sum_j exp(-15 |r - d_j|^2) + C with c = (-0.5, -0.5), (0.5, 0),
    d = (-0.2, -0.4), (0, 0.3). The offset C = 1.019 makes the lower minimum about zero; the highest point of the
    straight path between ``TWO_WELLS_MINIMA`` is 1.102.
    """
    wells = torch.tensor([[-0.5, -0.5], [0.5, 0.0]], dtype=torch.float64)
    peaks = torch.tensor([[-0.2, -0.4], [0.0, 0.3]], dtype=torch.float64)

    def function(theta: Tensor) -> Tensor:
        depths = torch.exp(-3 * (theta - wells).square().sum(1))
        heights = torch.exp(-15 * (theta - peaks).square().sum(1))
        return heights.sum() - depths.sum() + offset

    return FunctionLandscape(function, 2)


NAMED = {"circle": circle, "two_wells": two_wells}
"""Landscapes that a study may name; the ``spec.py`` of levelsets and barriers lists them without torch."""
