"""Graphs of gradients that are kept between products with one Hessian, as many as memory has room for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas.landscape.memory import free

UNCOUNTED = "saved tensor hooks"
"""What torch says where gradients inside of a network forbid to look at what its graph saves."""

SHARE = 0.4
"""Of the memory that is free at the first product, which graphs may take."""

ROOM = 2
"""Times what a graph holds that must be free beside it: another part's graph, and what its passes need."""


@dataclass(frozen=True)
class Part:
    """A part of a loss.

    Attributes:
        gradients: with their graph.
        leaves: that they depend on.
        kept: whether the graph is, for other vectors.
    """

    gradients: tuple[Tensor, ...]
    leaves: list[Tensor]
    kept: bool = False


class Graphs:
    """The graphs of one point's gradients, part by part: the first ones are kept, up to some bytes."""

    def __init__(self, device: torch.device, most: int | None = None) -> None:
        """Keep at most some bytes: none for 0, a share of what is free for None."""
        self.device, self.most = device, most
        self._size = 0
        self._parts: list[Part] = []
        self._full = most == 0
        self._storages: dict[int, int] = {}

    def of(self, size: int, made: Callable[[int], Iterator[Part]]) -> Iterator[Part]:
        """Yield the parts of a loss that is taken in pieces of a size: those that are kept, then new ones.

        Args:
            size: of the pieces.
            made: from a number to the parts from that one on, each made inside of :meth:`weighed`.
        """
        if self._size != size:
            self._parts, self._storages, self._size = [], {}, size
        yield from self._parts
        for part in made(len(self._parts)):
            if part.kept:
                self._parts.append(part)
            yield part

    def weighed(self, make: Callable[[], tuple[tuple[Tensor, ...], list[Tensor]]]) -> Part:
        """Return the part that is made, and kept where what its graph saves for differentiation is not too much."""
        if self._full:
            return Part(*make())
        if self.most is None:
            self.most = int(SHARE * free(self.device))
        before = sum(self._storages.values())
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
            made = make()
        total = sum(self._storages.values())
        self._full = total > self.most or free(self.device) < ROOM * (total - before)
        return Part(*made, kept=not self._full)

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Keep none any more where a GPU's memory is not enough."""
        try:
            yield
        except torch.OutOfMemoryError:
            self._give_up()
            raise

    def run(self, work: Callable[[], Tensor]) -> Tensor:
        """Return what work gives, begun anew without keeping where a network (``torch.func``) forbids to count."""
        try:
            return work()
        except RuntimeError as error:
            if self._full or UNCOUNTED not in str(error):
                raise
        self._give_up()
        return work()

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def _give_up(self) -> None:
        self._full, self._parts, self._storages = True, [], {}
