"""Normalisation by stored statistics whose second derivatives take few passes over the images.

With a scale s = w / sqrt(v + eps) a channel it is y = s (x - m) + b, linear in x. Torch's second derivative is written
for statistics of the batch as well, and takes several times as many passes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return ``torch.nn.functional.batch_norm`` of the same arguments."""
    given = (running_mean, running_var, weight, bias)
    if training or running_mean is None or running_var is None or weight is None or bias is None:
        return torch.nn.functional.batch_norm(input, *given, training, momentum, eps)
    if running_mean.requires_grad or running_var.requires_grad:
        return torch.nn.functional.batch_norm(input, *given, training, momentum, eps)
    return _Normalised.apply(input, weight, bias, running_mean, running_var, eps)


def _across(values: Tensor, like: Tensor) -> Tensor:
    """Return a number a channel (C,) so that it multiplies images (n, C, ...)."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def _summed(values: Tensor) -> Tensor:
    """Return the sum of images (n, C, ...) a channel, (C,)."""
    return values.sum([0, *range(2, values.ndim)])


class _Normalised(torch.autograd.Function):
    """Images, scale and shift to images."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        return *_Slopes.apply(slope, *ctx.saved_tensors, ctx.eps), None, None, None


class _Slopes(torch.autograd.Function):
    """Slopes of the result to those of images, scale and shift."""

    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(slope, x, weight, mean, variance)
        ctx.eps = eps
        given = (weight, mean, variance, None, None, False, eps, [True, True, True])
        return torch.ops.aten.native_batch_norm_backward(slope, x, *given)

    @staticmethod
    def backward(ctx: Any, of_x: Tensor, of_weight: Tensor, of_bias: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of s g, sum g (x - m) / sqrt(v + eps) and sum g, in operations that have their own."""
        slope, x, weight, mean, variance = ctx.saved_tensors
        inverse = (variance + ctx.eps).rsqrt()
        scale, tilt = _across(weight * inverse, x), _across(of_weight * inverse, x)
        shift = _across(of_bias - of_weight * inverse * mean, x)
        again = torch.addcmul(torch.addcmul(shift, x, tilt), of_x, scale)
        return again, slope * tilt, _summed(of_x * slope) * inverse, None, None, None
