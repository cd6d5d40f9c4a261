"""Products of examples and weights by oneDNN, which uses all that a CPU has.

Torch leaves float32 products to MKL, which on CPUs that are not Intel's has no AVX-512 (``docs/performance.md``). For
products of many columns oneDNN takes half the time there. It adds in another order: results are equal to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST = 128
"""Columns and rows of the weights from which oneDNN's product is the faster one."""


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Return x (n, in) times the transpose of weight (out, in), as ``nn.functional.linear`` does."""
    if fits(x, weight):
        return _Product.apply(x, weight)
    return torch.nn.functional.linear(x, weight)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN makes a product: of float32 matrices on a CPU, where it is the faster one."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.ndim == 2
    return plain and torch.backends.mkldnn.is_available() and min(weight.shape) >= LEAST and len(x) >= LEAST


class _Product(torch.autograd.Function):
    """x w^T; its derivatives are products of the same kind, to any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        left, right = ctx.needs_input_grad
        return (
            _Product.apply(slope, weight.T) if left else None,
            _Product.apply(slope.T, x.T) if right else None,
        )
