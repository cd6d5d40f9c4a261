"""The loss that a training descends, and its gradient: minibatches, augmented, normalised by their own statistics.

It differs from the loss that is drawn, which is of all examples as they are, with statistics of batch norm held fixed:
through the statistics of a minibatch gradients flow, and so does the noise of its choice. Weight decay is no part of
it: an optimiser adds that to the gradient, which the caller can do as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from lossatlas.data.augment import Augment
from lossatlas.landscape.layout import Layout
from lossatlas.seeds import derive
from lossatlas.train.loop import Examples, per_example_loss


@dataclass(frozen=True)
class Slope:
    """The gradient of the descended loss at a point, from minibatches of one pass.

    Attributes:
        loss: their mean loss.
        gradient: (D,) float64, their mean gradient.
        noise: trace of the covariance of one minibatch's gradient; NaN of a single one.
        signal: |gradient|^2 without what noise adds to it (noise / minibatches), which may be negative.
        minibatches: how many.
    """

    loss: float
    gradient: Tensor
    noise: float
    signal: float
    minibatches: int


@dataclass(frozen=True)
class Descended:
    """The loss that a recipe descends.

    Attributes:
        model: for its shape; neither its weights nor its statistics are used or changed.
        examples: what it is trained on.
        recipe: ``batch`` (None = all), ``augment`` and ``criterion``, as of a run.
    """

    model: nn.Module
    examples: Examples
    recipe: Mapping

    def slope(self, theta: Tensor, seed: int, most: int | None = None) -> Slope:
        """Return loss and gradient at theta (D,), by a random pass over the training examples.

        Args:
            theta: the point; evaluated in the examples' type.
            seed: of the order and of the augmentation.
            most: examples of the pass, as whole minibatches and at least one; None = all.
        """
        examples, layout = self.examples, Layout.of(self.model)
        count = len(examples.x)
        batch = min(self.recipe["batch"] or count, count)
        number = max(1, min(count, most or count) // batch)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "order")))
        order = order.to(examples.x.device)
        augment = Augment(self.recipe["augment"]) if self.recipe["augment"] else None
        generator = torch.Generator(device=examples.x.device).manual_seed(derive(seed, "augment"))
        point = theta.detach().to(examples.x.device, examples.dtype)
        total = torch.zeros(len(point), dtype=torch.float64, device=point.device)
        squares, losses = 0.0, []
        for rows in order[: number * batch].split(batch):
            x = examples.x[rows] if augment is None else augment(examples.x[rows], generator)
            loss, gradient = self._minibatch(layout, point, examples.inputs(x), examples.y[rows])
            total += gradient
            squares += float(gradient @ gradient)
            losses.append(loss)
        mean = total / number
        size = float(mean @ mean)
        noise = max(squares - number * size, 0.0) / (number - 1) if number > 1 else float("nan")
        return Slope(float(np.mean(losses)), mean, noise, size - noise / number if number > 1 else size, number)

    def _minibatch(self, layout: Layout, point: Tensor, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
        """Return loss and gradient (D,), float64, of a minibatch in train mode."""
        leaves = {name: part.detach().requires_grad_() for name, part in layout.unflatten(point).items()}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}  # train mode writes to them
        mode = self.model.training
        try:
            outputs = functional_call(self.model.train(), {**leaves, **buffers}, (x,))
        finally:
            self.model.train(mode)
        loss = per_example_loss(self.recipe["criterion"], outputs.double(), y).mean()
        found = torch.autograd.grad(loss, list(leaves.values()))
        return float(loss.detach()), torch.cat([part.reshape(-1) for part in found]).double()
