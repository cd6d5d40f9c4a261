"""Graphs of gradients that are kept between products with one Hessian, where they are small enough."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Part = tuple[tuple[Tensor, ...], list[Tensor]]
"""Gradients of a part of a loss, and the leaves of their graph."""


UNCOUNTED = "saved tensor hooks"
"""What torch says where gradients inside of a network forbid to look at what its graph saves."""


class Graphs:
    """The graphs of one point's gradients, kept as long as all of them together hold few enough bytes.

    Attributes:
        kept: whether those that were made so far are kept.
    """

    def __init__(self, most: int) -> None:
        """Keep at most some bytes; none for 0."""
        self.most, self.kept = most, most > 0
        self._size = 0
        self._parts: list[Part] = []
        self._whole = False
        self._storages: dict[int, int] = {}

    def of(self, size: int, made: Iterator[Part]) -> Iterator[Part]:
        """Yield the parts of a loss that is taken in pieces of a size: those that are kept, else new ones."""
        if self._whole and self._size == size:
            yield from self._parts
            return
        self._drop()
        self._size = size
        for part in made:
            if self.kept:
                self._parts.append(part)
            yield part
        self._whole = self.kept

    @contextmanager
    def weighed(self) -> Iterator[None]:
        """Count what graphs that are made inside save for differentiation; keep none any more where it is too much."""
        if not self.kept:
            yield
            return
        with torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor):
            yield
        if sum(self._storages.values()) > self.most:
            self._give_up()

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
            if not self.kept or UNCOUNTED not in str(error):
                raise
        self._give_up()
        return work()

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def _give_up(self) -> None:
        self.kept = False
        self._drop()

    def _drop(self) -> None:
        self._parts, self._whole, self._storages = [], False, {}
