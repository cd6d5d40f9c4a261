"""Examples from what people have: arrays, a data set, a loader, batches as tuples or dicts; read once, then held.

A landscape is a function of the weights, so its examples are fixed: what a loader shuffles or augments is drawn once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset, default_collate

from lossatlas.errors import LossatlasError
from lossatlas.landscape.inputs import Inputs, count, each, tensors

log = logging.getLogger(__name__)

MOST = 10_000
"""Examples that are used unless more are asked for."""

TARGETS = ("labels", "label", "targets", "target", "y")
"""Keys under which a batch that is a dict has its targets, the first that is there."""

SEED = 0
"""Of the draw of a part of the examples, and of what a loader and its transforms draw."""


@dataclass(frozen=True)
class Examples:
    """Inputs and targets in memory, on the CPU.

    Attributes:
        x: inputs, an example a row; floating point, complex or integer.
        y: targets (n, ...), int64 or floating point.
        total: how many examples there were to choose from; None where that is not known.
        key: name of the targets in batches that are dicts, None in others.
        notes: what a user should know about the choice, a sentence each.
    """

    x: Inputs
    y: Tensor
    total: int | None = None
    key: str | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.y)

    def digest(self) -> str:
        """Return the SHA-256 of all inputs and targets: types, shapes and numbers."""
        total = hashlib.sha256()
        for part in [*tensors(self.x), self.y]:
            total.update(f"{part.dtype}{tuple(part.shape)}".encode())
            total.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()


def examples_of(data: Any, most: int | None = MOST) -> Examples:
    """Return the examples of what a user gives as data.

    Args:
        data: ``(x, y)`` of tensors, numpy arrays or lists, where x may be a tuple (several arguments of the network)
            or a dict (its keywords); a dict of arrays with the targets under one of :data:`TARGETS`; a ``Dataset``; a
            ``DataLoader``, or another iterable of batches of these forms.
        most: examples that are used at most, None = all. Of arrays and data sets they are drawn at random, always the
            same; of loaders they are the first.

    Raises:
        LossatlasError: there are no examples or targets, batches do not fit together, images are not normalised, or
            inputs are not finite.
    """
    if most is not None and (not isinstance(most, int) or most < 1):
        raise LossatlasError(f"data: examples got {most!r}; expected an integer >= 1, or None for all")
    if isinstance(data, Examples):
        found = _some(data, most)
    elif isinstance(data, TensorDataset):
        found = _some(_pair(data.tensors), most)
    elif isinstance(data, DataLoader):
        found = _of_loader(data, most)
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        found = _of_dataset(data, most)
    elif isinstance(data, Mapping) or _is_pair(data):
        found = _some(_pair(data), most)
    elif _is_rows(data):
        found = _of_dataset(data, most)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes) and not _is_array(data):
        found = _first(iter(data), most, None)
    else:
        raise LossatlasError(
            f"data: got {_named(data)}; expected (inputs, targets), a dict of arrays, a Dataset or a DataLoader"
        )
    return _checked(found)


# ---------------------------------------------------------------------------------------------------------------------
# sources


def _of_loader(loader: DataLoader, most: int | None) -> Examples:
    """Return the first examples of a loader, drawn from a fixed seed; the caller's random numbers stay as they are."""
    total = len(loader.dataset) if hasattr(loader.dataset, "__len__") else None
    own = [g for g in (loader.generator, getattr(loader.sampler, "generator", None)) if g is not None]
    states = [g.get_state() for g in own]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        try:
            found = _first(iter(loader), most, total)
        finally:
            for generator, state in zip(own, states, strict=True):
                generator.set_state(state)
    if isinstance(loader.sampler, RandomSampler):
        found = _noted(found, "the loader shuffles: its order was drawn once and is kept")
    return found


def _of_dataset(dataset: Any, most: int | None) -> Examples:
    """Return examples of a data set that has a length, each read once."""
    if not hasattr(dataset, "__len__"):
        raise LossatlasError(f"data: {_named(dataset)} has no length; give a DataLoader of it")
    total = len(dataset)
    rows = _rows(total, most)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        try:
            batch = default_collate([dataset[int(i)] for i in (range(total) if rows is None else rows)])
        except (TypeError, RuntimeError) as error:
            raise LossatlasError(
                f"data: the items of {_named(dataset)} do not make one batch ({_line(error)}); expected items (input, "
                "target) of one shape, or give a DataLoader with your collate_fn"
            ) from error
        except IndexError as error:
            raise LossatlasError(f"data: {_named(dataset)} has no examples; expected at least one") from error
    found = replace(_pair(batch), total=total)
    return found if rows is None else _noted(found, _drawn(len(rows), total))


def _first(batches: Iterator[Any], most: int | None, total: int | None) -> Examples:
    """Return the first examples of batches, which need not end where only some are used."""
    parts: list[Examples] = []
    used = 0
    for batch in batches:
        if most is not None and used >= most:
            break
        parts.append(_pair(batch))
        used += len(parts[-1])
    if not parts:
        raise LossatlasError("data: got no batches; expected at least one")
    found = _joined(parts)
    if most is not None and used > most:
        found = replace(found, x=each(found.x, lambda part: part[:most]), y=found.y[:most])
    found = replace(found, total=total)
    more = total if total is not None else used if next(batches, None) is None else None
    if more is not None and len(found) >= more:
        return found
    found = _noted(found, f"the first {len(found):,} of {'more' if more is None else f'{more:,}'} examples are used")
    y = found.y
    if y.ndim == 1 and not y.is_floating_point() and len(y) > 1 and bool((y[1:] >= y[:-1]).all()):
        found = _noted(
            found, "the classes come in order, so these are the first classes only; give a loader that shuffles"
        )
    return found


def _some(whole: Examples, most: int | None) -> Examples:
    """Return at most so many of examples in memory, drawn at random, always the same, in their order."""
    total = len(whole)
    rows = _rows(total, most)
    if rows is None:
        return replace(whole, total=total if whole.total is None else whole.total)
    part = replace(whole, x=each(whole.x, lambda values: values[rows]), y=whole.y[rows], total=total)
    return _noted(part, _drawn(len(rows), total))


def _rows(total: int, most: int | None) -> Tensor | None:
    """Return row numbers, ascending, of a part drawn at random; None = all."""
    if most is None or total <= most:
        return None
    return torch.randperm(total, generator=torch.Generator().manual_seed(SEED))[:most].sort().values


def _drawn(used: int, total: int) -> str:
    return f"{used:,} of {total:,} examples are used, drawn at random (examples= says how many)"


# ---------------------------------------------------------------------------------------------------------------------
# batches


def _pair(batch: Any) -> Examples:
    """Return the inputs and targets of a batch, or of all data in the form of one."""
    if isinstance(batch, Mapping):
        key = next((name for name in TARGETS if name in batch), None)
        if key is None:
            raise LossatlasError(
                f"data: got a dict of {sorted(map(str, batch))}; expected the targets as one of {TARGETS}"
            )
        kept = {str(name): _array(part) for name, part in batch.items() if name != key and _is_array(part)}
        if not kept:
            raise LossatlasError(f"data: got a dict of {sorted(map(str, batch))}; expected inputs beside {key!r}")
        return _made(kept, _array(batch[key]), key)
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        *inputs, targets = batch
        x = inputs[0] if len(inputs) == 1 else tuple(inputs)
        if not _is_array(targets):
            raise LossatlasError(f"data: the targets are {_named(targets)}; expected an array with a row an example")
        return _made(_inputs(x), _array(targets), None)
    raise LossatlasError(
        f"data: got a batch of {_named(batch)}, without targets; expected (inputs, targets) or a dict with 'labels'; "
        "next tokens of sequences are data=(tokens[:, :-1], tokens[:, 1:])"
    )


def _made(x: Inputs, y: Tensor, key: str | None) -> Examples:
    if y.ndim == 0 or count(x) != len(y):
        raise LossatlasError(f"data: got {count(x)} inputs and targets {tuple(y.shape)}; expected equally many")
    return Examples(x, y if y.is_floating_point() or y.is_complex() else y.long(), key=key)


def _inputs(x: Any) -> Inputs:
    if isinstance(x, Mapping):
        return {str(name): _array(part) for name, part in x.items() if _is_array(part)}
    if isinstance(x, tuple) or (isinstance(x, list) and any(isinstance(part, Tensor | np.ndarray) for part in x)):
        return tuple(_array(part) for part in x)
    return _array(x)


def _joined(parts: Sequence[Examples]) -> Examples:
    """Return batches one after the other."""
    columns = [[*tensors(part.x), part.y] for part in parts]
    shapes = {tuple(tuple(t.shape[1:]) for t in column) for column in columns}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise LossatlasError(
            f"data: batches have examples of shapes {a} and {b}; expected one shape: pad all to one length (a "
            "tokenizer's padding='max_length')"
        )
    whole = [torch.cat(column) for column in zip(*columns, strict=True)]
    first = parts[0].x
    if isinstance(first, Tensor):
        return replace(parts[0], x=whole[0], y=whole[-1])
    if isinstance(first, dict):
        return replace(parts[0], x=dict(zip(first, whole[:-1], strict=True)), y=whole[-1])
    return replace(parts[0], x=tuple(whole[:-1]), y=whole[-1])


def _checked(found: Examples) -> Examples:
    """Return examples of which every one can be used; log what is worth knowing."""
    if len(found) == 0:
        raise LossatlasError("data: got no examples; expected at least one")
    for part in tensors(found.x):
        if part.dtype == torch.uint8:
            raise LossatlasError(
                f"data: inputs are uint8 {tuple(part.shape)}; expected them as the network was trained on them, for "
                "images usually x.float() / 255 with the mean taken off and divided by the deviation"
            )
        if (part.is_floating_point() or part.is_complex()) and not bool(torch.isfinite(part).all()):
            raise LossatlasError("data: inputs have NaN or infinite numbers; expected finite ones: leave those out")
    if found.y.is_floating_point() and not bool(torch.isfinite(found.y).all()):
        raise LossatlasError("data: targets have NaN or infinite numbers; expected finite ones: leave those out")
    for note in found.notes:
        log.warning("%s", note)
    return found


def _noted(found: Examples, note: str) -> Examples:
    return replace(found, notes=(*found.notes, note))


def _is_pair(data: Any) -> bool:
    """Whether data is one (inputs, targets), not a list of batches."""
    return (
        isinstance(data, tuple | list)
        and len(data) == 2
        and _is_array(data[1])
        and (_is_array(data[0]) or isinstance(data[0], tuple | Mapping))
        and not (isinstance(data, list) and isinstance(data[1], list | tuple))
    )


def _is_rows(data: Any) -> bool:
    """Whether data gives its examples by number without being torch's ``Dataset``, as those of other libraries do."""
    rows = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return rows and not isinstance(data, list | tuple | str | bytes | Dataset) and not _is_array(data)


def _is_array(part: Any) -> bool:
    """Whether something is an array of numbers, or a list of numbers."""
    if isinstance(part, Tensor | np.ndarray):
        return True
    if isinstance(part, list):
        return bool(part) and isinstance(part[0], int | float | list)
    return hasattr(part, "__array__")


def _array(part: Any) -> Tensor:
    """Return an array as a tensor on the CPU."""
    if isinstance(part, Tensor):
        return part.detach().cpu()
    values = np.asarray(part)
    if values.dtype.kind not in "fiubc":
        raise LossatlasError(f"data: got an array of {values.dtype}; expected numbers")
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("=")))


def _named(data: Any) -> str:
    if isinstance(data, Tensor | np.ndarray):
        return f"one array of shape {tuple(data.shape)}"
    return f"nothing (data={data!r})" if data is None else type(data).__name__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
