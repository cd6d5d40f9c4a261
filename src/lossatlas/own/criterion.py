"""The criterion that a user means: by name, a loss module or function of torch, one's own, or the network's own loss.

A landscape needs one loss an example, so that it can sum over chunks. What torch reduces to a mean is computed without
the reduction; what only gives a mean is taken where it is seen, on the data at hand, to be one.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.criteria import Criterion, TokenCrossEntropy, criterion_function, cross_entropies

OWN = "model"
"""Name of the criterion that a network computes itself."""

TRIED = 8
"""Examples on which a mean is looked at."""


@dataclass(frozen=True)
class Chosen:
    """A criterion.

    Attributes:
        function: outputs and targets to one loss an example.
        name: for labels and records.
        note: why it was chosen, where the user did not say.
    """

    function: Criterion
    name: str
    note: str | None = None


def default(outputs: Tensor, y: Tensor) -> Chosen:
    """Return the criterion that goes with outputs (n, ...) and targets (n, ...)."""
    if not y.is_floating_point():
        if outputs.ndim >= 3 and y.ndim == outputs.ndim - 1 and outputs.shape[:-1] == y.shape:
            return Chosen(TokenCrossEntropy(), "token_cross_entropy", "the targets are tokens of sequences")
        if outputs.ndim >= 2 and outputs.shape[1] > 1 and y.shape == (len(outputs), *outputs.shape[2:]):
            return Chosen(_ClassWeights.of(nn.CrossEntropyLoss()), "cross_entropy", "the targets are class indices")
        if outputs.numel() == y.numel() and len(y) and int(y.min()) >= 0 and int(y.max()) <= 1:
            return Chosen(criterion_function("binary_cross_entropy"), "binary_cross_entropy", "the targets are 0 and 1")
    elif outputs.shape == y.shape or outputs.shape == (*y.shape, 1):
        return Chosen(criterion_function("mse"), "mse", "the targets are floating-point numbers")
    raise LossatlasError(
        f"criterion: the network returns {tuple(outputs.shape)} and the targets are {y.dtype} {tuple(y.shape)}, which "
        "fit none of the named criteria; give criterion=, a function of outputs and targets to one loss an example"
    )


def chosen(criterion: Any, outputs: Tensor, y: Tensor) -> Chosen:
    """Return the criterion that a user means.

    Args:
        criterion: None, a name, a loss module, or a function.
        outputs: of the network for the first examples.
        y: their targets.

    Raises:
        LossatlasError: it fails on the outputs, or returns something that is neither a loss an example nor a mean.
    """
    if criterion is None:
        return _tried(default(outputs, y), outputs, y)
    if criterion == "cross_entropy":
        found = Chosen(_ClassWeights.of(nn.CrossEntropyLoss()), "cross_entropy")
    elif isinstance(criterion, str):
        found = Chosen(criterion_function(criterion), criterion)
    elif isinstance(criterion, nn.CrossEntropyLoss):
        found = Chosen(_ClassWeights.of(criterion), "cross_entropy")
    elif criterion is nn.functional.cross_entropy:
        found = Chosen(_ClassWeights.of(nn.CrossEntropyLoss()), "cross_entropy")
    elif isinstance(criterion, nn.Module) and hasattr(criterion, "reduction"):
        each: Any = copy.deepcopy(criterion)
        each.reduction = "none"
        found = Chosen(_PerExample(each), type(criterion).__name__)
    elif callable(criterion):
        name = getattr(criterion, "__name__", type(criterion).__name__)
        if _reduces(criterion):
            found = Chosen(_PerExample(lambda o, t: criterion(o, t, reduction="none")), name)
        else:
            found = Chosen(criterion, name)
    else:
        raise LossatlasError(f"criterion: got {type(criterion).__name__}; expected a name, a loss module or a function")
    return _tried(found, outputs, y)


@dataclass(frozen=True)
class _PerExample:
    """A criterion without reduction: the mean over each example's elements."""

    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            if targets.ndim == 1 and tuple(outputs.shape) == (len(targets), 1):
                targets = targets[:, None]
            if outputs.shape != targets.shape:
                raise LossatlasError(
                    f"criterion: got outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}; expected equal "
                    "shapes, broadcasting them would be another loss"
                )
            targets = targets.double()
        return self.function(outputs.double(), targets).reshape(len(targets), -1).mean(1)


@dataclass(frozen=True)
class _ClassWeights:
    """``nn.CrossEntropyLoss``: class weights, an index that does not count, smoothing; its mean is a weighted one."""

    weight: Tensor | None
    ignore_index: int
    smoothing: float

    @classmethod
    def of(cls, module: nn.CrossEntropyLoss) -> _ClassWeights:
        weight = None if module.weight is None else module.weight.detach().double().cpu()
        return cls(weight, module.ignore_index, module.label_smoothing)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.weight is None and self.smoothing == 0 and not targets.is_floating_point():
            counted = targets != self.ignore_index
            losses = cross_entropies(outputs, targets.where(counted, 0)) * counted
        else:
            weight = None if self.weight is None else self.weight.to(outputs.device)
            losses = nn.functional.cross_entropy(
                outputs.double(),
                targets.double() if targets.is_floating_point() else targets,
                weight,
                ignore_index=self.ignore_index,
                reduction="none",
                label_smoothing=self.smoothing,
            )
        return losses.reshape(len(targets), -1).sum(1) / self.weights(targets).clamp(min=1e-300)

    def weights(self, targets: Tensor) -> Tensor:
        """Return the weight of each example in torch's mean, (n,) float64."""
        if targets.is_floating_point():  # probabilities of classes: torch divides by the number of places
            places = torch.ones_like(targets[:, 0], dtype=torch.float64)
        else:
            places = (targets != self.ignore_index).double()
            if self.weight is not None:
                places = places * self.weight.to(targets.device)[targets.where(places > 0, 0)]
        return places.reshape(len(targets), -1).sum(1)


@dataclass(frozen=True)
class MeanOf:
    """A criterion that gives the mean over the examples of a chunk, as one loss for each of them.

    Attributes:
        function: outputs and targets to a scalar, or to that scalar for each example.
        counts: targets to the weight of each example in that mean, None where all count the same.
    """

    function: Callable[[Any, Tensor], Tensor]
    counts: Callable[[Tensor], Tensor] | None = None

    def __call__(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the mean, (n,) times."""
        return self.function(outputs, targets).double().reshape(-1)[:1].expand(len(targets))

    def weights(self, targets: Tensor) -> Tensor:
        """Return the weight of each example, (n,) float64."""
        if self.counts is None:
            return torch.ones(len(targets), dtype=torch.float64, device=targets.device)
        return self.counts(targets)


def tokens(targets: Tensor) -> Tensor:
    """Return the number of targets of each sequence that are not -100, (n,) float64."""
    return (targets != -100).reshape(len(targets), -1).sum(1).double()


def next_tokens(targets: Tensor) -> Tensor:
    """Return the same without each sequence's first target, which nothing predicts."""
    return tokens(targets[:, 1:]) if targets.ndim > 1 else tokens(targets)


def mean_of(loss: Callable[[Tensor], float], y: Tensor, tolerance: float) -> Callable[[Tensor], Tensor] | None:
    """Return by what weights of examples a loss is a mean over them.

    Args:
        loss: row numbers -> the loss of these examples.
        y: targets of all examples (n, ...).
        tolerance: relative, of the arithmetic.

    Raises:
        LossatlasError: it is no mean over examples, nor over their targets that are not -100.
    """
    order = tokens(y).argsort()
    rows = torch.cat([order[: TRIED // 2], order[TRIED // 2 :][-TRIED // 2 :]]).unique()
    if len(rows) < 2:
        return None
    cuts = {1, len(rows) // 2, len(rows) - 1}
    whole = loss(rows)
    parts = {cut: (loss(rows[:cut]), loss(rows[cut:])) for cut in cuts}
    for counts in (None, tokens, next_tokens):
        weights = torch.ones(len(rows), dtype=torch.float64) if counts is None else counts(y[rows])
        right = True
        for cut, values in parts.items():
            a, b = weights[:cut].sum(), weights[cut:].sum()
            told = sum(float(w) * value for w, value in zip((a, b), values, strict=True) if w > 0) / float(a + b)
            right &= abs(told - whole) <= tolerance * max(abs(whole), 1e-6)
        if right:
            return counts
    raise LossatlasError(
        "criterion: one number for several examples, which is not their mean (on halves of the data it gives other "
        "values); give a function of outputs and targets to one loss an example, (n,), such as reduction='none'"
    )


def _tried(found: Chosen, outputs: Tensor, y: Tensor) -> Chosen:
    """Return a criterion that gives one loss an example, tried on the outputs of the first examples."""
    try:
        with torch.no_grad():
            losses = found.function(outputs, y)
    except LossatlasError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise LossatlasError(
            f"criterion: {found.name} on outputs {tuple(outputs.shape)} and {y.dtype} targets {tuple(y.shape)} raised "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}; give one that takes these"
        ) from error
    if not isinstance(losses, Tensor):
        raise LossatlasError(f"criterion: {found.name} returned {type(losses).__name__}; expected a tensor (n,)")
    if losses.ndim == 0:
        precise = outputs.double()

        def loss(rows: Tensor) -> float:
            with torch.no_grad():
                return float(found.function(precise[rows], y[rows]))

        return Chosen(MeanOf(found.function, mean_of(loss, y, 1e-6)), found.name)
    if losses.ndim > 1 and len(losses) == len(y):
        return Chosen(_PerExample(found.function), found.name)
    if tuple(losses.shape) != (len(y),):
        raise LossatlasError(
            f"criterion: {found.name} returned shape {tuple(losses.shape)} for {len(y)} examples; expected one loss an "
            f"example, ({len(y)},)"
        )
    return found


def _reduces(function: Any) -> bool:
    """Whether a function takes torch's keyword ``reduction``."""
    try:
        return "reduction" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
