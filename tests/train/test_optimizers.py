"""Optimisers by name: options checked by the plan, full batches in chunks, gradients and steps against torch alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lossatlas.errors import LossatlasError
from lossatlas.landscape.memory import Fits
from lossatlas.specs.base import read
from lossatlas.train.loop import Examples, Training
from lossatlas.train.optimizers import Objective
from lossatlas.train.spec import OPTIMIZERS, Optimizer, Recipe, change

torch.set_num_threads(1)


@pytest.fixture
def torch_lbfgs(monkeypatch):
    """Enter torch's own L-BFGS for the length of a test."""
    options = {"max_iter": 20, "history_size": 100, "line_search_fn": ("strong_wolfe",)}
    monkeypatch.setitem(OPTIMIZERS, "torch_lbfgs", Optimizer("torch.optim:LBFGS", ("lr",), options, closure=True))


@pytest.fixture
def options_of_all_types(monkeypatch):
    """Enter an optimiser with an option of every type."""
    options = {"rho": 0.9, "history": 5, "betas": [0.9, 0.999], "search": ("wolfe", "none"), "centered": False}
    monkeypatch.setitem(OPTIMIZERS, "many", Optimizer("torch.optim:SGD", options=options))


def resolve(recipe):
    """Return a recipe with its defaults, as a job has it."""
    return read(Recipe, recipe, "recipe").hashed()


def problem(rng, n=37, dtype=torch.float64):
    """Return a small network and random classification examples."""
    x = torch.from_numpy(rng.normal(size=(n, 4))).to(dtype)
    y = torch.from_numpy(rng.integers(0, 3, n))
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
    return network, Examples(x, y, x, y, lambda inputs: inputs, dtype)


def test_options_are_filled_in_and_change_with_the_optimizer(options_of_all_types):
    assert "options" not in resolve({"optimizer": "adam"})
    assert "options" not in resolve({"optimizer": "sgd", "options": {}})
    first = read(Recipe, {"optimizer": "many", "options": {"rho": 0.5}})
    assert first.options == {
        "rho": 0.5, "history": 5, "betas": [0.9, 0.999], "search": "wolfe", "centered": False
    }  # fmt: skip
    assert change(first, {"options": {"history": 7}}).options["rho"] == 0.5
    assert change(first, {"lr": 0.2}).options == first.options
    assert "options" not in change(first, {"optimizer": "sgd"}).hashed()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"optimizer": "sdg"}, r"recipe.optimizer: 'sdg' is not an optimiser; did you mean 'sgd'"),
        (
            {"optimizer": "many", "options": {"roh": 1.0}},
            r"recipe.options.roh: unknown option of many; did you mean 'rho'",
        ),
        ({"optimizer": "sgd", "options": {"roh": 1.0}}, r"recipe.options.roh: unknown option of sgd; it has none"),
        ({"optimizer": "many", "options": {"history": 0}}, r"recipe.options.history: 0 .* an integer above 0"),
        ({"optimizer": "many", "options": {"history": 1.5}}, r"recipe.options.history: 1.5 .* an integer above 0"),
        ({"optimizer": "many", "options": {"rho": "big"}}, r"recipe.options.rho: 'big' .* a number"),
        ({"optimizer": "many", "options": {"betas": [0.9]}}, r"recipe.options.betas: \[0.9\] .* a list of 2 numbers"),
        ({"optimizer": "many", "options": {"search": "wolf"}}, r"recipe.options.search: 'wolf' .* one of wolfe, none"),
        ({"optimizer": "many", "options": {"centered": 1}}, r"recipe.options.centered: 1 .* true or false"),
        ({"optimizer": "torch_lbfgs", "weight_decay": 0.1}, r"recipe.weight_decay: torch_lbfgs has none"),
        ({"optimizer": "torch_lbfgs", "clip": 1.0}, r"recipe.clip: torch_lbfgs chooses its steps"),
    ],
)
def test_mistakes_are_one_clear_line(options_of_all_types, torch_lbfgs, recipe, message):
    with pytest.raises(LossatlasError, match=message):
        resolve(recipe)


@pytest.mark.parametrize("chunk", [1, 5, 37, 100])
def test_objective_is_the_mean_loss_whatever_the_chunks(rng, chunk):
    network, examples = problem(rng)

    def total(start, stop):
        return F.cross_entropy(network(examples.x[start:stop]), examples.y[start:stop], reduction="sum")

    objective = Objective(network.parameters(), total, len(examples.x), Fits(chunk))
    whole = F.cross_entropy(network(examples.x), examples.y)
    expected = torch.autograd.grad(whole, list(network.parameters()))
    for _ in range(2):  # gradients do not pile up
        assert float(objective()) == pytest.approx(whole.item(), rel=1e-12)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-14)
    assert float(objective.value()) == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize(("name", "rule"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_full_batch_steps_equal_torch(rng, name, rule):
    """``batch: null``: an epoch is one step on the gradient of the whole training set."""
    network, examples = problem(rng, n=1203)
    reference, _ = problem(rng)
    reference.load_state_dict(network.state_dict())
    recipe = resolve({"optimizer": name, "lr": 0.05, "batch": None, "epochs": 3, "precision": "float64"})
    training = Training(network, examples, recipe, 0, "test")
    optimizer = rule(reference.parameters(), lr=0.05)
    for epoch in range(3):
        training.epoch(epoch)
        optimizer.zero_grad()
        F.cross_entropy(reference(examples.x), examples.y).backward()
        optimizer.step()
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-10)


def test_an_optimizer_with_a_closure_equals_torch(rng, torch_lbfgs):
    network, examples = problem(rng)
    reference, _ = problem(rng)
    reference.load_state_dict(network.state_dict())
    recipe = resolve({"optimizer": "torch_lbfgs", "lr": 1.0, "batch": None, "epochs": 2, "precision": "float64"})
    training = Training(network, examples, recipe, 0, "test")
    optimizer = torch.optim.LBFGS(reference.parameters(), lr=1.0, max_iter=20, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(reference(examples.x), examples.y)
        loss.backward()
        return loss

    for epoch in range(2):
        training.epoch(epoch)
        optimizer.step(closure)
    ours, theirs = (F.cross_entropy(net(examples.x), examples.y).item() for net in (network, reference))
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert ours < 0.8 * np.log(3)
