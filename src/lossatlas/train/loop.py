"""The training loop: minibatches, augmentation, milestones, metrics an epoch, and a resume to the same bits.

Everything random in epoch e is drawn from generators seeded by (job seed, e), so that no generator state has to be
carried over from epoch to epoch; inside of one, that of the augmentation is (:class:`Within`). A job resumed after any
step continues with the bits an uninterrupted one would have had.
"""

import io
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.data.augment import Augment
from lossatlas.errors import LossatlasError
from lossatlas.files.clock import Clock
from lossatlas.files.points import Journal, write_points
from lossatlas.files.state import DamagedError
from lossatlas.files.state import State as StateFolder
from lossatlas.landscape.criteria import TokenCrossEntropy, cross_entropies
from lossatlas.landscape.landscape import channels_last
from lossatlas.landscape.layout import Layout
from lossatlas.landscape.memory import Fits, at_once
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


CHECKED = 50
"""On a GPU: steps after which losses are looked at, which the host waits for. On the CPU that costs nothing."""


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
class Within:
    """Where in an epoch a training stands.

    Attributes:
        step: steps of the epoch that are taken.
        draws: state of the augmentation's generator after them.
    """

    step: int = 0
    draws: Tensor | None = None


@dataclass
class State:
    """What an interrupted job needs to go on: everything up to the last commit, at the end of an epoch or inside.

    Attributes:
        unit: which of the job's trainings is under way (a retraining job has several).
        epoch: whole epochs of it that are done; -1 before its first point is recorded.
        rows: table rows committed, in the order of the journal.
        model, optimizer: state dicts as they were then.
        step, draws: where in the next epoch that is (:class:`Within`); 0 = at its beginning.
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
    step: int = 0
    draws: Tensor | None = None

    def keep(self, training: "Training", epoch: int, within: Within | None = None) -> None:
        """Take a training as it is, after so many whole epochs and so many steps of the next."""
        within = within or Within()
        self.epoch, self.step, self.draws = epoch, within.step, within.draws
        self.model, self.optimizer = training.model.state_dict(), training.optimizer.state_dict()

    def next_unit(self, unit: int) -> None:
        """Go on to the beginning of another of the job's trainings."""
        self.unit, self.epoch, self.step, self.draws, self.model, self.optimizer = unit, -1, 0, None, None, None

    def into(self, training: "Training") -> bool:
        """Put a training where this says it stood; return whether there was anything to put."""
        if self.model is None or self.optimizer is None:
            return False
        training.model.load_state_dict(self.model)
        training.optimizer.load_state_dict(self.optimizer)
        return True

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
        self.clock = Clock()

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
        """Make everything recorded so far durable, together with the state to resume from.

        Raises:
            Preempted: it is, and the job was asked to end.
        """
        with self.clock.committing():
            digests = self.journal.sync()
            buffer = io.BytesIO()  # written by Python, which says when the disk is full; torch says `unexpected pos`
            torch.save({**vars(self.state), "journal": digests}, buffer)
            self.folder.write(self.FILE, buffer.getbuffer())

    def due(self) -> bool:
        """Whether another commit is due, in the middle of a unit of work or after a short one."""
        return self.clock.due()

    def epoch(
        self,
        training: "Training",
        epoch: int,
        inside: Callable[[float], Any] | None = None,
        inside_points: int = 1,
    ) -> None:
        """Train one epoch, from the step that was committed last, and commit inside of it where that is due.

        Args:
            training: the one under way.
            epoch: its number.
            inside: see :meth:`Training.epoch`.
            inside_points: see there.
        """

        def pause(within: Within) -> None:
            if self.due():
                self.state.keep(training, epoch, within)
                self.commit()

        training.epoch(epoch, inside, inside_points, Within(self.state.step, self.state.draws), pause)


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


def right_of(criterion: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return how many examples, or tokens that count, have their largest output at their class; 0 for numbers."""
    if criterion == "token_cross_entropy":
        return ((outputs.argmax(-1) == targets) & (targets != TOKENS.ignore_index)).sum()
    if criterion == "cross_entropy":
        return (outputs.argmax(1) == targets).sum()
    return torch.zeros((), dtype=torch.int64, device=targets.device)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Examples,
    part: str,
    criterion: str,
    cast: torch.dtype | None,
    fits: Fits | None = None,
) -> tuple[float, float]:
    """Return mean loss and accuracy in eval mode; accuracy is NaN for regression.

    The network runs in its own precision; each example's loss is computed from its outputs, and summed, in float64.

    Args:
        model: left in eval mode.
        examples: the data.
        part: ``train`` (not augmented, labels as trained on) or ``test``.
        criterion: of the recipe.
        cast: autocast type or None.
        fits: examples evaluated at once; :data:`EVALUATION_BATCH` by default, over which losses are summed in any case.
    """
    fits = fits or Fits(EVALUATION_BATCH)
    x, y = (examples.x, examples.y) if part == "train" else (examples.test_x, examples.test_y)
    model.eval()
    total, count = (torch.zeros((), dtype=torch.float64, device=x.device) for _ in range(2))
    right = torch.zeros((), dtype=torch.int64, device=x.device)
    whole = max(fits.size // EVALUATION_BATCH, 1) * EVALUATION_BATCH
    for raw, answers in zip(x.split(whole), y.split(whole), strict=True):
        found = fits.run(partial(_outputs, model, examples, raw, cast))
        for outputs, targets in zip(found.split(EVALUATION_BATCH), answers.split(EVALUATION_BATCH), strict=True):
            weights = weights_of(criterion, targets)
            total += (per_example_loss(criterion, outputs.double(), targets) * weights).sum()
            count += weights.sum()
            right += right_of(criterion, outputs, targets)
    loss, examples_counted, hits = torch.stack([total, count, right.double()]).tolist()
    return loss / examples_counted, math.nan if criterion == "mse" else hits / examples_counted


def _outputs(model: nn.Module, examples: Examples, x: Tensor, cast: torch.dtype | None, size: int) -> Tensor:
    """Return a network's outputs for raw examples, so many at once."""
    with torch.autocast(x.device.type, cast, enabled=cast is not None):
        found = [model(examples.inputs(part)) for part in x.split(size)]
    return found[0] if len(found) == 1 else torch.cat(found)


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
        normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
        chunk = at_once(CHUNK, model, examples.x, examples.inputs)
        self.evaluated = Fits(chunk)
        self.fits = Fits(CHUNK, "batch norm takes its statistics from each chunk") if normalised else Fits(chunk)

    def metrics(self) -> dict[str, float]:
        """Return train and test loss and accuracy of the model as it is."""
        values = {}
        for part in ("train", "test"):
            about = self.recipe["criterion"], self.cast, self.evaluated
            loss, accuracy = evaluate(self.model, self.examples, part, *about)
            values[f"{part}_loss"], values[f"{part}_accuracy"] = loss, accuracy
        return values

    def epoch(
        self,
        epoch: int,
        inside: Callable[[float], Any] | None = None,
        inside_points: int = 1,
        begun: Within | None = None,
        pause: Callable[[Within], Any] | None = None,
    ) -> None:
        """Train one epoch: every minibatch once, or with ``batch: null`` one step on all examples.

        Args:
            epoch: its number from 0; seeds, and the learning rate, depend on it.
            inside: called with the epochs done (a fraction) at ``inside_points`` evenly spread steps, its end included.
            inside_points: how many such calls.
            begun: what is done of the epoch already.
            pause: called after every step but the last with where the training stands, to commit it where that is due.
        """
        examples, recipe = self.examples, self.recipe
        device = examples.x.device
        self._set_rate(learning_rate(recipe, epoch))
        order_seed, augment_seed = derive(self.seed, "order", epoch), derive(self.seed, "augment", epoch)
        order = torch.randperm(len(examples.x), generator=torch.Generator().manual_seed(order_seed)).to(device)
        generator = torch.Generator(device).manual_seed(augment_seed)
        begun = begun or Within()
        if begun.draws is not None:
            generator.set_state(begun.draws)
        batches = list(order.split(recipe["batch"])) if recipe["batch"] else [torch.arange(len(order), device=device)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches.pop()  # batch norm cannot train on a single example
        marks = {round(len(batches) * (i + 1) / inside_points) for i in range(inside_points)}
        self.model.train()
        step = self._closure_step if self.closure else self._step
        losses = _Losses(self.name, epoch, learning_rate(recipe, epoch))
        for number, batch in enumerate(batches[begun.step :], start=begun.step + 1):
            self.steps = epoch * len(batches) + number - 1
            if epoch < recipe.get("warmup", 0.0):
                self._set_rate(learning_rate(recipe, epoch, epoch + number / len(batches)))
            losses.add(number, step(examples.x[batch], examples.y[batch], generator))
            now = number in marks or self.steps in FINGERPRINT or number == len(batches)
            if now or device.type == "cpu" or number % CHECKED == 0:
                losses.check()
            if inside is not None and number in marks:
                inside(epoch + number / len(batches))
                self.model.train()
            if pause is not None and number < len(batches) and not losses.unseen:
                pause(Within(number, generator.get_state() if self.augment is not None else None))

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if "lr" in group:
                group["lr"] = rate

    def _step(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Take one optimiser step and return the minibatch loss before it, a scalar on the device."""
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
        return loss.detach()

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
        if self.examples.extra is None or (not self.recipe["beta"] and self.recipe["poison"].get("unseen")):
            return None
        inputs, labels = self.examples.extra.at(self.steps)
        with torch.autocast(inputs.device.type, self.cast, enabled=self.cast is not None):
            outputs = self.model(inputs)
        return outputs.to(self.examples.dtype), labels, self.examples.extra.labels

    def _closure_step(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Take one step of an optimiser on a batch evaluated in chunks, and return the loss before it, a scalar.

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

        objective = Objective(self.model.parameters(), total, len(x), self.fits)

        def closure() -> Any:
            before.append(loss := objective())
            if self.recipe["clip"] is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe["clip"])
            return loss

        closure.value = objective.value  # type: ignore[attr-defined]
        self.optimizer.step(closure)
        if self.seen is not None and self.steps in FINGERPRINT:
            self.seen(self.steps, float(before[0]))
        return before[0].detach()


class _Losses:
    """The losses of an epoch's steps, left on the device until they are looked at.

    Attributes:
        unseen: (number of the step, its loss) of those that were not looked at.
    """

    def __init__(self, name: str, epoch: int, rate: float) -> None:
        self.name, self.epoch, self.rate = name, epoch, rate
        self.unseen: list[tuple[int, Tensor]] = []

    def add(self, step: int, loss: Tensor) -> None:
        """Note the loss of a step."""
        self.unseen.append((step, loss))

    def check(self) -> None:
        """Look at those that were not looked at, in one transfer.

        Raises:
            DivergedError: one is not finite; the first of them is named.
        """
        found = torch.stack([loss for _, loss in self.unseen]).tolist() if self.unseen else []
        for (step, _), loss in zip(self.unseen, found, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"{self.name}: the training loss became {loss} in epoch {self.epoch + 1}, step {step} "
                    f"(lr {self.rate:g}); lower recipe.lr or set recipe.clip"
                )
        self.unseen.clear()


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
