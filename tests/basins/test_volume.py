"""Radii and volumes of basins with known answers: balls, ellipsoids, slabs, a set that is not star-shaped."""

import math

import numpy as np
import pytest
import torch
from scipy.special import gammaln

from lossatlas import models
from lossatlas.basins.radii import (
    Radii,
    Search,
    effective_number,
    log_ball,
    log_mean_power,
    matched_output_scale,
    summarise,
)
from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import gaussian_rows, normalise, normalise_rows
from lossatlas.landscape.landscape import FunctionLandscape, NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.train.stacked import StackedLandscape

torch.set_num_threads(1)


@pytest.fixture
def rng():
    """Return a fresh generator and print its seed."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return np.random.default_rng(seed)


def sphere(rng, count, dim):
    """Return unit vectors (count, dim)."""
    rows = rng.standard_normal((count, dim))
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def zero(dim):
    return torch.zeros(dim, dtype=torch.float64)


def diagonal(values):
    """Return theta' diag(values) theta / 2 without forming a matrix."""
    scale = torch.from_numpy(values)
    return FunctionLandscape(lambda theta: 0.5 * (scale * theta.square()).sum(), len(values))


@pytest.mark.parametrize("dim", [2, 7, 400, 5000])
@pytest.mark.parametrize("radius", [1e-6, 0.3, 2e4])
def test_balls(dim, radius, rng):
    cutoff = 0.1
    landscape = diagonal(np.full(dim, 2 * cutoff / radius**2))
    found = Radii(landscape, zero(dim)).crossings(sphere(rng, 80, dim), np.array([cutoff]))
    assert found.radii == pytest.approx(np.full((1, 80), radius), rel=2.5e-5)
    volume = summarise(found.radii[0], dim, 0)
    exact = (0.5 * dim * math.log(math.pi) - gammaln(1 + dim / 2) + dim * math.log(radius)) / math.log(10)
    # a radius within 1.25e-5 (half a bracket) moves log10 V by at most dim times that
    assert volume.log10_volume == pytest.approx(exact, abs=dim * 2e-5)
    assert volume.low <= volume.log10_volume <= volume.high + 1e-9
    assert volume.effective > 60


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_ellipsoids_of_few_dimensions_have_their_volume(dim, rng):
    axes = np.exp(rng.uniform(-0.5, 0.5, dim))
    found = Radii(diagonal(1 / axes**2), zero(dim), Search(chunk=500)).crossings(
        sphere(rng, 8000, dim), np.array([0.5])
    )
    volume = summarise(found.radii[0], dim, 1)
    exact = (log_ball(dim) + np.log(axes).sum()) / np.log(10)
    width = (volume.high - volume.low) / 4
    assert abs(volume.log10_volume - exact) < 5 * width
    assert width < 0.02


@pytest.mark.parametrize("dim", [50, 5000])
def test_radii_of_ellipsoids_over_many_orders_of_magnitude(dim, rng):
    values = 10 ** rng.uniform(-8, 8, dim)
    directions = sphere(rng, 64, dim)
    cutoffs = np.array([1e-3, 0.1, 7.0])
    found = Radii(diagonal(values), zero(dim)).crossings(directions, cutoffs)
    exact = np.sqrt(2 * cutoffs[:, None] / (directions.numpy() ** 2 @ values))
    assert np.abs(found.radii / exact - 1).max() < 2.5e-5
    assert found.evaluations < 64 * 3 * 45
    # what those radii say is what logarithms in double precision say of the exact ones
    volume = summarise(found.radii[1], dim, 0)
    powers = dim * np.log(exact[1])
    top = powers.max()
    reference = (log_ball(dim) + top + math.log(np.exp(powers - top).mean())) / math.log(10)
    assert volume.log10_volume == pytest.approx(reference, abs=dim * 2e-5)


def test_powers_that_overflow_and_underflow(rng):
    radii = np.exp(rng.uniform(-3, 3, 200))
    for n in (3, 3457, 269_722):
        shifted = log_mean_power(radii / radii.max(), n) + n * math.log(radii.max())
        assert np.isfinite(log_mean_power(radii, n))
        assert log_mean_power(radii, n) == pytest.approx(shifted, rel=1e-12)
    assert effective_number(np.full(50, 1e-8), 100_000) == pytest.approx(50)
    assert effective_number(np.array([1.0, 0.5, 0.5]), 3457) == pytest.approx(1.0)
    assert log_ball(3) == pytest.approx(math.log(4 / 3 * math.pi))


def test_the_effective_number_says_when_an_ellipsoid_has_not_converged(rng):
    dim = 1000
    values = np.ones(dim)
    values[:20] = 1e-6
    directions = sphere(rng, 500, dim)
    exact = np.sqrt(1 / (directions.numpy() ** 2 @ values))
    true = (log_ball(dim) + 20 * math.log(1e3) + 0.0) / math.log(10)
    volume = summarise(exact, dim, 0)
    assert volume.effective < 100
    assert volume.high < true  # no resample reaches what was never drawn


def test_slab_and_directions_that_never_leave():
    landscape = FunctionLandscape(lambda theta: theta[0].square(), 3)
    directions = torch.eye(3, dtype=torch.float64)
    found = Radii(landscape, zero(3)).crossings(directions, np.array([0.04, 0.25]))
    assert found.radii[:, 0] == pytest.approx([0.2, 0.5], rel=2.5e-5)
    assert np.isinf(found.radii[:, 1:]).all()
    volume = summarise(found.radii[0], 3, 0)
    assert volume.unbounded == pytest.approx(2 / 3)
    assert np.isnan(volume.log10_volume)
    assert np.isinf(volume.largest)


def test_first_crossing_of_a_set_that_is_not_star_shaped(rng):
    """The loss leaves the basin at 1 and comes back between 1.6 and 2.4: the first crossing counts."""

    def function(theta):
        r = theta.norm()
        return torch.where(r < 1, r, torch.where((r > 1.6) & (r < 2.4), 0.1 + 0 * r, 1.0 + 0 * r))

    found = Radii(FunctionLandscape(function, 4), zero(4)).crossings(sphere(rng, 100, 4), np.array([0.7]))
    assert found.radii == pytest.approx(np.full((1, 100), 0.7), rel=2.5e-5)
    # a direction in which the basin is far shorter than the pilot's is walked from further in
    thin = FunctionLandscape(lambda t: torch.where(t[0] > 0.99 * t.norm(), 1e4, 1.0) * t.norm(), 4)
    directions = torch.cat([sphere(rng, 64, 4) * torch.tensor([0.1, 1.0, 1.0, 1.0]), torch.eye(4)[:1].double()])
    directions = directions / directions.norm(dim=1, keepdim=True)
    found = Radii(thin, zero(4)).crossings(directions, np.array([0.5]))
    assert found.radii[0, :64] == pytest.approx(np.full(64, 0.5), rel=2.5e-5)
    assert found.radii[0, 64] == pytest.approx(5e-5, rel=2.5e-5)


def test_losses_that_jump_or_are_not_finite(rng):
    def cliff(theta):
        r = theta.norm()
        return torch.where(r < 0.3, 0.0 * r, torch.where(r < 2.0, torch.inf * torch.ones_like(r), torch.nan * r))

    found = Radii(FunctionLandscape(cliff, 3), zero(3)).crossings(sphere(rng, 70, 3), np.array([0.1, 1.0]))
    assert found.radii == pytest.approx(np.full((2, 70), 0.3), rel=2.5e-5)


def test_a_point_above_the_cutoff_has_no_basin(rng):
    landscape = diagonal(np.ones(3))
    centre = torch.ones(3, dtype=torch.float64)
    found = Radii(landscape, centre).crossings(sphere(rng, 5, 3), np.array([0.1, 20.0]))
    assert (found.radii[0] == 0).all()
    assert (found.radii[1] > 0).all()
    assert np.isnan(summarise(found.radii[0], 3, 0).log10_volume)
    with pytest.raises(LossatlasError, match="ascending"):
        Radii(landscape, centre).crossings(sphere(rng, 5, 3), np.array([0.1, 0.1]))


def test_chunks_do_not_change_the_radii(rng):
    landscape, directions = diagonal(np.exp(rng.uniform(-3, 3, 30))), sphere(rng, 100, 30)
    found = [
        Radii(landscape, zero(30), Search(chunk=chunk)).crossings(directions, np.array([0.1, 0.5])).radii
        for chunk in (7, 100)
    ]
    assert np.array_equal(*found)


def network(rng):
    """Return a small fitted-looking network with its data and layout."""
    model = models.build(
        {"name": "binary_mlp", "widths": [9, 7], "activation": "relu"}, (2,), 2, int(rng.integers(1e9))
    )
    x = torch.from_numpy(rng.standard_normal((30, 2))).float()
    return model, x, torch.arange(30) % 2


def test_stacked_losses_are_those_of_the_network(rng):
    model, x, y = network(rng)
    plain, stacked = NetworkLandscape(model, x, y), StackedLandscape(NetworkLandscape(model, x, y), model)
    thetas = plain.theta() + 0.1 * torch.from_numpy(rng.standard_normal((13, plain.dim))).float()
    assert torch.allclose(stacked.losses(thetas), plain.losses(thetas), rtol=1e-6)
    assert stacked.loss(thetas[0]) == plain.loss(thetas[0])


@pytest.mark.parametrize("how", ["filter", "layer", "none"])
def test_rows_of_directions_are_normalised_as_one_by_one(how, rng):
    model = network(rng)[0]
    layout = Layout.of(model)
    theta = layout.flatten(model)
    rows = gaussian_rows(layout, int(rng.integers(1e9)), 6)
    for row, direction in zip(normalise_rows(rows, theta, layout, how), rows, strict=True):
        assert torch.allclose(row, normalise(direction.to(theta.dtype), theta, layout, how), rtol=1e-5, atol=1e-8)


def test_output_scale_that_matches_a_loss_keeps_the_boundary(rng):
    model, x, y = network(rng)
    landscape = NetworkLandscape(model, x, y)
    with torch.no_grad():  # labels that the network gets right, so that its loss can be made any small number
        labels = model(x).argmax(1)
    landscape = NetworkLandscape(model, x, labels)
    for target in (0.3, 0.01):
        theta = matched_output_scale(landscape, landscape.theta(), target)
        assert float(landscape.loss(theta)) == pytest.approx(target, rel=1e-3)
        assert torch.equal(landscape.outputs(theta).argmax(1), labels)
    with pytest.raises(LossatlasError, match="no scale"):
        matched_output_scale(NetworkLandscape(model, x, 1 - labels), landscape.theta(), 0.01)
