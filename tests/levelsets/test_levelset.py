"""Level-set traversals: closed-form optima, the level kept at every step, exact counts, both correctors alike."""

import itertools
import math

import numpy as np
import pytest
import torch

from lossatlas import models
from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import circle, quadratic
from lossatlas.landscape.landscape import FunctionLandscape, Landscape, NetworkLandscape
from lossatlas.levelsets.interest import Function, Linear, SquaredNorm, Walk, random_direction
from lossatlas.levelsets.spec import Settings
from lossatlas.levelsets.traversal import degrees_between, multipliers, tolerance
from lossatlas.levelsets.walk import traversal

torch.set_num_threads(1)
ONES = torch.ones(2, dtype=torch.float64)


class Counted(Landscape):
    """Count what is asked of a landscape."""

    def __init__(self, inner):
        self.inner, self.dim, self.dtype, self.device = inner, inner.dim, inner.dtype, inner.device
        self.calls = {"loss": 0, "gradient": 0}

    def loss(self, theta):
        self.calls["loss"] += 1
        return self.inner.loss(theta)

    def loss_and_grad(self, theta):
        self.calls["gradient"] += 1
        return self.inner.loss_and_grad(theta)

    def hvp(self, theta, v):
        raise AssertionError("a traversal needs no second derivatives")


def walked(landscape, interest, start, level=None, check=None, **settings):
    """Walk to the end; ``check`` sees the traversal after every step."""
    path = traversal(landscape, interest, start, Settings(**settings), level)
    while path.finished is None:
        path.advance()
        if check is not None:
            check(path)
    return path


def ellipsoid(rng, dim=12):
    """Return a quadratic, a level above its least value, and the point of least norm on that level set.

    The least norm under theta'A theta / 2 + b'theta = c is at theta = -(A + t I)^-1 b with the t >= 0 for which it lies
    on the level set, if the origin is outside the ellipsoid: a secular equation in one unknown, solved by bisection.
    """
    basis, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    values = np.exp(rng.uniform(-1.0, 1.0, dim))
    A = (basis * values) @ basis.T
    A = (A + A.T) / 2
    b = A @ (3.0 * rng.standard_normal(dim))
    centre = -np.linalg.solve(A, b)
    level = 0.5 * centre @ A @ centre + b @ centre + 0.2 * abs(0.5 * centre @ A @ centre)

    def theta(t):
        return -np.linalg.solve(A + t * np.eye(dim), b)

    def excess(t):
        x = theta(t)
        return 0.5 * x @ A @ x + b @ x - level

    low, high = 0.0, 1.0
    while excess(high) < 0:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    start = centre + 0.5 * rng.standard_normal(dim)
    return quadratic(torch.from_numpy(A), torch.from_numpy(b)), level, theta(high), torch.from_numpy(start)


@pytest.mark.parametrize("corrector", ["newton", "printed"])
@pytest.mark.parametrize("kind", ["predictor", "conjugate"])
def test_circle_ends_at_its_optimum_and_never_leaves_it(kind, corrector, fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    for _ in range(3):
        worst = []
        path = walked(
            circle(),
            Linear(ONES),
            torch.randn(2, generator=generator, dtype=torch.float64),
            1.0,
            lambda p, worst=worst: worst.append(abs(float(p.state.theta @ p.state.theta) - 1)),
            traversal=kind,
            corrector=corrector,
            steps=8000,
            angle=179.9999,
        )
        assert max(worst) <= 1e-5
        assert path.angle() == pytest.approx(180, abs=0.01)
        np.testing.assert_allclose(path.state.theta.numpy(), -math.sqrt(0.5), atol=1e-4)


@pytest.mark.parametrize("kind", ["predictor", "conjugate"])
def test_ellipsoid_ends_at_the_point_of_least_norm(kind, rng):
    landscape, level, expected, start = ellipsoid(rng)
    path = walked(
        landscape,
        SquaredNorm(),
        start,
        level,
        traversal=kind,
        steps=60000,
        angle=179.999,
        tolerance=1e-9,
        corrections=60,
    )
    np.testing.assert_allclose(path.state.theta.numpy(), expected, atol=2e-3 * np.linalg.norm(expected))
    assert float(path.state.theta.norm()) == pytest.approx(np.linalg.norm(expected), rel=1e-6)


def test_conjugate_needs_far_fewer_gradients(rng):
    landscape, level, _, start = ellipsoid(rng)
    used = {
        kind: walked(
            landscape, SquaredNorm(), start, level, traversal=kind, steps=60000, angle=179.99, tolerance=1e-9
        ).state.gradients
        for kind in ("predictor", "conjugate")
    }
    assert used["conjugate"] < used["predictor"] / 3


def test_every_direction_of_interest_does_what_it_says(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    start, target = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))
    sphere = FunctionLandscape(lambda theta: theta.square().sum(), 5)
    level = float(start @ start)
    cubic = FunctionLandscape(lambda theta: (theta - target).square().sum() + 0.1 * theta.pow(4).sum(), 5)
    near = target * (start.norm() / target.norm())
    options = {"steps": 20000, "angle": 179.99}
    path = walked(sphere, SquaredNorm(target), start, **options)
    np.testing.assert_allclose(path.state.theta.numpy(), near.numpy(), atol=1e-3 * float(start.norm()))
    direction = random_direction(5, fresh_seed + 1)
    path = walked(sphere, direction, start, **options)
    wanted = -direction.coefficients / direction.coefficients.norm() * start.norm()
    np.testing.assert_allclose(path.state.theta.numpy(), wanted.numpy(), atol=1e-3 * float(start.norm()))
    path = walked(sphere, Function(cubic), start, **options)
    assert path.angle() > 179.9 or path.angle() < 0.1 or path.finished == "steps"
    assert cubic.loss(path.state.theta) < cubic.loss(start)
    path = walked(sphere, Walk(fresh_seed), start, steps=200, step=0.01)
    assert path.state.predictor == 0.01
    assert abs(path.state.loss - level) <= path.tolerance
    assert float((path.state.theta - start).norm()) > 0.02


def tiny_task(dtype, seed, n=60):
    """Return a tiny network trained to a small loss on a task of its own, with its landscape."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=dtype)
    y = (x[:, 0] * x[:, 1] > 0).long()
    spec = {"name": "mlp", "widths": [12, 12], "activation": "tanh", "init": "glorot_normal"}
    model = models.build(spec, (4,), 2, seed % 2**31).to(dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, x, y


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("corrector", ["newton", "printed"])
def test_network_keeps_its_loss_at_every_step(dtype, corrector, fresh_seed):
    model, x, y = tiny_task(dtype, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    start = landscape.theta()
    level = float(landscape.loss(start))
    deviations, norms = [], [float(start @ start)]

    def check(path):
        deviations.append(abs(float(landscape.loss(path.state.theta)) - level))
        norms.append(float(path.state.theta @ path.state.theta))

    path = walked(landscape, SquaredNorm(), start, None, check, corrector=corrector, steps=300)
    assert max(deviations) <= tolerance("scaled", level) <= 1e-5
    assert max(deviations) == pytest.approx(path.state.worst, abs=1e-12)
    assert norms[-1] < norms[0]


def test_correctors_agree(fresh_seed):
    """At equal arc length both correctors are at the same place, compared with how far the path has gone."""
    model, x, y = tiny_task(torch.float64, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    start = landscape.theta()
    ends = {}
    for corrector in ("newton", "printed"):
        # A fixed step: with an adapted one the two would stand at other places of the same curve.
        options = {"corrector": corrector, "steps": 400, "step": 5e-4, "grow": 1.0, "threshold": 1e3}
        if corrector == "printed":
            options |= {"corrections": 5000, "threshold": 1e3}
        path = walked(landscape, SquaredNorm(), start, **options)
        ends[corrector] = path.state.theta
    moved = float((ends["newton"] - start).norm())
    assert moved > 0.05
    assert float((ends["newton"] - ends["printed"]).norm()) < 0.05 * moved


@pytest.mark.parametrize(
    "kind, corrector", [("predictor", "newton"), ("predictor", "printed"), ("conjugate", "newton")]
)
def test_gradients_are_counted_exactly(kind, corrector, fresh_seed):
    model, x, y = tiny_task(torch.float64, fresh_seed)
    counted = Counted(NetworkLandscape(model, x, y))
    path = walked(counted, SquaredNorm(), counted.inner.theta(), traversal=kind, corrector=corrector, steps=60)
    assert path.state.gradients == counted.calls["gradient"]
    assert counted.calls["loss"] == 0
    if kind == "predictor":
        assert path.state.gradients == 1 + path.state.steps + path.state.corrections + path.state.rejected
    before = counted.calls["gradient"]
    path = walked(counted, SquaredNorm(), counted.inner.theta(), traversal=kind, steps=10**6, gradients=40)
    assert path.finished == "gradients"
    assert 40 <= path.state.gradients == counted.calls["gradient"] - before


def test_chunks_change_nothing_but_rounding(fresh_seed):
    model, x, y = tiny_task(torch.float64, fresh_seed, n=61)
    ends = []
    for batch in (61, 16, 7, 1):
        landscape = NetworkLandscape(model, x, y, batch_size=batch)
        ends.append(walked(landscape, SquaredNorm(), landscape.theta(), steps=40).state.theta)
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-8, atol=1e-10)


def test_angles_are_exact_where_acos_is_not(fresh_seed):
    generator = torch.Generator().manual_seed(fresh_seed)
    a, b = (torch.randn(100, generator=generator, dtype=torch.float64) for _ in range(2))
    a = a / a.norm()
    b = b - (a @ b) * a
    b = b / b.norm()
    for degrees in (1e-9, 1e-4, 0.1, 30.0, 90.0, 150.0, 179.9, 180 - 1e-8):
        angle = math.radians(degrees)
        turned = math.cos(angle) * a + math.sin(angle) * b
        assert degrees_between(a, turned) == pytest.approx(degrees, rel=1e-6, abs=1e-12)


def test_multiplier_is_the_weight_decay_of_a_stationary_point(rng):
    """At the minimum of L + lambda |theta|^2 the implied decay is lambda and the residual zero."""
    root = rng.standard_normal((6, 6))
    A, b, decay = root @ root.T + np.eye(6), rng.standard_normal(6), float(rng.uniform(0.05, 2.0))
    A = (A + A.T) / 2
    theta = torch.from_numpy(np.linalg.solve(A + 2 * decay * np.eye(6), -b))
    landscape = quadratic(torch.from_numpy(A), torch.from_numpy(b))
    implied, residual = multipliers(2 * theta, landscape.grad(theta))
    assert implied == pytest.approx(decay, rel=1e-10)
    assert residual < 1e-10


def test_paper_tolerance_and_scaled_one():
    assert tolerance("paper", 1e-4) == 1e-5
    assert tolerance("scaled", 1e-4) == pytest.approx(5e-7)
    assert tolerance("scaled", 6.0) == 1e-5
    assert tolerance(1e-3, 6.0) == 1e-3


def test_impossible_starts_are_one_clear_error():
    with pytest.raises(LossatlasError, match="tolerance above zero"):
        traversal(circle(), Linear(ONES), torch.zeros(2), Settings())
    with pytest.raises(LossatlasError, match="no point of level -1 found"):
        traversal(circle(), Linear(ONES), torch.ones(2), Settings(), level=-1.0)
    with pytest.raises(LossatlasError, match="a walk has none"):
        traversal(circle(), Walk(0), torch.ones(2), Settings(traversal="conjugate"))


def test_a_path_of_given_length_has_it_and_goes_where_it_should(fresh_seed):
    """Towards a larger norm and along a direction: as long as asked for, in a hundred steps or more, at the level."""
    model, x, y = tiny_task(torch.float64, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    start = landscape.theta()
    for interest in (SquaredNorm(sign=-1.0), random_direction(len(start), fresh_seed), Walk(fresh_seed)):
        steps = []
        path = walked(
            landscape,
            interest,
            start,
            None,
            lambda path, kept=steps: kept.append(path.state.theta.clone()),
            length=0.5,
            steps=10**5,
            step=1.0,
        )
        assert path.finished == "length"
        moved = [float((b - a).norm()) for a, b in zip([start, *steps], steps, strict=False)]
        assert sum(moved) == pytest.approx(path.state.length, rel=1e-9)
        assert 0.5 <= path.state.length < 0.52
        assert len(steps) >= 100
        assert path.state.worst <= path.tolerance
        if isinstance(interest, SquaredNorm):
            assert path.state.theta.norm() > start.norm()


def test_a_walk_returns_to_its_first_step_length_after_one_taken_back(fresh_seed):
    """A first step far too long is taken back and tried shorter; the next ones grow again."""
    model, x, y = tiny_task(torch.float64, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    lengths = []
    path = walked(
        landscape,
        Walk(fresh_seed),
        landscape.theta(),
        None,
        lambda path: lengths.append(path.state.predictor),
        steps=60,
        step=1e3,
        corrections=5,
    )
    assert path.state.rejected > 0
    assert path.observe()["rejected"] == path.state.rejected
    assert any(after > before for before, after in itertools.pairwise(lengths))


def test_a_start_below_the_level_climbs_onto_it_nearby(fresh_seed):
    """A Newton step from near a minimum would land anywhere; uphill the level is met about where it first is."""
    model, x, y = tiny_task(torch.float64, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    start = landscape.theta()
    level = 20 * float(landscape.loss(start))
    path = walked(landscape, SquaredNorm(), start, level, steps=1)
    assert abs(path.state.loss - level) <= path.tolerance
    assert float((path.state.theta - start).norm()) < 0.3 * float(start.norm())


@pytest.mark.parametrize("kind", ["predictor", "conjugate"])
def test_no_step_is_longer_than_the_longest_and_the_loss_between_points_is_measured(kind, fresh_seed):
    model, x, y = tiny_task(torch.float64, fresh_seed)
    landscape = NetworkLandscape(model, x, y)
    points = [landscape.theta()]
    path = walked(
        landscape,
        SquaredNorm(),
        points[0],
        None,
        lambda path: points.append(path.state.theta.clone()),
        traversal=kind,
        longest=0.02,
        steps=80,
    )
    pairs = list(itertools.pairwise(points))
    assert max(float((b - a).norm()) for a, b in pairs) < 0.03  # the correction comes on top
    worst = max(abs(float(landscape.loss((a + b) / 2)) - path.level) for a, b in pairs)
    assert path.observe()["between"] == pytest.approx(worst, abs=1e-12)
    assert worst > 0
