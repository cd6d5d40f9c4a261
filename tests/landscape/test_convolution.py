"""Convolutions for Hessian products: torch's values and gradients, second and third derivatives by finite differences."""

import pytest
import torch
from torch import nn

from lossatlas import numerics
from lossatlas.landscape import convolution
from lossatlas.landscape.convolution import _conv2d, twice_differentiable
from lossatlas.landscape.landscape import NetworkLandscape
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
    """Take every convolution, of few images too, and count them."""
    monkeypatch.setattr(convolution, "LEAST", 0)
    seen, forward = [], convolution._Images.forward
    monkeypatch.setattr(convolution._Images, "forward", staticmethod(lambda *given: seen.append(1) or forward(*given)))
    return seen


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_derivatives_up_to_the_third(how, always, fresh_seed):
    torch.manual_seed(fresh_seed)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 4 // how.get("groups", 1), 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    function = lambda *given: _conv2d(*given, **how).sin()  # noqa: E731
    assert torch.equal(_conv2d(x, weight, bias, **how), torch.conv2d(x, weight, bias, **how))
    assert torch.autograd.gradcheck(function, (x, weight, bias))
    assert torch.autograd.gradgradcheck(function, (x, weight, bias))

    def slopes(*given):
        return torch.autograd.grad(function(*given).sum(), given, create_graph=True)

    assert torch.autograd.gradgradcheck(slopes, (x, weight, bias))
    assert always


@pytest.mark.parametrize("name", ["wrn", "cnn", "vgg"])
def test_hessian_products_are_torchs_to_rounding(name, always, fresh_seed):
    """Of whole networks: against the products whose second derivatives torch makes."""
    specs = {
        "wrn": {"name": "wrn", "depth": 10, "width": 1},
        "cnn": {"name": "cnn", "channels": [3, 4], "padding": 1, "hidden": [5]},
        "vgg": {"name": "vgg", "depth": 11, "width": 4},
    }
    torch.manual_seed(fresh_seed)
    model = build(specs[name], (3, 32, 32), 10, fresh_seed)
    x, y = torch.randn(6, 3, 32, 32, dtype=torch.float64), torch.randint(10, (6,))
    function = NetworkLandscape(model, x, y, dtype=torch.float64)
    theta, v = function.theta(), torch.randn(function.dim, dtype=torch.float64)
    ours = function.hvp(theta, v)
    assert always
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "LEAST", 2**60)
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
        monkeypatch.setattr(convolution, "LEAST", x.numel() + 1)
        torch.conv2d(x, weight)
        assert not always
        monkeypatch.setattr(convolution, "LEAST", x.numel())
        torch.conv2d(x, weight)
        assert len(always) == 1
    for name, value in numerics.PORTABLE.items():
        monkeypatch.setenv(name, value)
    with twice_differentiable(CPU):
        torch.conv2d(x, weight)
    assert len(always) == 1
