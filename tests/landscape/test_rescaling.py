"""Rescaled networks are the same function, and filter-normalised lines through them are the same lines."""

import pytest
import torch

from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.landscape.rescaling import rescaled
from lossatlas.models import build

VGG = {"name": "vgg", "depth": 9, "width": 0.05}
RESNET = {"name": "resnet", "depth": 8, "width": 0.15}


def network(spec, seed):
    """Return model, landscape in float64, point and statistics of a network that is not at its initialisation."""
    generator = torch.Generator().manual_seed(seed)
    model = build(spec, (3, 12, 12), 4, seed).double()
    for _ in range(5):  # statistics of its own
        model.train()(torch.randn(16, 3, 12, 12, generator=generator, dtype=torch.float64) + 0.3)
    layout, buffers = Layout.of(model), Layout.of_buffers(model).flatten(model)
    theta = layout.flatten(model)
    theta = theta + 0.1 * torch.randn(len(theta), generator=generator, dtype=torch.float64)
    x = torch.randn(30, 3, 12, 12, generator=generator, dtype=torch.float64)
    y = torch.randint(4, (30,), generator=generator)
    landscape = NetworkLandscape(model.eval(), x, y, buffers=buffers, dtype=torch.float64)
    return model, landscape, theta, buffers


@pytest.mark.parametrize(
    ("spec", "how", "stays"),
    [
        (VGG, "filters", True),
        (VGG, "layers", True),
        (VGG, "units", True),
        (RESNET, "filters", True),
        (RESNET, "units", False),
    ],
)
def test_the_function_stays(spec, how, stays, fresh_seed):
    model, landscape, theta, buffers = network(spec, fresh_seed)
    other, statistics = rescaled(model, theta, buffers, how, fresh_seed, 10.0)
    assert float((other - theta).norm() / theta.norm()) > 0.5, "nothing was rescaled"
    before, after = landscape.outputs(theta), landscape.at_buffers(statistics).outputs(other)
    gap = float((after - before).abs().max() / before.abs().max())
    assert (gap < 1e-10) == stays, gap


@pytest.mark.parametrize(
    ("how", "normalisation", "same"),
    [
        ("filters", "filter", True),
        ("filters", "layer", False),
        ("filters", "none", False),
        ("layers", "filter", True),
        ("layers", "layer", True),
        ("layers", "none", False),
        ("units", "filter", False),
        ("units", "none", False),
    ],
)
def test_which_lines_stay(how, normalisation, same, fresh_seed):
    """Filter by filter against factors of filters: to rounding. Nothing here is invariant to the scales of units."""
    model, landscape, theta, buffers = network(VGG, fresh_seed)
    other, statistics = rescaled(model, theta, buffers, how, fresh_seed, 10.0)
    drawn = gaussian(landscape.layout, fresh_seed, torch.float64)

    def along(at, where):
        direction = normalise(drawn, where, landscape.layout, normalisation)
        return torch.stack([at.loss(where + step * direction) for step in (-0.5, -0.2, 0.2, 0.5)])

    gap = along(landscape.at_buffers(statistics), other) / along(landscape, theta) - 1
    assert (float(gap.abs().max()) < 1e-9) == same, gap


def test_what_cannot_be_rescaled_is_said(fresh_seed):
    model, _, theta, buffers = network(VGG, fresh_seed)
    with pytest.raises(LossatlasError, match="rescaling: got 'filter'; expected one of"):
        rescaled(model, theta, buffers, "filter", 0, 10.0)
    with pytest.raises(LossatlasError, match=r"spread got 1\.0; expected a number > 1"):
        rescaled(model, theta, buffers, "filters", 0, 1.0)
    plain = torch.nn.Linear(3, 2)
    with pytest.raises(LossatlasError, match="Linear has no layer with a batch norm behind it"):
        rescaled(plain, torch.zeros(8), torch.zeros(0), "filters", 0, 10.0)
