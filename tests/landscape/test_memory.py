"""Where a GPU's memory ends, chunks are halved: a pretended limit on the examples of one forward pass."""

import logging

import pytest
import torch
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.memory import Fits
from lossatlas.train.loop import Examples, Training
from lossatlas.train.optimizers import Objective
from lossatlas.train.stacked import StackedLandscape


class Limited(nn.Module):
    """A layer for which memory ends at so many rows."""

    most = 1 << 30

    def forward(self, x):
        if len(x) > Limited.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
        return x


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """Begin without a limit."""
    monkeypatch.setattr(Limited, "most", 1 << 30)


@pytest.fixture
def network(rng):
    """Return a network, inputs and targets."""
    torch.manual_seed(int(rng.integers(1 << 30)))
    model = nn.Sequential(nn.Linear(3, 5), Limited(), nn.Tanh(), nn.Linear(5, 2))
    return model, torch.randn(37, 3), torch.randint(2, (37,))


def test_a_chunk_that_does_not_fit_is_halved_and_the_loss_keeps_its_bits(network, monkeypatch, caplog):
    model, x, y = network
    whole = NetworkLandscape(model, x, y, batch_size=20, dtype=torch.float64)
    theta = whole.theta()
    v = torch.randn(len(theta), dtype=torch.float64)
    loss, (paired, gradient), product, outputs = (
        whole.loss(theta),
        whole.loss_and_grad(theta),
        whole.hvp(theta, v),
        whole.outputs(theta),
    )
    monkeypatch.setattr(Limited, "most", 3)
    with caplog.at_level(logging.WARNING):
        halved = NetworkLandscape(model, x, y, batch_size=20, dtype=torch.float64)
    assert [r.message for r in caplog.records] == [
        f"out of GPU memory: {half} at once from here on, in place of {full}"
        for full, half in ((20, 10), (10, 5), (5, 2))
    ]
    found = halved.loss_and_grad(theta)
    assert torch.equal(halved.outputs(theta), outputs)
    assert float(halved.loss(theta)) == float(loss) == float(found[0]) == float(paired)
    torch.testing.assert_close(found[1], gradient, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(halved.hvp(theta, v), product, rtol=1e-12, atol=1e-14)
    assert halved.batch_size == 20
    assert len(caplog.records) == 3, "once halved it stays so"


def test_a_gradient_half_summed_when_memory_ends_is_begun_anew(network, monkeypatch):
    model, x, y = network
    landscape = NetworkLandscape(model, x, y, batch_size=10)
    theta, calls = landscape.theta(), []
    expected = landscape.grad(theta)
    real = Limited.forward

    def third_time(self, x):
        calls.append(len(x))
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, x)

    monkeypatch.setattr(Limited, "forward", third_time)
    torch.testing.assert_close(landscape.grad(theta), expected, rtol=1e-5, atol=1e-7)
    assert max(calls[:3]) == 10
    assert max(calls[3:]) == 5


def test_what_cannot_be_halved_is_one_clear_line(network, monkeypatch):
    model, x, y = network
    landscape = NetworkLandscape(model, x, y, batch_size=20)
    monkeypatch.setattr(Limited, "most", 0)
    with pytest.raises(LossatlasError, match=r"does not take 1 examples at once \(CUDA out of memory\), and one alone"):
        landscape.loss(landscape.theta())
    monkeypatch.setattr(Limited, "most", 1 << 30)
    normalised = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), Limited(), nn.Linear(5, 2))
    other = NetworkLandscape(normalised, x, y, batch_norm="batch", batch_size=40)
    monkeypatch.setattr(Limited, "most", 30)
    with pytest.raises(LossatlasError, match="batch norm takes its statistics from all of them"):
        other.loss(other.theta())


def test_points_of_a_stacked_network_are_taken_fewer_at_once(rng, monkeypatch):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inner = NetworkLandscape(model, torch.randn(9, 3), torch.randint(2, (9,)))
    stacked = StackedLandscape(inner, model)
    thetas = torch.randn(30, inner.dim)
    expected, real = stacked.losses(thetas), stacked._forward

    def limited(rows, x):
        if len(rows) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(rows, x)

    stacked._forward = limited
    torch.testing.assert_close(stacked.losses(thetas), expected, rtol=0, atol=1e-12)
    assert stacked.fits.size == 8


def test_the_full_batch_of_a_line_search_is_taken_in_smaller_chunks(network, monkeypatch):
    model, x, y = network

    def total(start, stop):
        return nn.functional.cross_entropy(model(x[start:stop]).double(), y[start:stop], reduction="sum")

    expected = Objective(model.parameters(), total, len(x))()
    gradients = [p.grad.clone() for p in model.parameters()]
    monkeypatch.setattr(Limited, "most", 12)
    objective = Objective(model.parameters(), total, len(x), Fits(37))
    torch.testing.assert_close(objective(), expected)
    torch.testing.assert_close([p.grad for p in model.parameters()], gradients)
    torch.testing.assert_close(objective.value(), expected)
    assert objective.fits.size == 9


RECIPE = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "nesterov": False,
    "batch": 20,
    "augment": [],
    "criterion": "cross_entropy",
    "precision": "float32",
    "clip": None,
}


def test_evaluations_of_a_training_take_fewer_examples_at_once(network, monkeypatch):
    model, x, y = network
    examples = Examples(x, y, x[:9], y[:9], lambda inputs: inputs)
    training = Training(model, examples, RECIPE, 0, "net")
    expected = training.metrics()
    monkeypatch.setattr(Limited, "most", 40)
    training.evaluated.size = 64
    assert training.metrics() == expected
    monkeypatch.setattr(Limited, "most", 16)
    assert training.metrics() == pytest.approx(expected, rel=1e-6)
    assert training.evaluated.size == 16
