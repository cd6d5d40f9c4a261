"""What lies between two networks: known barriers, permuted copies, statistics of batch norm."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import TWO_WELLS_MINIMA, two_wells
from lossatlas.own.connect import barrier, connect
from lossatlas.own.point import Point

torch.set_num_threads(1)


def test_two_wells_have_their_barrier_and_a_lower_path():
    ends = [
        Point.of(two_wells(), torch.tensor(m, dtype=torch.float64), f"well {i}") for i, m in enumerate(TWO_WELLS_MINIMA)
    ]
    found = connect(*ends, points=41, steps=150)
    higher = max(found.line[0], found.line[-1])
    assert found.line.max() == pytest.approx(1.102, abs=5e-3)  # Yu & Morozov, figure 3
    assert found.barriers["straight line"] == pytest.approx(found.line.max() - higher)
    assert found.barriers["low path"] < 0.8 * found.barriers["straight line"]
    assert found.lengths[0] == pytest.approx(float((ends[0].theta - ends[1].theta).norm()))
    assert found.lengths[1] > found.lengths[0]
    assert any("a function has no units" in note for note in found.notes)


def mlp(rng, activation):
    torch.manual_seed(int(rng.integers(2**31)))
    model = nn.Sequential(nn.Linear(4, 7), activation, nn.Linear(7, 6), activation, nn.Linear(6, 3))
    x = torch.randn(50, 4)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU()])
def test_a_permuted_copy_has_no_barrier_once_units_are_matched(rng, activation, tmp_path):
    model, x, y = mlp(rng, activation)
    net = la.load(model, data=(x, y), label="a")
    order = torch.from_numpy(rng.permutation(7))
    with torch.no_grad():
        model[0].weight.copy_(model[0].weight[order])
        model[0].bias.copy_(model[0].bias[order])
        model[2].weight.copy_(model[2].weight[:, order])
    found = la.connect(net, net.at(model, label="b"), 9, path=False)
    np.testing.assert_allclose(found.aligned, found.aligned[0], rtol=1e-5)
    assert found.barriers["line, units matched"] == pytest.approx(0, abs=1e-6)
    assert found.lengths[2] == pytest.approx(0, abs=1e-4)
    assert found.line[0] == pytest.approx(found.line[-1], rel=1e-5)
    with h5py.File(found.save(tmp_path / "c.h5")) as file:
        np.testing.assert_array_equal(file["aligned"][...], found.aligned)
    found.save(tmp_path / "c.png")


class Skip(nn.Module):
    """A chain by its shapes, none by what it does."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(x + self.second(torch.tanh(self.first(x))))


def test_what_is_no_chain_is_not_matched(rng):
    x = torch.randn(40, 12)  # of twelve units none stays where it is by chance, which would show nothing
    net = la.load(Skip(), data=(x, torch.randint(3, (40,))))
    found = la.connect(net, net.at(Skip()), 5, path=False)
    assert len(found.aligned) == 0
    assert any("no plain chain" in note for note in found.notes)


def test_statistics_are_computed_anew_along_the_path(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    a, b = (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)) for _ in range(2))
    x, y = torch.randn(60, 4) + 1, torch.randint(3, (60,))
    for model in (a, b):
        for _ in range(80):
            model(x)
    net = la.load(a, data=(x, y))
    found = la.connect(net, net.at(b), 5, steps=3, path=True)
    assert any("computed anew" in note for note in found.notes)
    b.train()
    with torch.no_grad():
        own = float(nn.functional.cross_entropy(b(x).double(), y))  # one batch: its statistics up to n / (n - 1)
    assert found.line[-1] == pytest.approx(own, rel=0.02)
    assert found.path[[0, -1]] == pytest.approx(found.line[[0, -1]], rel=1e-9)
    assert any(check.name == "batch norm" for check in found.verdict.checks)


def test_a_barrier_is_above_the_higher_end():
    assert barrier(np.array([1.0, 3.0, 2.0])) == 1.0
    assert barrier(np.array([1.0, 0.5, 2.0])) == 0.0
    assert np.isnan(barrier(np.array([1.0, np.nan, 2.0])))


def test_networks_of_other_models_are_refused(rng):
    x, y = torch.randn(10, 4), torch.randint(3, (10,))
    with pytest.raises(LossatlasError, match="not of one model"):
        la.connect(la.load(nn.Linear(4, 3), data=(x, y)), la.load(nn.Linear(4, 3, bias=False), data=(x, y)))
