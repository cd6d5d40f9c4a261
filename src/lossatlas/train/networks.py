"""The one place where a trained network is loaded: landscapes of its loss on its own examples, and its point on them.

:func:`member` gives a replica's landscapes of all its training and test examples, for points that the caller has;
:func:`trained` a run's, on as many examples and under the batch-norm policy that a probe asks for, with its point.
:func:`point` reads a point of a points file for either.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.points import read_point
from lossatlas.landscape.criteria import TokenCrossEntropy
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.landscape.memory import at_once
from lossatlas.train.descended import Descended
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.loop import Examples
from lossatlas.train.precision import device_for


@dataclass(frozen=True)
class Member:
    """One replica's network as landscapes of its training and its test set.

    Attributes:
        train: landscape of all training examples.
        test: landscape of all test examples.
        model: the network, in eval mode, with the weights and batch-norm statistics of its initialisation: for its
            shape, and for landscapes of other inputs. The landscapes have copies of their own.
    """

    train: NetworkLandscape
    test: NetworkLandscape
    model: nn.Module

    def at_buffers(self, buffers: Tensor) -> "Member":
        """Return the same network with stored batch-norm statistics (B,); without any, as it is."""
        if not len(buffers):
            return self
        return replace(self, train=self.train.at_buffers(buffers), test=self.test.at_buffers(buffers))

    def metrics(self, theta: Tensor) -> dict[str, float]:
        """Return train and test loss and accuracy at theta (D,); accuracies are NaN for regression."""
        return metrics({"train": self.train, "test": self.test}, theta)


@dataclass(frozen=True)
class Trained:
    """A run's network at its last recorded point, as landscapes of its examples.

    Attributes:
        parts: ``train``, and ``test`` where asked for -> landscape with the point's batch-norm statistics (or
            recomputed ones).
        layout: of theta.
        theta: (D,) float64 on the landscapes' device, the point.
        buffers: (B,) its batch-norm statistics, as stored.
        model: the network, in eval mode, with the weights of its initialisation: for its shape.
        row: of the run's points file that it is.
    """

    parts: dict[str, NetworkLandscape]
    layout: Layout
    theta: Tensor
    buffers: Tensor
    model: nn.Module
    row: int

    def at(self, theta: Tensor, buffers: Tensor) -> "Trained":
        """Return the same network at another point (D,) with other stored statistics (B,)."""
        parts = self.parts
        if len(buffers) and parts["train"].batch_norm == "stored":
            parts = {part: landscape.at_buffers(buffers) for part, landscape in parts.items()}
        return replace(self, parts=parts, theta=theta, buffers=buffers)


def metrics(parts: Mapping[str, NetworkLandscape], theta: Tensor) -> dict[str, float]:
    """Return ``<part>_loss`` and ``<part>_accuracy`` at theta (D,) of landscapes of one network on parts of the data.

    Accuracies are NaN for regression, and where the loss is NaN: the largest of outputs that are not numbers is none.
    """
    found = {}
    for part, landscape in parts.items():
        outputs, targets = landscape.outputs(theta), landscape.y
        losses = landscape.criterion(outputs, targets).double()
        if isinstance(landscape.criterion, TokenCrossEntropy):
            weights = landscape.criterion.weights(targets)
            loss = float((losses * weights).sum() / weights.sum())
            share = (outputs.argmax(-1) == targets).sum() / weights.sum()  # a target that does not count is no class
        else:
            loss = float(losses.mean())
            share = torch.tensor(math.nan)
            if not targets.is_floating_point():
                share = (outputs.argmax(1) == targets).double().mean()
        found[f"{part}_loss"] = loss
        found[f"{part}_accuracy"] = math.nan if math.isnan(loss) else float(share)
    return found


def member(spec: Mapping, seeds: Mapping, data_file: Path) -> Member:
    """Return the landscapes of one replica.

    Args:
        spec: resolved spec with model, labels, resample, scale, criterion, precision (``float32`` or ``float64``) and
            batch (most examples in a chunk on the CPU).
        seeds: of the replica: init, labels, resample.
        data_file: data.h5.
    """
    model, examples = _network(spec, seeds, data_file)
    parts = [_part(examples, part) for part in ("train", "test")]
    chunk = at_once(spec["batch"], model, parts[0][0])
    train, test = (NetworkLandscape(model, *part, spec["criterion"], batch_size=chunk) for part in parts)
    return Member(train, test, model)


def trained(spec: Mapping, data_file: Path, run_file: Path) -> Trained:
    """Return a run's network at its last recorded point, or at the first whose training loss is at most ``at_loss``.

    Args:
        spec: resolved spec with label, model, labels, resample, scale, seeds (of the run), criterion, precision, batch
            (most examples in a chunk on the CPU), examples (the first so many of each part; None = all), parts
            (``train``, ``test``: what is measured; there is always ``train``), batch_norm (``recompute``: statistics
            of the training examples at every point; anything else: those stored with the point), and maybe at_loss.
        data_file: data.h5 of the run.
        run_file: points.h5 of the run.

    Raises:
        LossatlasError: the run's points have another number of weights than the network.
    """
    model, examples = _network(spec, spec["seeds"], data_file)
    layout = Layout.of(model)
    row = row_at(read_table(run_file, "points")["train_loss"].to_numpy(), spec.get("at_loss"))
    theta, buffers = point(run_file, layout, spec["label"], row)
    recompute = spec["batch_norm"] == "recompute"
    given = {"train": _part(examples, "train", spec["examples"])}
    # Statistics that are recomputed depend on the chunk.
    chunk = spec["batch"] if recompute else at_once(spec["batch"], model, given["train"][0])
    more: dict[str, Any] = {"batch_norm": "recompute" if recompute else "stored", "batch_size": chunk}
    if recompute:
        more["statistics"] = given["train"][0]
    if "test" in spec["parts"]:
        given["test"] = _part(examples, "test", spec["examples"])
    parts = {part: NetworkLandscape(model, x, y, spec["criterion"], **more) for part, (x, y) in given.items()}
    if not recompute and len(buffers):
        parts = {part: landscape.at_buffers(buffers) for part, landscape in parts.items()}
    device = examples.x.device
    return Trained(parts, layout, theta.to(device, torch.float64), buffers.to(device), model, row)


def row_at(losses: Array, at_loss: float | None) -> int:
    """Return the number of the first recorded epoch whose training loss is at most a number, or of the last one."""
    below = np.zeros(len(losses), bool) if at_loss is None else losses <= at_loss
    return int(below.argmax()) if below.any() else len(losses) - 1


def descended(spec: Mapping, data_file: Path, recipe: Mapping) -> Descended:
    """Return the loss that a training descends.

    Args:
        spec: as of :func:`trained`.
        data_file: data.h5 of the run.
        recipe: ``batch``, ``augment`` and ``criterion`` of the run.
    """
    return Descended(*_network(spec, spec["seeds"], data_file), recipe)


def point(points_file: Path, layout: Layout, label: str, row: int = -1) -> tuple[Tensor, Tensor]:
    """Return a row of a points file: weights (D,) and batch-norm statistics (B,), float32 on the CPU.

    Args:
        points_file: points.h5.
        layout: of the network the weights are for.
        label: of the network, for messages.
        row: number of the row, the last one by default.

    Raises:
        LossatlasError: the file has another number of weights than the network.
    """
    theta, buffers = (torch.from_numpy(part) for part in read_point(points_file, row))
    if len(theta) != layout.dim:
        raise LossatlasError(f"{points_file}: holds {len(theta)} weights, the network of {label} has {layout.dim}")
    return theta, buffers


def _network(spec: Mapping, seeds: Mapping, data_file: Path) -> tuple[nn.Module, Examples]:
    """Return a network as it was initialised, in eval mode, and what it was trained on."""
    draw = drawing({**spec, "seeds": seeds})
    examples, outputs = make_examples(
        data_file, spec["labels"], seeds["labels"], spec["precision"], device_for(spec["precision"]), **draw
    )
    return build_model(spec["model"], examples, outputs, seeds["init"]).eval(), examples


def _part(examples: Examples, part: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of the first examples of a part; None = of all."""
    x, y = (examples.x, examples.y) if part == "train" else (examples.test_x, examples.test_y)
    return examples.inputs(x[:count]), y[:count]
