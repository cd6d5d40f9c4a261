"""Networks whose gradients are differentiated once more: layers whose second derivatives are fast.

They take the place of torch's own while a network makes the graph of its gradient for products with a Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from lossatlas import numerics
from lossatlas.landscape.batchnorm import batch_norm
from lossatlas.landscape.convolution import conv2d

LEAST = 2**16
"""Numbers in a chunk of images from which it is worth the calls."""

FASTER: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: conv2d,
    torch.nn.functional.batch_norm: batch_norm,
}
"""Functions of torch and ours, which take the same arguments, images first."""


def by_gradients(device: torch.device) -> bool:
    """Return whether second derivatives are made by the kernels of gradients.

    They are equal to rounding, so not under portable numerics; nor on a GPU. Channels are then best first in memory.
    """
    return device.type == "cpu" and not numerics.portable()


def twice_differentiable(device: torch.device) -> AbstractContextManager:
    """Return a context in which networks make graphs whose differentiation is fast, where it can be.

    Values keep their bits.
    """
    return _Faster() if by_gradients(device) else nullcontext()


class _Faster(TorchFunctionMode):
    """Puts our functions in the place of torch's, but where torch transforms or differentiates forwards (vmap, jvp)."""

    def __torch_function__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or ours in its place."""
        kwargs = kwargs or {}
        ours = FASTER.get(func)
        if ours is None or torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
            return func(*args, **kwargs)
        images = args[0] if args else kwargs["input"]
        return (ours if images.numel() >= LEAST else func)(*args, **kwargs)
