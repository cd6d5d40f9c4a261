"""The training loop: minibatches, augmentation, milestones, metrics an epoch, and a resume to the same bits.

Everything random in epoch e is drawn from generators seeded by (job seed, e), so that no generator state has to be
carried over an interruption: a job resumed after epoch e continues with the bits an uninterrupted one would have had.
"""

import io
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.data.augment import Augment
from lossatlas.errors import LossatlasError
from lossatlas.files.points import Journal, write_points
from lossatlas.files.rows import COMMIT_SECONDS
from lossatlas.files.state import DamagedError
from lossatlas.files.state import State as StateFolder
from lossatlas.landscape.criteria import TokenCrossEntropy, cross_entropies
from lossatlas.landscape.landscape import channels_last
from lossatlas.landscape.layout import Layout
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job
from lossatlas.train.optimizers import CHUNK, Objective, make_optimizer
from lossatlas.train.poison import Extra, mixed, second_term
from lossatlas.train.precision import autocast_type
from lossatlas.train.proxprop import ProxProp
from lossatlas.train.spec import OPTIMIZERS, learning_rate

log = logging.getLogger(__name__)

EVALUATION_BATCH = CHUNK
"""Images of one evaluation batch."""

FINGERPRINT = (0, 1, 10)
"""Optimiser steps, counted from 0, whose training loss is kept as the training's fingerprint.

Two trainings that agree here to rounding had the same data, initialisation, order and arithmetic, however far apart
rounding has led them since.
"""


class DivergedError(LossatlasError):
    """The training loss became infinite or NaN."""


@dataclass(frozen=True)
class Examples:
    """Training inputs with their labels as trained on, and the test set, on the device of the job.

    Attributes:
        x, test_x: inputs as stored, (n, ...): images uint8 (n, C, H, W), vectors float32 (n, d).
        y, test_y: int64 classes (n,) or float targets.
        normalise: raw inputs -> float32 network inputs.
        dtype: the network's float type.
        extra: D_d of the poisoned objective, for recipes that have one.
        own: whether they are a user's own, whose networks may know more classes than these.
    """

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor
    normalise: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32
    extra: Extra | None = None
    own: bool = False

    def inputs(self, x: Tensor) -> Tensor:
        """Return the network's inputs for raw examples: normalised, images channels_last (faster on CPU and GPU)."""
        x = self.normalise(x)
        x = x.to(self.dtype) if x.is_floating_point() else x
        if x.ndim == 4 and x.shape[1] == 1:
            return channels_last(x)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@dataclass
class State:
    """What an interrupted job needs to go on: everything up to the end of the last whole epoch.

    Attributes:
        unit: which of the job's trainings is under way (a retraining job has several).
        epoch: whole epochs of it that are done; -1 before its first point is recorded.
        rows: table rows committed, in the order of the journal.
        model, optimizer: state dicts at the end of that epoch.
        history: table rows without a point of their own (evaluations during a sweep's trainings).
        best: the point of lowest test loss so far of a member that is stopped early: theta, buffers, row.
        kept: further points of that member by what they are (``lowest``, ``level``), each like ``best``.
        fingerprint: rows (unit, step, loss) of every training so far: the float64 loss at the steps of
            :data:`FINGERPRINT`, of the minibatch before the update (of all examples where a step sees all).
    """

    unit: int = 0
    epoch: int = -1
    rows: list[dict] = field(default_factory=list)
    model: dict | None = None
    optimizer: dict | None = None
    history: list[dict] = field(default_factory=list)
    best: dict | None = None
    kept: dict[str, dict] = field(default_factory=dict)
    fingerprint: list[dict] = field(default_factory=list)

    def seen(self, unit: int) -> Callable[[int, float], None]:
        """Return what adds (step, loss) of a training, a number of the job's, to the fingerprint."""

        def keep(step: int, loss: float) -> None:
            self.fingerprint.append({"unit": unit, "step": step, "loss": loss})

        return keep

    def fingerprint_table(self) -> pd.DataFrame:
        """Return the fingerprint, one training after the other: unit, step (int64) and loss (float64)."""
        rows = sorted((row["unit"], row["step"], row["loss"]) for row in self.fingerprint)
        table = pd.DataFrame(rows, columns=["unit", "step", "loss"])
        return table.astype({"unit": np.int64, "step": np.int64, "loss": np.float64})


class Recorder:
    """Rows of a job on their way into its journal, committed with the state from which the job resumes."""

    FILE = "state.pt"
    """Name of what is committed, beside the journal."""

    def __init__(self, job: Job, layout: Layout, buffer_layout: Layout) -> None:
        """Open the journal in a job's state and go back to its last commit, if there is one that can be believed."""
        self.folder = StateFolder(job.state, job.provenance)
        self.layout, self.buffer_layout = layout, buffer_layout
        found = self.folder.load(self.FILE, self._resumed)
        if found is None:
            found = State(), self._opened(0)
        else:
            log.info("resume unit %d after %d whole epochs", found[0].unit, found[0].epoch)
        self.state, self.journal = found
        self.committed = time.monotonic()

    def _resumed(self, data: bytes) -> tuple[State, Journal]:
        """Return a committed state and the journal cut back to it; raise DamagedError when that has other rows."""
        kept = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        digests = kept.pop("journal")
        state = State(**kept)
        return state, self._opened(len(state.rows), digests)

    def _opened(self, rows: int, digests: Mapping[str, str] | None = None) -> Journal:
        journal = Journal(self.folder.folder, self.layout.dim, self.buffer_layout.dim)
        try:
            journal.truncate(rows, digests)
        except BaseException:
            journal.close()
            raise
        return journal

    def record(self, model: nn.Module, row: dict) -> None:
        """Append the model's weights and batch-norm statistics, and their line of the table."""
        self.append(self.layout.flatten(model), self.buffer_layout.flatten(model), row)

    def append(self, theta: Tensor, buffers: Tensor, row: dict) -> None:
        """Append a point: theta (D,), buffers (B,) and its line of the table."""
        self.journal.append(_float32(theta), _float32(buffers))
        self.state.rows.append(row)

    def commit(self) -> None:
        """Make everything recorded so far durable, together with the state to resume from."""
        digests = self.journal.sync()
        buffer = io.BytesIO()  # written by Python, which says when the disk is full; torch says `unexpected pos`
        torch.save({**vars(self.state), "journal": digests}, buffer)
        self.folder.write(self.FILE, buffer.getbuffer())
        self.committed = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed for another commit, in jobs whose units of work are short."""
        return time.monotonic() - self.committed > COMMIT_SECONDS


def _float32(flat: Tensor) -> np.ndarray:
    return flat.detach().to("cpu", torch.float32).numpy()


TOKENS = TokenCrossEntropy()


def per_example_loss(criterion: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example (n,): cross entropy (of tokens their mean), or the mean squared error of outputs.

    It has the outputs' type: float32 where only its gradient counts, float64 for what is recorded or compared. The
    float32 cross entropy of a confident network is 0 where the float64 one of the same outputs is 1e-12.
    """
    if criterion == "token_cross_entropy":
        return TOKENS(outputs, targets)
    if criterion == "mse":
        targets = targets.reshape(targets.shape[0], -1).to(outputs.dtype)
        return F.mse_loss(outputs.reshape(targets.shape), targets, reduction="none").mean(1)
    if outputs.dtype == torch.float64:
        return cross_entropies(outputs, targets)
    return F.cross_entropy(outputs, targets, reduction="none")


def weights_of(criterion: str, targets: Tensor) -> Tensor:
    """Return what each example counts in the mean loss, (n,) float64: one, or the number of its tokens that count."""
    if criterion == "token_cross_entropy":
        return TOKENS.weights(targets)
    return torch.ones(len(targets), dtype=torch.float64, device=targets.device)


def right_of(criterion: str, outputs: Tensor, targets: Tensor) -> int:
    """Return how many examples, or tokens that count, have their largest output at their class; 0 for numbers."""
    if criterion == "token_cross_entropy":
        return int(((outputs.argmax(-1) == targets) & (targets != TOKENS.ignore_index)).sum())
    return int((outputs.argmax(1) == targets).sum()) if criterion == "cross_entropy" else 0


@torch.no_grad()
def evaluate(
    model: nn.Module, examples: Examples, part: str, criterion: str, cast: torch.dtype | None
) -> tuple[float, float]:
    """Return mean loss and accuracy in eval mode; accuracy is NaN for regression.

    The network runs in its own precision; each example's loss is computed from its outputs, and summed, in float64.

    Args:
        model: left in eval mode.
        examples: the data.
        part: ``train`` (not augmented, labels as trained on) or ``test``.
        criterion: of the recipe.
        cast: autocast type or None.
    """
    x, y = (examples.x, examples.y) if part == "train" else (examples.test_x, examples.test_y)
    model.eval()
    total, count, right = torch.zeros((), dtype=torch.float64), 0.0, 0
    for start in range(0, len(x), EVALUATION_BATCH):
        inputs, targets = examples.inputs(x[start : start + EVALUATION_BATCH]), y[start : start + EVALUATION_BATCH]
        with torch.autocast(x.device.type, cast, enabled=cast is not None):
            outputs = model(inputs)
        weights = weights_of(criterion, targets)
        total += (per_example_loss(criterion, outputs.double(), targets) * weights).sum().cpu()
        count += float(weights.sum())
        right += right_of(criterion, outputs, targets)
    return float(total) / count, math.nan if criterion == "mse" else right / count


class Training:
    """One training (or retraining) of one model, an epoch at a time."""

    def __init__(
        self,
        model: nn.Module,
        examples: Examples,
        recipe: Mapping,
        seed: int,
        name: str,
        seen: Callable[[int, float], Any] | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: trained in place.
            examples: its data, on the model's device.
            recipe: resolved recipe (:class:`lossatlas.train.spec.Recipe`).
            seed: seed of the minibatch order and the augmentation.
            name: what errors call this training.
            seen: called with the number of the step and its loss in float64 at the steps of :data:`FINGERPRINT`.
        """
        self.seen = seen
        self.model, self.examples, self.recipe, self.seed, self.name = model, examples, recipe, seed, name
        self.augment = Augment(recipe["augment"]) if recipe["augment"] else None
        self.optimizer = make_optimizer(model.parameters(), recipe)
        if isinstance(self.optimizer, ProxProp):
            self.optimizer.attach(model)
        self.closure = OPTIMIZERS[recipe["optimizer"]].closure or recipe["batch"] is None
        self.cast = autocast_type(recipe["precision"])
        self.steps = 0

    def metrics(self) -> dict[str, float]:
        """Return train and test loss and accuracy of the model as it is."""
        values = {}
        for part in ("train", "test"):
            loss, accuracy = evaluate(self.model, self.examples, part, self.recipe["criterion"], self.cast)
            values[f"{part}_loss"], values[f"{part}_accuracy"] = loss, accuracy
        return values

    def epoch(self, epoch: int, inside: Callable[[float], Any] | None = None, inside_points: int = 1) -> None:
        """Train one epoch: every minibatch once, or with ``batch: null`` one step on all examples.

        Args:
            epoch: its number from 0; seeds, and the learning rate, depend on it.
            inside: called with the epochs done (a fraction) at ``inside_points`` evenly spread steps, its end included.
            inside_points: how many such calls.
        """
        examples, recipe = self.examples, self.recipe
        device = examples.x.device
        self._set_rate(learning_rate(recipe, epoch))
        order_seed, augment_seed = derive(self.seed, "order", epoch), derive(self.seed, "augment", epoch)
        order = torch.randperm(len(examples.x), generator=torch.Generator().manual_seed(order_seed)).to(device)
        generator = torch.Generator(device).manual_seed(augment_seed)
        batches = list(order.split(recipe["batch"])) if recipe["batch"] else [torch.arange(len(order), device=device)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # batch norm cannot train on a single example
        marks = {round(len(batches) * (i + 1) / inside_points) for i in range(inside_points)}
        self.model.train()
        step = self._closure_step if self.closure else self._step
        for number, batch in enumerate(batches, start=1):
            self.steps = epoch * len(batches) + number - 1
            if epoch < recipe.get("warmup", 0.0):
                self._set_rate(learning_rate(recipe, epoch, epoch + number / len(batches)))
            loss = step(examples.x[batch], examples.y[batch], generator)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"{self.name}: the training loss became {loss} in epoch {epoch + 1}, step {number} "
                    f"(lr {learning_rate(recipe, epoch):g}); lower recipe.lr or set recipe.clip"
                )
            if inside is not None and number in marks:
                inside(epoch + number / len(batches))
                self.model.train()

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if "lr" in group:
                group["lr"] = rate

    def _step(self, x: Tensor, y: Tensor, generator: torch.Generator) -> float:
        """Take one optimiser step and return the minibatch loss before it."""
        if self.augment is not None:
            x = self.augment(x, generator)
        x = self.examples.inputs(x)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, self.cast, enabled=self.cast is not None):
            outputs = self.model(x)
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        extra = self._extra_outputs()
        loss = self._mean_loss(outputs, y, extra)
        if self.seen is not None and self.steps in FINGERPRINT:
            with torch.no_grad():
                self.seen(self.steps, float(self._mean_loss(outputs.double(), y, extra)))
        loss.backward()
        if self.recipe["clip"] is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip"])
        self.optimizer.step()
        return float(loss.detach())

    def _mean_loss(self, outputs: Tensor, y: Tensor, extra: tuple[Tensor, Tensor, str] | None) -> Tensor:
        """Return the objective of a step, a scalar of the outputs' type, from outputs for the minibatch and for D_d."""
        loss = per_example_loss(self.recipe["criterion"], outputs, y)
        if self.recipe["criterion"] == "token_cross_entropy":
            weights = weights_of("token_cross_entropy", y)
            loss = (loss * weights).sum() / weights.sum()
        else:
            loss = loss.mean()
        if extra is None:
            return loss
        others, labels, policy = extra
        return mixed(loss, second_term(others.to(outputs.dtype), labels, policy).mean(), self.recipe["beta"])

    def _extra_outputs(self) -> tuple[Tensor, Tensor, str] | None:
        """Return outputs for the step's share of D_d (Eq. 3 of Huang et al. 2020), its labels and their policy."""
        if self.examples.extra is None:
            return None
        inputs, labels = self.examples.extra.at(self.steps)
        with torch.autocast(inputs.device.type, self.cast, enabled=self.cast is not None):
            outputs = self.model(inputs)
        return outputs.to(self.examples.dtype), labels, self.examples.extra.labels

    def _closure_step(self, x: Tensor, y: Tensor, generator: torch.Generator) -> float:
        """Take one step of an optimiser on a batch evaluated in chunks, and return the loss before it.

        Every evaluation in the step sees the same augmented examples. Cross entropy is taken in float64 from the
        network's outputs: a float32 mean is quantised at some 1e-7, which a line search near a minimum cannot see over.
        Batch norm, where a network has it, normalises each chunk by itself.
        """
        if self.augment is not None:
            x = self.augment(x, generator)
        x = self.examples.inputs(x)
        before = []

        def total(start: int, stop: int) -> Tensor:
            with torch.autocast(x.device.type, self.cast, enabled=self.cast is not None):
                outputs = self.model(x[start:stop])
            return per_example_loss(self.recipe["criterion"], outputs.double(), y[start:stop]).sum()

        objective = Objective(self.model.parameters(), total, len(x))

        def closure() -> Any:
            before.append(loss := objective())
            if self.recipe["clip"] is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip"])
            return loss

        closure.value = objective.value  # type: ignore[attr-defined]
        self.optimizer.step(closure)
        loss = float(before[0])
        if self.seen is not None and self.steps in FINGERPRINT:
            self.seen(self.steps, loss)
        return loss


def row_of(run: str, seed: int, step: float, epoch: float) -> dict:
    """Return the identifying columns of a table row (``docs/design.md``)."""
    return {"run": run, "seed": seed, "step": float(step), "epoch": float(epoch)}


def finish(
    recorder: Recorder,
    output: Path,
    provenance: Mapping,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the recorded rows, and further tables by name, as a points file and remove the job's state.

    Raises:
        LossatlasError: the recorded rows are no longer what was written; they are set aside.
    """
    table = pd.DataFrame(recorder.state.rows)
    layouts = recorder.layout.to_json(), recorder.buffer_layout.to_json()
    try:
        write_points(output, recorder.journal, table, *layouts, provenance, tables)
    except DamagedError as error:
        recorder.folder.set_aside(Recorder.FILE, str(error))
        raise LossatlasError(f"{output}: its rows are damaged ({error}); run the same command again") from error
    finally:
        recorder.journal.close()
    recorder.folder.remove()
