"""How many examples a GPU's memory takes at once: half as many from each time on that it was not enough."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from lossatlas.errors import LossatlasError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Fits:
    """The number of examples (or points) that are evaluated at once.

    It begins with the chunk that a spec names or a file's constant says, and is halved where CUDA runs out of memory.
    What is summed over a chunk stays summed over that chunk, so losses keep their bits as far as each example's do not
    depend on its neighbours; sums of gradients change by rounding. No hash knows of it.

    Attributes:
        size: how many at once, from now on.
    """

    def __init__(self, size: int, fixed: str = "") -> None:
        """Begin with a size.

        Args:
            size: how many.
            fixed: why fewer would be another function; "" = they would not.
        """
        self.size, self.fixed = size, fixed

    def run(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)``, begun anew with half the size each time that memory ends.

        Raises:
            LossatlasError: one alone does not fit, or fewer would be another function.
        """
        while True:
            try:
                return work(self.size)
            except torch.OutOfMemoryError as error:
                said = str(error).partition(". ")[0]
            self._halve(said)  # outside of the handler, whose traceback holds on to what is to be freed

    def _halve(self, said: str) -> None:
        if self.size == 1 or self.fixed:
            why = self.fixed or "one alone does not fit"
            raise LossatlasError(
                f"the GPU's memory does not take {self.size} examples at once ({said}), and {why}: use a GPU with more "
                "memory, or nothing else on this one"
            )
        torch.cuda.empty_cache()
        log.warning("out of GPU memory: %d at once from here on, in place of %d", self.size // 2, self.size)
        self.size //= 2
