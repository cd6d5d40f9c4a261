"""Gaussian masses of basins with known answers: ellipsoids, products of balls, linear networks, and tiny networks."""

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from harness import draw, job, make, measure
from harness import study as planned
from scipy import stats
from scipy.optimize import minimize_scalar

from lossatlas.basins.energies import bennett, mixing, overlap
from lossatlas.basins.files import Masses
from lossatlas.basins.gaussian import Around, Scale, along_head, filter_scale, log_lower_gamma, visible
from lossatlas.basins.jobs import mass
from lossatlas.basins.jobs.minima import minima
from lossatlas.basins.ladder import Settings, climb, counted, descend, first_width, masses, tempered
from lossatlas.basins.numbers import in_cone
from lossatlas.basins.radii import Radii, log_ball, log_mean_power
from lossatlas.errors import LossatlasError
from lossatlas.files import clock
from lossatlas.landscape.directions import normalise_rows
from lossatlas.landscape.landscape import FunctionLandscape, NetworkLandscape
from lossatlas.landscape.layout import Layout

torch.set_num_threads(1)


class Quadratic:
    """L = width^2 / 2 sum a_i x_i^2."""

    def __init__(self, stiffness):
        self.a = torch.from_numpy(stiffness).float()
        self.dim, self.like = len(stiffness), torch.zeros(1)

    def losses(self, x, width):
        return 0.5 * width**2 * (self.a * x * x).double().sum(1)

    def losses_and_grads(self, x, width):
        gradient = width**2 * self.a * x
        return 0.5 * (gradient * x).double().sum(1), gradient


def log_share_below(cutoff, stiffness, width):
    """Return ln P[1/2 width^2 sum a_i x_i^2 <= c]: its Laplace transform is known, and inverted along the saddle line."""

    def transform(beta):
        return -0.5 * np.log(1 + beta * width**2 * stiffness).sum()

    beta = math.exp(
        minimize_scalar(lambda t: transform(math.exp(t)) + math.exp(t) * cutoff, bounds=(-10, 25), method="bounded").x
    )
    top = transform(beta) + beta * cutoff
    spread = 1 / math.sqrt(0.5 * np.square(width**2 * stiffness / (1 + beta * width**2 * stiffness)).sum())
    t = np.linspace(0, 12 * spread, 4001)
    values = [np.exp(transform(beta + 1j * u) + (beta + 1j * u) * cutoff - top) / (beta + 1j * u) for u in t]
    return top + math.log(np.trapezoid(np.real(values), t) / math.pi)


def generator(rng):
    return torch.Generator().manual_seed(int(rng.integers(2**60)))


# --- parts


@pytest.mark.parametrize("s", [0.5, 8.0, 1728.5])
def test_logarithms_of_the_incomplete_gamma_function(s):
    x = s * np.array([1e-9, 1e-3, 0.3, 0.97, 1.0, 1.4])
    with mpmath.workdps(50):
        exact = [float(mpmath.log(mpmath.gammainc(s, 0, float(one), regularized=True))) for one in x]
    assert log_lower_gamma(s, x) == pytest.approx(exact, rel=1e-11, abs=1e-13)
    assert log_lower_gamma(s, np.array([0.0, np.inf])).tolist() == [-np.inf, 0.0]


def test_free_energies_of_two_gaussians(rng):
    """u_k = a_k x^2 / 2: Z_1 / Z_0 = (a_0 / a_1)^1/2."""
    first, second = rng.standard_normal(40_000), rng.standard_normal(30_000) / math.sqrt(3.0)
    found = bennett(first**2, second**2)  # u_1 - u_0 = (3 - 1) x^2 / 2
    assert found == pytest.approx(-0.5 * math.log(3.0), abs=0.02)
    assert overlap(0 * first, 0 * first) == pytest.approx(0.5)
    assert 0.2 < overlap(first**2, second**2) < 0.5
    assert overlap(np.full(100, 30.0) + first[:100], np.full(100, -30.0) + second[:100]) < 1e-9


def test_chains_that_have_not_met_are_seen(rng):
    mixed = rng.standard_normal((40, 16))
    assert mixing(mixed).r_hat < 1.1
    assert mixing(mixed).draws > 300
    assert mixing(mixed + np.arange(16)).r_hat > 3
    assert mixing(np.cumsum(mixed, 0)).r_hat > 1.3


def test_rays_of_a_ball_and_of_an_ellipsoid(rng):
    """A ball's mass is a chi distribution's, whatever shape the rays have; a shape that fits makes an ellipsoid one."""
    dim, cutoff, radius, width = 400, 0.1, 3.0, 0.2
    ball = FunctionLandscape(lambda theta: cutoff * theta.square().sum() / radius**2, dim)
    around = Around(ball, torch.zeros(dim), Scale(torch.ones(dim).double(), torch.zeros(dim).long()))
    exact = stats.chi2.logcdf((radius / width) ** 2, dim)
    seen = visible(around, cutoff, np.array([width]), 20, generator(rng))
    assert seen.log_mass[0] == pytest.approx(exact, abs=0.02)
    assert seen.log_volume == pytest.approx(log_ball(dim) + dim * math.log(radius), abs=0.03)
    stiffness = 10 ** rng.uniform(-2, 2, dim)
    scale = torch.from_numpy(stiffness)
    ellipsoid = FunctionLandscape(lambda theta: 0.5 * (scale * theta.square()).sum(), dim)
    around = Around(ellipsoid, torch.zeros(dim), Scale(torch.ones(dim).double(), torch.zeros(dim).long()))
    seen = visible(around, cutoff, np.array([width]), 20, generator(rng), torch.from_numpy(stiffness**-0.5))
    volume = log_ball(dim) + 0.5 * dim * math.log(2 * cutoff) - 0.5 * np.log(stiffness).sum()
    assert seen.log_volume == pytest.approx(volume, abs=0.03)
    plain = visible(around, cutoff, np.array([width]), 20, generator(rng))
    assert plain.log_volume < volume - 20  # few rays without the shape: a lower bound, and far below
    assert plain.log_mass[0] < log_share_below(cutoff, stiffness, width) + 1


def test_a_product_of_balls_where_directions_scaled_filter_by_filter_are_wrong_without_variance(rng):
    """{sum a_f |x_f|^2 <= 1}, four filters of four weights, a = (1, 1, 1, 100): ln V - ln omega = -4 ln 10."""
    model = torch.nn.Linear(4, 4, bias=False)
    layout, theta = Layout.of(model), torch.ones(16).double()
    a = torch.tensor([1.0, 1.0, 1.0, 100.0]).double().repeat_interleave(4)
    landscape = FunctionLandscape(lambda theta: (a * (theta - 1).square()).sum(), 16)
    drawn = torch.randn(500, 16, generator=generator(rng), dtype=torch.float64)
    radii = Radii(landscape, theta).crossings(normalise_rows(drawn, theta, layout), np.array([1.0])).radii[0]
    assert np.ptp(radii) < 1e-4 * radii[0]
    old = float(log_mean_power(radii, 16)) + 16 * math.log(4.0)  # |theta| = 4
    scale = filter_scale(theta, layout)
    assert scale.scale.tolist() == [1.0] * 16
    assert scale.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    new = visible(Around(landscape, theta, scale), 1.0, np.array([1.0]), 8000, generator(rng)).log_volume
    exact = -4 * math.log(10.0)
    assert new - log_ball(16) == pytest.approx(exact, abs=2)  # few rays carry it; 16 nats apart from the other
    assert old < exact - 10


# --- ladders


@pytest.mark.parametrize("width", [0.03])
def test_a_ladder_finds_the_mass_of_an_ill_conditioned_ellipsoid_of_the_networks_dimension(width, rng):
    stiffness = np.zeros(3457)
    stiffness[:100] = 10 ** rng.uniform(-1, 3, 100)
    energy, cutoff, settings = Quadratic(stiffness), 0.1, Settings(chains=16, burn=12, moves=20)
    draws = generator(rng)
    looked = []
    rungs, x = climb(energy, cutoff, [1e-6, width], settings, draws, look=lambda *at: looked.append(at[1]))
    (*_, found) = masses(rungs, cutoff)
    exact = log_share_below(cutoff, stiffness, width)
    assert exact < -30
    assert found.width == pytest.approx(width)
    assert looked == [rung.width for rung in rungs[1:]]
    assert abs(found.log_mass - exact) < 5 * found.error + 0.3
    assert found.error < 2
    assert found.low - 5 * found.error < exact < found.high + 5 * found.error
    assert found.low < found.log_mass < found.high
    assert abs(found.log_mass - found.integrated) < 1.5
    assert found.least_overlap > 0.1
    (*_, back) = masses(descend(energy, rungs, x, settings, draws), cutoff)
    assert abs(back.log_mass - exact) < 5 * back.error + 0.3
    # the first rung is where half of the exact draws lie below
    start = counted(energy, cutoff, rungs[0].width, 2048, draws)
    assert start.log_mass == pytest.approx(math.log(0.5), abs=0.5)


def test_masses_and_learning_coefficients_of_linear_networks(rng):
    """L = (v . u - 1)^2: given u the output is Gaussian, so M is a mean over u; one direction is stiff: lambda = 1/2."""
    hidden = 10
    u, v = rng.standard_normal((2, hidden))
    v /= u @ v
    product = FunctionLandscape(lambda t: (t[:hidden] @ t[hidden:] - 1).square(), 2 * hidden)
    theta = torch.from_numpy(np.concatenate([u, v]))
    around = Around(product, theta, Scale(torch.ones(2 * hidden).double(), torch.zeros(2 * hidden).long()))
    cutoff, settings, draws = 1e-3, Settings(chains=24, burn=10, moves=20), generator(rng)
    width = 6 * first_width(around, cutoff, draws)
    rungs, x = climb(around, cutoff, [width], settings, draws)
    (*_, found) = masses(rungs, cutoff)
    other = u + width * rng.standard_normal((200_000, hidden))
    middle, spread, reach = other @ v - 1, width * np.linalg.norm(other, axis=1), math.sqrt(cutoff)
    exact = math.log(np.mean(stats.norm.cdf((reach - middle) / spread) - stats.norm.cdf((-reach - middle) / spread)))
    assert exact < -1.5
    assert abs(found.log_mass - exact) < 5 * found.error + 0.05
    assert found.error < 0.3
    longer = Settings(chains=24, burn=20, moves=100)  # whose mean has a standard deviation of 0.024
    at = tempered(around, rungs[-1], x, 200 * rungs[-1].beta, longer, draws)
    assert at.beta * at.losses.mean() == pytest.approx(0.5, abs=0.12)


def test_what_has_no_mass_is_said(rng):
    far = FunctionLandscape(lambda theta: 1 + theta.square().sum(), 3)
    scale = Scale(torch.ones(3).double(), torch.zeros(3).long())
    with pytest.raises(LossatlasError, match=r"above the cutoff 0\.1"):
        climb(Around(far, torch.zeros(3), scale), 0.1, [0.1], Settings(), generator(rng))
    flat = FunctionLandscape(lambda theta: 0 * theta.sum(), 3)
    with pytest.raises(LossatlasError, match="half of all draws"):
        climb(Around(flat, torch.zeros(3), scale), 0.1, [0.1], Settings(), generator(rng))


def test_an_open_cone_is_found_where_the_last_layer_separates_the_classes(rng):
    x = torch.from_numpy(rng.standard_normal((20, 3))).float()
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 2, bias=False))
    layout = Layout.of(model)
    weight = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    theta = torch.cat([torch.eye(3).flatten(), weight.flatten()])
    x = x[x[:, 0].abs() > 0.2]
    for wrong, sign in ((0, -1), (1, 1)):
        y = (x[:, 0] > 0).long()
        y[:wrong] = 1 - y[:wrong]
        around = Around(NetworkLandscape(model, x, y), theta, filter_scale(theta, layout))
        head = along_head(around, layout, generator(rng), 0.01)
        assert sign * (head[1, -1] - head[1, 0]) > 0
        assert (head[1] >= head[0]).all()
        reference = torch.nn.functional.cross_entropy(1000 * x.double() @ weight.double().T, y)
        assert head[0, -1] == pytest.approx(float(reference), rel=1e-4, abs=1e-12)


# --- the job


@pytest.fixture(scope="module")
def made(made_study):
    """Return folder and plan of the tiny study."""
    return made_study("tiny_generalization")


def test_masses_of_networks_are_those_that_are_counted(made):
    """At a width where draws below the cutoff are rare they are still there to be counted."""
    folder, found = made
    (artefact,) = found.get("mass", "masses", "")
    file = Masses.load(make(artefact, folder))
    files = {role: [folder / path for path in artefact.paths(role)] for role in artefact.inputs}
    for i, minimum in enumerate(minima(job(artefact.spec, folder / "none", **files))):
        around = Around(minimum.landscape(), minimum.theta, filter_scale(minimum.theta, minimum.nets.train.layout))
        draws = torch.Generator().manual_seed(i)
        one = counted(around, 0.8, 0.3, 20_000, draws)
        rungs, _ = climb(around, 0.8, [0.3], Settings(chains=32, burn=10, moves=20), draws, around.group)
        (*_, walked) = masses(rungs, 0.8)
        print(one, walked)
        assert abs(walked.log_mass - one.log_mass) < 5 * walked.error + 4 * one.error
        assert walked.error < 0.2
        narrow, wide = file.table.iloc[2 * i], file.table.iloc[2 * i + 1]
        assert wide["beta"] > 0
        assert abs(wide["log_mass"] - one.log_mass) < 3  # four chains and eight moves
        assert narrow["beta"] == 0
        assert -0.7 < narrow["log_mass"] <= 0
        assert 0 < wide["label_stability"] <= narrow["label_stability"] <= 1
        assert wide["log_low_rays"] < one.log_mass + 2
    assert file.head.shape == (2, 2, len(file.factors))
    assert not in_cone(file).any()  # neither fits its training set


def test_an_interrupted_mass_gives_the_same_bits(made, tmp_path, monkeypatch):
    folder, found = made
    (artefact,) = found.get("mass", "masses", "")
    whole = Masses.load(make(artefact, folder))
    files = {role: [folder / path for path in artefact.paths(role)] for role in artefact.inputs}
    this = job(artefact.spec, tmp_path / "mass.h5", **files)
    real = mass._of_minimum

    def interrupted(spec, minimum, number):
        if number == 1:
            raise KeyboardInterrupt
        return real(spec, minimum, number)

    monkeypatch.setattr(mass, "_of_minimum", interrupted)
    monkeypatch.setattr(clock, "COMMIT_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        mass.mass(this)
    assert list((tmp_path / "state").rglob("ledger-0.npz"))
    monkeypatch.setattr(mass, "_of_minimum", real)
    mass.mass(this)
    again = Masses.load(tmp_path / "mass.h5")
    assert again.table.equals(whole.table)
    assert again.rungs.equals(whole.rungs)
    assert np.array_equal(again.head, whole.head)


def test_settings_of_a_mass_have_an_effect_and_a_minimum_above_the_cutoff_has_none(made):
    folder, _ = made
    keys = {"cutoff": 0.8, "widths": [0.3], "chains": 4, "burn": 2, "moves": 8, "rays": 5}
    probes = {
        "above": {"mass": {"sweep": "betas", "values": [0.4], "replicas": [0], **keys, "cutoff": 0.01}},
        "plain": {"mass": {"sweep": "betas", "values": [0.0], "replicas": [0], **keys, "ladder": False}},
        "absolute": {
            "mass": {"sweep": "betas", "values": [0.0], "replicas": [0], **keys, "ladder": False, "absolute": 1.0}
        },
        "once": {"mass": {"sweep": "betas", "values": [0.4], "replicas": [0], **keys, "reverse": False}},
    }
    plan = planned("tiny_generalization", probes=probes)
    files = {name: Masses.load(make(plan.get("mass", name, "")[0], folder)) for name in probes}
    assert files["above"].table["log_mass"].isna().all()
    assert files["plain"].table["log_mass"].isna().all()
    assert np.isfinite(files["plain"].table["log_low_rays"]).all()
    assert files["absolute"].table["label_stability"][0] != files["plain"].table["label_stability"][0]
    assert np.isfinite(files["once"].table["log_mass"]).all()
    assert files["once"].table["log_mass_back"].isna().all()


def test_the_figure_and_the_measures_of_masses(made, tmp_path):
    folder, found = made
    (artefact,) = found.get("mass", "masses", "")
    file = Masses.load(make(artefact, folder))
    table = file.table[np.isclose(file.table["width"], 0.3)]
    good, bad = (table[table["value"] == value].iloc[0] for value in (0.0, 0.4))
    gap = measure("mass_gap", {"first": file, "second": file}, width=0.3, first_value=0.0, second_value=0.4)
    assert gap.value == pytest.approx((good["log_mass"] - bad["log_mass"]) / math.log(10))
    apart = measure("mass_agreement", {"mass": file}, width=0.3)
    assert apart.value == pytest.approx((table["log_mass"] - table["log_mass_back"]).abs().max())
    assert measure("open_cones", {"mass": file}).value == 0
    three = [
        replace(file, table=file.table.assign(replica=k, test_accuracy=file.table["test_accuracy"] + k))
        for k in range(3)
    ]
    assert measure("mass_rank", {"mass": three}, width=0.3).n == 3
    order = good["label_stability"] > bad["label_stability"]
    rank = measure("mass_rank", {"mass": three[:1] * 3}, width=0.3, quantity="label_stability")
    assert rank.value == pytest.approx(1.0 if order == (good["test_accuracy"] > bad["test_accuracy"]) else -1.0)
    with pytest.raises(LossatlasError, match=r"0\.7 was not measured"):
        measure("mass_gap", {"first": file, "second": file}, width=0.7)
    spec = {
        "kind": "masses",
        "title": "Masses",
        "caption": "A caption.",
        "width": 0.3,
        "groups": [{"mass": "masses", "title": "all"}],
    }
    draw(spec, {"mass": {"masses": [folder / artefact.path]}}, {"png": tmp_path / "m.png", "csv": tmp_path / "m.csv"})
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 1 + len(file.rungs)
