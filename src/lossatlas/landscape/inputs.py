"""What a network is called with: one tensor of examples, several (positional), or several by name (keywords)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
"""Each tensor has an example a row, all equally many."""


def tensors(x: Inputs) -> list[Tensor]:
    """Return the tensors of inputs, in order."""
    if isinstance(x, Tensor):
        return [x]
    return list(x.values()) if isinstance(x, dict) else list(x)


def count(x: Inputs) -> int:
    """Return the number of examples.

    Raises:
        LossatlasError: there is no tensor, one has no axis of examples, or they have different numbers of them.
    """
    lengths = [len(part) if part.ndim else -1 for part in tensors(x)]
    if not lengths or -1 in lengths or len(set(lengths)) != 1:
        shapes = [tuple(part.shape) for part in tensors(x)]
        raise LossatlasError(f"inputs: got tensors of shapes {shapes}; expected one row an example in each of them")
    return lengths[0]


def each(x: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return inputs of the same structure, every tensor changed."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        return {name: change(part) for name, part in x.items()}
    return tuple(change(part) for part in x)


def arguments(x: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return the positional and the keyword arguments that a network takes inputs as."""
    if isinstance(x, dict):
        return (), x
    return (x,) if isinstance(x, Tensor) else x, {}


def split(x: Any, batch_size: int) -> Iterator[Any]:
    """Yield chunks whose sizes differ by at most one, none above ``batch_size``: no tiny last chunk for batch norm."""
    pieces = ceil(count(x) / batch_size)
    if isinstance(x, Tensor):
        yield from torch.tensor_split(x, pieces)
        return
    for chunk in zip(*(torch.tensor_split(part, pieces) for part in tensors(x)), strict=True):
        yield dict(zip(x, chunk, strict=True)) if isinstance(x, dict) else chunk
