"""Train a network from its initialisation and export the recorded weight vectors."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lossatlas import models
from lossatlas.data import labels as label_policies
from lossatlas.data.prepare import load
from lossatlas.data.resample import hold_out, raw, resample, unit_scaled
from lossatlas.errors import LossatlasError
from lossatlas.files.points import remove_state, write_points
from lossatlas.landscape.layout import Layout
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.train.loop import Examples, Recorder, Training, pick_device
from lossatlas.train.poison import fixed, generated


def make_examples(
    data_file: Path,
    policy: str,
    seed: int,
    precision: str,
    device: torch.device,
    resampling: Mapping | None = None,
    held_out: tuple[float, int] | None = None,
    scale: str = "standard",
    poison: Mapping | None = None,
) -> tuple[Examples, int]:
    """Load prepared data as it is trained on.

    Args:
        data_file: data.h5.
        policy: ``given`` labels, ``random`` ones, or the ``inputs`` themselves (of an autoencoder).
        seed: the labels' seed, used by ``random``.
        precision: of the recipe; float64 makes float64 inputs.
        device: where to put it.
        resampling: how a replica draws its own training part (:mod:`lossatlas.data.resample`), with its ``seed``;
            None = the prepared one.
        held_out: share of the training part that takes the test part's place, and the seed of its draw; None = none.
        scale: ``standard`` (zero mean, unit variance over the training part), ``unit`` (images in [0, 1]) or ``raw``.
        poison: D_d of the poisoned objective: ``labels``, ``source``, ``points``, ``fresh``, ``seed``, ``batch``
            (examples a step), and of a generated one ``generator``. Examples that D_d takes are no training examples.

    Returns:
        The examples and the number of network outputs.
    """
    data = load(data_file)
    if resampling is not None:
        data = resample(data, resampling, resampling["seed"])
    if held_out is not None:
        data = hold_out(data, *held_out)
    outputs = len(data.classes) if data.task == "classification" else 1
    y, test_y = data.y_train, data.y_test
    dtype = torch.float64 if precision == "float64" else torch.float32
    normalise = {"unit": unit_scaled, "raw": raw}.get(scale, data.normalised)
    if policy == "random":
        y = label_policies.randomise(y, outputs, seed)
    elif policy == "inputs":
        y, test_y = (normalise(x).to(dtype).flatten(1) for x in (data.x_train, data.x_test))
        outputs = y.shape[1]
    x, test_x = data.x_train.to(device), data.x_test.to(device)
    examples = Examples(x, y.to(device), test_x, test_y.to(device), normalise, dtype)
    return (examples if poison is None else _poisoned(examples, poison, outputs)), outputs


def _poisoned(examples: Examples, poison: Mapping, classes: int) -> Examples:
    """Return examples with D_d beside them; what it takes of the training examples is no longer there."""
    x, y = examples.x, examples.y
    if poison["source"] == "generator":
        return replace(examples, extra=generated(poison, classes, examples.inputs, x.device))
    if not 0 < poison["points"] < len(x):
        raise LossatlasError(
            f"recipe.poison.points: D_d is to have {poison['points']} of {len(x)} examples; leave some on both sides"
        )
    order = torch.arange(len(x))
    if poison["source"] == "held_out":
        order = torch.from_numpy(np.random.default_rng(derive(poison["seed"], "held_out")).permutation(len(x)))
    kept, taken = (part.to(x.device) for part in order.split([len(x) - poison["points"], poison["points"]]))
    extra = fixed(poison, x[taken], y[taken], classes, examples.inputs)
    return replace(examples, x=x[kept], y=y[kept], extra=extra)


def build_model(spec: Mapping, examples: Examples, outputs: int, seed: int) -> nn.Module:
    """Build a network on the examples' device, its initialisation drawn from ``seed``."""
    model = models.build(dict(spec), tuple(examples.x.shape[1:]), outputs, seed)
    model = model.to(examples.x.device, examples.dtype)
    if examples.x.ndim == 4:  # faster on CPU and GPU
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def train_run(spec: Mapping, data_file: Path, output: Path, state: Path, provenance: Mapping) -> None:
    """Train one replica of a run; resumes from the last whole epoch found in ``state``.

    Args:
        spec: resolved spec of the run (:mod:`lossatlas.plan`): label, model, recipe, labels, record, seeds.
        data_file: data.h5.
        output: points.h5 to make.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    recipe, record, seed = spec["recipe"], spec["record"], spec["seeds"]
    examples, outputs = make_examples(
        data_file, spec["labels"], seed["labels"], recipe["precision"], pick_device(), **drawing(spec)
    )
    model = build_model(spec["model"], examples, outputs, seed["init"])
    recorder = Recorder(state, Layout.of(model), Layout.of_buffers(model))
    training = Training(model, examples, recipe, seed["training"], spec["label"])
    progress = recorder.state
    if progress.model is not None and progress.optimizer is not None:
        model.load_state_dict(progress.model)
        training.optimizer.load_state_dict(progress.optimizer)

    def point(epoch: float) -> None:
        recorder.record(model, {**row_of(spec["label"], -1, 0.0, epoch), **training.metrics()})

    def commit(epoch: int) -> None:
        progress.epoch, progress.model, progress.optimizer = epoch, model.state_dict(), training.optimizer.state_dict()
        recorder.commit()

    keep_all = record["epochs"] == "all"
    if progress.epoch < 0:
        if keep_all:
            point(0.0)
        commit(0)
    with Progress(f"train {spec['label']}", recipe["epochs"], progress.epoch) as bar:
        for epoch in range(progress.epoch, recipe["epochs"]):
            if epoch < record["fine_epochs"]:
                training.epoch(epoch, point, record["per_epoch"])
            else:
                training.epoch(epoch)
                if (keep_all and (epoch + 1) % record.get("every", 1) == 0) or epoch + 1 == recipe["epochs"]:
                    point(epoch + 1.0)
            commit(epoch + 1)
            bar.update()
    finish(recorder, output, state, provenance)


def drawing(spec: Mapping) -> dict:
    """Return how a run's spec says its training set is drawn and scaled, as arguments of :func:`make_examples`."""
    resampling = spec.get("resample")
    if resampling is not None:
        resampling = {**resampling, "seed": spec["seeds"]["resample"]}
    found = {"resampling": resampling, "scale": spec.get("scale", "standard")}
    if spec.get("poison") is not None:
        found["poison"] = {**spec["poison"], "seed": spec["seeds"]["poison"]}
    return found


def row_of(run: str, seed: int, step: float, epoch: float) -> dict:
    """Return the identifying columns of a table row (``docs/design.md``)."""
    return {"run": run, "seed": seed, "step": float(step), "epoch": float(epoch)}


def finish(
    recorder: Recorder,
    output: Path,
    state: Path,
    provenance: Mapping,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write the recorded rows, and further tables by name, as a points file and remove the job's state."""
    table = pd.DataFrame(recorder.state.rows)
    layouts = recorder.layout.to_json(), recorder.buffer_layout.to_json()
    write_points(output, recorder.journal, table, *layouts, provenance, tables)
    recorder.journal.close()
    remove_state(state)
