"""The network that a user means: a module, a class or function that makes one, or ``module:name`` of one."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.inputs import Inputs, arguments

HALVES = (torch.float16, torch.bfloat16)
PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def module_of(model: Any) -> tuple[nn.Module, str]:
    """Return the module that a user means, and what to call it.

    Wrappers of parallel training and of ``torch.compile`` are taken off.

    Args:
        model: a module; a class or function without arguments that makes one; ``package.module:name`` of one of these,
            imported from the working directory or the environment.

    Raises:
        LossatlasError: it cannot be imported, fails, or makes no module.
    """
    named = model if isinstance(model, str) else None
    if named is not None:
        model = imported(named)
    if not isinstance(model, nn.Module):
        model = _made(model, named or str(getattr(model, "__qualname__", type(model).__name__)))
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    return model, named or type(model).__qualname__


def imported(named: str, what: str = "model", example: str = "mynet:SmallCNN") -> Any:
    """Return what ``module:name`` names; the working directory comes first, as for ``python -m``.

    Args:
        named: package.module:name, the name with dots where it lies deeper.
        what: is named, for messages.
        example: of such a name, for messages.

    Raises:
        LossatlasError: there is no such module or name, or the module raises.
    """
    module, _, name = named.partition(":")
    if not module or not name:
        raise LossatlasError(f"{what}: got {named!r}; expected package.module:name, such as {example}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise LossatlasError(f"{what}: {module!r} has no {name!r}; correct the name behind the colon") from error
    except Exception as error:  # a user's module may raise anything
        raise LossatlasError(
            f"{what}: {module!r} cannot be imported from {here} ({type(error).__name__}: {_line(error)})"
        ) from error
    return found


def _made(builder: Any, name: str) -> nn.Module:
    if not callable(builder):
        raise LossatlasError(
            f"model: got {type(builder).__name__}; expected a torch.nn.Module, a class or function that makes one, or "
            "'module:name'"
        )
    try:
        found = builder()
    except LossatlasError:
        raise
    except Exception as error:
        more = "; it is called without arguments, write lambda: ... around those it needs"
        raise LossatlasError(
            f"model: {name} raised {type(error).__name__}: {_line(error)}{more if isinstance(error, TypeError) else ''}"
        ) from error
    if not isinstance(found, nn.Module):
        raise LossatlasError(f"model: {name} returned {type(found).__name__}; expected a torch.nn.Module")
    return found


def random_layers(model: nn.Module) -> list[str]:
    """Return the names of layers that are random in train mode."""
    return [
        name
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0)
        or (isinstance(layer, nn.RNNBase | nn.MultiheadAttention) and layer.dropout > 0)
        or (isinstance(layer, nn.RReLU) and layer.lower < layer.upper)
    ]


def is_lazy(model: nn.Module) -> bool:
    """Whether a module has parameters without a shape."""
    return any(nn.parameter.is_lazy(parameter) for parameter in model.parameters())


def settled(model: nn.Module, x: Inputs) -> nn.Module:
    """Return a copy of a module with lazy layers whose shapes are those for inputs x."""
    model = copy.deepcopy(model)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        evaluated(model, x, type(model).__name__)
    return model


def evaluated(call: Callable[..., Any], x: Inputs, name: str) -> Any:
    """Return what a network returns for inputs.

    Args:
        call: takes the inputs as the network does.
        x: the inputs.
        name: of the network, for messages.

    Raises:
        LossatlasError: it raises: inputs of another number or shape than it takes.
    """
    positional, named = arguments(x)
    try:
        return call(*positional, **named)
    except LossatlasError:
        raise
    except Exception as error:  # a user's forward may raise anything
        shapes = {k: _shape(v) for k, v in named.items()} if named else ", ".join(_shape(part) for part in positional)
        raise LossatlasError(
            f"model: {name} on inputs {shapes} raised {type(error).__name__}: {_line(error)}; give data as its forward "
            "takes them"
        ) from error


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
