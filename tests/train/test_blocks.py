"""A block of points in one pass: each point's own loss and gradient, of chains of layers and of nothing else."""

import os

import pytest
import torch
from torch import nn

from lossatlas import numerics
from lossatlas.landscape.criteria import TokenCrossEntropy
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import build
from lossatlas.train import blocks
from lossatlas.train.blocks import BlockLandscape, in_blocks

IMAGE, CLASSES = (1, 28, 28), 10
CATALOGUE = {
    "lenet": ({"name": "lenet"}, IMAGE),
    "fcp": ({"name": "fcp"}, IMAGE),
    "small images": (
        {"name": "cnn", "channels": [5, 9], "padding": 1, "activation": "tanh", "bias": False},
        (3, 9, 11),
    ),
    "no hidden rows": ({"name": "mlp", "widths": []}, (1, 5, 6)),
}


def landscape(model, shape, count=130, **how):
    """Return a network's landscape on random examples."""
    return NetworkLandscape(model, torch.randn(count, *shape), torch.randint(CLASSES, (count,)), **how)


def nearby(function, count):
    """Return points (count, D) around a landscape's own."""
    return function.theta() + 0.3 * function.theta().abs().mean() * torch.randn(count, function.dim)


def compared(function, count=11):
    """Check losses and gradients of a block against those of one point after the other."""
    block = in_blocks(function)
    assert isinstance(block, BlockLandscape)
    points = nearby(function, count)
    losses, slopes = function.losses_and_grads(points)
    torch.testing.assert_close(block.losses(points), losses, rtol=1e-6, atol=1e-9)
    found, gradients = block.losses_and_grads(points)
    torch.testing.assert_close(found, losses, rtol=1e-6, atol=1e-9)
    assert float((gradients - slopes).norm() / slopes.norm()) < 1e-5
    assert gradients.dtype == function.dtype


@pytest.mark.parametrize("size", [30, 500], ids=str)
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_point_has_its_own_loss_and_slope(name, size, fresh_seed):
    torch.manual_seed(fresh_seed)
    spec, shape = CATALOGUE[name]
    compared(landscape(build(spec, shape, CLASSES, fresh_seed), shape, batch_size=size))


def test_layers_of_torch_in_a_users_chain(fresh_seed):
    """Maxima, strides, dilation, no bias, activations of several kinds."""
    torch.manual_seed(fresh_seed)
    model = nn.Sequential(
        nn.Conv2d(3, 7, 3, stride=2, bias=False), nn.MaxPool2d(2), nn.GELU(),
        nn.Conv2d(7, 20, 3, dilation=2, padding=2), nn.AvgPool2d(3, stride=1), nn.ELU(),
        nn.Flatten(), nn.Linear(20 * 5 * 5, 30), nn.Sigmoid(), nn.Linear(30, CLASSES, bias=False),
    )  # fmt: skip
    compared(landscape(model, (3, 30, 30)))


def test_examples_weigh_as_in_the_landscape(fresh_seed):
    torch.manual_seed(fresh_seed)
    x, y = torch.randn(90, 20), torch.randint(3, (90,))
    model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3))

    class Weighted:
        def __call__(self, outputs, targets):
            return nn.functional.cross_entropy(outputs.double(), targets, reduction="none") * (1.0 + targets)

        def weights(self, targets):
            return 1.0 + targets.double()

    compared(NetworkLandscape(model, x, y, criterion=Weighted()))
    compared(NetworkLandscape(model, x, torch.randn(90, 3), criterion="mse", batch_size=20))


def test_the_rest_is_the_landscapes_own(fresh_seed):
    torch.manual_seed(fresh_seed)
    function = landscape(build({"name": "lenet"}, IMAGE, CLASSES, fresh_seed), IMAGE, 20)
    block, theta, v = in_blocks(function), function.theta(), torch.randn(function.dim)
    assert torch.equal(block.loss(theta), function.loss(theta))
    assert torch.equal(block.grad(theta), function.grad(theta))
    assert torch.equal(block.hvp(theta, v), function.hvp(theta, v))
    assert torch.equal(block.products(theta)(v), function.hvp(theta, v))
    assert block.losses(torch.empty(0, function.dim)).shape == (0,)


def _tied():
    first, last = nn.Linear(20, 20), nn.Linear(20, 20)
    last.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), last)


def _twice():
    layer = nn.Linear(20, 20)
    return nn.Sequential(layer, nn.Tanh(), layer)


def _hooked():
    model = nn.Sequential(nn.Linear(20, 20))
    model[0].register_forward_hook(lambda *_: None)
    return model


class _Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def _head(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))


OTHERS = {
    "tied": (_tied, (20,)),
    "a layer twice": (_twice, (20,)),
    "a hook": (_hooked, (20,)),
    "a class of one's own": (lambda: nn.Sequential(_Scaled(20, 20)), (20,)),
    "no chain": (lambda: nn.Sequential(nn.Sequential(nn.Linear(20, 3))), (20,)),
    "normalised": (lambda: nn.Sequential(nn.Linear(20, 8), nn.LayerNorm(8), nn.Linear(8, 3)), (20,)),
    "rows of images": (lambda: nn.Sequential(nn.Linear(20, 3)), (4, 20)),
    "sequences flattened late": (lambda: nn.Sequential(nn.Linear(20, 3), nn.Flatten()), (4, 20)),
    "many channels": (lambda: _head(nn.Conv2d(1, 16, 3)), (1, 8, 8)),
    "groups": (lambda: _head(nn.Conv2d(2, 4, 3, groups=2)), (2, 8, 8)),
    "mirrored": (lambda: _head(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")), (1, 8, 8)),
    "norms of images": (lambda: _head(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), (1, 8, 8)),
    "flattened in part": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(2), nn.Linear(36, 3)), (1, 8, 8)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_left_alone(name, fresh_seed):
    torch.manual_seed(fresh_seed)
    make, shape = OTHERS[name]
    model, x = make(), torch.randn(12, *shape)
    outputs = model(x)
    targets = torch.randint(3, (12,)) if outputs.ndim == 2 else torch.zeros(12, *outputs.shape[1:])
    function = NetworkLandscape(model, x, targets, criterion="cross_entropy" if outputs.ndim == 2 else "mse")
    assert in_blocks(function) is None


def test_float64_outputs_of_a_users_function_and_tokens_are_left_alone(fresh_seed):
    torch.manual_seed(fresh_seed)
    model, x, y = nn.Sequential(nn.Linear(20, 3)), torch.randn(12, 20), torch.randint(3, (12,))
    assert in_blocks(NetworkLandscape(model, x, y)) is not None
    assert in_blocks(NetworkLandscape(model, x, y, dtype=torch.float64)) is None
    assert in_blocks(NetworkLandscape(model, x, y, output=lambda found, _: found)) is None
    embedded = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
    tokens = torch.randint(7, (12, 5))
    assert in_blocks(NetworkLandscape(embedded, tokens, tokens, criterion=TokenCrossEntropy())) is None


def test_none_under_portable_numerics(fresh_seed, monkeypatch):
    torch.manual_seed(fresh_seed)
    function = landscape(build({"name": "lenet"}, IMAGE, CLASSES, fresh_seed), IMAGE, 20)
    for name, value in numerics.PORTABLE.items():
        monkeypatch.setenv(name, value)
    assert numerics.portable()
    assert in_blocks(function) is None
    monkeypatch.setitem(os.environ, "MKL_CBWR", "AUTO")
    assert in_blocks(function) is not None


def test_a_loss_that_overflows_is_that_points_alone(fresh_seed):
    torch.manual_seed(fresh_seed)
    function = landscape(build({"name": "lenet"}, IMAGE, CLASSES, fresh_seed), IMAGE, 20)
    points = nearby(function, blocks.POINTS)
    points[3] = 1e38
    found = in_blocks(function).losses(points)
    assert [i for i, loss in enumerate(found) if not loss.isfinite()] == [3]
