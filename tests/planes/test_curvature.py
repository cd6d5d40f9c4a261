"""Curvature from products alone: against dense eigenvalues, closed forms, scipy and curvlinops."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import quadratic, rosenbrock
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import build
from lossatlas.planes import curvature

CPU = torch.device("cpu")
NETWORKS = {
    "mlp": ({"name": "mlp", "widths": [8, 6], "activation": "tanh"}, (5,)),
    "cnn": ({"name": "cnn", "channels": [3, 3], "activation": "softplus"}, (1, 10, 10)),
    "resnet": ({"name": "resnet", "depth": 8, "width": 0.1}, (3, 8, 8)),
    "noshort": ({"name": "resnet", "depth": 8, "width": 0.1, "shortcut": False}, (3, 8, 8)),
    "vgg": ({"name": "vgg", "depth": 9, "width": 0.02}, (3, 8, 8)),
}


def network(name, seed, count=40, **more):
    """Return the landscape of a random network on random examples, and a point some way from its initialisation."""
    spec, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(seed)
    model = build(spec, shape, 3, seed).eval()
    x = torch.randn(count, *shape, generator=generator)
    y = torch.randint(3, (count,), generator=generator)
    landscape = NetworkLandscape(model, x, y, **more)
    theta = landscape.theta().double()
    return landscape, theta + 0.3 * torch.randn(len(theta), generator=generator, dtype=torch.float64)


def dense(landscape, theta):
    """Return the Hessian (D, D) column by column."""
    columns = [landscape.hvp(theta, unit) for unit in torch.eye(landscape.dim, dtype=landscape.dtype)]
    matrix = torch.stack(columns, 1).double().numpy()
    return (matrix + matrix.T) / 2


def extremes_of(landscape, theta, start, tolerance, most):
    """Return both ends of the spectrum at a point, from a start of its own seed."""
    return curvature.extremes(
        curvature.hessian_at(landscape, theta), curvature.starting_vector(landscape.dim, start, CPU), tolerance, most
    )


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_extremes_are_those_of_the_dense_hessian(name, fresh_seed):
    double, theta = network(name, fresh_seed, dtype=torch.float64)
    exact = np.linalg.eigvalsh(dense(double, theta))
    scale = np.abs(exact[[0, -1]]).max()
    single, _ = network(name, fresh_seed, dtype=torch.float32)
    for landscape, slack in ((single, 1e-5 * scale), (double, 1e-12 * scale)):
        found = extremes_of(landscape, theta, 1, 1e-6, 400)
        print(landscape.dim, exact[[0, -1]], found)
        if landscape is double:
            assert found.converged
        assert found.minimum == pytest.approx(exact[0], rel=1e-4, abs=1e-4 * scale)
        assert found.maximum == pytest.approx(exact[-1], rel=1e-4)
        # the residuals bound the distance from an eigenvalue
        assert np.abs(exact - found.minimum).min() <= found.residual_min + slack
        assert np.abs(exact - found.maximum).min() <= found.residual_max + slack
    # in float64 the smaller end, too, relative to its own magnitude, at a tight tolerance
    found = extremes_of(double, theta, 2, 1e-9, 1000)
    assert (found.minimum, found.maximum) == pytest.approx((exact[0], exact[-1]), rel=1e-4)


def test_resnet_20_against_scipy_on_curvlinops_operator(fresh_seed):
    """The same network and data through another library's Hessian and ARPACK."""
    curvlinops = pytest.importorskip("curvlinops")
    generator = torch.Generator().manual_seed(fresh_seed)
    model = build({"name": "resnet", "depth": 20}, (3, 8, 8), 10, fresh_seed).eval()
    x = torch.randn(30, 3, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (30,), generator=generator)
    landscape = NetworkLandscape(model, x, y, dtype=torch.float64)
    assert landscape.dim == 269_722
    found = extremes_of(landscape, landscape.theta(), 3, 1e-4, 60)
    double = model.double()
    parameters = list(double.parameters())
    operator = curvlinops.HessianLinearOperator(
        double, nn.CrossEntropyLoss(), parameters, [(x, y)], check_deterministic=False
    ).to_scipy()
    values = [float(eigsh(operator, 1, which=which, tol=1e-4, return_eigenvectors=False)[0]) for which in ("SA", "LA")]
    print(found, values)
    assert found.converged
    assert (found.minimum, found.maximum) == pytest.approx(values, rel=1e-3)


def test_known_spectra_are_found_and_small_spaces_close(rng):
    values = np.sort(rng.standard_normal(30))
    basis = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    matrix = basis @ np.diag(values) @ basis.T
    landscape = quadratic(torch.from_numpy((matrix + matrix.T) / 2))
    product = curvature.hessian_at(landscape, torch.zeros(30, dtype=torch.float64))
    found = curvature.extremes(product, curvature.starting_vector(30, 4, CPU), 1e-10, 100)
    assert (found.minimum, found.maximum) == pytest.approx((values[0], values[-1]), rel=1e-9)
    # three distinct eigenvalues: three products exhaust the space, whatever is asked for
    steps = torch.tensor([1.0] * 10 + [-2.0] * 10 + [5.0] * 10, dtype=torch.float64)
    found = curvature.extremes(lambda v: steps * v, curvature.starting_vector(30, 5, CPU), 1e-15)
    assert (found.minimum, found.maximum, found.products) == (pytest.approx(-2), pytest.approx(5), 3)
    one = curvature.extremes(lambda v: -7.0 * v, torch.ones(1, dtype=torch.float64))
    assert (one.minimum, one.maximum, one.products, one.converged) == (-7.0, -7.0, 1, True)
    at = torch.from_numpy(rng.uniform(-2, 2, 6))
    exact = np.linalg.eigvalsh(dense(rosenbrock(6), at))
    found = curvature.extremes(curvature.hessian_at(rosenbrock(6), at), curvature.starting_vector(6, 6, CPU), 1e-9)
    assert (found.minimum, found.maximum) == pytest.approx((exact[0], exact[-1]), rel=1e-6)


def test_what_has_not_converged_says_so_and_what_overflows_is_nan(rng):
    values = torch.from_numpy(rng.standard_normal(2000))
    start = curvature.starting_vector(2000, 7, CPU)
    found = curvature.extremes(lambda v: values * v, start, 1e-9, 8)
    assert (found.products, found.converged) == (8, False)
    assert found.residual_max > 1e-9 * found.maximum
    broken = curvature.extremes(lambda v: v * torch.inf, start)
    assert np.isnan([broken.minimum, broken.maximum, broken.residual_max]).all()
    assert not broken.converged
    with pytest.raises(LossatlasError, match="tolerance got 0"):
        curvature.extremes(lambda v: v, start, 0)


def hidden(rng, size=400):
    """Return a spectrum as a deep network has it near a minimum, and a start with little along its smallest end."""
    values = torch.from_numpy(np.concatenate([[-1.4, 44.0], rng.uniform(-0.03, 0.3, size - 2)]))
    start = torch.from_numpy(rng.standard_normal(size))
    start[0] *= 1e-3
    return values, start


def test_lanczos_does_not_stop_on_the_wrong_eigenvalue(rng):
    """With a residual that is small against the larger end alone it does: this is the case that matters for a ratio."""
    values, start = hidden(rng)
    early = curvature.extremes(lambda v: values * v, start)
    assert early.converged
    assert early.minimum > -0.5, "the case shows nothing"
    late = curvature.extremes(lambda v: values * v, start, least=20, each=True)
    assert late.converged
    assert (late.minimum, late.maximum) == (pytest.approx(-1.4, rel=1e-2), pytest.approx(44.0, rel=1e-6))
    assert late.products >= 20


def test_a_residual_is_asked_of_each_end(rng):
    """1e-2 of the smaller end, and of a tenth of the larger where the smaller is nothing at all."""
    values = torch.from_numpy(np.concatenate([[10.0], np.linspace(-2.0, 1.0, 500)]))
    start = torch.from_numpy(rng.standard_normal(501))
    found = curvature.extremes(lambda v: values * v, start, 1e-2, 300, each=True)
    assert found.residual_min <= 1e-2 * abs(found.minimum)
    loose = curvature.extremes(lambda v: values * v, start, 1e-2, 300)
    assert loose.products < found.products
    flat = torch.cat([torch.tensor([10.0], dtype=torch.float64), torch.from_numpy(rng.uniform(0, 1e-6, 500))])
    found = curvature.extremes(lambda v: flat * v, start, 1e-2, 300, each=True)
    assert found.converged
    assert 1e-2 * abs(found.minimum) < found.residual_min <= 1e-2 * 10.0 / 10


def test_a_second_start_is_taken_where_the_ends_are_far_apart(rng):
    values, start = hidden(rng)
    start[0] = 0.0  # no product will ever find it from here
    starts = [start, torch.from_numpy(rng.standard_normal(400))]
    seen = []

    def find(one):
        seen.append(one)
        return curvature.extremes(lambda v: values * v, one, least=20, each=True)

    found = curvature.extremes_of_starts(find, starts)
    assert (len(seen), found.minimum) == (2, pytest.approx(-1.4, rel=1e-2))
    assert found.products == find(starts[0]).products + find(starts[1]).products
    seen.clear()
    near = torch.from_numpy(np.linspace(-1.0, 1.0, 400))
    found = curvature.extremes_of_starts(
        lambda one: (seen.append(one), curvature.extremes(lambda v: near * v, one))[1], starts
    )
    assert len(seen) == 1
    nan = curvature.extremes_of_starts(lambda one: curvature.extremes(lambda v: v * torch.inf, one), starts)
    assert np.isnan(nan.minimum)


def test_small_networks_ratios_are_right(fresh_seed):
    """|lambda_min / lambda_max| within 1% of the dense one for every one of 16 networks, as claims S1 and S6 read it."""
    for i in range(16):
        landscape, theta = network("mlp", fresh_seed + i, dtype=torch.float64)
        exact = np.linalg.eigvalsh(dense(landscape, theta))
        product = curvature.hessian_at(landscape, theta)
        starts = [curvature.starting_vector(landscape.dim, seed, CPU) for seed in (i, 1000 + i)]
        found = curvature.extremes_of_starts(
            lambda one, product=product: curvature.extremes(product, one, 1e-2, 60, least=20, each=True), starts
        )
        wrong = found.minimum / found.maximum - exact[0] / exact[-1]
        print(i, exact[[0, -1]], found, wrong)
        assert abs(wrong) < 1e-2


def test_the_hessian_over_weights_is_a_block_of_the_whole(fresh_seed):
    landscape, theta = network("mlp", fresh_seed, dtype=torch.float64)
    kept = torch.from_numpy(landscape.layout.numbers("weight"))
    assert 0 < len(kept) < landscape.dim
    exact = np.linalg.eigvalsh(dense(landscape, theta)[np.ix_(kept, kept)])
    product = curvature.of_block(curvature.hessian_at(landscape, theta), kept, landscape.dim)
    found = curvature.extremes(product, curvature.starting_vector(len(kept), 1, CPU), 1e-8, 500)
    assert (found.minimum, found.maximum) == pytest.approx((exact[0], exact[-1]), rel=1e-6)
    trace, error = curvature.trace(product, len(kept), 100, fresh_seed, CPU)
    assert abs(trace - exact.sum()) < 6 * error


def test_trace_is_unbiased_with_the_error_it_states(fresh_seed, rng):
    diagonal = torch.from_numpy(rng.standard_normal(50))
    trace, error = curvature.trace(lambda v: diagonal * v, 50, 3, fresh_seed, CPU)
    assert trace == pytest.approx(float(diagonal.sum()))  # signs see a diagonal exactly
    assert error == pytest.approx(0, abs=1e-12)
    landscape, theta = network("mlp", fresh_seed, dtype=torch.float64)
    exact = np.trace(dense(landscape, theta))
    trace, error = curvature.trace(curvature.hessian_at(landscape, theta), landscape.dim, 400, fresh_seed, CPU)
    print(exact, trace, error)
    assert abs(trace - exact) < 6 * error


def test_density_has_the_moments_of_the_spectrum(fresh_seed):
    """Gauss quadrature of m nodes is exact for moments up to 2m - 1 of each probe's spectral measure."""
    landscape, theta = network("mlp", fresh_seed, dtype=torch.float64)
    hessian = dense(landscape, theta)
    product = curvature.hessian_at(landscape, theta)
    nodes, weights = curvature.density(product, landscape.dim, 200, 6, fresh_seed, CPU)
    np.testing.assert_allclose(weights.sum(1), 1.0)
    generator = torch.Generator().manual_seed(fresh_seed)
    first = torch.randn(landscape.dim, generator=generator, dtype=torch.float64).numpy()
    unit = first / np.linalg.norm(first)
    for power in range(8):
        moment = unit @ np.linalg.matrix_power(hessian, power) @ unit
        assert (weights[0] * nodes[0] ** power).sum() == pytest.approx(moment, rel=1e-6, abs=1e-12)
    probes = (weights * nodes).sum(1)
    assert abs(probes.mean() - np.trace(hessian) / landscape.dim) < 6 * probes.std(ddof=1) / np.sqrt(len(probes))
    at = np.linspace(nodes.min() - 1, nodes.max() + 1, 2001)
    mass = curvature.smoothed(nodes, weights, at, 0.05).sum() * (at[1] - at[0])
    assert mass == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_two_vectors_find_the_ends_that_all_of_them_find(kind, rng):
    """Without reorthogonalisation, far beyond where ghosts come: known eigenvalues with an outlier at both ends."""
    values = np.sort(np.concatenate([[-3.0, 10.0], rng.uniform(0, 1, 298)]))
    q = np.linalg.qr(rng.normal(size=(300, 300)))[0]
    matrix = torch.from_numpy(q @ np.diag(values) @ q.T).to(kind)
    start = curvature.starting_vector(300, int(rng.integers(2**32)), torch.device("cpu"), kind)
    assert start.dtype == kind
    eps = torch.finfo(kind).eps
    seen = []

    def product(v):
        seen.append(v.dtype)
        return matrix @ v

    found = curvature.extremes(product, start, 1e-14, 120, kind)
    assert set(seen) == {kind}
    assert found.minimum == pytest.approx(-3.0, abs=1000 * eps)
    assert found.maximum == pytest.approx(10.0, abs=1000 * eps)
    space = curvature.Krylov(product, start, kind)
    for _ in range(120):
        space.step()
    assert len(space.basis) == 2
    if kind == torch.float32:
        ghosts = np.sum(np.abs(space.ritz()[0] - 10.0) < 1e-3)
        assert ghosts > 1, "no ghost came: this test shows nothing"


def test_lean_trace_and_density_are_the_exact_ones(rng, fresh_seed, monkeypatch):
    monkeypatch.setattr(curvature, "PIECE", 16)
    matrix = torch.from_numpy(rng.normal(size=(70, 70)))
    matrix = matrix + matrix.T

    def product(v):
        return matrix @ v

    device = torch.device("cpu")
    exact = curvature.trace(product, 70, 5, fresh_seed, device)
    np.testing.assert_allclose(curvature.trace(product, 70, 5, fresh_seed, device, torch.float64), exact, rtol=1e-12)
    for ours, theirs in zip(
        curvature.density(product, 70, 2, 12, fresh_seed, device, torch.float64),
        curvature.density(product, 70, 2, 12, fresh_seed, device),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


def test_a_lean_space_closes_and_says_what_is_not_finite(rng):
    start = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    matrix = torch.diag(torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64))
    found = curvature.extremes(lambda v: matrix @ v, start, 1e-9, 10, torch.float64)
    assert (found.minimum, found.maximum, found.products) == (pytest.approx(1.0), pytest.approx(2.0), 2)
    assert np.isnan(curvature.extremes(lambda v: v * float("inf"), start, 1e-9, 10, torch.float64).minimum)
