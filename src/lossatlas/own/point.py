"""What a probe of one's own network starts from: a landscape, a point on it, and what is known of their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from lossatlas.landscape.inputs import tensors
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.layout import WEIGHT, Layout


class Placed(Protocol):
    """A point of a landscape; :class:`lossatlas.own.network.Network` is one.

    Attributes:
        landscape: the loss, a function on R^D.
        theta: (D,) the point.
        layout: what stands where in theta, by which directions are normalised.
        label: what to call it.
    """

    @property
    def landscape(self) -> Landscape:
        """The loss."""

    @property
    def theta(self) -> Tensor:
        """The point (D,)."""

    @property
    def layout(self) -> Layout:
        """What stands where in it."""

    @property
    def label(self) -> str:
        """What to call it."""


@dataclass(frozen=True, eq=False)
class Point:
    """A point of any landscape: of a function with a known answer, or of a network made without ``lossatlas.load``."""

    landscape: Landscape
    theta: Tensor
    layout: Layout
    label: str = "point"

    @classmethod
    def of(cls, landscape: Landscape, theta: Tensor | None = None, label: str = "point") -> Point:
        """Return a point of a landscape, by default a network's own; a function's weights count as one filter."""
        if isinstance(landscape, NetworkLandscape):
            return cls(landscape, landscape.theta() if theta is None else theta, landscape.layout, label)
        layout = Layout(("theta",), ((1, landscape.dim),), (WEIGHT,))
        return cls(landscape, torch.zeros(landscape.dim) if theta is None else theta, layout, label)


def examples_of(network: Placed) -> int:
    """Return the number of examples that the loss is the mean over; 0 for a function."""
    landscape = network.landscape
    return len(landscape.y) if isinstance(landscape, NetworkLandscape) else 0


def has_statistics(network: Placed) -> bool:
    """Return whether the network keeps batch-norm statistics, which belong to the weights they were collected with."""
    landscape = network.landscape
    return isinstance(landscape, NetworkLandscape) and any(
        name.endswith(("running_mean", "running_var")) for name in landscape.buffer_layout.names
    )


def some_examples(network: Placed, count: int, seed: int) -> Placed:
    """Return the same point on ``count`` of its examples, drawn at random from a seed."""
    landscape = network.landscape
    if not isinstance(landscape, NetworkLandscape) or count >= len(landscape.y):
        return network
    rows = torch.randperm(len(landscape.y), generator=torch.Generator().manual_seed(seed))[:count].sort().values
    subset = getattr(network, "subset", None)
    if subset is not None:
        found: Placed = subset(count, seed)
        return found
    return Point(landscape.at_examples(rows), network.theta, network.layout, network.label)


def with_statistics(network: Placed, policy: str) -> Placed | None:
    """Return the same point under another batch-norm policy; None where the network cannot have it."""
    change = getattr(network, "with_statistics", None)
    if change is None:
        return None
    found: Placed = change(policy)
    return found


def about(network: Placed) -> dict[str, Any]:
    """Return what a record says of the network: label, size, policy, SHA-256 of checkpoint, weights and examples."""
    landscape = network.landscape
    found: dict[str, Any] = {
        "label": network.label,
        "weights": landscape.dim,
        "dtype": str(landscape.dtype).removeprefix("torch."),
        "weights_sha256": _digest([network.theta]),
    }
    source = getattr(network, "source", None)
    if source is not None:
        found |= {"model": source.model, "checkpoint": source.checkpoint, "checkpoint_sha256": source.sha256}
    if isinstance(landscape, NetworkLandscape):
        data = getattr(network, "data", None)
        found |= {
            "examples": len(landscape.y),
            "data_sha256": data.digest() if data is not None else _digest([*tensors(landscape.x), landscape.y]),
            "criterion": getattr(network, "criterion", getattr(landscape.criterion, "__name__", "callable")),
            "batch_norm": landscape.batch_norm if has_statistics(network) else "none",
        }
    return found


def _digest(parts: Sequence[Tensor]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
