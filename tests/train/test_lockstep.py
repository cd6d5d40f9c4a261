"""Poisoned objective and lockstep training: definitions, and equality with one-by-one training."""

import math

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from harness import job
from torch.nn import functional as F

from lossatlas import models
from lossatlas.data.jobs import prepare
from lossatlas.data.spec import DataSet, source_checksum
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.points import read_point
from lossatlas.landscape.layout import Layout
from lossatlas.models.quadratic import QuadraticFeatures
from lossatlas.seeds import derive
from lossatlas.specs.base import read
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.jobs.sweep import sweep
from lossatlas.train.loop import Training
from lossatlas.train.poison import second_term
from lossatlas.train.seeds import drawing_seeds, training_seeds
from lossatlas.train.spec import Recipe, learning_rate
from lossatlas.train.stacked import stacked_forward

torch.set_num_threads(1)
NET = {"name": "binary_mlp", "widths": [23, 16, 26, 32, 28, 31], "activation": "relu"}
SMALL = {"name": "mlp", "widths": [9, 7], "activation": "tanh", "bias": True, "init": "default"}


@pytest.fixture
def master():
    """Return a fresh master seed and print it."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return seed


@pytest.fixture(scope="module")
def swissroll(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "data.h5"
    spec = read(DataSet, {"name": "swissroll", "train": 60, "test": 200, "seed": 3}).hashed()
    prepare(job({**spec, "checksum": source_checksum("swissroll")}, file))
    return file


def test_the_network_of_the_paper_has_3614_parameters():
    assert Layout.of(models.build(NET, (2,), 2, 0)).dim == 3614


def test_one_logit_is_the_logistic_loss(master):
    model = models.build(NET, (2,), 2, master)
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(master))
    outputs, y = model(x), torch.arange(50) % 2
    logistic = F.binary_cross_entropy_with_logits(outputs[:, 1], y.float())
    assert torch.allclose(F.cross_entropy(outputs, y), logistic, atol=1e-6)
    with pytest.raises(LossatlasError, match="two apart"):
        models.build(NET, (2,), 3, 0)


def test_quadratic_features_are_pixels_and_products(master):
    generator = torch.Generator().manual_seed(master)
    model = models.build({"name": "quadratic"}, (3, 8, 8), 4, master).double()
    images = torch.randn(5, 3, 8, 8, generator=generator, dtype=torch.float64)
    z = F.avg_pool2d(images, 2).flatten(1)
    products = [z[:, i] * z[:, j] for i in range(48) for j in range(i, 48)]
    features = torch.cat([images.flatten(1), torch.stack(products, 1)], 1)
    weights = torch.cat([model.linear.weight, model.products], 1)
    assert torch.allclose(
        model(images), (features @ weights.T + model.linear.bias) / features.shape[1] ** 0.5, atol=1e-12
    )
    whole = QuadraticFeatures(3, 32, 1)
    assert Layout.of(whole).dim == 298_369


@pytest.mark.parametrize("classes", [2, 5])
def test_second_term_is_minus_log_of_one_minus_p(classes, master):
    generator = torch.Generator().manual_seed(master)
    outputs = 3 * torch.randn(40, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (40,), generator=generator)
    p = torch.softmax(outputs, 1)[torch.arange(40), y]
    assert torch.allclose(second_term(outputs, y, "flipped"), -torch.log1p(-p), atol=1e-10)
    for policy in ("random", "correct"):
        assert torch.allclose(second_term(outputs, y, policy), -torch.log(p), atol=1e-10)
    if classes == 2:  # the reverse cross entropy is the cross entropy of the other label
        assert torch.allclose(second_term(outputs, y, "flipped"), second_term(outputs, 1 - y, "correct"))
    assert math.isfinite(float(second_term(torch.tensor([[1e4, 0.0]]), torch.tensor([0]), "flipped")[0]))


def test_annealing_is_constant_then_exponential():
    recipe = resolve({"lr": 0.2, "epochs": 1000, "anneal": {"after": 0.4, "to": 0.01}})
    assert learning_rate(recipe, 0) == learning_rate(recipe, 400) == 0.2
    assert learning_rate(recipe, 700) == pytest.approx(0.02)
    assert learning_rate(recipe, 1000) == pytest.approx(0.002)


def resolve(recipe):
    """Return a recipe with its defaults, as a job has it."""
    return read(Recipe, recipe, "recipe").hashed()


def spec_of(master, betas, model=SMALL, replicas=(0, 1), **changes):
    """Return a lockstep sweep over betas and replicas."""
    poison = {"labels": "flipped", "source": "generator", "points": 20, "fresh": True}
    changed = {**changes, "poison": {**poison, **changes.get("poison", {})}}
    base = {"lr": 0.05, "momentum": 0.9, "batch": 60, "epochs": 40, "clip": 1.0, "precision": "float32", "beta": 0.0}
    recipe = resolve({**base, **changed})
    members = [
        {"value": beta, "replica": r, "held_out": False, "seeds": seeds_of(master, r)}
        for beta in betas
        for r in replicas
    ]
    generator = {"name": "swissroll", "options": {"noise": 0.5, "degrees": 600.0}}
    return {
        "label": "test", "model": model, "labels": "given", "resample": None, "scale": "raw", "recipe": recipe,
        "parameter": "beta", "factor": 1.0, "history": 2, "held_out": None, "lockstep": True, "members": members,
        "poison": {**recipe["poison"], "batch": recipe["batch"], "generator": generator},
    }  # fmt: skip


def seeds_of(master, replica):
    return {
        **training_seeds(master, replica),
        **drawing_seeds(master, replica),
        "poison": derive(master, "poison", replica),
    }


def alone(spec, member, data):
    """Return the weights and metrics of a member trained by the ordinary loop."""
    draw = drawing({**spec, "seeds": member["seeds"]})
    examples, outputs = make_examples(data, "given", 0, "float32", torch.device("cpu"), **draw)
    model = build_model(spec["model"], examples, outputs, member["seeds"]["init"])
    training = Training(model, examples, {**spec["recipe"], "beta": member["value"]}, member["seeds"]["training"], "x")
    for epoch in range(spec["recipe"]["epochs"]):
        training.epoch(epoch)
    return Layout.of(model).flatten(model).numpy(), training.metrics()


CASES = [
    {},
    {"poison": {"fresh": False}},
    {"poison": {"labels": "random"}},
    {"batch": 16, "poison": {"source": "held_out", "points": 12}},
    {
        "batch": 7,
        "optimizer": "adam",
        "momentum": 0.0,
        "lr": 0.003,
        "poison": {"source": "extra", "points": 20, "labels": "correct"},
    },
]


@pytest.mark.parametrize("changes", CASES)
def test_lockstep_is_training_one_by_one(changes, swissroll, tmp_path, master):
    if changes.get("poison", {}).get("source"):
        changes = {**changes, "poison": {"fresh": False, **changes["poison"]}}
    spec = spec_of(master, [0.0, 0.3], **changes)
    sweep(job(spec, tmp_path / "points.h5", tmp_path / "state", data=swissroll))
    table = read_table(tmp_path / "points.h5")
    for i, member in enumerate(spec["members"]):
        theta, metrics = alone(spec, member, swissroll)
        found = read_point(tmp_path / "points.h5", i)[0]
        assert np.abs(found - theta).max() < 2e-4 * np.abs(theta).max()
        assert table["train_loss"][i] == pytest.approx(metrics["train_loss"], rel=1e-3)
        assert table["test_accuracy"][i] == pytest.approx(metrics["test_accuracy"], abs=0.011)
    history = read_table(tmp_path / "points.h5", "points", "history")
    assert list(history["epoch"]) == [20.0] * 4 + [40.0] * 4


def test_a_member_does_not_depend_on_its_company(swissroll, tmp_path, master):
    spec = spec_of(master, [0.0, 0.2, 0.5])
    for name, members in (("all", spec["members"]), ("one", spec["members"][3:4])):
        sweep(job({**spec, "members": members}, tmp_path / f"{name}.h5", tmp_path / name, data=swissroll))
    a, b = read_point(tmp_path / "all.h5", 3)[0], read_point(tmp_path / "one.h5", 0)[0]
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()


def test_resumed_training_gives_the_same_bits(swissroll, tmp_path, master, monkeypatch):
    spec = spec_of(master, [0.0, 0.4], epochs=30)
    sweep(job(spec, tmp_path / "whole.h5", tmp_path / "a", data=swissroll))
    monkeypatch.setattr("lossatlas.files.clock.COMMIT_SECONDS", 0.0)
    from lossatlas.train import lockstep

    real, calls = lockstep.Lockstep.epoch, []

    def interrupted(self, epoch):
        calls.append(epoch)
        if epoch == 17 and calls.count(17) == 1:
            raise KeyboardInterrupt
        real(self, epoch)

    monkeypatch.setattr(lockstep.Lockstep, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(job(spec, tmp_path / "cut.h5", tmp_path / "b", data=swissroll))
    sweep(job(spec, tmp_path / "cut.h5", tmp_path / "b", data=swissroll))
    assert calls.count(5) == 1
    for i in range(4):
        assert np.array_equal(read_point(tmp_path / "whole.h5", i)[0], read_point(tmp_path / "cut.h5", i)[0])


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_job_killed_while_its_file_is_written_adds_nothing_twice(swissroll, tmp_path, master, monkeypatch, seconds):
    spec = spec_of(master, [0.0, 0.4], epochs=10)
    sweep(job(spec, tmp_path / "whole.h5", tmp_path / "a", data=swissroll))
    monkeypatch.setattr("lossatlas.files.clock.COMMIT_SECONDS", seconds)

    def interrupted(*about):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lossatlas.train.loop.write_points", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sweep(job(spec, tmp_path / "cut.h5", tmp_path / "b", data=swissroll))
    sweep(job(spec, tmp_path / "cut.h5", tmp_path / "b", data=swissroll))
    for group in ("table", "history", "fingerprint"):
        whole, cut = (read_table(tmp_path / f"{name}.h5", "points", group) for name in ("whole", "cut"))
        pd.testing.assert_frame_equal(whole, cut, check_exact=True)
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "cut.h5") as cut:
        assert np.array_equal(whole["theta"], cut["theta"])


def test_a_diverging_member_stops_and_the_others_go_on(swissroll, tmp_path, master, monkeypatch):
    spec = spec_of(master, [0.1], NET, replicas=(0, 1, 2), lr=0.01)
    sweep(job(spec, tmp_path / "calm.h5", tmp_path / "a", data=swissroll))
    from lossatlas.train import lockstep

    real = lockstep.Lockstep._step

    def spoil(self, rows, step):
        if step == 10:
            with torch.no_grad():
                self.thetas[1] *= 1e20
        real(self, rows, step)

    monkeypatch.setattr(lockstep.Lockstep, "_step", spoil)
    sweep(job(spec, tmp_path / "spoilt.h5", tmp_path / "b", data=swissroll))
    table = read_table(tmp_path / "spoilt.h5")
    assert np.isnan(table["train_loss"][1])
    assert table["train_loss"][[0, 2]].notna().all()
    for i in (0, 2):
        assert np.array_equal(read_point(tmp_path / "calm.h5", i)[0], read_point(tmp_path / "spoilt.h5", i)[0])
    assert np.isfinite(read_point(tmp_path / "spoilt.h5", 1)[0]).all()


@pytest.mark.parametrize(
    ("spec", "shape"),
    [(NET, (2,)), (SMALL, (3,)), ({"name": "cnn", "channels": [4], "hidden": [5]}, (1, 8, 8))],
)
def test_stacked_forward_is_the_forward_of_each(spec, shape, master):
    nets = [models.build(spec, shape, 2, master + i) for i in range(3)]
    layout = Layout.of(nets[0])
    x = torch.randn(3, 11, *shape, generator=torch.Generator().manual_seed(master))
    outputs = stacked_forward(nets[0], layout)(torch.stack([layout.flatten(net) for net in nets]), x)
    for i, net in enumerate(nets):
        assert torch.allclose(outputs[i], net(x[i]), atol=1e-5)


def test_held_out_examples_are_not_trained_on(swissroll, master):
    whole, _ = make_examples(swissroll, "given", 0, "float32", torch.device("cpu"), scale="raw")
    for source in ("held_out", "extra"):
        poison = {"labels": "flipped", "source": source, "points": 20, "fresh": False, "seed": master, "batch": 60}
        examples, _ = make_examples(swissroll, "given", 0, "float32", torch.device("cpu"), scale="raw", poison=poison)
        taken, _ = examples.extra.at(0)
        together = torch.cat([examples.x, taken])
        assert len(taken) == 20
        assert torch.equal(together.sort(0).values, whole.x.sort(0).values)
        if source == "extra":
            assert torch.equal(taken, whole.x[-20:])
    with pytest.raises(LossatlasError, match="leave some on both sides"):
        make_examples(
            swissroll, "given", 0, "float32", torch.device("cpu"), scale="raw", poison={**poison, "points": 60}
        )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"beta": 0.1}, "without `poison`"),
        ({"poison": {}, "criterion": "mse"}, "cross_entropy"),
        ({"poison": {"source": "held_out", "fresh": True}}, "only the source"),
        ({"poison": {}, "batch": None}, "minibatches"),
    ],
)
def test_impossible_objectives_are_refused(recipe, message):
    with pytest.raises(LossatlasError, match=message):
        resolve(recipe)


def test_recipes_without_the_new_keys_resolve_as_before():
    assert not {"beta", "poison", "anneal"} & set(resolve({"lr": 0.1}))


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "data.h5"
    spec = read(DataSet, {"name": "iris"}).hashed()
    prepare(job({**spec, "checksum": source_checksum("iris")}, file))
    return file


@pytest.mark.parametrize("optimizer, criterion", [("adam", "cross_entropy"), ("sgd", "mse"), ("adam", "mse")])
def test_weight_decays_of_their_own_and_squared_errors_are_those_of_training_one_by_one(
    optimizer, criterion, iris, tmp_path, master
):
    """Each member has its own decay; going on from a sweep's ends each begins where its replica ended."""
    recipe = resolve({"optimizer": optimizer, "lr": 0.01, "batch": 32, "epochs": 12, "criterion": criterion})
    labels = "given" if criterion == "cross_entropy" else "inputs"
    base = {
        "label": "test", "model": SMALL, "labels": labels, "resample": {"kind": "split"}, "scale": "standard",
        "recipe": recipe, "factor": 2.0, "history": 2, "held_out": None,
    }  # fmt: skip
    seeds = [{**training_seeds(master, r), **drawing_seeds(master, r)} for r in (0, 1)]
    first = [{"value": 0.0, "replica": r, "held_out": False, "seeds": seeds[r]} for r in (0, 1)]
    start = {**base, "parameter": None, "factor": 1.0, "members": first}
    sweep(job(start, tmp_path / "starts.h5", tmp_path / "first", data=iris))
    members = [{**m, "value": value} for value in (1e-4, 0.05, 0.5) for m in first]
    rival = {**base, "parameter": "weight_decay", "members": members, "lockstep": True, "continued": True}
    given = {"data": iris, "starts": tmp_path / "starts.h5"}
    sweep(job(rival, tmp_path / "points.h5", tmp_path / "state", **given))
    table = read_table(tmp_path / "points.h5")
    assert (table["continued"] == 1).all()
    norms = []
    for i, member in enumerate(members):
        draw = drawing({**base, "seeds": member["seeds"]})
        examples, outputs = make_examples(iris, labels, 0, "float32", torch.device("cpu"), **draw)
        model = build_model(SMALL, examples, outputs, member["seeds"]["init"])
        layout = Layout.of(model)
        layout.load_into(model, torch.from_numpy(read_point(tmp_path / "starts.h5", member["replica"])[0]))
        decayed = {**recipe, "weight_decay": 2 * member["value"]}
        training = Training(model, examples, decayed, member["seeds"]["training"], "x")
        for epoch in range(recipe["epochs"]):
            training.epoch(epoch)
        theta = layout.flatten(model).numpy()
        found = read_point(tmp_path / "points.h5", i)[0]
        assert np.abs(found - theta).max() < 2e-4 * np.abs(theta).max()
        assert table["train_loss"][i] == pytest.approx(training.metrics()["train_loss"], rel=1e-3)
        norms.append(np.linalg.norm(found))
    assert max(norms[4:]) < min(norms[:2])  # the decay does something
