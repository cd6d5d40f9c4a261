"""The hyperbolic tangent by NumPy, whose AVX-512 one takes a fifth (float32) or a third (float64) of torch's time.

It is within two units in the last place where torch's is within half of one: equal to rounding. Under portable numerics
NumPy is without AVX-512, and torch's is taken. What it brings: ``docs/performance.md``, gradients.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAST = 2**12
"""Numbers from which that is worth its calls."""

WIDE = ("X86_V4", "AVX512_SKX")
"""What NumPy calls AVX-512: of narrower instructions only its float32 function is faster."""


class Tanh(nn.Tanh):
    """``nn.Tanh``, faster on a CPU with AVX-512."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the hyperbolic tangent of each number."""
        return _tanh(x)


def _tanh(x: Tensor) -> Tensor:
    return _Tanh.apply(x) if _fits(x) else torch.tanh(x)


@cache
def _wide() -> bool:
    """Whether NumPy's function is the one for AVX-512 in this process."""
    found = np.lib.introspect.opt_func_info(func_name="^tanh$", signature="float32")
    return any(kind["current"] in WIDE for kinds in found.values() for kind in kinds.values())


def _fits(x: Tensor) -> bool:
    """Whether numbers are many, of a precision that both have, and NumPy's to read."""
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() >= LEAST
    return plain and _wide() and torch.empty_like(x).stride() == x.stride()


class _Tanh(torch.autograd.Function):
    """tanh of numbers that fill their memory; its derivative is torch's, differentiable to any order."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        found = torch.empty_like(x)
        flat = (found.numel(),), (1,)
        np.tanh(x.detach().as_strided(*flat).numpy(), out=found.as_strided(*flat).numpy())
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(slope, y)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(tangent, y)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return _tanh(x), in_dims[0]  # of which not the whole may fill its memory as each part does
