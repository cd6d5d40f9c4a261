"""What stands where in a flat weight vector: names, shapes and kinds of the parameters behind theta."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError

WEIGHT, BIAS, NORM, BUFFER = "weight", "bias", "norm", "buffer"
KINDS = (WEIGHT, BIAS, NORM, BUFFER)

_NORM_MODULES: tuple[type[nn.Module], ...] = (
    nn.modules.batchnorm._NormBase,  # batch and instance normalisation
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class Layout:
    """Parameters (or buffers) of a module, in ``named_parameters`` order, behind a flat vector theta of shape (D,).

    Attributes:
        names: qualified name of each entry.
        shapes: its shape.
        kinds: ``weight`` (two or more dimensions), ``norm`` (affine parameter of one of torch's normalisation layers,
            whatever its shape), ``bias`` (every other vector or scalar) or ``buffer``.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.shapes) == len(self.kinds):
            got = f"{len(self.names)} names, {len(self.shapes)} shapes, {len(self.kinds)} kinds"
            raise LossatlasError(f"layout: got {got}; expected one shape and one kind for each name")
        if len(set(self.names)) != len(self.names):
            raise LossatlasError(f"layout: names must differ from each other, got {list(self.names)!r}")
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise LossatlasError(f"layout: unknown kinds {unknown!r}; expected some of {list(KINDS)!r}")

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """Return the layout of a module's parameters; a tensor shared by two layers counts once."""
        rows = []
        for name, parameter in module.named_parameters():
            owner = module.get_submodule(name.rpartition(".")[0])
            own_kind = WEIGHT if parameter.ndim >= 2 else BIAS
            rows.append((name, tuple(parameter.shape), NORM if isinstance(owner, _NORM_MODULES) else own_kind))
        return cls._of_rows(rows)

    @classmethod
    def of_buffers(cls, module: nn.Module) -> Layout:
        """Return the layout of the floating-point buffers that belong to the state: batch-norm running statistics.

        Integer buffers (the batch counters) and non-persistent ones (constants) are left out.
        """
        rows = []
        for name, buffer in module.named_buffers():
            path, _, leaf = name.rpartition(".")
            persistent = leaf not in module.get_submodule(path)._non_persistent_buffers_set
            if persistent and buffer.is_floating_point():
                rows.append((name, tuple(buffer.shape), BUFFER))
        return cls._of_rows(rows)

    @classmethod
    def _of_rows(cls, rows: Iterable[tuple[str, tuple[int, ...], str]]) -> Layout:
        names, shapes, kinds = [], [], []
        for name, shape, kind in rows:
            names.append(name)
            shapes.append(shape)
            kinds.append(kind)
        return cls(tuple(names), tuple(shapes), tuple(kinds))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Return the layout written by ``to_json``."""
        try:
            data = json.loads(text)
            rows = [(str(name), tuple(int(n) for n in shape), str(kind)) for name, shape, kind in data]
        except (TypeError, ValueError) as error:
            raise LossatlasError(
                f"layout: got {text[:80]!r}; expected a JSON list of [name, shape, kind] ({error})"
            ) from error
        return cls._of_rows(rows)

    def to_json(self) -> str:
        """Return the layout as a JSON list of [name, shape, kind]; equal layouts give equal text."""
        rows = zip(self.names, self.shapes, self.kinds, strict=True)
        return json.dumps([[name, list(shape), kind] for name, shape, kind in rows])

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each entry."""
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def dim(self) -> int:
        """Length D of theta."""
        return sum(self.sizes)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each entry stands in theta, by name."""
        result, start = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            result[name] = slice(start, start + size)
            start += size
        return result

    def numbers(self, kind: str) -> np.ndarray:
        """Return the numbers in theta of all elements of one kind, (m,) int64, increasing."""
        if kind not in KINDS:
            raise LossatlasError(f"layout: kind got {kind!r}; expected one of {list(KINDS)!r}")
        chosen = [self.slices[name] for name, own in zip(self.names, self.kinds, strict=True) if own == kind]
        return np.concatenate([np.arange(one.start, one.stop) for one in chosen] or [np.arange(0)]).astype(np.int64)

    def flatten(self, source: Mapping[str, Any] | nn.Module) -> Tensor:
        """Return theta (D,): the entries of a module or of a mapping from names to arrays, in layout order.

        The result is a copy. From a module it is detached; from a mapping of tensors it stays differentiable.
        """
        if isinstance(source, nn.Module):
            arrays: dict[str, Any] = {name: tensor.detach() for name, tensor in self._tensors_of(source).items()}
        else:
            arrays = dict(source)
            if set(arrays) != set(self.names):
                missing = sorted(set(self.names) - set(arrays))
                extra = sorted(set(arrays) - set(self.names))
                raise LossatlasError(f"layout: names do not match; missing {missing!r}, unexpected {extra!r}")
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = torch.as_tensor(arrays[name])
            if tuple(tensor.shape) != shape:
                raise LossatlasError(f"layout: {name!r} got shape {tuple(tensor.shape)}; expected {shape}")
            parts.append(tensor.reshape(-1))
        return torch.cat(parts) if parts else torch.empty(0)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the entries of theta as views, by name.

        Args:
            theta: shape (D,), or (n, D) for n points at once.

        Returns:
            Name to tensor of the entry's shape, for (n, D) with a leading axis of length n; theta's dtype and device.
        """
        if theta.ndim not in (1, 2) or theta.shape[-1] != self.dim:
            raise LossatlasError(
                f"layout: weight vector got shape {tuple(theta.shape)}; expected ({self.dim},) or (n, {self.dim})"
            )
        lead = tuple(theta.shape[:-1])
        return {
            name: theta[..., where].reshape(lead + shape)
            for (name, where), shape in zip(self.slices.items(), self.shapes, strict=True)
        }

    def load_into(self, module: nn.Module, theta: Tensor | np.ndarray) -> None:
        """Copy theta (D,) into a module's parameters (buffers, for a buffer layout), in place and in its dtype."""
        vector = torch.as_tensor(theta)
        if tuple(vector.shape) != (self.dim,):
            raise LossatlasError(f"layout: weight vector got shape {tuple(vector.shape)}; expected ({self.dim},)")
        targets = self._tensors_of(module)
        with torch.no_grad():
            for name, value in self.unflatten(vector).items():
                targets[name].copy_(value)

    def _tensors_of(self, module: nn.Module) -> dict[str, Tensor]:
        """Return the module's tensors of this layout, having checked names and shapes."""
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in tensors:
                raise LossatlasError(f"layout: {type(module).__name__} has no {name!r}; expected {shape}")
            if tuple(tensors[name].shape) != shape:
                raise LossatlasError(f"layout: {name!r} got shape {tuple(tensors[name].shape)}; expected {shape}")
        return tensors if len(tensors) == len(self) else {name: tensors[name] for name in self.names}
