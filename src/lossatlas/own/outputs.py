"""What of a network's return value is scored: itself, an object's ``.logits``, an entry of a dict, a tuple's first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.inputs import Inputs, count

NAMES = ("logits", "out", "prediction_logits", "output", "outputs", "last_hidden_state")
"""What libraries call a network's outputs, in order of preference."""


@dataclass(frozen=True)
class Pick:
    """Takes one part of what a network returns.

    Attributes:
        key: name of an attribute or entry, or the place in a tuple.
    """

    key: str | int

    def __call__(self, found: Any, x: Inputs | None = None) -> Any:
        """Return the part; the inputs do not matter."""
        if isinstance(self.key, int) or isinstance(found, Mapping):
            return found[self.key]
        return getattr(found, self.key)

    def __str__(self) -> str:
        return f"[{self.key}]" if isinstance(self.key, int) else f".{self.key}"


def pick(found: Any) -> Pick | None:
    """Return what to take of a network's return value; None for a tensor, which is taken as it is.

    Raises:
        LossatlasError: it is no tensor and none of the usual containers of one.
    """
    if isinstance(found, Tensor):
        return None
    for name in NAMES:
        value = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
        if isinstance(value, Tensor):
            return Pick(name)
    if isinstance(found, tuple | list) and found and isinstance(found[0], Tensor):
        return Pick(0)
    if isinstance(found, Mapping) and len(tensors := [k for k, v in found.items() if isinstance(v, Tensor)]) == 1:
        return Pick(tensors[0])
    names = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    raise LossatlasError(
        f"model: it returned {names}; expected a tensor, an object or dict with {', '.join(NAMES[:3])}, or a tuple "
        "that begins with the outputs"
    )


def losses(found: Any, x: Inputs) -> Tensor:
    """Return the loss that a network computed itself for a chunk, once for each of its examples."""
    loss = own_loss(found)
    if loss is None:
        raise LossatlasError("model: it returned no loss for a chunk; expected `loss` as for the first examples")
    return loss.reshape(1).expand(count(x))


def own_loss(found: Any) -> Tensor | None:
    """Return the loss that a network computes itself, a scalar; None where there is none."""
    loss = found.get("loss") if isinstance(found, Mapping) else getattr(found, "loss", None)
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 else None
