"""L-BFGS with golden sections: quadratics, Rosenbrock, scipy's minimum, resume, and what the line search may not do."""

import copy
import io

import numpy as np
import pytest
import torch
from scipy import optimize
from torch.nn import functional as F

from lossatlas.landscape.memory import Fits
from lossatlas.train.lbfgs_gss import FIRST_TRIAL, GOLDEN, LBFGSGoldenSection, golden_section
from lossatlas.train.optimizers import Objective
from lossatlas.train.spec import OPTIMIZERS

torch.set_num_threads(1)
OPTIONS = OPTIMIZERS["lbfgs_gss"].options


def minimise(function, start, steps, **options):
    """Return the optimiser, its parameter and the loss before every step and at the end."""
    theta = torch.nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())
    optimizer = LBFGSGoldenSection([theta], **{**OPTIONS, **options})

    def closure():
        optimizer.zero_grad()
        loss = function(theta)
        loss.backward()
        return loss.detach()

    losses = [float(optimizer.step(closure)) for _ in range(steps)]
    return optimizer, theta.detach(), [*losses, float(function(theta.detach()))]


def test_quadratic_ends_after_n_steps_with_an_exact_search(rng):
    """With exact line searches and n pairs L-BFGS makes the steps of conjugate gradients: n of them suffice."""
    n = 6
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    matrix = torch.from_numpy(basis @ np.diag(rng.uniform(1, 30, n)) @ basis.T)
    centre, start = (torch.from_numpy(rng.normal(size=n)) for _ in range(2))

    def quadratic(theta):
        return 0.5 * (theta - centre) @ matrix @ (theta - centre)

    _, theta, losses = minimise(quadratic, start, n + 1, history=n, evaluations=80)
    assert losses[n + 1] < 1e-12 * losses[0]
    np.testing.assert_allclose(theta, centre, atol=1e-5)
    residual, search, before, point = matrix @ (centre - start), torch.zeros(n), 1.0, start.clone()
    for k in range(3):  # its first points are those of conjugate gradients
        search = residual + search * (residual @ residual) / before
        before = residual @ residual
        point = point + search * before / (search @ matrix @ search)
        residual = matrix @ (centre - point)
        assert losses[k + 1] == pytest.approx(float(quadratic(point)), rel=1e-6)


def test_rosenbrock(rng):
    start = np.array([-1.2, 1.0]) + rng.uniform(-0.1, 0.1, 2)
    _, theta, losses = minimise(lambda t: 100 * (t[1] - t[0] ** 2) ** 2 + (1 - t[0]) ** 2, start, 150)
    np.testing.assert_allclose(theta, [1, 1], atol=1e-6)
    assert (np.diff(losses) <= 0).all(), "no step goes uphill"


def test_a_small_network_against_scipy(rng):
    """A logistic regression with decay has one minimum; a network in float64 ends no higher than L-BFGS-B."""
    x, y = torch.from_numpy(rng.normal(size=(60, 5))), torch.from_numpy(rng.integers(0, 3, 60))
    hidden = (5, 4, 3)
    sizes = [hidden[0] * hidden[1], hidden[1] * hidden[2]]

    def network(theta):
        first, second = theta.split(sizes)
        logits = F.softplus(x @ first.view(5, 4)) @ second.view(4, 3)
        return F.cross_entropy(logits, y) + 0.05 * theta @ theta

    def linear(theta):
        return F.cross_entropy(x @ theta.view(5, 3), y) + 0.01 * theta @ theta

    def scipys(function, start):
        def both(theta):
            point = torch.from_numpy(theta).requires_grad_()
            loss = function(point)
            return loss.item(), torch.autograd.grad(loss, point)[0].numpy()

        tight = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9}
        return optimize.minimize(both, start, jac=True, method="L-BFGS-B", options=tight)

    start = rng.normal(size=15)
    reference = scipys(linear, start)
    _, theta, losses = minimise(linear, start, 150)
    assert losses[-1] == pytest.approx(reference.fun, rel=1e-10)
    np.testing.assert_allclose(theta, reference.x, atol=1e-4)

    start = rng.normal(size=sum(sizes))
    _, theta, losses = minimise(network, start, 400)
    from_ours = scipys(network, theta.numpy())
    assert losses[-1] == pytest.approx(from_ours.fun, rel=1e-8), "scipy finds nothing lower from our end"
    assert losses[-1] < network(torch.from_numpy(start)).item()


def test_resume_to_the_same_bits(rng):
    """A state dict written after any step and read back continues with the same bits, in float32."""
    x, y = torch.from_numpy(rng.normal(size=(80, 6))).float(), torch.from_numpy(rng.integers(0, 3, 80))
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))

    def train(net, optimizer, steps):
        def total(start, stop):
            return F.cross_entropy(net(x[start:stop]).double(), y[start:stop], reduction="sum")

        for _ in range(steps):
            optimizer.step(Objective(net.parameters(), total, len(x), Fits(32)))

    optimizer = LBFGSGoldenSection(network.parameters(), **OPTIONS)
    broken = int(rng.integers(1, 25))
    train(network, optimizer, broken)
    file = io.BytesIO()
    torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(network, optimizer, 30 - broken)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = copy.deepcopy(network)
    again.load_state_dict(saved["model"])
    resumed = LBFGSGoldenSection(again.parameters(), **OPTIONS)
    resumed.load_state_dict(saved["optimizer"])
    train(again, resumed, 30 - broken)
    for ours, theirs in zip(again.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert resumed.memory["steps"] == optimizer.memory["steps"] == 30
    assert optimizer.memory["losses"] == 6 * 30, "six evaluations a step"


def test_line_search_spends_its_budget_and_finds_the_minimum(rng):
    minimum = float(np.exp(rng.uniform(-6, 3)))
    met = []

    def f(u):
        met.append(u)
        return (u - minimum) ** 2

    found = golden_section(f, minimum**2, FIRST_TRIAL, 70)
    assert len(met) == 70
    assert found == pytest.approx(minimum, rel=1e-6)
    assert met[0] == FIRST_TRIAL
    if minimum > FIRST_TRIAL:
        assert met[1] == 2 * FIRST_TRIAL
    elif minimum < FIRST_TRIAL / 2:
        assert met[1] == pytest.approx(GOLDEN * FIRST_TRIAL)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1.0])
def test_nothing_lower_is_no_step(bad):
    assert golden_section(lambda u: bad, 1.0, FIRST_TRIAL, 6) == 0


def test_a_failed_search_shrinks_the_next_trial_until_one_succeeds(rng):
    """On a very steep quadratic 0.2 of the gradient and 0.002 of it are both too far."""
    steep = 10 ** rng.uniform(6, 9)
    optimizer, _, losses = minimise(lambda t: steep * (t @ t), rng.normal(size=3), 12)
    assert losses[-1] < 1e-6 * losses[0]
    assert (np.diff(losses) <= 0).all()
    assert optimizer.memory["trial"] == FIRST_TRIAL


def test_history_is_dropped_where_there_is_no_curvature(rng):
    """Along a concave function every pair has y.s < 0: the direction stays the gradient, and the loss still falls."""
    optimizer, _, losses = minimise(lambda t: -torch.cosh(t * 0.1).sum(), rng.uniform(1, 2, 4), 8)
    assert optimizer.memory["s"] == []
    assert (np.diff(losses) < 0).all()


def test_a_closure_that_always_takes_gradients_will_do(rng):
    """As for torch's L-BFGS; with ``value`` the line search takes none."""
    matrix = torch.from_numpy(np.diag(rng.uniform(1, 5, 4)))
    theta = torch.nn.Parameter(torch.from_numpy(rng.normal(size=4)))
    optimizer = LBFGSGoldenSection([theta], **OPTIONS)
    calls = {"gradient": 0, "value": 0}

    def closure():
        calls["gradient"] += 1
        optimizer.zero_grad()
        loss = theta @ matrix @ theta
        loss.backward()
        return loss

    optimizer.step(closure)
    assert calls["gradient"] == 7

    def value():
        calls["value"] += 1
        return theta @ matrix @ theta

    closure.value = value
    optimizer.step(closure)
    assert calls == {"gradient": 8, "value": 6}


@pytest.mark.parametrize("options", [{"history": 0}, {"evaluations": 0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="expected integers >= 1"):
        LBFGSGoldenSection([torch.nn.Parameter(torch.zeros(2))], **{**OPTIONS, **options})


def test_one_group_only():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))]}, {"params": [torch.nn.Parameter(torch.zeros(2))]}]
    with pytest.raises(ValueError, match="got 2 groups"):
        LBFGSGoldenSection(groups, **OPTIONS)
