"""Layers for Hessian products: torch's values, second and third derivatives by finite differences, whole networks."""

import pytest
import torch
from torch import nn

from lossatlas import numerics
from lossatlas.landscape import batchnorm, convolution, twice
from lossatlas.landscape.batchnorm import batch_norm
from lossatlas.landscape.convolution import conv2d
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.twice import twice_differentiable
from lossatlas.models import build

CPU = torch.device("cpu")
HOW = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (1, 0)},
    "dilated": {"dilation": (2, 1), "padding": 2},
    "groups": {"groups": 2},
}


@pytest.fixture
def always(monkeypatch):
    """Take every layer, of few images too, and count them."""
    monkeypatch.setattr(twice, "LEAST", 0)
    seen = []
    for function in (convolution._Images, batchnorm._Normalised):
        forward = function.forward
        counting = lambda *given, forward=forward: seen.append(1) or forward(*given)  # noqa: E731
        monkeypatch.setattr(function, "forward", staticmethod(counting))
    return seen


def drawn(*shape):
    """Return random numbers, of which derivatives are taken."""
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check_derivatives(function, *given):
    """Check first, second and third derivatives by finite differences."""

    def slopes(*given):
        return torch.autograd.grad(function(*given).sum(), given, create_graph=True)

    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given)
    assert torch.autograd.gradgradcheck(slopes, given)


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_derivatives_of_convolutions(how, always, fresh_seed):
    torch.manual_seed(fresh_seed)
    x, weight, bias = drawn(2, 4, 5, 6), drawn(4, 4 // how.get("groups", 1), 3, 2), drawn(4)
    assert torch.equal(conv2d(x, weight, bias, **how), torch.conv2d(x, weight, bias, **how))
    assert always
    check_derivatives(lambda *given: conv2d(*given, **how).sin(), x, weight, bias)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 4, 3, 2)], ids=str)
def test_derivatives_of_normalisation(shape, always, fresh_seed):
    torch.manual_seed(fresh_seed)
    x, weight, bias = drawn(*shape), drawn(4), drawn(4)
    mean, variance = torch.randn(4).double(), torch.rand(4).double() + 0.1
    expected = nn.functional.batch_norm(x, mean, variance, weight, bias)
    assert torch.equal(batch_norm(x, mean, variance, weight, bias), expected)
    assert always
    check_derivatives(lambda *given: batch_norm(given[0], mean, variance, *given[1:], eps=0.01).sin(), x, weight, bias)


def test_statistics_of_the_batch_and_layers_without_scale_are_left_to_torch(always, fresh_seed):
    torch.manual_seed(fresh_seed)
    x, mean, variance = drawn(3, 4), torch.zeros(4).double(), torch.ones(4).double()
    for given in ((mean, variance), (None, None, drawn(4), drawn(4), True)):
        assert torch.equal(batch_norm(x, *given), nn.functional.batch_norm(x, *given))
    assert not always


@pytest.mark.parametrize("policy", ["stored", "recompute", "batch"])
@pytest.mark.parametrize("name", ["wrn", "cnn", "vgg"])
def test_hessian_products_are_torchs_to_rounding(name, policy, always, fresh_seed, monkeypatch):
    """Of whole networks: against the products whose second derivatives torch makes."""
    specs = {
        "wrn": {"name": "wrn", "depth": 10, "width": 1},
        "cnn": {"name": "cnn", "channels": [3, 4], "padding": 1, "hidden": [5]},
        "vgg": {"name": "vgg", "depth": 11},
    }
    torch.manual_seed(fresh_seed)
    model = build(specs[name], (3, 32, 32), 10, fresh_seed)
    x, y = torch.randn(6, 3, 32, 32, dtype=torch.float64), torch.randint(10, (6,))
    function = NetworkLandscape(model, x, y, dtype=torch.float64, batch_norm=policy)
    theta, v = function.theta(), torch.randn(function.dim, dtype=torch.float64)
    ours = function.hvp(theta, v)
    assert always
    monkeypatch.setattr(twice, "LEAST", 2**60)
    count = len(always)
    theirs = function.hvp(theta, v)
    assert len(always) == count
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.abs().max()))


class Inside(nn.Module):
    """Convolutions that torch transforms or differentiates forwards, inside of a network."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Conv2d(1, 2, 3), how

    def forward(self, x):
        if self.how == "vmap":
            return torch.func.vmap(lambda one: self.layer(one[None])[0])(x).mean((2, 3))
        tangent = torch.ones_like(x)
        with torch.autograd.forward_ad.dual_level():
            dual = self.layer(torch.autograd.forward_ad.make_dual(x, tangent))
            return torch.autograd.forward_ad.unpack_dual(dual).tangent.mean((2, 3)).square()


@pytest.mark.parametrize("how", ["vmap", "forwards"])
def test_what_torch_transforms_is_left_to_torch(how, always, fresh_seed):
    torch.manual_seed(fresh_seed)
    function = NetworkLandscape(Inside(how), torch.randn(5, 1, 6, 6), torch.randint(2, (5,)))
    assert function.hvp(function.theta(), torch.ones(function.dim)).isfinite().all()
    assert not always


def test_few_images_sides_that_are_named_and_portable_numerics_are_left_to_torch(fresh_seed, always, monkeypatch):
    torch.manual_seed(fresh_seed)
    x, weight = torch.randn(2, 1, 8, 8), torch.randn(3, 1, 3, 3)
    with twice_differentiable(CPU):
        assert torch.conv2d(x, weight, padding="same").shape == (2, 3, 8, 8)
        monkeypatch.setattr(twice, "LEAST", x.numel() + 1)
        torch.conv2d(x, weight)
        assert not always
        monkeypatch.setattr(twice, "LEAST", x.numel())
        torch.conv2d(x, weight)
        torch.conv2d(input=x, weight=weight)
        assert len(always) == 2
    for name, value in numerics.PORTABLE.items():
        monkeypatch.setenv(name, value)
    with twice_differentiable(CPU):
        torch.conv2d(x, weight)
    assert len(always) == 2
