"""Is my plot right? Pictures whose answer is known beforehand."""

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.landscape.analytic import quadratic
from lossatlas.landscape.landscape import FunctionLandscape
from lossatlas.own.line import line
from lossatlas.own.point import Point
from lossatlas.own.surface import surface
from lossatlas.planes.trust import SAME, Check, SliceTrust, Verdict, difference

torch.set_num_threads(1)


def asked(point, directions, others=5, how="filter", reach=1.0, step=0.25):
    return SliceTrust(point, directions, reach, how, 0, 400, step).verdict(others=others)


def outcome(verdict, name):
    return next(check for check in verdict.checks if check.name == name)


def test_an_isotropic_bowl_looks_alike_from_everywhere(rng):
    point = Point.of(quadratic(torch.eye(300).double()), torch.zeros(300).double())
    unit = torch.from_numpy(rng.normal(size=(2, 300)))
    point = Point(point.landscape, 0.01 * unit[0] / unit[0].norm(), point.layout)
    drawn = 0.01 * unit / unit.norm(dim=1, keepdim=True)
    check = outcome(asked(point, list(drawn)), "directions")
    # off the minimum by as much as a direction is long: x (theta.d) + x^2 |d|^2 / 2, theta.d is small in 300 dimensions
    assert check.outcome == "yes"
    assert "5 of 5" in check.sentence


def test_one_steep_direction_is_not_seen_alike_from_everywhere(rng):
    """f = (v.theta)^2: along random directions it rises by chi-square of one degree of freedom, which varies by factors."""
    v = torch.from_numpy(rng.normal(size=100))
    point = Point.of(FunctionLandscape(lambda theta: (v @ theta).square(), 100))
    w = torch.from_numpy(rng.normal(size=100))
    at = w - (w @ v) / (v @ v) * v
    point = Point(point.landscape, at, point.layout)
    steep = v / v.norm() * at.norm()
    check = outcome(asked(point, [steep, steep], others=12), "directions")
    assert check.outcome == "no"
    assert check.number > SAME


def test_too_few_examples_are_told(rng):
    """Two examples: one that rises, one that does not; each half shows another curve."""
    x = torch.tensor([[1.0], [0.0]]).double()
    net = la.load(nn.Linear(1, 1).double(), data=(x, torch.zeros(2, 1).double()), criterion="mse")
    check = outcome(net.surface(grid=5, examples="all").verdict, "examples")
    assert check.outcome == "no"
    many = torch.ones(64, 1).double()
    net = la.load(nn.Linear(1, 1).double(), data=(many, torch.zeros(64, 1).double()), criterion="mse")
    assert outcome(net.surface(grid=5, examples="all").verdict, "examples").outcome == "yes"


def test_statistics_that_are_not_the_weights_own_are_told(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))  # its statistics are those of the inputs, at any weights
    x, y = torch.randn(80, 4), torch.randint(3, (80,))
    for _ in range(100):
        model(x)
    right = outcome(la.load(model, data=(x, y)).surface(grid=5, examples="all").verdict, "batch norm")
    assert right.outcome == "yes"
    model[0].running_mean += 30.0
    wrong = outcome(la.load(model, data=(x, y)).surface(grid=5, examples="all").verdict, "batch norm")
    assert wrong.outcome == "no"
    assert wrong.number > right.number


def test_a_grid_too_coarse_for_ripples_is_told():
    ripples = FunctionLandscape(lambda theta: theta[0] ** 2 + torch.sin(4 * torch.pi * theta[0]).square(), 1)
    point = Point.of(ripples)
    d = torch.ones(1)
    coarse, fine = (line(point, grid=n, directions=d).verdict for n in (9, 129))
    assert outcome(coarse, "grid").outcome == "no"
    assert outcome(fine, "grid").outcome == "yes"


def test_a_deeper_place_just_outside_is_told():
    wells = FunctionLandscape(lambda theta: theta[0] ** 2 - 6 * torch.exp(-20 * (theta[0] - 1.5) ** 2), 1)
    assert outcome(line(Point.of(wells), grid=21, directions=torch.ones(1)).verdict, "range").outcome == "no"
    assert (
        outcome(line(Point.of(wells), grid=21, range=0.5, directions=torch.ones(1)).verdict, "range").outcome == "yes"
    )


def test_a_flat_picture_is_undecided_and_lost_points_differ_from_found_ones():
    flat = Point.of(FunctionLandscape(lambda theta: 0 * theta.sum() + 1.0, 3), torch.ones(3))
    verdict = surface(flat, 3).verdict
    assert verdict.outcome == "undecided"
    assert difference(np.array([1.0, np.nan]), np.array([1.0, 2.0]), 1.0) == np.inf
    assert difference(np.array([1.0, np.nan]), np.array([1.5, np.nan]), 1.0) == 0.5


def test_checks_cost_a_fraction_of_the_picture_and_one_no_is_a_no(rng):
    point = Point.of(quadratic(torch.eye(5).double()), torch.from_numpy(rng.normal(size=5)))
    calls = []
    counted = FunctionLandscape(point.landscape.function, 5)
    loss = counted.loss
    counted.loss = lambda theta: calls.append(1) or loss(theta)
    counted_point = Point(counted, point.theta, point.layout)
    surface(counted_point, 31, check=False)
    bare = len(calls)
    found = surface(counted_point, 31)
    assert len(calls) - 2 * bare == pytest.approx(found.verdict.cost * 31 * 31, abs=1)
    assert found.verdict.cost < 0.1
    yes, no = (Check("a", word, 0.0, "", "") for word in ("yes", "no"))
    stated = Check("a", "stated", 0.0, "", "")
    assert Verdict((yes, no)).outcome == "no"
    assert Verdict((yes, stated)).outcome == "yes"
    assert Verdict((stated,)).outcome == "undecided"
    assert Verdict().outcome == "not asked"
