"""Members in lockstep that stop where a loss is met, are tethered to their start, and go on from other ends."""

import numpy as np
import pytest
import torch
from harness import contents, make
from harness import study as planned
from torch import nn

from lossatlas import models
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read
from lossatlas.train.loop import Examples, Training
from lossatlas.train.poison import fixed
from lossatlas.train.spec import Recipe, sweep

torch.set_num_threads(1)
NAME = "tiny_generalization"
CLEAN = {"poison": None, "beta": None}


@pytest.fixture(scope="module")
def folder(made_study):
    """Return the folder of the tiny study."""
    return made_study(NAME)[0]


def ends(folder, name, **entries):
    """Return weights and table of a sweep of the tiny study with further sweeps."""
    return contents(make(sweep(planned(NAME, sweeps=entries), name, "")[0], folder))


def whole(**keys):
    return {"run": "poisoned", "lockstep": True, "grain": 20, **keys}


def test_a_member_stays_where_it_first_meets_what_was_asked(folder):
    free = whole(recipe={**CLEAN, "epochs": 60})
    _, table = ends(folder, "a", a=free)
    wanted = float(table["train_loss"].max()) + 1e-9  # every member gets there
    thetas, stopped = ends(folder, "b", b={**free, "stop": {"train_loss": wanted, "every": 5}})
    assert (stopped["train_loss"] <= wanted).all()
    assert (stopped["met"] % 5 == 0).all()
    assert (stopped["epoch"] == stopped["met"]).all()
    early = int(stopped["met"].min())
    assert early < 60
    row = int(stopped["met"].argmin())
    same, short = ends(folder, "c", c=whole(recipe={**CLEAN, "epochs": early}))
    assert np.array_equal(same[row], thetas[row])  # with nothing that depends on the length of the training
    assert short["train_loss"][row] == stopped["train_loss"][row]
    assert np.isnan(ends(folder, "d", d={**free, "stop": {"train_loss": 1e-9}})[1]["met"]).all()


def test_a_search_stops_at_a_low_test_accuracy(folder):
    entry = whole(recipe={"beta": 0.4, "epochs": 60}, stop={"train_accuracy": 0.3, "test_accuracy": 0.55})
    _, table = ends(folder, "e", e=entry)
    met = table[np.isfinite(table["met"])]
    assert len(met)
    assert (met["test_accuracy"] <= 0.55).all()
    assert (met["train_accuracy"] >= 0.3).all()


def test_a_tether_pulls_by_its_own_factor(folder):
    """One step of plain gradient descent is the loss's alone; the next is also pulled by tether times what it moved."""
    steps = {}
    for name, value, epochs in (("one", 0.0, 1), ("two", 0.0, 2), ("held", 3.0, 2)):
        recipe = {**CLEAN, "epochs": epochs, "momentum": 0.0, "clip": None, "lr": 0.02}
        entry = whole(parameter="tether", values=[value], replicas=[0], recipe=recipe, stop={"train_loss": 1e-9})
        steps[name], table = ends(folder, name, **{name: entry})
    moved = float(np.linalg.norm(steps["one"] - _init(folder)))
    pulled = np.linalg.norm(steps["held"] - steps["two"])
    assert pulled == pytest.approx(0.02 * 3.0 * moved, rel=1e-3)
    assert table["moved"][0] == pytest.approx(np.linalg.norm(steps["held"] - _init(folder)), rel=1e-5)


def _init(folder):
    """Return the initialisation of replica 0: where a stop at once leaves it."""
    entry = whole(replicas=[0], recipe={**CLEAN, "epochs": 1}, stop={"train_loss": 1e9})
    return ends(folder, "init", init=entry)[0]


def test_members_go_on_from_each_end_of_another_sweep(folder):
    first, before = contents(make(sweep(planned(NAME), "betas", "")[0], folder))
    entry = whole(
        grain=4, start={"sweep": "betas", "each": True}, recipe={**CLEAN, "epochs": 1}, stop={"train_loss": 1e9}
    )
    plan = planned(NAME, sweeps={"on": entry})
    part, *_ = sweep(plan, "on", "")
    thetas, table = contents(make(part, folder))
    assert table["value"].tolist() == before["value"].tolist()
    assert table["replica"].tolist() == before["replica"].tolist()
    assert set(table["parameter"]) == {"beta"}
    assert np.array_equal(thetas, first)  # they stopped at once
    assert (table["moved"] == 0).all()
    _, moved = ends(folder, "on", on={**entry, "stop": {"train_loss": 1e-9}})
    assert (moved["moved"] > 0).all()


def test_each_replica_starts_on_its_own_path(folder):
    runs = {
        "paths": {"recipe": {"epochs": 4, "batch": 20}, "replicas": [0, 1], "record": {"epochs": "all", "every": 2}}
    }
    entry = whole(
        start={"run": "paths", "every": 2, "own": True}, recipe={**CLEAN, "epochs": 1}, stop={"train_loss": 1e9}
    )
    plan = planned(NAME, runs=runs, sweeps={"own": entry})
    (part,) = sweep(plan, "own", "")
    thetas, table = contents(make(part, folder))
    assert table["replica"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["start"].tolist() == [0, 2, 4, 0, 2, 4]
    paths = [contents(make(path, folder))[0] for path in part.inputs["starts"]]
    assert np.array_equal(thetas, np.concatenate(paths))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"stop": {"every": 2}, "lockstep": True}, "give train_loss or train_accuracy"),
        ({"stop": {"train_loss": 0.1}}, "needs lockstep"),
        ({"recipe": {"tether": 0.1}}, "needs `lockstep: true`"),
        ({"start": {"sweep": "betas", "each": True}, "lockstep": True, "parameter": "beta"}, "leave out `parameter`"),
        ({"start": {"run": "path", "own": True, "replica": 0}, "lockstep": True}, "own path"),
        ({"start": {"run": "path", "each": True}, "lockstep": True}, "end points of a sweep"),
        ({"recipe": {"poison": {"batch": 5}}}, "a generator draws"),
    ],
)
def test_mistakes_are_named(entry, words):
    with pytest.raises(LossatlasError, match=words):
        sweep(planned(NAME, sweeps={"wrong": {"run": "poisoned", **entry}}), "wrong", "")


def test_a_run_has_no_tether():
    with pytest.raises(LossatlasError, match="sweeps in lockstep"):
        planned(NAME, runs={"alone": {"recipe": {"tether": 0.1}}})


@pytest.mark.parametrize("unseen", [False, True])
def test_with_beta_zero_batch_norm_need_not_see_the_other_examples(unseen, rng):
    x, far = torch.from_numpy(rng.standard_normal((2, 12, 3))).float()
    y = torch.arange(12) % 2
    poison = {"labels": "flipped", "source": "held_out", "points": 12, "unseen": unseen}
    recipe = read(Recipe, {"lr": 0.1, "batch": 12, "epochs": 1, "poison": poison}).hashed()
    statistics = []
    for shift in (0.0, 50.0):
        settings = {**poison, "batch": 12, "seed": 1}
        extra = fixed(settings, far + shift, y, 2, lambda inputs: inputs)
        torch.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
        Training(model, Examples(x, y, x, y, lambda inputs: inputs, extra=extra), recipe, 0, "test").epoch(0)
        statistics.append(model[0].running_mean.clone())
    assert torch.equal(*statistics) == unseen


def test_a_vgg_may_have_no_hidden_linear_layer():
    spec = {"name": "vgg", "depth": 13, "width": 0.0625}
    few, many = (models.build({**spec, **more}, (3, 16, 16), 10, 0) for more in ({"hidden": 0}, {}))
    count = [sum(isinstance(layer, nn.Linear) for layer in model) for model in (few, many)]
    assert count == [1, 3]
