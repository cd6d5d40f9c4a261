"""A point of a landscape, with the layout by which directions through it are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.layout import Layout


class Placed(Protocol):
    """A point of a landscape; :class:`lossatlas.own.network.Network` and :class:`At` are such.

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


@dataclass(frozen=True)
class At:
    """A point of any landscape; attributes as of :class:`Placed`."""

    landscape: Landscape
    theta: Tensor
    layout: Layout
    label: str = "point"


def has_statistics(network: Placed) -> bool:
    """Return whether the network keeps batch-norm statistics, which belong to the weights they were collected with."""
    return isinstance(network.landscape, NetworkLandscape) and keeps_statistics(network.landscape)


def keeps_statistics(landscape: NetworkLandscape) -> bool:
    """Return whether a landscape's network keeps batch-norm statistics."""
    return any(name.endswith(("running_mean", "running_var")) for name in landscape.buffer_layout.names)


def recomputed(landscape: NetworkLandscape) -> NetworkLandscape:
    """Return the landscape with batch-norm statistics computed anew at every point, from its own examples."""
    return landscape.at_policy("recompute", landscape.x)
