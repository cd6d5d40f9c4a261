"""What a run is trained on, and the network it starts from."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lossatlas import models
from lossatlas.data import labels as label_policies
from lossatlas.data.dataset import load
from lossatlas.data.resample import hold_out, raw, resample, unit_scaled
from lossatlas.errors import LossatlasError
from lossatlas.seeds import derive
from lossatlas.train.loop import Examples
from lossatlas.train.poison import fixed, generated
from lossatlas.train.precision import device_for

OWN = ("folder", "tensors", "builder")
"""Data sets of a user's own, which need not have an example of every class that a network knows."""


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
    examples = Examples(
        x, y.to(device), test_x, test_y.to(device), normalise, dtype, own=data.source.get("name") in OWN
    )
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
    """Build a network on the examples' device, its initialisation drawn from ``seed``; try a user's on two examples."""
    model = models.build(dict(spec), tuple(examples.x.shape[1:]), outputs, seed)
    model = model.to(examples.x.device, examples.dtype)
    if examples.x.ndim == 4:  # faster on CPU and GPU
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if "builder" in spec:
        x, y = examples.inputs(examples.x[:2]), examples.y[:2]
        models.check_outputs(model, spec["builder"], x, y, outputs, examples.own)
    return model


def of_training(spec: Mapping, data_file: Path) -> tuple[Examples, nn.Module]:
    """Return what a training takes and the network it starts from, with its precision in force for the process."""
    precision, seeds = spec["recipe"]["precision"], spec["seeds"]
    device = device_for(precision)
    examples, outputs = make_examples(data_file, spec["labels"], seeds["labels"], precision, device, **drawing(spec))
    return examples, build_model(spec["model"], examples, outputs, seeds["init"])


def drawing(spec: Mapping) -> dict:
    """Return how a run's spec says its training set is drawn and scaled, as arguments of :func:`make_examples`."""
    resampling = spec.get("resample")
    if resampling is not None:
        resampling = {**resampling, "seed": spec["seeds"]["resample"]}
    found = {"resampling": resampling, "scale": spec.get("scale", "standard")}
    if spec.get("poison") is not None:
        found["poison"] = {**spec["poison"], "seed": spec["seeds"]["poison"]}
    return found
