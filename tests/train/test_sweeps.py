"""Sweeps on real small data: held-out members, the factor of the penalty, splits, a member that diverges."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from harness import contents, job, study
from harness import tiny as file_of

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.specs.study import only
from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.train.jobs.sweep import sweep
from lossatlas.train.networks import member

torch.set_num_threads(1)


def tiny(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return study("tiny_levelsets", **overrides)


@pytest.fixture(scope="module")
def made(made_study):
    """Return folder and plan of the tiny study."""
    return made_study("tiny_levelsets")


def cloud(plan, name):
    """Return a cloud of the tiny study."""
    return only(plan.get("cloud", name, ""))


def test_held_out_members_never_see_the_test_set(made):
    folder, plan = made
    parts = [p for p in cloud(plan, "iris").inputs["points"] if p.kind == "sweeps" and p.spec["recipe"]["epochs"] == 20]
    table = pd.concat([contents(folder / p.path)[1] for p in parts], ignore_index=True)
    held = table[table["held_out"] == 1]
    assert len(held) == 4
    assert held[["test_loss", "test_accuracy"]].isna().to_numpy().all()
    assert held["validation_loss"].notna().all()
    assert (held["example_gradients"] == 20 * 90).all()
    assert table.loc[table["held_out"] == 0, "validation_loss"].isna().all()
    history = pd.concat([read_table(folder / p.path, "points", "history") for p in parts], ignore_index=True)
    assert sorted(history["epoch"].unique()) == [5, 10, 15, 20]
    assert len(history) == 4 * len(table)


def test_more_decay_gives_smaller_weights_and_the_penalty_has_the_factor_of_two(made):
    folder, plan = made
    parts = [p for p in cloud(plan, "iris").inputs["points"] if p.kind == "sweeps"]
    assert parts[0].spec["factor"] == 2
    theta = np.concatenate([contents(folder / p.path)[0] for p in parts])
    table = pd.concat([contents(folder / p.path)[1] for p in parts], ignore_index=True)
    norms = pd.Series(np.linalg.norm(theta, axis=1)).groupby(table["value"]).mean()
    assert norms[1e-2] < norms[1e-4]


def test_a_diverging_member_is_a_row_without_losses_and_the_others_go_on(made, tmp_path):
    folder, plan = made
    part = next(p for p in cloud(plan, "iris").inputs["points"] if p.kind == "sweeps")
    spec = json.loads(json.dumps(part.spec))
    spec["recipe"] |= {"optimizer": "sgd", "epochs": 4}
    spec |= {"parameter": "lr", "factor": 1.0}
    for entry, value in zip(spec["members"], (3e38, 0.1, 0.1, 3e38), strict=True):
        entry["value"] = value
    sweep(job(spec, tmp_path / "a.h5", tmp_path / "state", data=folder / part.inputs["data"][0].path))
    theta, table = contents(tmp_path / "a.h5")
    assert table["train_loss"].isna().tolist() == [True, False, False, True]
    assert np.isfinite(theta).all()
    assert table["epoch"].tolist()[1:3] == [4, 4]


def test_splits_differ_between_replicas_and_subsets_have_the_size_asked_for(made):
    folder, plan = made
    part = cloud(plan, "split").inputs["points"][0]
    data = folder / part.inputs["data"][0].path
    spec = {**part.spec, "members": None}
    one, other = (member(spec, m["seeds"], data) for m in members_of(plan, "split")[:2])
    assert len(one.train.x) == 120
    assert len(one.test.x) == 30
    assert not torch.equal(one.test.x, other.test.x)
    for network in (one, other):
        torch.testing.assert_close(network.train.x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(network.train.x.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    subset = member({**spec, "resample": {"kind": "subset", "train": 17}}, members_of(plan, "split")[0]["seeds"], data)
    assert (len(subset.train.x), len(subset.test.x)) == (17, 30)
    with pytest.raises(LossatlasError, match=r"resample\.train is 500, but only 120"):
        member({**spec, "resample": {"kind": "subset", "train": 500}}, members_of(plan, "split")[0]["seeds"], data)


def members_of(plan, name):
    """Return the replicas of a cloud's traversals."""
    return [m for p in cloud(plan, name).inputs["points"] if p.kind == "levelsets" for m in p.spec["members"]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sweeps": {"decay": {"parameter": "decay"}}}, "'decay' is not a number of a recipe"),
        ({"sweeps": {"decay": {"parameter": "epochs"}}}, "'epochs' is not a number of a recipe"),
        (
            {"sweeps": {"decay": {"parameter": "momentum", "factor": 1.0}}},
            "adam has no momentum: all values would train",
        ),
        ({"sweeps": {"decay": {"parameter": "gamma"}}}, "gamma does nothing without `milestones`"),
        ({"sweeps": {"decay": {"parameter": "beta"}}}, "beta does nothing without `poison`"),
        (
            {"sweeps": {"decay": {"parameter": None}}},
            "decay.values: without `parameter` there is nothing to vary|factor",
        ),
        ({"sweeps": {"decay": {"recipe": {"epochs": 0}}}}, "0 epochs leave nothing to record"),
        ({"runs": {"iris": {"record": {"per_epoch": 3}}}}, "is of the first `fine_epochs` epochs"),
        ({"runs": {"iris": {"record": {"every": 3}}}}, "is of `epochs: all`"),
        ({"runs": {"iris": {"recipe": {"optimizer": "sgd", "nesterov": True}}}}, "needs momentum above 0"),
        ({"sweeps": {"decay": {"run": "iriss"}}}, "'iriss' is not one of the study's runs; did you mean 'iris'"),
        ({"runs": {"split": {"resample": {"kind": "subset"}}}}, "`train` goes with kind `subset`"),
        ({"runs": {"iris": {"scale": "unit"}}}, "`unit` is for images; iris has none"),
    ],
)
def test_mistakes_of_runs_and_sweeps_are_named_in_one_line(change, message):
    whole = merge(read_yaml(file_of("tiny_levelsets")), change)
    with pytest.raises(LossatlasError, match=message) as caught:
        tiny(**whole)
    assert len(str(caught.value).splitlines()) == 1
