"""Weights from files: what ``torch.save`` and ``safetensors`` wrote, and whether they are those of a network.

Nothing that is stored in a file is run: pickles are read with ``weights_only``.
"""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.specs import checkpoint
from lossatlas.specs.checkpoint import INDEX, TENSORS, checkpoints, sha256

__all__ = ["checkpoints", "matched", "read_state", "sha256"]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Keys under which training scripts keep a network's state beside that of the optimiser."""

_PARALLEL = re.compile(r"^(?:module\.)+")
_COMPILED = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module)\.")
_LIGHTNING = ("model.", "net.", "network.")
"""Attributes by which a training module holds its network; taken away where all names have them and then fit."""

NAMED = 3
"""Names of each kind that a message tells; the others are counted."""

# ---------------------------------------------------------------------------------------------------------------------
# reading


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the state of one network as its file holds it: name -> tensor on the CPU, in the file's types.

    Tensors stay on the disk until they are used, where the format allows it (``mmap``). A wrapper such as
    ``{"state_dict": ..., "optimizer": ...}`` is taken off, and so are ``module.`` (DataParallel) and ``_orig_mod.``
    (torch.compile) in front of names; what is no tensor is left out.

    Args:
        path: ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` (``torch.save``), ``.safetensors``, ``*.index.json`` with its
            shards, or a folder in which one of them has the name that transformers libraries give it.

    Raises:
        LossatlasError: the file is missing, damaged, holds code, or holds no state of one network.
    """
    path = Path(path).expanduser()
    first, *shards = checkpoint.files(path)
    state: dict[str, Tensor] = {}
    for file in shards or [first]:
        state |= _tensors(file) if file.name.endswith(TENSORS) else _unwrapped(_pickled(file), file)
    if first.name.endswith(INDEX):
        named = json.loads(first.read_text(encoding="utf-8"))["weight_map"]
        if lacking := sorted(set(named) - set(state)):
            raise LossatlasError(f"{first}: {_some(lacking)} not in the shards it names; fetch them anew")
    if not state:
        raise LossatlasError(f"{first}: holds no tensors; save torch.save(model.state_dict(), file)")
    return _bare(state)


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, which stay on the disk until they are used."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, "a .safetensors file", error) from error


def _pickled(path: Path) -> Any:
    """Return what ``torch.save`` wrote; files of before torch 1.6 are read whole."""
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|Unsupported class|build) ([\w.]+)", str(error))
        if found is None:
            raise _unreadable(path, "a file of torch.save", error) from error
        raise LossatlasError(
            f"{path}: holds objects other than tensors ({found[1]}), which could run code; load it elsewhere and "
            "save torch.save(model.state_dict(), file)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(path, "a file of torch.save", error) from error


def _unreadable(path: Path, expected: str, error: Exception) -> LossatlasError:
    """Return the error for a file that is not what its name says, with what it is instead where that shows."""
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        said = "is empty"
    elif head.startswith(b"version https://git-lfs"):
        said = "is a pointer of Git LFS, not the file; run git lfs pull"
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        said = "is a web page, not the file; download it again"
    else:
        said = f"is damaged or not {expected} ({' '.join(str(error).split())[:160]}); copy or save it again"
    return LossatlasError(f"{path}: {said}")


def _unwrapped(found: Any, path: Path) -> dict[str, Tensor]:
    """Return the state in what a file holds: itself, or what lies under one of the usual keys."""
    if isinstance(found, nn.Module):  # not with weights_only; a class that was allowed by the caller
        found = found.state_dict()
    if not isinstance(found, Mapping):
        raise LossatlasError(
            f"{path}: holds {type(found).__name__}, expected name -> tensor; save torch.save(model.state_dict(), file)"
        )
    inner = [name for name in WRAPPERS if isinstance(found.get(name), Mapping)]
    if inner:
        return _unwrapped(found[inner[0]], path)
    state = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not state and found:
        raise LossatlasError(
            f"{path}: no tensors under {_some([str(name) for name in found])}; expected a state or one of "
            f"{', '.join(WRAPPERS)} around it; save torch.save(model.state_dict(), file)"
        )
    return state


def _bare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without what DataParallel, averaged models and torch.compile put in front of names."""
    names = [name for name in state if name != "n_averaged"]  # AveragedModel counts in it
    parallel = all(_PARALLEL.match(_COMPILED.sub("", name)) for name in names)
    return {_plain(name, parallel): state[name] for name in names} if names else dict(state)


def _plain(name: str, parallel: bool) -> str:
    name = _COMPILED.sub("", name)
    return _PARALLEL.sub("", name) if parallel else name


# ---------------------------------------------------------------------------------------------------------------------
# whose weights they are


def matched(model: nn.Module, state: Mapping[str, Tensor], where: str | Path) -> dict[str, Tensor]:
    """Return a state for exactly this network: what its ``load_state_dict`` takes with ``strict=True``.

    Names are compared without the prefixes of parallel and compiled networks on either side. A tensor that two layers
    share may stand there once, as safetensors keep it; counters of batches and constants that the network does not
    save may be there or not. Tensors keep the file's floating types, which ``load_state_dict`` converts.

    Args:
        model: the network, with its shapes settled.
        state: of :func:`read_state`.
        where: the file, for messages.

    Raises:
        LossatlasError: one line that names the file and what is missing, unexpected, of another shape or type, or not
            finite.
    """
    own = model.state_dict(keep_vars=True)
    own = {name: value for name, value in own.items() if isinstance(value, Tensor)}
    if lazy := [name for name, value in own.items() if nn.parameter.is_lazy(value)]:
        raise LossatlasError(
            f"{where}: {type(model).__name__} has {_some(lazy)} without a shape (lazy layers); call the network once "
            "on an example before its weights are loaded"
        )
    given = _renamed(model, own, state)
    _share(own, given)
    for name, value in own.items():
        if name.endswith("num_batches_tracked") and name not in given:
            given[name] = value.detach()
    constants = dict(model.named_buffers())
    unexpected = [name for name in given if name not in own and name not in constants]
    missing = [name for name in own if name not in given]
    shapes = [
        f"{name} {tuple(given[name].shape)} in the file, {tuple(value.shape)} in the network"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    wrong = [f"{len(names)} {what} ({_some(names)})" for what, names in found.items() if names]
    if wrong:
        raise LossatlasError(
            f"{where}: not the weights of this {type(model).__name__}: {', '.join(wrong)}; "
            "give the network that the file was saved from"
        )
    _check_numbers(own, given, where)
    return {name: given[name] for name in own}


def _renamed(model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state under the network's own names as far as they are the same but for usual prefixes."""
    if any(name in own for name in state):
        return dict(state)
    parallel = all(_PARALLEL.match(_COMPILED.sub("", name)) for name in own)
    mine = {_plain(name, parallel): name for name in own}
    theirs = _bare(state)
    for prefix in ("", *_LIGHTNING):
        if all(name.startswith(prefix) for name in theirs):
            bare = {name[len(prefix) :]: value for name, value in theirs.items()}
            if any(name in mine for name in bare):
                return {mine.get(name, name): value for name, value in bare.items()}
    return dict(state)


def _share(own: Mapping[str, Tensor], given: dict[str, Tensor]) -> None:
    """Give names that share a tensor with one that is there the same values."""
    known = {id(value): name for name, value in own.items() if name in given}
    for name, value in own.items():
        if name not in given and id(value) in known:
            given[name] = given[known[id(value)]]


def _check_numbers(own: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str | Path) -> None:
    """Raise for weights that are not finite, and for integers in the place of floating numbers (quantised weights)."""
    bad = []
    for name, value in own.items():
        floating = value.is_floating_point() or value.is_complex()
        if floating != (given[name].is_floating_point() or given[name].is_complex()):
            raise LossatlasError(
                f"{where}: {name} is {_type(given[name])} in the file and {_type(value)} in the network; "
                "quantised weights must be expanded first"
            )
        if floating and not _finite(given[name]):
            bad.append(name)
    if bad:
        raise LossatlasError(f"{where}: {_some(bad)}: NaN or infinite weights; the training has diverged, take another")


def _finite(values: Tensor) -> bool:
    if values.element_size() == 1:  # float8, which has no arithmetic
        values = values.float()
    return bool(values.isfinite().all())


def _type(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _some(names: list[str]) -> str:
    """Return the first few of a list of names, and how many more there are."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
