"""What a probe of one's own network starts from: a landscape, a point on it, and what is known of their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.inputs import tensors
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.landscape.placed import Placed, has_statistics, recomputed


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


def some_examples(network: Placed, count: int, seed: int) -> Placed:
    """Return the same point on ``count`` of its examples, drawn at random from a seed."""
    landscape = network.landscape
    if not isinstance(landscape, NetworkLandscape) or count >= len(landscape.y):
        return network
    rows = torch.randperm(len(landscape.y), generator=torch.Generator().manual_seed(seed))[:count].sort().values
    return on(network, landscape.at_examples(rows))


def limited(network: Placed, examples: Any, most: int, seed: int) -> tuple[Placed, str]:
    """Return the point on as many examples as were asked for, and the sentence that says so where some are left out.

    Args:
        network: the point.
        examples: their number; ``all``; None = ``most`` of them.
        most: how many where nobody says.
        seed: by which they are drawn.

    Raises:
        LossatlasError: no such number.
    """
    have = examples_of(network)
    if not have:
        return network, ""
    wanted = have if examples == "all" else min(have, most) if examples is None else examples
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= have:
        raise LossatlasError(f"examples: got {examples!r}; expected 'all', None or 1 to {have}")
    if wanted == have:
        return network, ""
    said = f"{wanted:,} of {have:,} examples (seed {seed}); examples='all' takes all of them"
    return some_examples(network, wanted, seed), said


def on(network: Placed, landscape: Landscape) -> Placed:
    """Return the same point of another landscape of the same network."""
    given: Any = network
    found: Placed = replace(given, landscape=landscape)
    return found


def anywhere(network: Placed) -> tuple[Placed, str]:
    """Return the point on a landscape that may be evaluated far from it, and the sentence that says what was changed.

    Stored batch-norm statistics belong to the weights they were collected with: elsewhere they are computed anew, from
    the examples.
    """
    landscape = network.landscape
    if not isinstance(landscape, NetworkLandscape) or not has_statistics(network) or landscape.batch_norm != "stored":
        return network, ""
    said = f"batch-norm statistics are computed anew at every point, from these {len(landscape.y):,} examples"
    return on(network, recomputed(landscape)), said


def same_model(network: Placed, other: Placed) -> None:
    """Refuse points that no line joins.

    Raises:
        LossatlasError: they are of different models, or their networks have different examples.
    """
    if network.layout != other.layout:
        raise LossatlasError(f"networks: {network.label} and {other.label} are not of one model; expected the same")
    together = getattr(network, "together", None)
    if together is not None and hasattr(other, "data"):
        together(other)


def about(network: Placed) -> dict[str, Any]:
    """Return what a record says of the network: label, size, policy, SHA-256 of checkpoint, weights and examples."""
    landscape = network.landscape
    found: dict[str, Any] = {
        "label": network.label,
        "weights": landscape.dim,
        "dtype": str(landscape.dtype).removeprefix("torch."),
        "weights_sha256": digest_of([network.theta]),
    }
    source = getattr(network, "source", None)
    if source is not None:
        found |= {"model": source.model, "checkpoint": source.checkpoint, "checkpoint_sha256": source.sha256}
    if isinstance(landscape, NetworkLandscape):
        data = getattr(network, "data", None)
        found |= {
            "examples": len(landscape.y),
            "data_sha256": data.digest() if data is not None else digest_of([*tensors(landscape.x), landscape.y]),
            "criterion": getattr(network, "criterion", getattr(landscape.criterion, "__name__", "callable")),
            "batch_norm": landscape.batch_norm if has_statistics(network) else "none",
        }
    return found


def digest_of(parts: Sequence[Tensor]) -> str:
    """Return the SHA-256 of tensors' bytes."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
