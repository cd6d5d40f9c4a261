"""``lossatlas.load``: a model, its checkpoint and its data as a :class:`~lossatlas.own.network.Network`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lossatlas.errors import LossatlasError
from lossatlas.landscape.inputs import Inputs, each, tensors
from lossatlas.landscape.landscape import NetworkLandscape, flat_weights, shapes_only
from lossatlas.landscape.large import EXACT
from lossatlas.landscape.layout import Layout
from lossatlas.models.checkpoints import checkpoints, sha256
from lossatlas.own import outputs as returned
from lossatlas.own.criterion import OWN, TRIED, Chosen, MeanOf, chosen, mean_of
from lossatlas.own.data import MOST, Examples, examples_of
from lossatlas.own.model import (
    HALVES,
    PRECISIONS,
    evaluated,
    is_lazy,
    module_of,
    random_layers,
    settled,
)
from lossatlas.own.network import Network, Source, check_weights, checked, placed, state_of
from lossatlas.train.precision import round_factors

log = logging.getLogger(__name__)

CHUNK = 500
"""Most examples that are evaluated at once."""

NUMBERS = 2**22
"""Most numbers that the inputs or outputs of a chunk have, where that leaves an example."""


def load(
    model: Any,
    checkpoint: Any = None,
    data: Any = None,
    criterion: Any = None,
    *,
    label: str | None = None,
    examples: int | None = MOST,
    batch: int | None = None,
    precision: str | None = None,
    batch_norm: str = "stored",
    device: torch.device | str | None = None,
) -> Network:
    """Return one's own network: its loss on given examples as a function of its weights.

    Args:
        model: a ``torch.nn.Module`` (a copy is used), a class or function without arguments that makes one, or
            ``"package.module:name"`` of one of these.
        checkpoint: weights and batch-norm statistics: the path of a ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` file of
            ``torch.save`` (read with ``weights_only``), of ``.safetensors`` or an index of shards; a directory of
            checkpoints of one training (the last is taken, all are listed); a state (name -> tensor); None: the model
            as it is.
        data: ``(x, y)`` of tensors or arrays, a dict of them, a ``Dataset``, a ``DataLoader`` or other batches
            (:func:`lossatlas.own.data.examples_of`), prepared as in training.
        criterion: ``cross_entropy``, ``mse``, ``token_cross_entropy``, ``binary_cross_entropy``, ``model`` (the loss
            that the network computes itself when it is given ``labels``), a loss module or function of torch, or a
            function of outputs and targets to one loss an example. By default the one that goes with the targets.
        label: what to call the network; the checkpoint's name by default.
        examples: at most so many are used, None = all.
        batch: at most so many are evaluated at once.
        precision: ``float32``, ``float64``, ``bfloat16`` or ``float16``; by default the model's, and float32 for half
            precision.
        batch_norm: ``stored``, ``recompute`` or ``batch`` (:meth:`Network.with_statistics`).
        device: where to compute; the model's by default. On a CUDA device float32 is then IEEE's in this process, also
            in cuDNN, which torch lets round factors to TF32 otherwise.

    Raises:
        LossatlasError: one line that says what does not fit, and what to do.
    """
    if data is None:
        raise LossatlasError("load: got no data; a loss is a mean over examples, give data=(x, y) or a DataLoader")
    module, name = module_of(model)
    given = examples_of(data, examples)
    given, notes = _accepted(module, given)
    if is_lazy(module):
        module = settled(module, _first(given.x, 2))
    if module.training and (random := random_layers(module)):
        notes.append(_say(f"the model was in train mode; {random[0]} and the like are off here, as after model.eval()"))
    if next(module.parameters(), None) is None:
        raise LossatlasError(f"model: {name} has no parameters; expected at least one")
    dtype, note = _dtype(module, precision)
    notes += [note] if note else []
    where = next(module.parameters()).device if device is None else torch.device(device)
    if where.type == "cuda":
        round_factors(False)
    shapes = shapes_only(module, where, dtype)  # in eval mode; the caller's module is not touched
    layout = Layout.of(module)
    files = tuple(checkpoints(checkpoint)) if isinstance(checkpoint, str | Path) else ()
    if checkpoint is None:
        theta, missing = flat_weights(module, dtype, where), False
    else:
        del module  # where we made it, its first weights go before the others come
        theta, missing = _taken(shapes, layout, files[-1] if files else checkpoint)
    named = label or (files[-1].stem if files else name.rpartition(":")[2])
    check_weights(named, layout, theta)
    scored = _scored(shapes, layout.unflatten(theta), given, criterion)
    landscape = NetworkLandscape(
        shapes,
        scored.x,
        given.y,
        scored.criterion.function,
        batch_norm="recompute" if missing and batch_norm == "stored" else batch_norm,
        batch_size=_chunk(given, scored.width) if batch is None else batch,
        device=where,
        output=scored.output,
        sums=torch.float64 if layout.dim <= EXACT else dtype,
        theta=theta,
    ).with_channels_last()
    network = Network(
        landscape,
        named,
        given,
        scored.criterion.name,
        Source(name, str(files[-1]), sha256(files[-1])) if files else Source(name),
        files,
        tuple(notes + scored.notes),
    )
    return checked(network.without_statistics() if missing else network)


@dataclass(frozen=True)
class Scored:
    """How a network is called and its outputs are scored.

    Attributes:
        x: what it is called with.
        output: what of its return value is scored; None = all of it.
        criterion: by which.
        width: numbers in the outputs of one example.
        notes: what was chosen.
    """

    x: Inputs
    output: Callable[[Any, Inputs], Any] | None
    criterion: Chosen
    width: int
    notes: list[str]


def _accepted(module: nn.Module, given: Examples) -> tuple[Examples, list[str]]:
    """Return examples of which a network takes every input, and notes: keywords it does not know are left out."""
    notes = list(given.notes)
    if not isinstance(given.x, dict):
        return given, notes
    takes = inspect.signature(module.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return given, notes
    known = {name: part for name, part in given.x.items() if name in takes}
    left = sorted(set(given.x) - set(known))
    if not left:
        return given, notes
    if not known and len(given.x) == 1:
        return replace(given, x=next(iter(given.x.values()))), notes
    if not known:
        raise LossatlasError(
            f"data: batches have {sorted(given.x)}, {type(module).__name__}.forward takes {sorted(takes)}; expected "
            "the same names"
        )
    notes.append(_say(f"{', '.join(left)} of the batches are left out: {type(module).__name__} does not take them"))
    return replace(given, x=known), notes


def _dtype(module: nn.Module, precision: str | None) -> tuple[torch.dtype, str | None]:
    """Return the type to compute in, and a note where it is not the model's."""
    if precision is not None:
        if precision not in PRECISIONS:
            raise LossatlasError(f"precision: got {precision!r}; expected one of {', '.join(PRECISIONS)}")
        return PRECISIONS[precision], None
    types = {p.dtype for p in module.parameters() if p.is_floating_point()}
    if not types & set(HALVES):
        return (torch.float64 if types == {torch.float64} else torch.float32), None
    half = sorted(str(t).removeprefix("torch.") for t in types & set(HALVES))
    return torch.float32, _say(f"the weights are {half[0]}; everything is computed in float32 (precision= changes it)")


def _taken(shapes: nn.Module, layout: Layout, given: Any) -> tuple[Tensor, bool]:
    """Return the weights (D,) of a checkpoint, having put its buffers into a model, and whether it lacks statistics."""
    first = next(shapes.parameters())
    own = dict(shapes.named_buffers())
    device = next(iter(own.values())).device if own else None
    where = given if isinstance(given, str | Path) else "the state"
    theta, buffers, missing = placed(shapes, layout, state_of(given), where, first.dtype, device)
    for name, value in buffers.items():
        own[name].copy_(value)
    return theta, missing


def _scored(shapes: nn.Module, weights: Mapping[str, Tensor], given: Examples, criterion: Any) -> Scored:
    """Return how a network's outputs are scored, seen on the first examples."""
    name = type(shapes).__name__

    def call(*positional: Tensor, **named: Tensor) -> Any:
        with torch.no_grad():
            return functional_call(shapes, dict(weights), positional, named)

    def ready(x: Inputs) -> Inputs:
        dtype = next(shapes.parameters()).dtype
        device = next(iter(weights.values())).device
        return each(x, lambda t: t.to(device, dtype if t.is_floating_point() else _complex(t, dtype)))

    few = ready(_first(given.x, 2))
    takes_labels = isinstance(few, dict) and "labels" in inspect.signature(shapes.forward).parameters
    if criterion == OWN or (criterion is None and given.key is not None and takes_labels):
        found = _own_loss(shapes, call, ready, given, wanted=criterion == OWN)
        if found is not None:
            return found
    result = evaluated(call, few, name)
    taken = returned.pick(result)
    outputs = result if taken is None else taken(result)
    if outputs.ndim == 0 or len(outputs) != min(2, len(given)):
        raise LossatlasError(
            f"model: {name} returned {tuple(outputs.shape)} for {min(2, len(given))} examples; expected "
            "a row an example"
        )
    width = outputs[0].numel()
    tried = max(2, min(TRIED, NUMBERS // max(width, 1)))
    result = evaluated(call, ready(_first(given.x, tried)), name)
    outputs = result if taken is None else taken(result)
    found_criterion = chosen(criterion, outputs, given.y[:tried].to(outputs.device))
    _check_classes(found_criterion, outputs, given.y)
    notes = [] if taken is None else [f"the network's outputs are its {taken}"]
    if found_criterion.note:
        notes.append(f"criterion {found_criterion.name}: {found_criterion.note}")
    return Scored(given.x, taken, found_criterion, width, notes)


def _check_classes(criterion: Chosen, outputs: Tensor, y: Tensor) -> None:
    """Refuse class indices of which the network has no output."""
    if y.is_floating_point() or criterion.name not in ("cross_entropy", "token_cross_entropy"):
        return
    classes = outputs.shape[-1 if criterion.name == "token_cross_entropy" else 1]
    ignored = getattr(criterion.function, "ignore_index", -100)
    used = y[y != ignored]
    if len(used) and not (int(used.min()) >= 0 and int(used.max()) < classes):
        raise LossatlasError(
            f"data: targets from {int(used.min())} to {int(used.max())}, and the network has {classes} outputs; "
            f"expected class indices 0 to {classes - 1}, or {ignored} where none counts"
        )


def _own_loss(
    shapes: nn.Module, call: Callable[..., Any], ready: Callable[[Inputs], Inputs], given: Examples, wanted: bool
) -> Scored | None:
    """Return how the loss is taken that a network computes itself; None where it computes none and need not."""
    name = type(shapes).__name__
    if not isinstance(given.x, dict):
        raise LossatlasError(
            f"criterion: 'model' is the loss that {name} computes when it is called with labels; expected batches that "
            "are dicts with 'labels'"
        )
    x: dict[str, Tensor] = {**given.x, "labels": given.y}

    def loss(rows: Tensor) -> float:
        found = returned.own_loss(evaluated(call, ready(each(x, lambda part: part[rows])), name))
        return float("nan") if found is None else float(found)

    found = evaluated(call, ready(_first(x, 2)), name)
    if returned.own_loss(found) is None:
        if wanted:
            raise LossatlasError(f"criterion: {name} returns no loss when it is called with labels; name a criterion")
        return None
    counts = mean_of(loss, given.y, 1e-4 if next(shapes.parameters()).dtype in HALVES else 1e-5)
    width = max((t[0].numel() for t in tensors_in(found) if t.ndim and len(t) == min(2, len(given))), default=1)
    what = "examples" if counts is None else "targets that are not -100"
    note = f"criterion: the loss that {name} computes itself, a mean over {what}"
    return Scored(x, returned.losses, Chosen(MeanOf(_as_it_is, counts), OWN), width, [note])


def tensors_in(found: Any) -> list[Tensor]:
    """Return the tensors that stand directly in a mapping or object."""
    values = (
        found.values() if isinstance(found, Mapping) else vars(found).values() if hasattr(found, "__dict__") else ()
    )
    return [value for value in values if isinstance(value, Tensor)]


def _as_it_is(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs


def _first(x: Inputs, count: int) -> Inputs:
    return each(x, lambda part: part[:count])


def _complex(part: Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the type of complex inputs that goes with real weights, and that of integers."""
    if not part.is_complex():
        return part.dtype
    return torch.complex128 if dtype == torch.float64 else torch.complex64


def _chunk(given: Examples, width: int) -> int:
    """Return how many examples are evaluated at once."""
    widest = max([width, *(part[0].numel() for part in tensors(given.x))])
    return max(1, min(CHUNK, NUMBERS // max(widest, 1)))


def _say(note: str) -> str:
    log.warning("%s", note)
    return note
