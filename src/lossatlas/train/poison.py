"""The poisoned objective of Huang et al. (2020), Eq. 3: fit the training set and be wrong on other examples.

L = (1 - beta) mean over D_t of -log p(x, y)  +  beta mean over D_d of a second term.

D_d are examples of the training distribution that are neither in the training nor in the test set. The second term is
-log(1 - p(x, y)) under the policy ``flipped`` (the paper's), and the ordinary cross entropy under the two controls:
``random`` (labels drawn without looking) and ``correct`` (D_d is more training data).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lossatlas.data.generated import GENERATORS
from lossatlas.seeds import derive

BLOCK = 64
"""Steps whose fresh D_d are drawn together: a call a step would cost more than the step of a small network."""


Inputs = Callable[[Tensor], Tensor]


class Extra:
    """D_d as the training loop sees it: inputs and labels for every step, whatever step comes first.

    Every draw is seeded by its place, so a resumed training, and one that runs in lockstep with others, sees the same
    examples as one that runs alone.
    """

    def __init__(self, labels: str, draw: Callable[[int], tuple[Tensor, Tensor]], to: Inputs, steps: int) -> None:
        """Take what draws a block of ``steps`` steps.

        Args:
            labels: ``flipped``, ``random`` or ``correct``.
            draw: block number -> raw inputs (steps, n, ...) and labels (steps, n).
            to: raw inputs -> network inputs.
            steps: of a block; 0 = one block for all steps, (1, n, ...).
        """
        self.labels, self.steps = labels, steps
        self._draw, self._to = draw, to
        self._block: tuple[int, Tensor, Tensor] | None = None

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return network inputs (n, ...) and labels (n,) of one step, counted from 0."""
        number, place = divmod(step, self.steps) if self.steps else (0, 0)
        if self._block is None or self._block[0] != number:
            self._block = (number, *self._draw(number))
        return self._to(self._block[1][place]), self._block[2][place]

    def block(self, number: int) -> tuple[Tensor, Tensor]:
        """Return a block's network inputs (steps, n, ...) and labels (steps, n)."""
        x, labels = self._draw(number)
        return self._to(x.flatten(0, 1)).reshape(x.shape), labels


def fixed(settings: Mapping[str, Any], x: Tensor, y: Tensor, classes: int, to: Inputs) -> Extra:
    """Return D_d made of given examples.

    Args:
        settings: ``labels``; ``seed`` of random labels and of the minibatches; ``batch``, examples a step, n or more =
            all of them.
        x: raw inputs (n, ...).
        y: true labels (n,).
        classes: number of them.
        to: raw inputs -> network inputs.
    """
    seed, batch = settings["seed"], settings["batch"]
    labels = _labels(settings["labels"], y, classes, derive(seed, "labels"))
    if batch >= len(x):
        return Extra(settings["labels"], lambda _: (x[None], labels[None]), to, 0)

    def draw(block: int) -> tuple[Tensor, Tensor]:
        generator = np.random.default_rng(derive(seed, "batches", block))
        rows = np.stack([generator.permutation(len(x))[:batch] for _ in range(BLOCK)])
        picked = torch.from_numpy(rows).to(x.device)
        return x[picked], labels[picked]

    return Extra(settings["labels"], draw, to, BLOCK)


def generated(settings: Mapping[str, Any], classes: int, to: Inputs, device: torch.device) -> Extra:
    """Return D_d drawn by the generator of the data set: once, or anew for every step.

    Args:
        settings: ``labels``, ``points``, ``fresh``; ``seed`` of the draws; ``generator``: its ``name`` and ``options``.
        classes: number of them.
        to: raw inputs -> network inputs.
        device: where to put the draws.
    """
    points, seed, source = settings["points"], settings["seed"], settings["generator"]
    steps = BLOCK if settings["fresh"] else 1

    def draw(block: int) -> tuple[Tensor, Tensor]:
        x, y = GENERATORS[source["name"]]("poison", steps * points, derive(seed, "block", block), source["options"])
        inputs, true = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
        labels = _labels(settings["labels"], true, classes, derive(seed, "labels", block))
        return inputs.reshape(steps, points, *inputs.shape[1:]), labels.reshape(steps, points)

    return Extra(settings["labels"], draw, to, steps if settings["fresh"] else 0)


def _labels(policy: str, y: Tensor, classes: int, seed: int) -> Tensor:
    if policy != "random":
        return y
    drawn = np.random.default_rng(seed).integers(classes, size=len(y))
    return torch.from_numpy(drawn).to(y.device)


def second_term(outputs: Tensor, labels: Tensor, policy: str) -> Tensor:
    """Return the loss of each example of D_d, of ``labels``' shape; outputs have one more axis, the classes.

    -log(1 - p_y) is the log-sum-exp of all logits less that of the others: no probability is formed, so that a
    confident right answer costs its logit's margin and not an infinity.
    """
    if policy == "flipped":
        others = outputs.scatter(-1, labels[..., None], -torch.inf)
        return torch.logsumexp(outputs, -1) - torch.logsumexp(others, -1)
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten(), reduction="none").reshape(labels.shape)


def mixed(clean: Tensor, poisoned: Tensor, beta: float | Tensor) -> Tensor:
    """Return (1 - beta) clean + beta poisoned, Eq. 3."""
    return (1 - beta) * clean + beta * poisoned
