import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout


class Odd(nn.Module):
    """Every kind of parameter and buffer: conv, norms, a scalar, a tied weight, an unsaved and an integer buffer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.layer_norm = nn.LayerNorm((2, 3))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("constant", torch.ones(5), persistent=False)


def test_names_shapes_and_kinds_are_those_written_by_hand():
    layout = Layout.of(Odd())
    assert layout.names == (
        "scale",
        "conv.weight",
        "conv.bias",
        "bn.weight",
        "bn.bias",
        "layer_norm.weight",
        "layer_norm.bias",
        "first.weight",
        "first.bias",
    )
    assert layout.kinds == ("bias", "weight", "bias", "norm", "norm", "norm", "norm", "weight", "bias")
    assert layout.shapes[:3] == ((), (3, 2, 3, 3), (3,))
    assert layout.dim == 1 + 54 + 3 + 3 + 3 + 6 + 6 + 16 + 4
    assert layout.slices["conv.bias"] == slice(55, 58)
    assert len(layout) == 9


def test_buffer_layout_holds_the_running_statistics_only():
    layout = Layout.of_buffers(Odd())
    assert layout.names == ("bn.running_mean", "bn.running_var")
    assert set(layout.kinds) == {"buffer"}
    assert layout.dim == 6


def test_module_without_buffers_has_an_empty_layout_that_works():
    module = nn.Linear(2, 3)
    layout = Layout.of_buffers(module)
    assert layout.dim == 0
    assert layout.flatten(module).shape == (0,)
    assert layout.unflatten(torch.empty(4, 0)) == {}
    layout.load_into(module, torch.empty(0))
    assert Layout.from_json(layout.to_json()) == layout


def test_flatten_agrees_with_torchs_own_flattening():
    module = Odd()
    assert torch.equal(Layout.of(module).flatten(module), nn.utils.parameters_to_vector(module.parameters()))
    assert not Layout.of(module).flatten(module).requires_grad


def test_flatten_takes_arrays_in_any_order_and_keeps_the_graph_of_tensors():
    module = Odd()
    layout = Layout.of(module)
    backwards = dict(reversed(list(module.named_parameters())))
    flat = layout.flatten(backwards)
    assert flat.requires_grad
    assert torch.equal(flat, layout.flatten(module))
    arrays = {name: p.detach().numpy() for name, p in module.named_parameters()}
    assert torch.equal(layout.flatten(arrays), layout.flatten(module))


def test_unflatten_gives_views_of_one_point_and_of_many():
    layout = Layout.of(Odd())
    theta = torch.arange(float(layout.dim))
    thetas = torch.stack([theta, -theta, 3 * theta])
    one, many = layout.unflatten(theta), layout.unflatten(thetas)
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        assert one[name].shape == shape
        assert many[name].shape == (3, *shape)
        assert torch.equal(many[name], torch.stack([one[name], -one[name], 3 * one[name]]))
    thetas[1, layout.slices["conv.bias"].start] = 77.0
    theta[layout.slices["conv.weight"].start] = 55.0
    assert many["conv.bias"][1, 0] == 77.0
    assert one["conv.weight"][0, 0, 0, 0] == 55.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_load_and_flatten_are_inverse(seed):
    module = Odd()
    for layout in (Layout.of(module), Layout.of_buffers(module)):
        theta = torch.randn(layout.dim, generator=torch.Generator().manual_seed(seed))
        layout.load_into(module, theta)
        assert torch.equal(layout.flatten(module), theta)
        assert torch.equal(layout.flatten(layout.unflatten(theta)), theta)
        assert torch.equal(layout.flatten(module), theta)


def test_load_takes_numpy_converts_the_dtype_and_keeps_requires_grad():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    Layout.of(module).load_into(module, np.arange(6, dtype=np.float64))
    assert torch.equal(module.weight, torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert torch.equal(module.bias, torch.tensor([4.0, 5.0]))
    assert module.weight.dtype == torch.float32
    assert module.weight.requires_grad
    assert not module.bias.requires_grad


def test_json_is_plain_and_comes_back_equal():
    layout = Layout.of(Odd())
    assert json.loads(layout.to_json())[1] == ["conv.weight", [3, 2, 3, 3], "weight"]
    assert Layout.from_json(layout.to_json()) == layout
    assert hash(Layout.from_json(layout.to_json())) == hash(layout)


LINEAR = Layout.of(nn.Linear(2, 3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: LINEAR.unflatten(torch.zeros(8)), r"got shape \(8,\); expected \(9,\) or \(n, 9\)"),
        (lambda: LINEAR.unflatten(torch.zeros(1, 1, 9)), r"got shape \(1, 1, 9\)"),
        (lambda: LINEAR.load_into(nn.Linear(2, 3), torch.zeros(1, 9)), r"got shape \(1, 9\); expected \(9,\)"),
        (lambda: LINEAR.load_into(nn.Linear(3, 3), torch.zeros(9)), r"'weight' got shape \(3, 3\); expected \(3, 2\)"),
        (lambda: LINEAR.load_into(nn.Linear(2, 3, bias=False), torch.zeros(9)), r"Linear has no 'bias'"),
        (lambda: LINEAR.flatten({"weight": torch.zeros(3, 2)}), r"missing \['bias'\], unexpected \[\]"),
        (
            lambda: LINEAR.flatten({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}),
            r"'weight' got shape \(2, 3\); expected \(3, 2\)",
        ),
        (lambda: Layout.from_json('{"a": 1}'), "expected a JSON list"),
        (lambda: Layout.from_json("nonsense"), "got 'nonsense'; expected a JSON list"),
        (lambda: Layout(("a", "b"), ((1,),), ("bias",)), "got 2 names, 1 shapes, 1 kinds"),
        (lambda: Layout(("a", "a"), ((1,), (1,)), ("bias", "bias")), "names must differ"),
        (lambda: Layout(("a",), ((1,),), ("wieght",)), r"unknown kinds \['wieght'\]"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(LossatlasError, match=message):
        call()
