"""Pooling by whole arrays: torch's own bits, whatever the images, and its derivatives of every kind."""

import pytest
import torch
from torch import nn

from lossatlas.landscape import pooling
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layers import quicken
from lossatlas.landscape.pooling import AveragePool, MaximumPool

PAIRS = {"average": (nn.AvgPool2d, AveragePool), "maximum": (nn.MaxPool2d, MaximumPool)}
SHAPES = [(40, 6, 28, 28), (30, 2, 29, 31), (3, 100, 9, 12), (300, 16, 4, 5)]
ORDERS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@pytest.fixture
def calls(monkeypatch):
    """Return the list that grows by one each time images are taken apart into their corners."""
    seen, corners = [], pooling._corners
    monkeypatch.setattr(pooling, "_corners", lambda x: seen.append(1) or corners(x))
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", PAIRS)
def test_values_and_their_order_are_torchs(kind, shape, order, dtype, fresh_seed, calls):
    theirs, ours = (make(2) for make in PAIRS[kind])
    generator = torch.Generator().manual_seed(fresh_seed)
    x = torch.randn(shape, dtype=dtype, generator=generator).clone(memory_format=ORDERS[order])
    x[torch.rand(shape, generator=generator) < 0.1] = 0.0
    x[torch.rand(shape, generator=generator) < 0.001] = torch.nan
    expected, found = theirs(x), ours(x)
    assert calls, "the whole arrays were not used"
    assert torch.equal(found.nan_to_num(7.0), expected.nan_to_num(7.0))
    assert torch.equal(found.isnan(), expected.isnan())
    assert found.stride() == expected.stride()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_slope_is_torchs(shape, order, fresh_seed, calls):
    generator = torch.Generator().manual_seed(fresh_seed)
    x = torch.randn(shape, generator=generator).clone(memory_format=ORDERS[order]).requires_grad_()
    slopes = []
    for layer in (nn.AvgPool2d(2), AveragePool(2)):
        y = layer(x)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(fresh_seed))
        slopes.append(torch.autograd.grad((y * weights).sum(), x)[0])
    assert len(calls) == 2
    assert torch.equal(*slopes)
    assert slopes[0].stride() == slopes[1].stride()


def test_derivatives_of_higher_order(fresh_seed, monkeypatch):
    """Against finite differences, backwards and forwards, and under vmap."""
    monkeypatch.setattr(pooling, "LEAST", 0)
    torch.manual_seed(fresh_seed)
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    function = lambda x: AveragePool(2)(x.sin())  # noqa: E731
    assert torch.autograd.gradcheck(function, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x,), check_fwd_over_rev=True)
    rows = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    for layer, theirs in ((AveragePool(2), nn.AvgPool2d(2)), (MaximumPool(2), nn.MaxPool2d(2))):
        slope = torch.func.grad(lambda x, layer=layer: layer(x).cos().sum())
        expected = torch.func.grad(lambda x, layer=theirs: layer(x).cos().sum())
        torch.testing.assert_close(torch.func.vmap(slope)(rows), torch.func.vmap(expected)(rows))


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(3),
        nn.AvgPool2d(2, stride=1),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2, divisor_override=3),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d(2, return_indices=True),
        nn.MaxPool2d((2, 3)),
    ],
    ids=str,
)
def test_other_poolings_are_left_to_torch(layer, fresh_seed, calls):
    x = torch.randn(40, 6, 28, 28, generator=torch.Generator().manual_seed(fresh_seed))
    expected = layer(x)
    quicken(layer)
    assert type(layer) in (AveragePool, MaximumPool)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    assert not calls


def test_images_out_of_order_few_or_of_gradients_of_maxima_are_left_to_torch(fresh_seed, calls):
    generator = torch.Generator().manual_seed(fresh_seed)
    x = torch.randn(40, 6, 28, 28, generator=generator)
    cases = [
        (AveragePool(2), x.transpose(2, 3)),
        (AveragePool(2), x[:1]),
        (MaximumPool(2), x[:, :1]),
        (MaximumPool(2), x.view(-1, 6, 2, 2)),
        (AveragePool(2), x.bfloat16()),
    ]
    for layer, images in [*cases, (MaximumPool(2), x.clone().requires_grad_())]:
        assert torch.equal(layer(images), type(layer).__base__(2)(images))
    assert not calls


def test_a_landscape_pools_by_whole_arrays_with_the_bits_it_had(fresh_seed, calls, monkeypatch):
    """And the caller's network keeps torch's own layers."""
    torch.manual_seed(fresh_seed)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(125, 3),
    )  # fmt: skip
    x, y = torch.randn(60, 1, 28, 28), torch.randint(3, (60,))
    found = []
    for most in (2**14, 2**60):
        monkeypatch.setattr(pooling, "LEAST", most)
        landscape = NetworkLandscape(model, x, y)
        theta, before = landscape.theta(), len(calls)
        v = torch.randn(landscape.dim, generator=torch.Generator().manual_seed(fresh_seed))
        found.append([landscape.loss(theta), *landscape.loss_and_grad(theta), landscape.hvp(theta, v)])
        assert (len(calls) > before) == (most == 2**14)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert {type(layer) for layer in model} & {AveragePool, MaximumPool} == set()
