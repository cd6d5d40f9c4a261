"""Pooling of two by two pixels by operations on whole arrays, with the bits of torch's own layers.

On a CPU torch pools pixel by pixel: of images of few channels that takes five (averages) to twenty (maxima) times as
long as adding, or comparing, the four images that every other row and every other column make.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST = 2**14
"""Numbers in a chunk of images from which that is worth its calls."""


class AveragePool(nn.AvgPool2d):
    """``nn.AvgPool2d``; of two by two pixels, disjoint, faster on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages (n, C, H', W') of (n, C, H, W)."""
        plain = self.divisor_override is None and _halves(self, x)
        return _Averaged.apply(x) if plain else super().forward(x)


class MaximumPool(nn.MaxPool2d):
    """``nn.MaxPool2d``; of two by two pixels, disjoint, faster on a CPU where no gradient is asked for."""

    def forward(self, x: Tensor) -> Any:
        """Return the maxima (n, C, H', W') of (n, C, H, W)."""
        asked = torch.is_grad_enabled() and x.requires_grad
        plain = not asked and not self.return_indices and self.dilation in (1, (1, 1)) and _halves(self, x)
        if not plain:
            return super().forward(x)
        a, b, c, d = _corners(x)
        return torch.maximum(torch.maximum(a, b), torch.maximum(c, d))


def _halves(layer: nn.AvgPool2d | nn.MaxPool2d, x: Tensor) -> bool:
    """Whether a layer halves images of a kind for which whole arrays are faster and ordered as torch orders them."""
    shape = (layer.kernel_size, layer.stride, layer.padding)
    if x.ndim != 4 or x.numel() < LEAST or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    if any(one not in (size, (size, size)) for one, size in zip(shape, (2, 2, 0), strict=True)) or layer.ceil_mode:
        return False
    ordered = x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)
    return ordered and x.shape[1] > 1 and min(x.shape[2:]) >= 4  # of one number an axis has strides of any length


def _corners(x: Tensor) -> list[Tensor]:
    """Return the four pixels of each square, (n, C, H // 2, W // 2) each; an odd last row or column is in none."""
    height, width = (size // 2 * 2 for size in x.shape[2:])
    return [x[:, :, i:height:2, j:width:2] for i in range(2) for j in range(2)]


class _Averaged(torch.autograd.Function):
    """Averages of squares; the derivative spreads a quarter of each to its four pixels."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        a, b, c, d = _corners(x)
        return (a + b).add_(c).add_(d).mul_(0.25)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        (x,) = inputs
        ctx.height, ctx.width = x.shape[2:]
        ctx.last = not x.is_contiguous()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return _Spread.apply(slope, ctx.height, ctx.width, ctx.last)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _Averaged.apply(tangent)


class _Spread(torch.autograd.Function):
    """A quarter of each number in the four pixels of its square: what the averages' derivative is, transposed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(slope: Tensor, height: int, width: int, last: bool) -> Tensor:
        count, channels = slope.shape[:2]
        if last:
            spread = slope.new_empty(count, height, width, channels).permute(0, 3, 1, 2)
        else:
            spread = slope.new_empty(count, channels, height, width)
        spread[:, :, height // 2 * 2 :] = 0.0
        spread[:, :, :, width // 2 * 2 :] = 0.0
        quarter = slope * 0.25
        for corner in _corners(spread):
            corner.copy_(quarter)
        return spread

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int, bool], output: Tensor) -> None:
        ctx.given = inputs[1:]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        return _Averaged.apply(slope), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _Spread.apply(tangent, *ctx.given)
