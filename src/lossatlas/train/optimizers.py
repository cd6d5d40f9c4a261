"""Optimisers by name, and the loss as those that evaluate it several times a step want it.

What an optimiser is called, which keys of a recipe it takes and which options of its own it has stands in
:data:`lossatlas.train.spec.OPTIMIZERS`, one line each.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from lossatlas.landscape.memory import Fits
from lossatlas.train.spec import OPTIMIZERS

CHUNK = 500
"""Examples of a chunk of the full batch: activations of small networks then stay in the cache."""


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Mapping) -> torch.optim.Optimizer:
    """Return the optimiser of a resolved recipe over ``parameters``."""
    about = OPTIMIZERS[recipe["optimizer"]]
    module, name = about.builder.split(":")
    keywords = {key: recipe[key] for key in about.keys} | recipe.get("options", {}) | about.fixed
    return getattr(importlib.import_module(module), name)(parameters, **keywords)


class Objective:
    """The mean loss over a batch as the closure of an optimiser, summed chunk by chunk in float64.

    Called, it leaves the gradients in the parameters and returns the loss; :meth:`value` returns the loss alone, for
    line searches that need no more. Every evaluation of one step is of the same examples.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        total: Callable[[int, int], Tensor],
        count: int,
        fits: Fits | None = None,
    ) -> None:
        """Take the loss as a sum over examples.

        Args:
            parameters: that the loss depends on.
            total: (start, stop) -> sum of the losses of these examples, a float64 scalar.
            count: number of examples n.
            fits: examples evaluated at once; :data:`CHUNK` by default.
        """
        self.parameters, self.total, self.count = list(parameters), total, count
        self.fits = fits or Fits(CHUNK)

    def _spans(self, size: int) -> list[tuple[int, int]]:
        return list(pairwise([*range(0, self.count, size), self.count]))

    def __call__(self) -> Tensor:
        """Return the mean loss, a float64 scalar, and leave its gradient in the parameters."""
        return self.fits.run(self._with_gradient)

    def _with_gradient(self, size: int) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        value = torch.zeros((), dtype=torch.float64, device=self.parameters[0].device)
        for span in self._spans(size):
            with torch.enable_grad():
                part = self.total(*span) / self.count
                part.backward()
            value += part.detach()
        return value

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the mean loss, a float64 scalar."""
        sums = self.fits.run(lambda size: torch.stack([self.total(*span) for span in self._spans(size)]))
        return sums.sum() / self.count
