"""FourierPathFinder: the gradient of Eq. 4, closed-form optima, the two wells, minibatches."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from lossatlas import models
from lossatlas.barriers.defaults import OBJECTIVES
from lossatlas.barriers.pathfinder import FourierPath, Settings, minibatches
from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import TWO_WELLS_MINIMA, quadratic, two_wells
from lossatlas.landscape.landscape import FunctionLandscape, NetworkLandscape

torch.set_num_threads(1)
PENALTIES = (10, 100, 1000)


def random_ends(rng, dim):
    """Return two Gaussian points (D,) float64."""
    return (torch.from_numpy(rng.standard_normal(dim)) for _ in range(2))


def wavy(rng, dim):
    """Return a smooth positive function with mixed derivatives of every order."""
    directions = torch.from_numpy(rng.standard_normal((5, dim)))
    return FunctionLandscape(lambda theta: (1 + (directions @ theta).sin().square()).prod().log() + theta @ theta, dim)


def printed(path, landscape, coefficients):
    """Return Eq. 4 as it is printed: sums over points, by differentiable operations of their own."""
    settings = path.settings
    t = torch.arange(settings.points, dtype=torch.float64) / (settings.points - 1)
    points = []
    for value in t:
        point = (1 - value) * path.first + value * path.last
        for n in range(settings.terms):
            point = point + coefficients[n] * torch.sin((n + 1) * torch.pi * value)
        points.append(point)
    power = 2 if settings.objective == "squared" else 1
    total = sum(landscape.function(point) ** power for point in points)
    return total + settings.penalty * sum((b - a).square().sum() for a, b in pairwise(points))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_is_that_of_the_printed_equation(objective, rng):
    dim = int(rng.integers(2, 6))
    landscape = wavy(rng, dim)
    path = FourierPath(*random_ends(rng, dim), Settings(terms=4, points=9, penalty=0.7, objective=objective))
    path.state.coefficients = torch.from_numpy(rng.standard_normal((4, dim)))
    b = path.state.coefficients.clone().requires_grad_()
    total = printed(path, landscape, b)
    (by_autograd,) = torch.autograd.grad(total, b)
    found = path.gradient(landscape)
    torch.testing.assert_close(found, by_autograd, rtol=1e-9, atol=1e-9)
    assert path.value(landscape.losses(path.points())) == pytest.approx(float(total.detach()), rel=1e-12)
    h = 1e-5
    for n, k in ((0, 0), (3, dim - 1)):
        shifted = [b.detach().clone() for _ in range(2)]
        shifted[0][n, k] += h
        shifted[1][n, k] -= h
        up, down = (float(printed(path, landscape, s)) for s in shifted)
        assert float(found[n, k]) == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-5)


def test_length_is_that_of_the_polygon_and_the_ends_do_not_move(rng):
    path = FourierPath(*random_ends(rng, 7), Settings(terms=5, points=20))
    path.state.coefficients = torch.from_numpy(rng.standard_normal((5, 7)))
    points = path.points()
    assert path.length() == pytest.approx(float(points.diff(dim=0).norm(dim=1).sum()), rel=1e-12)
    assert torch.equal(points[0], path.first)
    assert torch.equal(points[-1], path.last)


def test_steps_are_those_of_adam(rng):
    landscape = wavy(rng, 3)
    path = FourierPath(*random_ends(rng, 3), Settings(terms=3, points=8, lr=0.02))
    b = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([b], lr=0.02)
    for _ in range(15):
        path.advance(landscape)
        adam.zero_grad()
        printed(path, landscape, b).backward()
        adam.step()
    torch.testing.assert_close(path.state.coefficients, b.detach(), rtol=1e-8, atol=1e-10)


def test_on_a_quadratic_the_coefficients_are_those_of_the_normal_equations(rng):
    """Eq. 4 is then quadratic in b: S'S b A + 2 lambda dS'dS b = - S' line A - 2 lambda dS' dline."""
    dim, penalty = 3, float(rng.uniform(0.5, 5.0))
    basis, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    A = (basis * np.array([0.5, 1.0, 3.0])) @ basis.T
    A = (A + A.T) / 2
    landscape = quadratic(torch.from_numpy(A))
    path = FourierPath(*random_ends(rng, dim), Settings(terms=4, points=15, penalty=penalty, lr=0.01))
    straight = path.value(path.profile(landscape).losses)
    for _ in range(3000):
        path.advance(landscape)
    reached = path.value(path.profile(landscape).losses)
    t = np.linspace(0, 1, 15)
    S = np.sin(np.pi * np.arange(1, 5) * t[:, None])
    line = (1 - t[:, None]) * path.first.numpy() + t[:, None] * path.last.numpy()
    dS, dline = np.diff(S, axis=0), np.diff(line, axis=0)
    system = np.kron(S.T @ S, A) + 2 * penalty * np.kron(dS.T @ dS, np.eye(dim))
    right = -(S.T @ line @ A + 2 * penalty * dS.T @ dline).ravel()
    slope = np.abs(right).max()  # of Eq. 4 on the straight line
    path.state.coefficients = torch.from_numpy(np.linalg.solve(system, right).reshape(4, dim))
    assert path.gradient(landscape).abs().max() <= 1e-11 * slope
    least = path.value(path.profile(landscape).losses)
    assert least * (1 - 1e-12) <= reached <= least + 1e-4 * (straight - least)


def minimax(landscape, first, last, spacing):
    """Return the least height over all paths on a fine grid, by flooding: bisection on connected sublevel sets."""
    x, y = np.arange(-1.6, 1.6, spacing), np.arange(-1.6, 1.6, spacing)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2))
    values = landscape.losses(grid).numpy().reshape(len(x), len(y))
    ends = [(np.abs(x - p[0]).argmin(), np.abs(y - p[1]).argmin()) for p in (first, last)]
    low, high = max(values[e] for e in ends), values.max()
    while high - low > 1e-7:
        middle = (low + high) / 2
        regions, _ = ndimage.label(values <= middle, structure=np.ones((3, 3)))
        joined = regions[ends[0]] == regions[ends[1]] != 0
        low, high = (low, middle) if joined else (middle, high)
    return high


def test_two_wells():
    """The paper's figure 3: straight 1.102, squared objective near .646, .640, .652, none below the minimax height."""
    landscape = two_wells()
    first, last = (torch.tensor(w, dtype=torch.float64) for w in TWO_WELLS_MINIMA)
    least = minimax(landscape, *TWO_WELLS_MINIMA, spacing=0.002)
    assert least == pytest.approx(0.624, abs=5e-4)
    straight = FourierPath(first, last, Settings(points=100)).profile(landscape)
    assert straight.height == pytest.approx(1.1018, abs=5e-5)
    fine = FourierPath(first, last, Settings(points=20_001)).profile(landscape)
    assert straight.height <= fine.height == pytest.approx(1.102, abs=5e-4)
    for objective in OBJECTIVES:
        for penalty, paper in zip(PENALTIES, (0.646, 0.640, 0.652), strict=True):
            path = FourierPath(first, last, Settings(10, 100, penalty, objective, lr=3e-3))
            for _ in range(3000):
                path.advance(landscape)
            found = path.profile(landscape)
            assert found.height > least
            assert found.end == float(landscape.losses(torch.stack([first, last])).max())
            assert float(landscape.loss(path.points()[round(99 * found.argmax)])) == found.height
            if objective == "squared":
                assert found.height == pytest.approx(paper, abs=0.006)


def network(rng, batch_size=7, batch_norm="stored"):
    """Return a small network's landscape on random images."""
    model = models.build({"name": "mlp", "widths": [6], "activation": "softplus"}, (1, 4, 4), 3, 0).double()
    x = torch.from_numpy(rng.standard_normal((20, 1, 4, 4)))
    y = torch.from_numpy(rng.integers(3, size=20))
    return NetworkLandscape(model, x, y, batch_size=batch_size, batch_norm=batch_norm)


def test_batched_gradients_are_those_of_the_points(rng):
    for landscape in (network(rng), wavy(rng, 5)):
        thetas = torch.from_numpy(rng.standard_normal((4, landscape.dim)))
        losses, gradients = landscape.losses_and_grads(thetas)
        assert losses.dtype == torch.float64
        for theta, loss, gradient in zip(thetas, losses, gradients, strict=True):
            value, slope = landscape.loss_and_grad(theta)
            torch.testing.assert_close(loss, value, rtol=1e-12, atol=0)
            torch.testing.assert_close(gradient, slope, rtol=1e-10, atol=1e-12)


def test_a_minibatch_is_the_landscape_of_its_examples(rng):
    whole = network(rng)
    rows = torch.from_numpy(rng.permutation(20)[:9])
    theta = torch.from_numpy(rng.standard_normal(whole.dim))
    each = [whole.at_examples(row[None]).loss(theta) for row in rows]
    part = whole.at_examples(rows)
    assert float(part.loss(theta)) == pytest.approx(float(sum(each)) / 9, rel=1e-12)
    assert len(whole.x) == 20
    with pytest.raises(LossatlasError, match="normalises by all examples"):
        network(rng, batch_size=20, batch_norm="batch").at_examples(rows)


def test_minibatches_are_permutations_that_any_process_repeats(fresh_seed):
    rows = minibatches(23, 5, fresh_seed)
    first = [rows(step) for step in range(12)]
    for epoch in range(3):
        drawn = torch.cat(first[4 * epoch : 4 * epoch + 4])
        assert len(set(drawn.tolist())) == 20
    again = minibatches(23, 5, fresh_seed)
    assert torch.equal(again(9), first[9])
    assert not torch.equal(first[0], first[4])
    assert minibatches(23, None, fresh_seed)(3) is None
    assert minibatches(23, 23, fresh_seed)(3) is None


# ---------------------------------------------------------------------------------------------------------------------
# best iterate, falling step size, dense grid


def test_best_iterate_and_falling_steps_are_those_of_torch(rng):
    """Torch's Adam and exponential schedule on Eq. 4 as printed; the lowest sum among the iterates, by hand."""
    dim, steps, decay = 3, 25, float(rng.uniform(0.05, 0.5))
    landscape = wavy(rng, dim)
    path = FourierPath(*random_ends(rng, dim), Settings(3, 7, penalty=0.3, lr=0.5, decay=decay, steps=steps))
    b = torch.zeros(3, dim, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([b], lr=0.5)
    falling = torch.optim.lr_scheduler.ExponentialLR(adam, decay ** (1 / (steps - 1)))
    sums, iterates = [], []
    for _ in range(steps):
        adam.zero_grad()
        printed(path, landscape, b).backward()
        without = FourierPath(path.first, path.last, Settings(3, 7, penalty=0.0))
        sums.append(float(printed(without, landscape, b.detach())))
        iterates.append(b.detach().clone())
        adam.step()
        falling.step()
        path.advance(landscape)
    torch.testing.assert_close(path.state.coefficients, b.detach(), rtol=1e-9, atol=1e-9)
    best = int(np.argmin(sums))
    assert path.state.best_step == best
    assert path.state.lowest == pytest.approx(sums[best], rel=1e-12)
    torch.testing.assert_close(path.at_best().state.coefficients, iterates[best], rtol=1e-9, atol=1e-9)
    last = path.state.coefficients.clone()
    path.met(landscape.losses(path.points()) - 1e6)  # a last point that is lower counts, too
    assert path.state.best_step == steps
    torch.testing.assert_close(path.at_best().state.coefficients, last)


def test_heights_between_the_points(rng):
    dim, k = 4, int(rng.integers(2, 6))
    landscape = wavy(rng, dim)
    path = FourierPath(*random_ends(rng, dim), Settings(3, 6))
    path.state.coefficients = torch.from_numpy(rng.standard_normal((3, dim)))
    dense = path.profile(landscape, k).losses
    assert len(dense) == 5 * k + 1
    torch.testing.assert_close(dense[::k], path.profile(landscape).losses, rtol=1e-12, atol=1e-12)
    t = float(rng.integers(0, 5 * k + 1)) / (5 * k)
    sines = torch.tensor([np.sin((n + 1) * np.pi * t) for n in range(3)])
    point = (1 - t) * path.first + t * path.last + sines @ path.state.coefficients
    assert float(dense[round(5 * k * t)]) == pytest.approx(float(landscape.loss(point)), rel=1e-10)
