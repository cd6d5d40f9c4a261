"""The four networks of study optimizers: sizes, order of the parameters, flat vectors from elsewhere, own inputs."""

import math

import numpy as np
import pytest
import torch
from harness import make, study
from torch import nn
from torch.nn import functional as F

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.models import build, from_vector
from lossatlas.models.spec import network, resolve
from lossatlas.specs.base import read
from lossatlas.train.examples import build_model, make_examples
from lossatlas.train.loop import Training
from lossatlas.train.spec import Recipe, runs

torch.set_num_threads(1)
SIZES = {"fcp": 42_200, "lenet": 61_706, "autoencoder": 52_224, "lstm": 15_456}
"""Yu & Morozov, table 1."""


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_table_1(name):
    model = build({"name": name}, (1, 28, 28), 10, 0)
    assert Layout.of(model).dim == SIZES[name]
    outputs = 784 if name == "autoencoder" else 10
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, outputs)
    counted = network(resolve({"name": name}), (1, 28, 28), outputs)
    assert counted.parameters == SIZES[name]


@pytest.mark.parametrize("name", ["fcp", "lenet", "autoencoder"])
def test_softplus_unless_told_otherwise(name):
    kinds = {
        activation: build({"name": name, "activation": activation}, (1, 28, 28), 10, 0) for activation in ("relu",)
    }
    assert any(isinstance(layer, nn.ReLU) for layer in kinds["relu"])
    assert any(isinstance(layer, nn.Softplus) for layer in build({"name": name}, (1, 28, 28), 10, 0))
    assert not any(isinstance(layer, nn.ReLU) for layer in build({"name": name}, (1, 28, 28), 10, 0))


def test_flops_of_the_lstm_are_those_of_its_matrix_products():
    counted = network(resolve({"name": "lstm"}), (1, 28, 28), 10)
    assert counted.flops == 2 * (28 * 4 * 48 * (28 + 48) + 48 * 10)


def test_lstm_by_hand_from_a_flat_vector(rng):
    """Gates written out in numpy, from a flat vector cut in torch's own order: weights, biases, head."""
    hidden, sizes = 48, [192 * 28, 192 * 48, 192, 192, 480]
    flat = rng.normal(scale=0.2, size=sum(sizes))
    model = from_vector(build({"name": "lstm"}, (1, 28, 28), 10, 0).double(), torch.from_numpy(flat))
    images = rng.uniform(size=(4, 784))
    w_ih, w_hh, b_ih, b_hh, head = np.split(flat, np.cumsum(sizes)[:-1])
    order = torch.randperm(784, generator=torch.Generator().manual_seed(1234)).numpy()
    h, c = np.zeros((4, hidden)), np.zeros((4, hidden))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for x in images[:, order].reshape(4, 28, 28).transpose(1, 0, 2):
        gates = x @ w_ih.reshape(192, 28).T + b_ih + h @ w_hh.reshape(192, 48).T + b_hh
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    with torch.no_grad():
        found = model(torch.from_numpy(images).reshape(4, 1, 28, 28)).numpy()
    np.testing.assert_allclose(found, h @ head.reshape(10, 48).T, rtol=1e-10, atol=1e-12)


def test_lstm_layout_is_that_of_torch():
    names = Layout.of(build({"name": "lstm"}, (1, 28, 28), 10, 0)).names
    assert [name.split(".")[-1] for name in names] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight"
    ]  # fmt: skip


def test_lstm_as_a_landscape(rng):
    """The weights reach the recurrent layer through ``functional_call``; its gradient agrees with differences."""
    model = build({"name": "lstm", "hidden": 5, "steps": 4}, (1, 4, 4), 3, 0).double()
    x, y = torch.from_numpy(rng.uniform(size=(9, 1, 4, 4))), torch.from_numpy(rng.integers(0, 3, 9))
    landscape = NetworkLandscape(model, x, y, batch_size=4)
    theta = torch.from_numpy(rng.normal(size=landscape.dim))
    assert float(landscape.loss(theta)) == pytest.approx(F.cross_entropy(from_vector(model, theta)(x), y).item())
    v = torch.from_numpy(rng.normal(size=landscape.dim))
    step = 1e-6
    slope = (landscape.loss(theta + step * v) - landscape.loss(theta - step * v)) / (2 * step)
    assert float(landscape.grad(theta) @ v) == pytest.approx(float(slope), rel=1e-6)


def test_steps_that_do_not_divide_the_pixels():
    with pytest.raises(LossatlasError, match="model lstm: steps got 5; expected a divisor of the 16 pixels"):
        build({"name": "lstm", "steps": 5}, (1, 4, 4), 3, 0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Prepare scikit-learn's digits."""
    run = runs(study("tiny"), "good", "")[0]
    return make(*run.inputs["data"], tmp_path_factory.mktemp("digits"))


def test_autoencoder_is_trained_on_its_own_input(digits):
    examples, outputs = make_examples(digits, "inputs", 0, "float32", torch.device("cpu"), scale="unit")
    pixels = examples.x[0].numel()
    assert outputs == pixels
    model = build_model(resolve({"name": "autoencoder", "widths": [16, 8, 16]}), examples, outputs, 3)
    settings = {"optimizer": "lbfgs_gss", "batch": None, "criterion": "mse", "epochs": 60, "precision": "float32"}
    training = Training(model, examples, read(Recipe, settings).hashed(), 0, "test")
    before = training.metrics()
    inputs = examples.inputs(examples.x)
    with torch.no_grad():
        reconstructed = model(inputs)
    by_hand = float((reconstructed - inputs.flatten(1)).square().mean())
    assert before["train_loss"] == pytest.approx(by_hand, rel=1e-5)
    assert math.isnan(before["train_accuracy"])
    for epoch in range(60):
        training.epoch(epoch)
    variance = float((inputs - inputs.mean(0)).square().mean())
    assert training.metrics()["train_loss"] < variance, "better than the mean image"


@pytest.mark.parametrize("name", ["fcp", "lstm"])
def test_lbfgs_gss_goes_far_below_what_sgd_reaches(digits, name):
    """The phenomenon of table 1 on 8 x 8 digits."""
    examples, outputs = make_examples(digits, "given", 0, "float32", torch.device("cpu"), scale="unit")
    spec = resolve({"name": name} if name == "fcp" else {"name": name, "steps": 8})
    losses = {}
    for settings in (
        {"optimizer": "lbfgs_gss", "batch": None, "epochs": 80},
        {"optimizer": "sgd", "lr": 0.1, "batch": 64, "epochs": 80},
    ):
        model = build_model(spec, examples, outputs, 3)
        training = Training(model, examples, read(Recipe, {**settings, "precision": "float32"}).hashed(), 0, "test")
        for epoch in range(80):
            training.epoch(epoch)
        losses[settings["optimizer"]] = training.metrics()["train_loss"]
    assert losses["lbfgs_gss"] < 0.1 * losses["sgd"]
