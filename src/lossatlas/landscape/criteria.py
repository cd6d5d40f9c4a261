"""Criteria: from a network's outputs and targets to one loss an example, in float64 whatever the outputs' type.

A loss is the mean over examples, each weighted equally, unless a criterion has a method ``weights``, which maps targets
(n, ...) to a weight an example, (n,): that of the mean over all tokens of all sequences is their number in each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lossatlas import numerics
from lossatlas.errors import LossatlasError

Criterion = Callable[[Tensor, Tensor], Tensor]

CONFIDENT = 1e-8
"""Cross entropy below which log(1 + the sum of the others' odds) takes its place: 1 - p is a multiple of 1e-16."""


LARGE = 700.0
"""Number x from which log(1 + e^x) is x; e^x has a double just above."""


@dataclass(frozen=True)
class TokenCrossEntropy:
    """Softmax cross entropy of the tokens of sequences; the loss is the mean over all tokens that count.

    Attributes:
        ignore_index: target of tokens that do not count (padding).
    """

    ignore_index: int = -100

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over each sequence's tokens that count, (n,) float64; 0 where none does.

        Args:
            outputs: logits (n, T, C); (n, ..., C) in general.
            targets: int64 (n, T), token indices below C or ``ignore_index``.
        """
        if outputs.ndim < 3 or outputs.shape[:-1] != targets.shape or targets.is_floating_point():
            raise LossatlasError(
                f"landscape: token_cross_entropy got outputs {tuple(outputs.shape)} and {targets.dtype} targets "
                f"{tuple(targets.shape)}; expected logits (n, T, C) and token indices (n, T)"
            )
        flat = targets.reshape(-1)
        counted = flat != self.ignore_index
        losses = torch.zeros(len(flat), dtype=torch.float64, device=outputs.device)
        losses = losses.masked_scatter(
            counted, cross_entropies(outputs.reshape(len(flat), -1)[counted], flat[counted].long())
        )
        return losses.reshape(len(targets), -1).sum(1) / self.weights(targets).clamp(min=1)

    def weights(self, targets: Tensor) -> Tensor:
        """Return the number of tokens that count in each sequence, (n,) float64."""
        return (targets != self.ignore_index).reshape(len(targets), -1).sum(1).double()


def criterion_function(criterion: str | Criterion) -> Criterion:
    """Return the criterion by name, or the callable itself: outputs and targets to one loss an example, (n,)."""
    if callable(criterion):
        return criterion
    if criterion not in NAMED:
        raise LossatlasError(f"landscape: criterion got {criterion!r}; expected one of {sorted(NAMED)!r} or a callable")
    return NAMED[criterion]


def cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of each target, of targets' shape, in float64 whatever the outputs' type.

    Eight digits of it hold also where a network is so sure that 1 - p is below 1e-16: such losses are recorded and, by
    line searches, compared. The gradient is torch's own, to 1e-16.

    Args:
        outputs: logits, (n, C) or (n, C, ...).
        targets: class indices, (n,) or (n, ...).
    """
    if outputs.shape[1] == 2 and not numerics.capped():
        with suppress(RuntimeError):  # a class that there is not: torch's own cross entropy, below, says which
            return _of_two_classes(outputs, targets)
    outputs = outputs.double()
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
    with torch.no_grad():
        sure = losses < CONFIDENT
        if losses.device.type == "cpu" and not sure.any():  # to ask a GPU takes longer than all the rest
            return losses
        right = targets.unsqueeze(1)
        odds = (outputs - outputs.gather(1, right)).exp_().scatter_(1, right, 0.0)
        # Torch's sum of rows of two takes twenty times as long; one of the two is zero, so no bit depends on it.
        others = odds[:, 0] + odds[:, 1] if outputs.shape[1] == 2 else odds.sum(1)
        exact = torch.where(sure, others.log1p_(), losses)
        if not losses.requires_grad:
            return exact
        change = torch.where(sure, exact - losses, 0.0)
    return losses + change  # the difference of near numbers is exact, and so is this sum


def _of_two_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return what :func:`cross_entropies` does of two logits: log(1 + e^(other - right)), exact whatever their order.

    A softmax of rows of two takes torch five times as long. Where a logit is infinite there is no loss, as there.
    """
    right = targets.unsqueeze(1)
    behind = (outputs.gather(1, 1 - right).double() - outputs.gather(1, right).double()).squeeze(1)
    losses = nn.functional.softplus(behind, threshold=LARGE)
    return losses + (behind - behind)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross entropy in float64; outputs (n, C) or (n, C, ...), class indices (n,) or (n, ...)."""
    expected = (len(outputs), *outputs.shape[2:])
    if outputs.ndim < 2 or tuple(targets.shape) != expected or targets.is_floating_point():
        tokens = outputs.ndim > 2 and tuple(targets.shape) == tuple(outputs.shape[:-1])
        raise LossatlasError(
            f"landscape: cross_entropy got outputs {tuple(outputs.shape)} and {targets.dtype} targets "
            f"{tuple(targets.shape)}; expected (n, C) and class indices (n,)"
            + ("; for logits (n, T, C) of tokens use token_cross_entropy" if tokens else "")
        )
    return cross_entropies(outputs, targets).reshape(len(outputs), -1).mean(1)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error in float64, the mean over an example's outputs; targets (n,) go with outputs (n, 1)."""
    outputs, targets = _same("mse", outputs, targets)
    return (outputs.double() - targets.double()).square().reshape(len(outputs), -1).mean(1)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of logits in float64, the mean over an example's outputs; targets in [0, 1]."""
    outputs, targets = _same("binary_cross_entropy", outputs, targets)
    losses = nn.functional.binary_cross_entropy_with_logits(outputs.double(), targets.double(), reduction="none")
    return losses.reshape(len(outputs), -1).mean(1)


NAMED: dict[str, Criterion] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "token_cross_entropy": TokenCrossEntropy(),
    "binary_cross_entropy": binary_cross_entropy,
}
"""Criteria by name."""


def _same(name: str, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and targets of equal shapes: broadcasting (n, 1) against (n,) would be silent and wrong."""
    if targets.ndim == 1 and tuple(outputs.shape) == (len(targets), 1):
        targets = targets[:, None]
    if outputs.shape != targets.shape:
        raise LossatlasError(
            f"landscape: {name} got outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}; expected equal "
            "ones"
        )
    return outputs, targets
