"""How vectors as long as the weights are kept: exactly while that is cheap, lean for large networks.

Peak memory of each probe in multiples of the weights stands in ``docs/own-network.md`` and is tested
(``tests/own/test_memory.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lossatlas.landscape.landscape import Landscape

EXACT = 1_000_000
"""Weights up to which vectors are float64 and Lanczos' are all kept; above, they have the weights' own type."""


def is_large(landscape: Landscape) -> bool:
    """Whether a landscape has so many dimensions that its vectors are kept lean."""
    return landscape.dim > EXACT


def vector_type(landscape: Landscape) -> torch.dtype:
    """Return the type in which vectors of a landscape's dimension are kept."""
    return landscape.dtype if is_large(landscape) else torch.float64


def along(origin: Tensor, direction: Tensor, steps: Iterable[float], place: Tensor | None = None) -> Iterator[Tensor]:
    """Yield origin + step direction (D,) for each step, in one place that the next overwrites.

    Args:
        origin: (D,), whose type the points have.
        direction: (D,).
        steps: in units of the direction.
        place: (D,) of the origin's type; a new one by default.
    """
    place = torch.empty_like(origin) if place is None else place
    direction = direction.to(origin.device, origin.dtype)
    for step in steps:
        yield torch.add(origin, direction, alpha=float(step), out=place)
