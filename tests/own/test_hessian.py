"""Curvature of one's own network against closed forms: quadratics, linear regression."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import quadratic
from lossatlas.landscape.landscape import FunctionLandscape
from lossatlas.own.hessian import hessian, within
from lossatlas.own.point import Point

torch.set_num_threads(1)


def test_linear_regression_has_the_hessian_of_its_inputs(rng, tmp_path):
    """MSE of x.w: Hessian 2 X^T X / n, whatever the weights."""
    x = torch.from_numpy(rng.normal(size=(200, 7)) * np.arange(1, 8))
    y = torch.from_numpy(rng.normal(size=(200, 1)))
    net = la.load(nn.Linear(7, 1, bias=False).double(), data=(x, y), criterion="mse")
    found = net.hessian(trace=200, examples="all")
    exact = np.linalg.eigvalsh((2 * x.T @ x / 200).numpy())
    assert found.lambda_max == pytest.approx(exact[-1], abs=2 * found.residual_max + 1e-9 * exact[-1])
    assert found.lambda_min == pytest.approx(exact[0], abs=2 * found.residual_min + 1e-9 * exact[-1])
    assert abs(found.trace - exact.sum()) < 5 * found.trace_error + 1e-9
    assert found.converged
    mean = (np.nan_to_num(found.nodes) * found.weights).sum(1)
    assert mean.min() >= exact[0] - 1e-9
    assert mean.max() <= exact[-1] + 1e-9
    outcomes = {check.name: check.outcome for check in found.verdict.checks}
    assert outcomes["residuals"] == "yes"
    for suffix in ("h5", "csv", "png"):
        found.save(tmp_path / f"h.{suffix}")
    with h5py.File(tmp_path / "h.h5") as file:
        assert float(file["lambda_max"][()]) == found.lambda_max
        np.testing.assert_array_equal(file["weights"][...], found.weights)


def test_a_negative_eigenvalue_is_stated_and_nothing_is_asked_where_not_wanted(rng, tmp_path):
    values = np.array([-1.5, 0.2, 1.0, 4.0])
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = torch.from_numpy(turn @ np.diag(values) @ turn.T)
    found = hessian(Point.of(quadratic((matrix + matrix.T) / 2)), trace=0, density=None)
    assert found.lambda_min == pytest.approx(-1.5)
    assert np.isnan(found.trace)
    assert found.nodes.size == 0
    sign = next(check for check in found.verdict.checks if check.name == "sign")
    assert (sign.outcome, "negative" in sign.sentence) == ("stated", True)
    assert "trace" not in str(found)
    found.save(tmp_path / "h.png")


@pytest.mark.parametrize(("most", "outcome"), [(80, "yes"), (2, "no")])
def test_ends_that_stopped_early_are_found_out_by_other_starts(rng, most, outcome):
    """One eigenvalue of -0.3 and one of 1 among 198 of at most 0.02: two products cannot have seen both."""
    values = np.concatenate([[-0.3], rng.uniform(0, 0.02, 198), [1.0]])
    net = Point.of(quadratic(torch.diag(torch.from_numpy(values))))
    found = hessian(net, tolerance=1e-3, most=most, trace=0, seed=int(rng.integers(1 << 30)))
    check = next(check for check in found.verdict.checks if check.name == "other starts")
    assert check.outcome == outcome
    assert (found.lambda_min == pytest.approx(-0.3, abs=1e-2)) == (outcome == "yes")


def test_few_examples_that_disagree_are_told(rng):
    """Two examples, one with inputs a hundred times the other's: the halves' largest eigenvalues are not alike."""
    x = torch.tensor([[1.0, 0.0], [0.0, 0.01]]).double()
    net = la.load(nn.Linear(2, 1, bias=False).double(), data=(x, torch.zeros(2, 1).double()), criterion="mse")
    verdict = net.hessian(trace=0, density=None).verdict
    assert verdict.outcome == "no"
    assert next(check for check in verdict.checks if check.name == "examples").outcome == "no"


def test_a_product_that_does_not_fit_is_one_line():
    class Full(FunctionLandscape):
        def hvp(self, theta, v):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(LossatlasError, match="smaller batch_size"):
        hessian(Point.of(Full(lambda theta: theta.square().sum(), 3)))


def test_a_number_has_the_digits_its_error_leaves():
    assert within(0.0003212, 0.002) == "0.000 ± 0.002"
    assert within(12.3456, 0.04) == "12.35 ± 0.04"
