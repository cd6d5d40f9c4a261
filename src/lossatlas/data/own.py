"""A user's own examples: arrays of a file, or what a function of theirs returns, as the parts of a data set."""

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossatlas.data import spec as catalogue
from lossatlas.data.dataset import PARTS, Arrays
from lossatlas.data.sources import balanced_order
from lossatlas.errors import LossatlasError
from lossatlas.seeds import derive
from lossatlas.specs import source

INPUTS = ("x", "X", "inputs", "images", "features", "data", "tokens", "input_ids")
TARGETS = ("y", "Y", "targets", "target", "labels", "label")
"""What files call inputs and targets; of parts also with ``_train`` behind or ``train_`` in front."""


def own(spec: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[dict[str, Arrays], tuple[str, ...], str]:
    """Return a user's own data.

    Args:
        spec: of the data job: name (``tensors`` or ``builder``), train, test (numbers of examples; None = all), seed.
        options: of the data set, complete.

    Returns:
        ``train`` and ``test`` -> x and y; class names ("0", "1", ...; none for numbers); the task.
        x: uint8 (n, C, H, W) images, int64 tokens, or float32, (n, ...); y: int64 (n,) or (n, T), or float32.

    Raises:
        LossatlasError: no such file or function, or what it holds is no data.
    """
    name = spec["name"]
    if name == "tensors":
        path = catalogue.file_path(options["path"])
        where, found = str(path), _read(path, options["checksum"])
    else:
        where, found = f"data: builder {options['builder']!r}", _called(options)
    parts = {part: _arrays(*pair, f"{where}: {part}") for part, pair in _parts(found, options, where).items()}
    tasks = {_task(y) for _, y in parts.values()}
    if len(tasks) > 1 or len({(x.dtype, x.shape[1:]) for x, _ in parts.values()}) > 1:
        shown = "; ".join(f"{part} {_shown(x)} -> {_shown(y)}" for part, (x, y) in parts.items())
        raise LossatlasError(f"{where}: the parts differ in form ({shown}); give both the same")
    (task,) = tasks
    classes = _classes(parts, options, where) if task == "classification" else ()
    return _split(parts, spec, where), classes, task


def _read(path: Path, checksum: str | None) -> Any:
    """Return what a file holds, after a check of its bytes."""
    with open(path, "rb") as file:  # one handle: what is read is what was checked
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum not in (None, digest):
            raise LossatlasError(f"{path}: its SHA-256 is {digest}, the study says {checksum}; correct one of them")
        file.seek(0)
        if path.suffix == ".npz":
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    return dict(arrays)
            except Exception as error:  # zipfile, numpy and zlib have one each
                raise LossatlasError(f"{path}: not a readable .npz file of numbers ({error}); save it again") from error
        import torch

        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            said = " ".join(str(error).split())[-200:]
            raise LossatlasError(
                f"{path}: not a file of tensors ({said}); save torch.save({{'x': x, 'y': y}}, file)"
            ) from error


def _called(options: Mapping[str, Any]) -> Any:
    """Return what a user's function returns for its keywords."""
    name, arguments = options["builder"], options["arguments"] or {}
    try:
        function = source.load(name, options["source_sha256"])
        inspect.signature(function).bind(**arguments)
    except (ImportError, AttributeError, TypeError) as error:
        raise LossatlasError(f"data: builder {name!r} cannot be called with {arguments}: {error}") from error
    try:
        return function(**arguments)
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise LossatlasError(f"data: builder {name!r} raised {type(error).__name__}: {said}; correct it") from error


# ---------------------------------------------------------------------------------------------------------------------
# which arrays they are


def _parts(found: Any, options: Mapping[str, Any], where: str) -> dict[str, tuple[Any, Any]]:
    """Return ``train``, and ``test`` where there is one, -> x and y as they were found."""
    if isinstance(found, Mapping):
        if options.get("keys"):
            return _named(found, options["keys"], where)
        parts = {part: _pair(found, part, where) for part in PARTS}
        parts = parts if parts["train"] else {"train": _pair(found, "", where)}
        pairs = {part: pair for part, pair in parts.items() if pair is not None}
        if "train" in pairs:
            return pairs
        raise LossatlasError(
            f"{where}: holds {', '.join(map(str, found))}; expected x and y, or x_train, y_train, x_test and y_test; "
            "or say what they are called with options: {keys: {train: [x, y]}}"
        )
    if isinstance(found, Sequence) and len(found) == 2 and not any(map(_is_array, found)):
        return dict(zip(PARTS, (_one(part, where) for part in found), strict=True))
    if isinstance(found, Sequence) and len(found) == 4:
        return {"train": (found[0], found[1]), "test": (found[2], found[3])}
    return {"train": _one(found, where)}


def _pair(found: Mapping, part: str, where: str) -> tuple[Any, Any] | None:
    """Return inputs and targets of a part of a mapping, None where it has none."""
    if part and isinstance(found.get(part), Mapping):
        return _pair(found[part], "", where)
    if part and isinstance(found.get(part), list | tuple):
        return _one(found[part], where)

    def first(names: Sequence[str]) -> Any:
        forms = [f"{name}_{part}" for name in names] + [f"{part}_{name}" for name in names] if part else names
        return next((found[form] for form in forms if form in found), None)

    x, y = first(INPUTS), first(TARGETS)
    return None if x is None or y is None else (x, y)


def _named(found: Mapping, keys: Any, where: str) -> dict[str, tuple[Any, Any]]:
    """Return the parts by the names that the study gives."""
    right = isinstance(keys, Mapping) and "train" in keys and not set(keys) - set(PARTS)
    if not right or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in keys.values()):
        raise LossatlasError(f"data.options.keys: {keys!r} is not {{train: [x, y], test: [x, y]}}")
    for name in (name for pair in keys.values() for name in pair):
        if name not in found:
            raise LossatlasError(f"{where}: has no {name!r}; it has {', '.join(map(str, found))}")
    return {part: (found[x], found[y]) for part, (x, y) in keys.items()}


def _one(found: Any, where: str) -> tuple[Any, Any]:
    """Return inputs and targets of a pair, or of a data set of examples."""
    if isinstance(found, Mapping):
        pair = _pair(found, "", where)
        if pair is not None:
            return pair
    if isinstance(found, list | tuple) and len(found) == 2:
        return found[0], found[1]
    if hasattr(found, "__len__") and hasattr(found, "__getitem__") and not _is_array(found) and len(found):
        try:
            items = [found[i] for i in range(len(found))]
            return tuple(np.stack([_numbers(item[i], where) for item in items]) for i in (0, 1))  # type: ignore[return-value]
        except (TypeError, IndexError, KeyError, ValueError) as error:
            raise LossatlasError(f"{where}: examples that are no pairs of equal arrays ({error})") from error
    raise LossatlasError(f"{where}: {type(found).__name__}; expected (x, y), names -> arrays, or a Dataset of pairs")


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


# ---------------------------------------------------------------------------------------------------------------------
# what they are


def _numbers(value: Any, where: str) -> np.ndarray:
    """Return a tensor or an array, of the types that data.h5 has."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    raise LossatlasError(f"{where}: numbers of type {array.dtype}; expected floating numbers or integers")


def _arrays(x: Any, y: Any, where: str) -> Arrays:
    """Return inputs and targets, checked."""
    x, y = _numbers(x, f"{where} x"), _numbers(y, f"{where} y")
    if x.ndim < 2 or not len(x) or len(x) != len(y):
        raise LossatlasError(f"{where}: x is {_shown(x)} and y {_shown(y)}; expected a row an example in both")
    if x.dtype == np.uint8 and x.ndim != 4:
        raise LossatlasError(f"{where}: x is {_shown(x)}; images of bytes are (n, C, H, W), tokens int64")
    if y.dtype == np.uint8:
        y = y.astype(np.int64)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    for name, values in (("x", x), ("y", y)):
        if values.dtype == np.float32 and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise LossatlasError(f"{where}: {count} of the numbers in {name} are NaN or infinite; mend them")
    return x, y


def _task(y: np.ndarray) -> str:
    return "classification" if y.dtype == np.int64 else "regression"


def _classes(parts: Mapping[str, Arrays], options: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes, which are their numbers."""
    lowest = min(int(y.min()) for _, y in parts.values())
    highest = max(int(y.max()) for _, y in parts.values())
    if lowest < 0 and any(y.ndim == 1 for _, y in parts.values()):
        raise LossatlasError(f"{where}: y has a label {lowest}; classes are counted from 0")
    count = options["classes"]
    if count is not None and not (isinstance(count, int) and highest < count):
        raise LossatlasError(f"{where}: y has a label {highest}, but options.classes is {count!r}; labels count from 0")
    return tuple(map(str, range(count or highest + 1)))


def _split(parts: Mapping[str, Arrays], spec: Mapping[str, Any], where: str) -> dict[str, Arrays]:
    """Return as many examples of each part as are asked for, drawn without replacement, classes balanced.

    Without a test part of its own it is what the training part leaves; where that takes all, the same examples again.
    """
    train, test = (spec[part] for part in PARTS)
    if "test" in parts:
        return {part: _drawn(parts[part], spec[part], spec["seed"], part, where)[0] for part in PARTS}
    taken, rest = _drawn(parts["train"], train, spec["seed"], "train", where)
    if not len(rest[0]):
        return {"train": taken, "test": _drawn(taken, test, spec["seed"], "test", where)[0]}
    return {"train": taken, "test": _drawn(rest, test, spec["seed"], "test", where)[0]}


def _drawn(arrays: Arrays, count: int | None, seed: int, part: str, where: str) -> tuple[Arrays, Arrays]:
    """Return ``count`` rows and the others; all, as they come, for None."""
    x, y = arrays
    if count is None or count == len(x):
        return arrays, (x[:0], y[:0])
    if count > len(x):
        raise LossatlasError(f"{where}: `{part}` is {count}, but there are only {len(x)}; choose fewer, or null")
    generator = np.random.default_rng(derive(seed, "subset", "own", part))
    classes = y.ndim == 1 and y.dtype == np.int64
    order = balanced_order(y, generator) if classes else generator.permutation(len(x))
    taken, rest = order[:count], np.sort(order[count:])
    return (x[taken], y[taken]), (x[rest], y[rest])


def _shown(values: np.ndarray) -> str:
    return f"{values.dtype} {values.shape}"
