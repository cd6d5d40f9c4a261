"""A network with its weights, its batch-norm statistics and its examples: what every probe of one's own starts from."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.models.checkpoints import checkpoints, matched, read_state, sha256
from lossatlas.own.basin import basin
from lossatlas.own.data import Examples
from lossatlas.own.hessian import hessian
from lossatlas.own.jumps import jumps
from lossatlas.own.line import line
from lossatlas.own.surface import surface
from lossatlas.own.trajectory import trajectory

log = logging.getLogger(__name__)

STATISTICS = ("running_mean", "running_var")
"""What batch-norm layers keep."""


@dataclass(frozen=True)
class Source:
    """What was loaded.

    Attributes:
        model: name of the model's class, or ``module:name``.
        checkpoint: path as given; None for weights in memory.
        sha256: of the checkpoint's bytes; None for weights in memory.
    """

    model: str
    checkpoint: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A network at one point of its weight space, with its own batch-norm statistics, on given examples.

    Made by :func:`lossatlas.load`; nothing in it changes, methods return others.

    Attributes:
        landscape: the mean loss over the examples as a function of the weights.
        label: what to call it.
        data: the examples.
        criterion: name of the criterion.
        source: what was loaded.
        checkpoints: of a directory: all of one training's, in natural order; otherwise those that were given, if any.
        notes: what was chosen for the user and what to mind, a sentence each.
    """

    landscape: NetworkLandscape
    label: str
    data: Examples
    criterion: str
    source: Source
    checkpoints: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def theta(self) -> Tensor:
        """The weights (D,), of the landscape's type and device; not to be written to."""
        return self.landscape._theta

    @property
    def layout(self) -> Layout:
        """What stands where in ``theta``."""
        return self.landscape.layout

    @property
    def examples(self) -> int:
        """Number of examples that the loss is the mean over."""
        return len(self.landscape.y)

    @property
    def batch_norm(self) -> str:
        """Batch-norm policy: ``stored``, ``recompute`` or ``batch``."""
        return self.landscape.batch_norm

    @property
    def has_statistics(self) -> bool:
        """Whether the network has batch-norm statistics, which belong to one point's weights only."""
        return any(name.endswith(STATISTICS) for name in self.landscape.buffer_layout.names)

    @cached_property
    def loss(self) -> float:
        """The mean loss at ``theta``."""
        return float(self.landscape.loss(self.theta))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights and of the buffers that hold with them."""
        total = hashlib.sha256()
        for tensor in [self.theta, *self.landscape._named_buffers(None).values()]:
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return total.hexdigest()

    def at(self, checkpoint: Any, label: str | None = None) -> Network:
        """Return the same model on the same data at other weights, with their own batch-norm statistics.

        Args:
            checkpoint: a path (of a directory the last one), a state (name -> tensor), a module, weights alone (D,).
                Where batch-norm statistics are not among them they are computed anew at every point.
            label: what to call it; the file's name by default.

        Raises:
            LossatlasError: these are not the weights of this model.
        """
        own = self.landscape
        source, named = replace(self.source, checkpoint=None, sha256=None), "another point"
        files: tuple[Path, ...] = ()
        buffers: Mapping[str, Tensor] = {}
        if isinstance(checkpoint, Tensor | np.ndarray):
            theta, missing = _vector(own, checkpoint), self.has_statistics
        else:
            where: str | Path = "the state"
            if isinstance(checkpoint, str | Path):
                files = tuple(checkpoints(checkpoint))
                where, named = files[-1], files[-1].stem
                source = replace(source, checkpoint=str(files[-1]), sha256=sha256(files[-1]))
            state = state_of(checkpoint if not files else files[-1])
            theta, buffers, missing = placed(own._whole, own.layout, state, where, own.dtype, own.device)
        found = replace(
            self,
            landscape=own.at_state(theta, buffers),
            label=label or named,
            source=source,
            checkpoints=files,
            notes=tuple(note for note in self.notes if not note.startswith(_ANEW)),
        )
        return checked(found.without_statistics() if missing else found)

    def with_statistics(self, how: str) -> Network:
        """Return the same network with another batch-norm policy.

        Args:
            how: ``stored``: the statistics that came with the weights; ``recompute``: those of the examples, computed
                at every point; ``batch``: each evaluation normalises by all examples, which must fit in one batch.
        """
        if how == "stored" and any(note.startswith(_ANEW) for note in self.notes):
            raise LossatlasError(
                f"batch norm: {self.label} came without statistics; expected 'recompute' or 'batch', or a checkpoint "
                "that has them"
            )
        return replace(self, landscape=self.landscape.at_policy(how))

    def subset(self, count: int, seed: int = 0) -> Network:
        """Return the same network on some of its examples, drawn at random from a seed.

        Statistics of batch norm stay what they are; recomputed ones are still those of all examples.
        """
        if not 1 <= count <= self.examples:
            raise LossatlasError(f"examples: got {count}; expected 1 to {self.examples}")
        rows = torch.randperm(self.examples, generator=torch.Generator().manual_seed(seed))[:count].sort().values
        return replace(self, landscape=self.landscape.at_examples(rows))

    def together(self, other: Network) -> NetworkLandscape:
        """Return a landscape on which the weights of both networks, and those between, may be evaluated.

        Statistics of batch norm belong to the weights they were collected with: where there are any, the landscape
        computes them anew at every point, unless this network's policy is ``batch``.

        Raises:
            LossatlasError: the networks have other weights or other examples.
        """
        if self.layout != other.layout:
            raise LossatlasError(f"networks: {self.label} and {other.label} are not of one model; expected the same")
        if self.data is not other.data and self.data.digest() != other.data.digest():
            raise LossatlasError(
                f"networks: {self.label} and {other.label} have other examples; load one and use its .at(...)"
            )
        if not self.has_statistics or self.batch_norm != "stored":
            return self.landscape
        return self.landscape.at_policy("recompute")

    # Probes: each is a function of a network in a file of its own (surface.py, ...), and a line here.
    surface = surface
    line = line
    hessian = hessian
    jumps = jumps
    trajectory = trajectory
    basin = basin

    def without_statistics(self) -> Network:
        """Return the network as one whose weights came without batch-norm statistics: ``stored`` is not for it."""
        note = f"{_ANEW} at every point: {self.label} has none"
        log.warning("%s", note)
        found = replace(self, notes=(*self.notes, note))
        return found.with_statistics("recompute") if self.batch_norm == "stored" else found

    def __repr__(self) -> str:
        weights = f"{self.landscape.dim:,} weights, {str(self.landscape.dtype).removeprefix('torch.')}"
        lines = [f"Network {self.label}: {self.source.model}, {weights}, {self.criterion} {self.loss:.6g}"]
        lines[0] += f" on {self.examples:,} examples"
        if self.has_statistics:
            lines.append(f"  batch-norm statistics: {self.batch_norm}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


_ANEW = "batch-norm statistics are computed anew"


def state_of(given: Any) -> Mapping[str, Tensor]:
    """Return the state in a file, a module or a mapping."""
    if isinstance(given, nn.Module):
        return given.state_dict()
    if isinstance(given, Mapping):
        if bad := [name for name, value in given.items() if not isinstance(value, Tensor | np.ndarray)]:
            raise LossatlasError(f"the state: {bad[0]!r} is {type(given[bad[0]]).__name__}; expected name -> tensor")
        return {str(name): torch.as_tensor(value) for name, value in given.items()}
    if not isinstance(given, str | Path):
        raise LossatlasError(
            f"checkpoint: got {type(given).__name__}; expected a path, a state (name -> tensor) or a module"
        )
    return read_state(given)


def placed(
    model: nn.Module, layout: Layout, state: Mapping[str, Tensor], where: str | Path, dtype: torch.dtype, device: Any
) -> tuple[Tensor, dict[str, Tensor], bool]:
    """Return a state as weights (D,), buffers by name, and whether batch-norm statistics were missing in it.

    Tensors are converted one by one: the state may lie on the disk.

    Raises:
        LossatlasError: it is not that of the model; or one tensor of the model stands in it twice, with other numbers.
    """
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    lacking = [name for name in own if name.endswith(STATISTICS) and name not in state]
    missing = bool(lacking) and not any(name.endswith(STATISTICS) for name in state)
    found = matched(model, {**state, **{name: own[name].detach() for name in lacking}} if missing else state, where)
    theta = torch.empty(layout.dim, dtype=dtype, device=device)
    names = {id(value): name for name, value in model.named_parameters()}
    first: dict[int, str] = {}
    for name, value in own.items():
        if not isinstance(value, nn.Parameter):
            continue
        if id(value) not in first:
            first[id(value)] = name
            theta[layout.slices[names[id(value)]]] = found[name].reshape(-1).to(device, dtype)
        elif found[name] is not found[first[id(value)]] and not torch.equal(found[name], found[first[id(value)]]):
            raise LossatlasError(
                f"{where}: {first[id(value)]} and {name} differ, which are one tensor in {type(model).__name__}; give "
                "the network that the file was saved from"
            )
    buffers = {name: found[name] for name, value in own.items() if not isinstance(value, nn.Parameter)}
    return theta, buffers, missing


def check_weights(label: str, layout: Layout, theta: Tensor) -> None:
    """Raise for weights that are not finite, tensor by tensor: one beside them is all that is held."""
    bad = [name for name, where in layout.slices.items() if not bool(theta[where].isfinite().all())]
    if bad:
        raise LossatlasError(
            f"{label}: {bad[0]} ({len(bad)} of {len(layout)} tensors) has NaN or infinite weights; the training has "
            "diverged, take an earlier checkpoint"
        )


def checked(network: Network) -> Network:
    """Return a network whose weights and loss are finite numbers.

    Raises:
        LossatlasError: they are not.
    """
    check_weights(network.label, network.layout, network.theta)
    own = network.landscape
    first = own if own.batch_norm == "batch" else own.at_examples(torch.arange(min(network.examples, own.batch_size)))
    loss = float(first.loss(network.theta))
    if not np.isfinite(loss):
        raise LossatlasError(
            f"{network.label}: the loss is {loss} on the first {len(first.y)} examples; expected a finite number: "
            "compare the data's scale and the criterion with the training's"
        )
    return network


def _vector(landscape: NetworkLandscape, theta: Tensor | np.ndarray) -> Tensor:
    return landscape._point(torch.as_tensor(theta))
