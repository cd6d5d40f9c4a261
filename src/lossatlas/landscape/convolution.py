"""Convolutions whose derivatives are convolutions of the usual kinds, to any order.

A product with a Hessian differentiates the gradient. Torch writes what that takes of a convolution as convolutions of
other shapes (examples as channels, whole images as filters), for which oneDNN has slower kernels. The three linear maps
of a convolution (images to images, slopes to slopes of images, slopes to slopes of filters) are each other's
derivatives, so that those kernels which make a gradient are enough.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class _How(NamedTuple):
    """A convolution's settings."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Return ``torch.conv2d`` of the same arguments."""
    if input.ndim != 4 or isinstance(padding, str):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Images.apply(input, weight, bias, _How(_pair(stride), _pair(padding), _pair(dilation), groups))


def _pair(given: Any) -> list[int]:
    values = [given] if isinstance(given, int) else list(given)
    return values * 2 if len(values) == 1 else values


def _backward(slope: Tensor, x: Tensor, weight: Tensor, how: _How, *, of_images: bool) -> Tensor:
    """Return the slope of images x or of filters, whichever is asked for; of the other one only the shape counts."""
    more = (None, how.stride, how.padding, how.dilation, False, [0, 0], how.groups, [of_images, not of_images, False])
    return torch.ops.aten.convolution_backward(slope, x, weight, *more)[0 if of_images else 1]


def _shaped(like: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor that has a shape and no memory."""
    return like.new_empty(1).expand(shape)


class _Images(torch.autograd.Function):
    """Images and filters to images."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = how
        return torch.ops.aten.convolution(
            x, weight, bias, how.stride, how.padding, how.dilation, False, [0, 0], how.groups
        )

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x, weight), (images, filters, biases, _) = ctx.saved_tensors, ctx.needs_input_grad
        return (
            _OfImages.apply(slope, weight, x.shape, ctx.how) if images else None,
            _OfFilters.apply(slope, x, weight.shape, ctx.how) if filters else None,
            slope.sum((0, 2, 3)) if biases else None,
            None,
        )


class _OfImages(torch.autograd.Function):
    """Slopes of the result, and filters, to slopes of the images."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, weight: Tensor, shape: torch.Size, how: _How) -> Tensor:
        ctx.save_for_backward(slope, weight)
        ctx.how = how
        return _backward(slope, _shaped(slope, shape), weight, how, of_images=True)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        slope, weight = ctx.saved_tensors
        slopes, filters = ctx.needs_input_grad[:2]
        return (
            _Images.apply(v, weight, None, ctx.how) if slopes else None,
            _OfFilters.apply(slope, v, weight.shape, ctx.how) if filters else None,
            None,
            None,
        )


class _OfFilters(torch.autograd.Function):
    """Slopes of the result, and images, to slopes of the filters."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, shape: torch.Size, how: _How) -> Tensor:
        ctx.save_for_backward(slope, x)
        ctx.how = how
        return _backward(slope, x, _shaped(slope, shape), how, of_images=False)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        slope, x = ctx.saved_tensors
        slopes, images = ctx.needs_input_grad[:2]
        return (
            _Images.apply(x, v, None, ctx.how) if slopes else None,
            _OfImages.apply(slope, v, x.shape, ctx.how) if images else None,
            None,
            None,
        )
