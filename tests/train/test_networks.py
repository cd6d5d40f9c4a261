"""The one loader of trained networks: landscapes and points that say what the training recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from harness import make, study
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.landscape.layout import Layout
from lossatlas.models import build
from lossatlas.train.networks import member, metrics, point, trained
from lossatlas.train.spec import runs

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Train the tiny run, a network with batch norm; return its spec as a probe has it, and its files."""
    run = runs(study("tiny"), "good", "")[0]
    folder = tmp_path_factory.mktemp("made")
    spec = {**run.spec, "criterion": "cross_entropy", "precision": "float32", "batch": 100}
    return spec, make(run.inputs["data"][0], folder), make(run, folder)


def probing(spec, **changes):
    return {**spec, "examples": None, "parts": ["train", "test"], "batch_norm": "stored", **changes}


def test_a_trained_network_has_the_recorded_losses(made):
    spec, data, run = made
    last = read_table(run, "points").iloc[-1]
    there = trained(probing(spec), data, run)
    assert there.theta.dtype == torch.float64
    nets = member(spec, spec["seeds"], data).at_buffers(there.buffers)
    for found in (metrics(there.parts, there.theta), nets.metrics(there.theta)):
        assert found.keys() == {f"{part}_{q}" for part in ("train", "test") for q in ("loss", "accuracy")}
        for name, value in found.items():
            assert value == pytest.approx(last[name], rel=1e-4), name


def test_parts_examples_and_statistics_are_those_asked_for(made):
    spec, data, run = made
    whole, few = (trained(probing(spec, examples=n, parts=["train"]), data, run).parts for n in (None, 7))
    assert list(whole) == list(few) == ["train"]
    assert torch.equal(few["train"].x, whole["train"].x[:7])
    again = trained(probing(spec, batch_norm="recompute"), data, run)
    found, stored = metrics(again.parts, again.theta), metrics(trained(probing(spec), data, run).parts, again.theta)
    assert found["train_loss"] != stored["train_loss"]
    test = again.parts["test"]
    assert torch.equal(test._statistics, again.parts["train"].x), "of the training examples, on either part"


def test_the_model_is_the_network_as_it_was_initialised(made):
    spec, data, _ = made
    nets = member(spec, spec["seeds"], data)
    start = build(spec["model"], tuple(nets.train.x.shape[1:]), 10, spec["seeds"]["init"])
    assert not nets.model.training
    assert torch.equal(Layout.of(nets.model).flatten(nets.model), Layout.of(start).flatten(start))
    assert nets.at_buffers(torch.zeros(0)) is nets


def test_points_of_another_network_are_refused(made):
    spec, data, run = made
    theta, buffers = point(run, member(spec, spec["seeds"], data).train.layout, "wrn")
    assert theta.dtype == buffers.dtype == torch.float32
    other = Layout.of(nn.Linear(3, 2))
    with pytest.raises(LossatlasError, match=rf"points.h5: holds {len(theta)} weights, the network of a label has 8"):
        point(run, other, "a label")
    wider = {**spec, "model": {**spec["model"], "width": 2}}
    with pytest.raises(LossatlasError, match=rf"holds {len(theta)} weights, the network of {spec['label']} has"):
        trained(probing(wider), data, run)


def test_accuracies_are_nan_where_there_are_no_classes(made):
    spec, data, _ = made
    nets = member(spec, spec["seeds"], data)
    found = metrics({"train": nets.train}, torch.full((nets.train.dim,), np.nan))
    assert np.isnan(list(found.values())).all()
    assert replace(nets, test=nets.train).metrics(nets.train.theta())["test_accuracy"] >= 0
