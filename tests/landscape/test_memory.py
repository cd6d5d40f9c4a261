"""How many examples are evaluated at once: as many as a pretended GPU's memory takes, and half as many where it ends.

That it ends is a pretended limit on the examples of one forward pass.
"""

import copy
import logging
import os

import pretended
import pytest
import torch
from pretended import GPU
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape import memory
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.memory import INDEXED, SHARE, Fits, at_once, handed_on
from lossatlas.train.loop import EVALUATION_BATCH, Examples, Training
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


# ---------------------------------------------------------------------------------------------------------------------
# as many as a GPU takes


def test_what_layers_hand_on_is_counted_and_the_network_left_as_it_is():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    model[1].train()
    model[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [layer.training for layer in model.modules()]
    assert handed_on(model, torch.randn(1, 1, 8, 8)) == [144, 144, 144, 144, 2]
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.modules())
    assert handed_on(nn.LSTM(3, 7, batch_first=True), torch.randn(1, 5, 3)) == [35]


def test_a_gpu_takes_what_a_share_of_its_memory_holds_and_a_cpu_what_its_cache_does():
    model, x = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)), torch.randn(4, 3)
    each = 4 * (3 + 5 + 5 + 2)
    assert at_once(500, model, x) == 500
    for bytes_, expected in ((0, 500), (each * 700 / SHARE, 700), (each * 600 / SHARE - 1, 599), (1e15, INDEXED // 5)):
        with pretended.device(int(bytes_)):
            assert at_once(500, model.to(GPU), x.to(GPU)) == expected
            assert at_once(500, model, x) == 500


@pytest.mark.parametrize("normalised", [False, True])
def test_a_full_batch_is_one_pass_on_a_gpu_unless_batch_norm_sees_the_chunk(rng, normalised):
    """The same loss as in chunks of the CPU, and evaluations the same to the bit: each example's loss is its own."""
    calls, count = [], 2 * EVALUATION_BATCH + 7
    torch.manual_seed(int(rng.integers(1 << 30)))
    x, y, test = torch.randn(count, 3), torch.randint(2, (count,)), torch.randn(9, 3)
    between = [nn.BatchNorm1d(5), nn.Tanh()] if normalised else [nn.Tanh()]
    built = nn.Sequential(nn.Linear(3, 5), *between, nn.Linear(5, 2))
    recipe = {**RECIPE, "batch": None, "lr": 0.0}

    def trained(where):
        model = copy.deepcopy(built).to(where)
        model[0].register_forward_hook(lambda layer, given, result: calls.append(len(result)))
        there = [part.to(where) for part in (x, y, test, y[:9])]
        training = Training(model, Examples(*there, lambda inputs: inputs), recipe, 0, "net")
        calls.clear()
        loss = float(training._closure_step(*there[:2], None))
        steps = calls.copy()
        calls.clear()
        return loss, steps, training.metrics(), calls.copy()

    loss, steps, metrics, evaluated = trained("cpu")
    assert steps == [EVALUATION_BATCH, EVALUATION_BATCH, 7]
    assert evaluated == [EVALUATION_BATCH, EVALUATION_BATCH, 7, 9]
    with pretended.device(1 << 30):
        found = trained(GPU)
    assert found[1] == (steps if normalised else [count])
    assert found[3] == [count, 9]
    assert found[0] == pytest.approx(loss, rel=1e-6)
    assert found[2] == pytest.approx(metrics, rel=1e-7)


@pytest.mark.parametrize(
    ("line", "folder", "limit", "usage", "none"),
    [
        ("0::/slurm/job_7/step_0", "slurm/job_7", "memory.max", "memory.current", "max"),
        (
            "9:cpu,memory:/slurm/job_7",
            "memory/slurm/job_7",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            str(2**63 - 4096),
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_what_is_free_is_the_least_of_the_machines_and_the_groups(
    line, folder, limit, usage, none, tmp_path, monkeypatch
):
    """A job's control group, or one it lies in, may have less than the machine; where nothing is said nothing is free."""
    cpu, groups = torch.device("cpu"), tmp_path / "groups"
    monkeypatch.setattr(memory, "GROUPS", groups)
    machine = memory.free(cpu)
    assert 0 < machine < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (groups / folder).mkdir(parents=True)
    (tmp_path / "own").write_text(f"3:pids:/elsewhere\n{line}\n")
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    (groups / folder / usage).write_text("400000\n")
    for most, expected in (("1000000\n", 600_000), ("300000\n", 0)):
        (groups / folder / limit).write_text(most)
        assert memory.free(cpu) == expected
    (groups / folder / limit).write_text(f"{none}\n")
    assert memory.free(cpu) == pytest.approx(machine, rel=0.2)
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "none")
    assert memory.free(cpu) == 0
