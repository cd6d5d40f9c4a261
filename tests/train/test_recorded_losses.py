"""Losses as they are recorded: float64 from the network's outputs, to their last digits, and early ones as a fingerprint.

The losses they are compared with are SciPy's logarithms of the outputs that the networks gave, in float64.
"""

import math
from itertools import count

import numpy as np
import pandas as pd
import pytest
import torch
from harness import job, make, study
from scipy.special import logsumexp
from torch import nn

from lossatlas import numerics
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.landscape.criteria import cross_entropies
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.specs.base import read
from lossatlas.train.jobs.sweep import sweep
from lossatlas.train.jobs.train import train
from lossatlas.train.loop import FINGERPRINT, Examples, Training, evaluate, per_example_loss
from lossatlas.train.networks import metrics
from lossatlas.train.spec import OPTIMIZERS, Recipe, runs
from lossatlas.train.stacked import StackedLandscape
from lossatlas.trajectories.jobs.retrain import retrain

torch.set_num_threads(1)


def exact(outputs, y):
    """Return SciPy's cross entropies (n,) of outputs (n, C), in float64."""
    z = outputs.detach().double().numpy()
    return logsumexp(z - np.take_along_axis(z, y.numpy()[:, None], 1), axis=1)


@pytest.fixture
def sure(rng):
    """Return a linear network that is sure of its data, the data, and SciPy's mean loss of its outputs."""
    y = torch.from_numpy(rng.integers(3, size=70))
    x = nn.functional.one_hot(y, 3).float()
    net = nn.Sequential(nn.Linear(3, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.from_numpy(rng.uniform(32, 41, 3)).float()))
        net[0].bias.zero_()
        outputs = net(x)
    examples = Examples(x, y, x[:9], y[:9], lambda raw: raw)
    loss = exact(outputs, y).mean()
    assert 1e-18 < loss < 1e-12
    assert float(nn.functional.cross_entropy(outputs, y)) == 0.0
    return net, examples, loss


def test_a_loss_that_float32_takes_for_0_is_recorded_as_it_is(sure):
    net, examples, loss = sure
    assert evaluate(net, examples, "train", "cross_entropy", None) == (pytest.approx(loss, rel=1e-8), 1.0)
    landscape = NetworkLandscape(net, examples.x, examples.y)
    theta = landscape.theta()
    found = [
        landscape.loss(theta),
        landscape.losses(theta[None])[0],
        landscape.loss_and_grad(theta)[0],
        StackedLandscape(landscape, net).losses(theta[None])[0],
        metrics({"train": landscape}, theta)["train_loss"],
    ]
    np.testing.assert_allclose([float(value) for value in found], loss, rtol=1e-8)
    assert float(found[0]) == float(found[2]), "a line search compares losses with and without gradient"


@pytest.mark.parametrize("optimizer", [name for name, about in OPTIMIZERS.items() if about.closure])
def test_line_searches_compare_such_losses(optimizer, sure):
    net, examples, loss = sure
    seen = []
    recipe = read(Recipe, {"optimizer": optimizer, "batch": None, "lr": 1.0}, "recipe").hashed()
    Training(net, examples, recipe, 0, "test", lambda step, value: seen.append((step, value))).epoch(0)
    ((step, value),) = seen
    assert step == 0
    assert value == pytest.approx(loss, rel=1e-8)
    assert evaluate(net, examples, "train", "cross_entropy", None)[0] <= value


@pytest.fixture(params=["native", "portable"])
def numerics_of(request, monkeypatch):
    """Let cross entropies be those of either numerics."""
    monkeypatch.setattr(numerics, "capped", lambda: request.param == "portable")


@pytest.mark.usefixtures("numerics_of")
@pytest.mark.parametrize("shape", [(200, 2), (200, 7), (50, 4, 3), (50, 2, 3)])
def test_cross_entropies_have_their_digits_at_every_size(shape, rng):
    outputs = torch.from_numpy(
        rng.normal(size=shape) * 10 ** rng.uniform(-1, 2.3, size=(shape[0], *[1] * (len(shape) - 1)))
    )
    y = torch.from_numpy(rng.integers(shape[1], size=(shape[0], *shape[2:])))
    flat = outputs.movedim(1, -1).reshape(-1, shape[1])
    expected = exact(flat, y.reshape(-1))
    found = cross_entropies(outputs, y)
    np.testing.assert_allclose(found.reshape(-1).numpy(), expected, rtol=3e-8, atol=1e-300)
    leaf = outputs.clone().requires_grad_()
    with_gradient = cross_entropies(leaf, y)
    assert torch.equal(with_gradient.detach(), found)
    (gradient,) = torch.autograd.grad(with_gradient.sum(), leaf)
    p = torch.softmax(outputs, 1) - nn.functional.one_hot(y, shape[1]).movedim(-1, 1)
    torch.testing.assert_close(gradient, p, rtol=0, atol=1e-14)


@pytest.mark.usefixtures("numerics_of")
def test_losses_of_outputs_that_are_no_numbers_are_none():
    outputs = torch.tensor([[math.nan, 0.0], [math.inf, 0.0], [0.0, math.inf], [50.0, 0.0], [-1e30, 1e30]])
    found = cross_entropies(outputs, torch.zeros(len(outputs), dtype=torch.int64))
    assert torch.isfinite(found).tolist() == [False, False, False, True, True]
    assert found[3:].tolist() == pytest.approx([math.exp(-50), 2e30], rel=1e-7)


@pytest.mark.usefixtures("numerics_of")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [(2, "Target 2 is out of bounds"), (-1, "Target -1 is out of bounds"), (-100, "index -100 is out")],
)
def test_classes_that_there_are_not_are_refused(wrong, said):
    with pytest.raises((IndexError, RuntimeError), match=said):
        cross_entropies(torch.tensor([[50.0, 0.0], [1.0, 2.0]]), torch.tensor([0, wrong]))


@pytest.mark.usefixtures("numerics_of")
def test_second_derivatives_of_losses_of_two_classes(rng):
    outputs = torch.from_numpy(rng.normal(size=(6, 2)) * 5).requires_grad_()
    y = torch.from_numpy(rng.integers(2, size=6))
    found = torch.autograd.functional.hessian(lambda outputs: cross_entropies(outputs, y).sum(), outputs)
    p = torch.softmax(outputs.detach(), 1)
    expected = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    torch.testing.assert_close(found[range(6), :, range(6)], expected)
    assert torch.count_nonzero(found) == torch.count_nonzero(expected)


def test_squared_errors_are_float64_of_the_outputs(rng):
    outputs = torch.from_numpy(rng.normal(size=(30, 1))).float()
    targets = outputs[:, 0] + torch.from_numpy(rng.normal(size=30) * 1e-6).float()
    found = per_example_loss("mse", outputs.double(), targets)
    expected = (outputs[:, 0].numpy().astype(np.float64) - targets.numpy().astype(np.float64)) ** 2
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# fingerprints


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return specs and input files of the tiny study: a run, a retraining, sweeps."""
    folder = tmp_path_factory.mktemp("made")
    found = study("tiny")
    run = runs(found, "good", "")[0]
    part = found.get("cloud", "good", "")[0].inputs["points"][0]
    inputs = {"data": make(run.inputs["data"][0], folder), "run": make(run, folder)}
    return {"inputs": inputs, "run": run.spec, "retrain": part.spec}


def fingerprint(file):
    """Return the table of a points file's fingerprint."""
    return read_table(file, "points", "fingerprint")


def noise(rng, n=60):
    """Return examples (n, 5) of three classes."""
    x, y = torch.from_numpy(rng.normal(size=(n, 5))).float(), torch.from_numpy(rng.integers(3, size=n))
    return Examples(x, y, x[:10], y[:10], lambda raw: raw)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "proxprop"])
def test_fingerprint_is_the_loss_of_each_steps_own_outputs(optimizer, rng, fresh_seed):
    torch.manual_seed(fresh_seed)
    net, examples = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)), noise(rng)
    order, outputs, seen = [], [], []
    watched = Examples(examples.x, examples.y, examples.x, examples.y, lambda raw: order.append(raw) or raw)
    net.register_forward_hook(
        lambda layer, given, out: outputs.append(out.detach().clone()) if layer.training else None
    )
    recipe = read(Recipe, {"optimizer": optimizer, "batch": 10, "lr": 0.05, "epochs": 3}, "recipe").hashed()
    training = Training(net, watched, recipe, fresh_seed, "test", lambda step, loss: seen.append((step, loss)))
    for epoch in range(3):
        training.epoch(epoch)
    assert [step for step, _ in seen] == [0, 1, 10]
    assert len(outputs) == 18, "one forward pass a step: none for the fingerprint"
    for step, loss in seen:
        rows = [int((examples.x == row).all(1).nonzero()) for row in order[step]]
        assert loss == pytest.approx(exact(outputs[step], examples.y[rows]).mean(), rel=1e-12)


def test_every_training_of_a_file_has_its_fingerprint(made, tmp_path):
    train(job(made["run"], tmp_path / "a.h5", data=made["inputs"]["data"]))
    retrain(job(made["retrain"], tmp_path / "b.h5", **made["inputs"]))
    one, many = fingerprint(tmp_path / "a.h5"), fingerprint(tmp_path / "b.h5")
    assert one.dtypes.astype(str).to_dict() == {"unit": "int64", "step": "int64", "loss": "float64"}
    assert one["unit"].tolist() == [0] * len(one)
    steps = one["step"].tolist()
    assert steps == [0, 1, 10]
    jumps = len(made["retrain"]["jumps"])
    assert many["unit"].tolist() == np.repeat(range(jumps), len(many) // jumps).tolist()
    assert many.groupby("unit")["step"].apply(list).map(lambda found: found == list(FINGERPRINT)[: len(found)]).all()
    with open_hdf5(tmp_path / "b.h5", "points") as file:
        assert file["fingerprint/loss"].dtype == np.float64


def test_a_training_shorter_than_the_fingerprint_has_what_there_was(made, tmp_path):
    for epochs, batch, steps in ((0, 20, []), (1, None, [0]), (2, None, [0, 1])):
        spec = {**made["run"], "recipe": {**made["run"]["recipe"], "epochs": epochs, "batch": batch}}
        train(job(spec, tmp_path / f"{epochs}.h5", data=made["inputs"]["data"]))
        found = fingerprint(tmp_path / f"{epochs}.h5")
        assert found["step"].tolist() == steps
        assert list(found.columns) == ["unit", "step", "loss"]


def sweep_spec(made, **changes):
    """Return a sweep of four members over learning rates, in minibatches of the tiny run's data."""
    seeds = {**made["run"]["seeds"], "labels": 0, "resample": 0, "held_out": 0}
    members = [
        {"value": value, "replica": r, "held_out": False, "seeds": {**seeds, "init": r, "training": r}}
        for value in (0.01, 0.02)
        for r in (0, 1)
    ]
    recipe = read(Recipe, {"batch": 20, "epochs": 4, "lr": 0.1}, "recipe").hashed()
    spec = {
        "label": "test", "labels": "given", "resample": None, "scale": "standard", "recipe": recipe, "factor": 1.0,
        "model": {"name": "mlp", "widths": [5], "activation": "tanh", "bias": True, "init": "default"},
        "parameter": "lr", "history": 2, "held_out": None, "members": members,
    }  # fmt: skip
    return {**spec, **changes}


@pytest.mark.parametrize("lockstep", [False, True])
def test_fingerprints_of_sweeps_survive_an_interruption(lockstep, made, tmp_path, monkeypatch, rng):
    spec = sweep_spec(made, lockstep=True, parameter=None) if lockstep else sweep_spec(made)
    data = made["inputs"]["data"]
    sweep(job(spec, tmp_path / "whole.h5", tmp_path / "a", data=data))
    whole = fingerprint(tmp_path / "whole.h5")
    assert whole["unit"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert whole["step"].tolist() == [0, 1, 10] * 4
    assert np.isfinite(whole["loss"]).all()
    monkeypatch.setattr("lossatlas.files.clock.COMMIT_SECONDS", 0.0)
    name = "lossatlas.train.lockstep.Lockstep._step" if lockstep else "lossatlas.train.loop.Training._step"
    module, cls, method = name.rsplit(".", 2)
    owner = getattr(__import__(module, fromlist=[cls]), cls)
    real, calls, steps = getattr(owner, method), count(), (1 if lockstep else 4) * 4 * 5
    stops = set(rng.choice(range(1, steps), 3, replace=False).tolist())

    def interrupted(*arguments):
        if next(calls) in stops:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(owner, method, interrupted)
    cuts = 0
    while not (tmp_path / "cut.h5").exists():
        try:
            sweep(job(spec, tmp_path / "cut.h5", tmp_path / "b", data=data))
        except KeyboardInterrupt:
            cuts += 1
    assert cuts == 3
    pd.testing.assert_frame_equal(fingerprint(tmp_path / "cut.h5"), whole, check_exact=True)


def test_lockstep_has_the_fingerprint_of_training_one_by_one(made, tmp_path):
    spec, data = sweep_spec(made, parameter=None), made["inputs"]["data"]
    for name in ("alone", "together"):
        sweep(job({**spec, "lockstep": name == "together"}, tmp_path / f"{name}.h5", tmp_path / name, data=data))
    alone, together = (fingerprint(tmp_path / f"{name}.h5") for name in ("alone", "together"))
    pd.testing.assert_frame_equal(alone, together, rtol=1e-5)
    first = alone["step"] == 0
    np.testing.assert_allclose(alone["loss"][first], together["loss"][first], rtol=1e-6)
    assert alone["loss"].nunique() > 4


def test_a_member_that_diverged_adds_nothing_more(made, tmp_path):
    for lockstep in (False, True):
        spec = sweep_spec(made, lockstep=lockstep, parameter=None)
        spec["recipe"], spec["model"] = {**spec["recipe"], "lr": 3e38}, {**spec["model"], "activation": "relu"}
        spec["members"] = spec["members"][:2]
        file = tmp_path / f"{lockstep}.h5"
        sweep(job(spec, file, tmp_path / "state", data=made["inputs"]["data"]))
        assert read_table(file, "points")["train_loss"].isna().all()
        found = fingerprint(file)
        assert found["step"].tolist() == [0, 1, 0, 1]
        assert np.isfinite(found["loss"][found["step"] == 0]).all()
