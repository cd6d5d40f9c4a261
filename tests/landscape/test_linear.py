"""Products by oneDNN: torch's to rounding, with derivatives of every order."""

import pytest
import torch

from lossatlas.landscape import linear
from lossatlas.landscape.linear import fits, product

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch is without oneDNN")


def within_rounding(found, left, right):
    """Check a float32 product of (n, k) and (k, m) against float64: each sum by its bound, k eps |left| |right|."""
    exact, bound = left.double() @ right.double(), left.double().abs() @ right.double().abs()
    assert ((found.double() - exact).abs() <= left.shape[1] * 2**-24 * bound).all()


@needs_onednn
@pytest.mark.parametrize(("rows", "columns", "outputs"), [(500, 784, 400), (129, 130, 131)])
def test_products_and_slopes_are_within_the_bound_of_rounding(rows, columns, outputs, fresh_seed):
    torch.manual_seed(fresh_seed)
    x, weight = torch.randn(rows, columns, requires_grad=True), torch.randn(outputs, columns, requires_grad=True)
    assert fits(x, weight)
    found, slope = product(x, weight), torch.randn(rows, outputs)
    of_x, of_weight = torch.autograd.grad(found, (x, weight), slope)
    x, weight = x.detach(), weight.detach()
    within_rounding(found.detach(), x, weight.T)
    within_rounding(of_x, slope, weight)
    within_rounding(of_weight, slope.T, x)


@needs_onednn
def test_hessian_products_are_those_of_float64(fresh_seed, monkeypatch):
    """Of a function of which every second derivative counts: by x twice, by the weights twice, and mixed."""
    monkeypatch.setattr(linear, "LEAST", 1)
    torch.manual_seed(fresh_seed)
    x, weight = torch.randn(20, 7), torch.randn(5, 7)
    found = []
    for dtype, multiply in ((torch.float32, product), (torch.float64, lambda a, b: a @ b.T)):
        given = [one.to(dtype).requires_grad_() for one in (x, weight)]
        slopes = torch.autograd.grad(multiply(*given).tanh().square().sum(), given, create_graph=True)
        found.append(torch.autograd.grad(slopes, given, [one.cos().detach() for one in given]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_small_products_and_other_types_are_left_to_torch(fresh_seed):
    torch.manual_seed(fresh_seed)
    for x, weight in (
        (torch.randn(500, 50), torch.randn(400, 50)),
        (torch.randn(10, 784), torch.randn(400, 784)),
        (torch.randn(500, 784).double(), torch.randn(400, 784).double()),
    ):
        assert not fits(x, weight)
        assert torch.equal(product(x, weight), torch.nn.functional.linear(x, weight))
