"""Products with one Hessian: the graphs of the gradients are kept between them, and no bit changes."""

import pytest
import torch
from torch import nn

from lossatlas.landscape import graphs
from lossatlas.landscape import landscape as landscapes
from lossatlas.landscape.analytic import rosenbrock
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import build

SHAPE, CLASSES, EXAMPLES = (2, 8, 8), 3, 10
SPECS = {
    "mlp": {"name": "mlp", "widths": [7, 6], "activation": "softplus"},
    "cnn": {"name": "cnn", "channels": [3, 4], "padding": 1, "hidden": [5]},
    "wrn": {"name": "wrn", "depth": 10, "width": 1},
}


class Sequences(nn.Module):
    """Rows of an image as a sequence."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.last = nn.LSTM(16, 5, batch_first=True), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.last(self.recurrent(x.flatten(2).transpose(1, 2).reshape(len(x), 8, 16))[0][:, -1])


def landscape(name, seed, **how):
    """Return a network's landscape on random data."""
    torch.manual_seed(seed)
    model = Sequences() if name == "lstm" else build(SPECS[name], SHAPE, CLASSES, seed)
    x, y = torch.randn(EXAMPLES, *SHAPE), torch.randint(CLASSES, (EXAMPLES,))
    return NetworkLandscape(model, x, y, **how)


@pytest.mark.parametrize("how", [{}, {"batch_size": 4}, {"batch_size": EXAMPLES, "batch_norm": "batch"}], ids=str)
@pytest.mark.parametrize("name", [*SPECS, "lstm"])
def test_every_product_has_the_bits_of_one_alone(name, how, fresh_seed, monkeypatch):
    """Also of networks whose gradients are put together leaf by leaf."""
    function = landscape(name, fresh_seed, **how)
    theta = function.theta()
    vectors = torch.randn(4, function.dim)
    for few in (landscapes.FEW, 0):
        monkeypatch.setattr(landscapes, "FEW", few)
        alone = [function.hvp(theta, v) for v in vectors]
        times = function.products(theta)
        assert all(torch.equal(times(v), expected) for v, expected in zip(vectors, alone, strict=True))


def forward_passes(function, times):
    """Return how many chunks go through the network in a first, second and third product."""
    passed, seen = [], []
    hook = function.module.register_forward_hook(lambda *_: passed.append(1))
    for _ in range(3):
        before = len(passed)
        times(torch.ones(function.dim))
        seen.append(len(passed) - before)
    hook.remove()
    return seen


def test_only_the_first_product_goes_forward_where_the_graphs_are_few_bytes(fresh_seed):
    function = landscape("cnn", fresh_seed, batch_size=4)
    theta = function.theta()
    assert forward_passes(function, function.products(theta)) == [3, 0, 0]
    assert forward_passes(function, function.products(theta, keep=0)) == [3, 3, 3]
    assert forward_passes(function, lambda v: function.hvp(theta, v)) == [3, 3, 3]


def test_as_many_graphs_are_kept_as_there_is_room_for(fresh_seed):
    """The limit is on all chunks together; those that find no room are made anew, and no bit changes."""
    function = landscape("cnn", fresh_seed, batch_size=4)
    theta, v = function.theta(), torch.randn(function.dim)
    anew = {keep: forward_passes(function, function.products(theta, keep))[1] for keep in range(0, 200_000, 2_000)}
    assert anew[0] == 3
    assert list(anew.values()) == sorted(anew.values(), reverse=True)
    assert set(anew.values()) == {3, 2, 1, 0}
    least = min(keep for keep, count in anew.items() if count == 0)
    assert least > 10_000, "more than the images, 5 kB"
    for keep in (1, least // 2, least):
        times = function.products(theta, keep)
        assert all(torch.equal(times(v), function.hvp(theta, v)) for _ in range(3))


def test_room_is_left_for_another_graph(fresh_seed, monkeypatch):
    """Of little memory none is kept, though its share would take the graphs; of much all are."""
    function = landscape("cnn", fresh_seed, batch_size=4)
    theta = function.theta()
    for given, anew in (([10**6] * 9, 0), ([10**6, 10**6, 1_000], 2), ([10**6, 1_000], 3), ([0, 10**6], 3)):
        said = iter(given)
        monkeypatch.setattr(graphs, "free", lambda device, said=said: next(said))
        assert forward_passes(function, function.products(theta)) == [3, anew, anew]


def test_where_memory_ends_nothing_is_kept_and_fewer_examples_are_taken(fresh_seed, monkeypatch):
    """A GPU's memory, played: a second product whose kept graphs leave no room."""
    function = landscape("cnn", fresh_seed, batch_size=4)
    theta, v = function.theta(), torch.randn(function.dim)
    times, add, full = function.products(theta), landscapes._add_gradients, []
    first = times(v)

    def no_room(values, leaves, total, vectors=None, kept=False):
        if kept:
            full.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        add(values, leaves, total, vectors, kept)

    monkeypatch.setattr(landscapes, "_add_gradients", no_room)
    torch.testing.assert_close(times(v), first)
    assert full == [1]
    torch.testing.assert_close(times(v), first)
    assert full == [1]


class Slopes(nn.Module):
    """Gradients of a function of the outputs: torch then forbids to look at what a graph saves."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, CLASSES)

    def forward(self, x):
        return torch.func.vmap(torch.func.grad(lambda row: (row**3).sum()))(self.layer(x.flatten(1)))


def test_a_network_that_cannot_be_weighed_is_not_kept(fresh_seed):
    torch.manual_seed(fresh_seed)
    function = NetworkLandscape(
        Slopes(), torch.randn(EXAMPLES, *SHAPE), torch.randint(CLASSES, (EXAMPLES,)), batch_size=4
    )
    theta, v = function.theta(), torch.randn(function.dim)
    times = function.products(theta)
    assert all(torch.equal(times(v), function.hvp(theta, v)) for _ in range(2))
    assert forward_passes(function, times) == [3, 3, 3]


def test_a_function_has_them_too(fresh_seed):
    function, theta = rosenbrock(3), torch.randn(3, dtype=torch.float64)
    times = function.products(theta)
    for v in torch.randn(3, 3, dtype=torch.float64):
        assert torch.equal(times(v), function.hvp(theta, v))
