import inspect
import math
import subprocess
import sys
from typing import get_args

import pytest
import torch
import torchvision
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout
from lossatlas.models import build, builders, from_vector
from lossatlas.models.spec import MODELS, Activation, resolve

LENET = {
    "name": "cnn",
    "channels": [6, 16],
    "kernel": 5,
    "padding": [2, 0],
    "hidden": [120, 84],
    "activation": "softplus",
}


def dim(spec, shape, outputs=10):
    return Layout.of(build(spec, shape, outputs, 0)).dim


def test_specs_do_not_import_torch():
    use = "import lossatlas.models.spec as c; c.resolve({'name': 'mlp', 'widths': [3]})"
    code = f"import sys; {use}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_specs_and_builders_name_the_same_arguments():
    assert set(builders.REGISTRY) == set(MODELS)
    for name, builder in builders.REGISTRY.items():
        arguments = set(inspect.signature(builder).parameters) - {"input_shape", "outputs"}
        assert arguments == set(MODELS[name].model_fields) - {"name"}
    assert set(builders._ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize(
    "spec, shape, expected",
    [
        ({"name": "wrn", "depth": 28, "width": 2}, (3, 32, 32), 1_467_610),  # trajectories, section 3
        ({"name": "mlp", "widths": [50, 50], "bias": False}, (1, 28, 28), 42_200),  # optimizers, table 1: FCP
        (LENET, (1, 28, 28), 61_706),  # optimizers, table 1: LeNet
        ({"name": "resnet", "depth": 20}, (3, 32, 32), 269_722),  # generalization, section 2
        ({"name": "resnet", "depth": 20, "shortcut": False}, (3, 16, 16), 269_722),
        ({"name": "resnet", "depth": 20, "projection": True}, (3, 32, 32), 272_474),  # Li et al.'s code
        # He et al. 2016, table 6, in millions: .46, .66, .85, 1.7; the counts below follow from the layers' sizes
        ({"name": "resnet", "depth": 32}, (3, 32, 32), 464_154),
        ({"name": "resnet", "depth": 44}, (3, 32, 32), 658_586),
        ({"name": "resnet", "depth": 56}, (3, 32, 32), 853_018),
        ({"name": "resnet", "depth": 110}, (3, 32, 32), 1_727_962),
        ({"name": "mlp", "widths": [100, 100, 100]}, (784,), 785 * 100 + 2 * 101 * 100 + 101 * 10),
        ({"name": "mlp", "widths": []}, (4,), 50),
        ({"name": "cnn"}, (1, 28, 28), 20 * 10 + 20 * 181 + 10 * (20 * 5 * 5 + 1)),
        (
            {"name": "cnn", "channels": [60, 60], "hidden": [300]},
            (3, 32, 32),
            60 * 28 + 60 * 541 + 300 * (60 * 36 + 1) + 10 * 301,
        ),
    ],
)
def test_parameter_counts(spec, shape, expected):
    assert dim(spec, shape) == expected


@pytest.mark.parametrize("depth, reference", [(11, "vgg11_bn"), (13, "vgg13_bn"), (16, "vgg16_bn"), (19, "vgg19_bn")])
def test_vgg_has_the_convolutions_of_torchvisions(depth, reference):
    ours = [m for m in build({"name": "vgg", "depth": depth}, (3, 32, 32), 10, 0) if isinstance(m, nn.Conv2d)]
    theirs = [m for m in getattr(torchvision.models, reference)().features if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in ours] == [tuple(m.weight.shape) for m in theirs]


@pytest.mark.parametrize("depth", [9, 13])
@pytest.mark.parametrize("width", [0.125, 1])
@pytest.mark.parametrize("side", [16, 32])
def test_vgg_counts_its_layers_and_takes_both_image_sizes(depth, width, side):
    model = build({"name": "vgg", "depth": depth, "width": width}, (3, side, side), 7, 0)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model) == depth
    assert sum(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in model) == depth - 1
    assert model.conv1_1.weight.shape[0] == 64 * width
    assert model(torch.randn(2, 3, side, side)).shape == (2, 7)


def test_vgg_9_has_the_layers_of_li_et_al():
    model = build({"name": "vgg", "depth": 9}, (3, 32, 32), 10, 0)
    shapes = [tuple(m.weight.shape) for m in model if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [shape[0] for shape in shapes] == [64, 64, 128, 128, 256, 256, 256, 256, 10]
    assert shapes[7] == (256, 256 * 4 * 4)


def test_densenet_is_torchvisions_behind_the_stem():
    model = build({"name": "densenet"}, (3, 32, 32), 1000, 0).eval()
    reference = torchvision.models.densenet121()
    stems = ("features.conv0.", "features.norm0.")
    theirs = {name: p for name, p in reference.named_parameters() if not name.startswith(stems)}
    ours = {name: p for name, p in model.named_parameters() if not name.startswith(stems)}
    assert {n: p.shape for n, p in ours.items()} == {n: p.shape for n, p in theirs.items()}
    small = build({"name": "densenet", "growth": 4, "blocks": [2, 2]}, (1, 16, 16), 3, 0)
    assert small.features.denseblock1(small.features.conv0(torch.zeros(1, 1, 16, 16))).shape == (1, 16, 16, 16)


def test_resnet_equals_a_forward_pass_written_from_the_paper():
    for shortcut in (True, False):
        spec = {"name": "resnet", "depth": 14, "width": 0.5, "shortcut": shortcut}
        model = build(spec, (3, 16, 16), 5, 3).double().eval()
        p = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, value in p.items():  # statistics and affine parameters that show when they are mixed up
            if value.is_floating_point() and "bn" in name:
                value.data = (
                    torch.rand(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5
                )
        x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

        def bn(x, name, p=p):
            mean, var, gain, bias = (p[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
            at = (1, -1, 1, 1)
            return (x - mean.reshape(at)) / torch.sqrt(var.reshape(at) + 1e-5) * gain.reshape(at) + bias.reshape(at)

        h = bn(nn.functional.conv2d(x, p["conv.weight"], padding=1), "bn").clamp(min=0)
        for group in range(3):
            for block in range(2):
                at, stride = f"groups.{group}.{block}", 2 if group and not block else 1
                z = bn(nn.functional.conv2d(h, p[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1")
                z = bn(nn.functional.conv2d(z.clamp(min=0), p[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
                if shortcut:
                    skip = torch.zeros_like(z)
                    kept = h[:, :, ::stride, ::stride]
                    first = (z.shape[1] - kept.shape[1]) // 2
                    skip[:, first : first + kept.shape[1]] = kept
                    z = z + skip
                h = z.clamp(min=0)
        expected = h.mean((2, 3)) @ p["linear.weight"].T + p["linear.bias"]
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("shortcut", [True, False])
def test_wrn_takes_both_image_sizes_with_and_without_shortcuts(side, shortcut):
    model = build({"name": "wrn", "depth": 10, "width": 1, "shortcut": shortcut}, (3, side, side), 7, 0)
    assert model(torch.randn(2, 3, side, side)).shape == (2, 7)
    projections = [name for name in Layout.of(model).names if "projection" in name]
    assert len(projections) == (2 if shortcut else 0)


def test_wrn_equals_a_forward_pass_written_from_the_paper():
    model = build({"name": "wrn", "depth": 10, "width": 2}, (3, 16, 16), 5, 3).double().eval()
    p = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, value in p.items():  # statistics and affine parameters that show when they are mixed up
        if value.is_floating_point() and ("bn" in name):
            value.data = torch.rand(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.5

    def bn_relu(x, name):
        mean, var, gain, bias = (p[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        shape = (1, -1, 1, 1)
        z = (x - mean.reshape(shape)) / torch.sqrt(var.reshape(shape) + 1e-5) * gain.reshape(shape) + bias.reshape(
            shape
        )
        return z.clamp(min=0)

    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    h = nn.functional.conv2d(x, p["conv.weight"], padding=1)
    for group, stride in enumerate((1, 2, 2)):
        at = f"groups.{group}.0"
        a = bn_relu(h, f"{at}.bn1")
        z = nn.functional.conv2d(a, p[f"{at}.conv1.weight"], stride=stride, padding=1)
        z = nn.functional.conv2d(bn_relu(z, f"{at}.bn2"), p[f"{at}.conv2.weight"], padding=1)
        h = z + nn.functional.conv2d(a, p[f"{at}.projection.weight"], stride=stride)
    expected = bn_relu(h, "bn").mean((2, 3)) @ p["linear.weight"].T + p["linear.bias"]
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


def test_removing_the_shortcut_keeps_the_branch_alone():
    spec = {"name": "wrn", "depth": 10, "width": 1}
    plain = build({**spec, "shortcut": False}, (3, 8, 8), 10, 0).eval()
    block = plain.groups[0][0]
    x = torch.randn(1, 16, 8, 8)
    branch = block.conv2(torch.relu(block.bn2(block.conv1(torch.relu(block.bn1(x))))))
    assert torch.equal(block(x), branch)
    residual = build(spec, (3, 8, 8), 10, 0).eval().groups[0][0]
    branch = residual.conv2(torch.relu(residual.bn2(residual.conv1(torch.relu(residual.bn1(x))))))
    assert torch.equal(residual(x), branch + x)


def test_wrn_initialisation_has_the_stated_spread():
    model = build({"name": "wrn", "depth": 16, "width": 4}, (3, 32, 32), 10, 11)
    weight = model.groups[2][0].conv1.weight  # from 128 to 256 channels: fan_out is not fan_in
    assert weight.shape == (256, 128, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert model.linear.bias.abs().max() == 0


def test_glorot_normal_has_the_stated_spread_and_zero_biases():
    model = build({"name": "mlp", "widths": [400, 300], "init": "glorot_normal"}, (500,), 10, 5)
    assert model.linear1.weight.std().item() == pytest.approx((2 / 900) ** 0.5, rel=0.02)
    assert model.linear2.weight.std().item() == pytest.approx((2 / 700) ** 0.5, rel=0.02)
    assert (model.linear2.weight.abs() > 3 * (2 / 700) ** 0.5).any()  # normal, not uniform
    assert all(b.abs().max() == 0 for name, b in model.named_parameters() if name.endswith("bias"))
    conv = build({"name": "cnn", "channels": [64, 64], "init": "glorot_normal"}, (3, 12, 12), 10, 5).conv2
    assert conv.weight.std().item() == pytest.approx((2 / (2 * 64 * 9)) ** 0.5, rel=0.02)


def test_layers_stand_in_the_order_of_the_paper():
    model = build({"name": "cnn", "activation": "tanh", "hidden": [7]}, (1, 28, 28), 10, 0)
    kinds = [type(layer).__name__ for layer in model]
    block = ["Conv2d", "Tanh", "AvgPool2d"]
    assert kinds == [*block, *block, "Flatten", "Linear", "Tanh", "Linear"]
    mlp = build({"name": "mlp", "widths": [3, 4], "activation": "softplus"}, (5,), 2, 0)
    assert [type(layer).__name__ for layer in mlp] == ["Flatten", "Linear", "Softplus", "Linear", "Softplus", "Linear"]


@pytest.mark.parametrize(
    "spec, shape",
    [
        ({"name": "wrn", "depth": 10, "width": 1}, (3, 16, 16)),
        ({"name": "mlp", "widths": [5]}, (3,)),
        ({"name": "mlp", "widths": [5], "init": "glorot_normal"}, (3,)),
        ({"name": "cnn", "channels": [2]}, (1, 8, 8)),
        ({"name": "resnet", "depth": 8, "width": 0.25}, (3, 8, 8)),
        ({"name": "vgg", "depth": 9, "width": 0.05}, (3, 8, 8)),
        ({"name": "densenet", "growth": 2, "blocks": [1, 1]}, (3, 8, 8)),
    ],
)
def test_initialisation_is_the_seeds_and_leaves_the_global_generator_alone(spec, shape):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    a = build(spec, shape, 3, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    b, c = build(spec, shape, 3, 7), build(spec, shape, 3, 8)
    layout = Layout.of(a)
    assert torch.equal(layout.flatten(a), layout.flatten(b))
    assert not torch.equal(layout.flatten(a), layout.flatten(c))
    build(spec, shape, 3, 2**63 - 1)  # the largest seed that lossatlas.seeds derives


def test_radial_network_draws_its_circle_before_training(rng):
    """Its logits are slope (|x| - radius) to the accuracy of 100 directions, whatever the other weights are."""
    radius, slope = float(rng.uniform(0.2, 2)), float(10 ** rng.uniform(1, 4))
    widths = [100, 100, 40, 7]
    model = build(
        {"name": "radial", "widths": widths, "radius": radius, "slope": slope}, (2,), 2, int(rng.integers(99))
    )
    assert Layout.of(model) == Layout.of(build({"name": "mlp", "widths": widths}, (2,), 2, 0))
    x = torch.from_numpy(rng.normal(size=(500, 2)) * radius).float()
    with torch.no_grad():
        inside, outside = model(x).double().T
    distance = x.double().norm(dim=1)
    assert torch.equal(inside, -outside)
    error = (outside / slope - (distance - radius)).abs()
    rounding = widths[0] * 2**-24  # of a float32 sum of as many terms
    assert float((error / (distance + radius)).max()) < (math.pi / 100) ** 2 / 4 + rounding


def test_from_vector_loads_and_returns_the_model():
    model = build({"name": "mlp", "widths": [5]}, (3,), 2, 0)
    theta = torch.arange(float(Layout.of(model).dim))
    assert from_vector(model, theta) is model
    assert torch.equal(Layout.of(model).flatten(model), theta)


USER_MODULE = """
import torch
from torch import nn

def plain(hidden, input_shape, outputs):
    return nn.Sequential(nn.Linear(input_shape[0], hidden), nn.Linear(hidden, outputs))

def takes_neither(size=3):
    return nn.Linear(size, 1)

def takes_all(**keywords):
    model = nn.Linear(1, 1)
    model.keywords = keywords
    return model

def returns_text():
    return "network"

def returns_nothing_to_train():
    return nn.ReLU()

constant = 3
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "users_own_models.py").write_text(USER_MODULE)
    (tmp_path / "users_broken_models.py").write_text("import no_such_package\n\ndef net(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "users_own_models"
    sys.modules.pop("users_own_models", None)


def test_users_own_builder_gets_what_it_accepts(user_module):
    model = build({"builder": f"{user_module}:plain", "hidden": 6}, (4,), 2, 1)
    assert [tuple(p.shape) for p in model.parameters()] == [(6, 4), (6,), (2, 6), (2,)]
    again = build({"builder": f"{user_module}:plain", "hidden": 6}, (4,), 2, 1)
    assert torch.equal(Layout.of(model).flatten(model), Layout.of(model).flatten(again))
    assert tuple(build({"builder": f"{user_module}:takes_neither", "size": 5}, (4,), 2, 1).weight.shape) == (1, 5)
    keywords = build({"builder": f"{user_module}:takes_all", "outputs": 9}, (4,), 2, 1).keywords
    assert keywords == {"outputs": 9, "input_shape": (4,)}


@pytest.mark.parametrize(
    "builder, extra, message",
    [
        ("no_such_package.models:net", {}, "there is no module 'no_such_package' on PYTHONPATH"),
        (
            "users_broken_models:net",
            {},
            "'users_broken_models:net' cannot be imported .*no_such_package.*correct its mod",
        ),
        ("users_own_models:plian", {}, "has no function 'plian'; did you mean 'plain'"),
        ("users_own_models:constant", {}, "'users_own_models:constant' is of type int; expected a function"),
        ("users_own_models:plain", {}, "missing a required argument: 'hidden'"),
        ("users_own_models:plain", {"hiden": 3}, "has no argument 'hiden'; did you mean 'hidden'"),
        ("users_own_models:returns_text", {}, "returned str; expected a torch.nn.Module"),
        ("users_own_models:returns_nothing_to_train", {}, "returned ReLU without parameters"),
    ],
)
def test_wrong_builders_are_named(user_module, builder, extra, message):
    with pytest.raises(LossatlasError, match=message) as caught:
        build({"builder": builder, **extra}, (4,), 2, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("wrn", "model: 'wrn' is of type str, expected a mapping"),
        ({}, r"model: keys \[\]; give one of `name` and `builder`"),
        ({"name": "mlp", "builder": "a:b"}, "model: keys .*; give one of `name` and `builder`"),
        ({"builder": "module.function"}, "model.builder: got 'module.function'; expected 'package.module:function'"),
        ({"builder": 3}, "model.builder: 3 is of type int, expected text"),
        ({"name": "wnr"}, "model.name: 'wnr' is not a model; did you mean 'wrn'"),
        ({"name": ["mlp"]}, r"model.name: \['mlp'\] is not a model"),
        ({"name": "wrn", "depth": 28, "widht": 2}, "model.widht: unknown key of wrn; did you mean 'width'"),
        ({"name": "wrn", "depth": 28}, "model.width: missing"),
        ({"name": "wrn", "depth": 27, "width": 2}, r"model.depth: 27 is not 6n \+ 4 .* nearest are 22 and 28"),
        ({"name": "wrn", "depth": 4, "width": 2}, "model.depth: 4 is not allowed; give a value at least 10"),
        ({"name": "wrn", "depth": 10, "width": True}, "model.width: True is of type bool, expected an integer"),
        ({"name": "wrn", "depth": 10, "width": 1, "shortcut": 1}, "model.shortcut: 1 .*, expected true or false"),
        ({"name": "resnet", "depth": 21}, r"model.depth: 21 is not 6n \+ 2 .* nearest are 20 and 26"),
        ({"name": "resnet", "depth": 20, "width": 0}, "model.width: 0 is not allowed; give a value above 0"),
        ({"name": "resnet", "depth": 20, "width": True}, "model.width: True is of type bool, expected a number"),
        ({"name": "vgg", "depth": 10}, "model.depth: 10 is not allowed; valid: 9, 11, 13, 16, 19"),
        ({"name": "densenet", "blocks": [6, 0]}, r"model.blocks\[1\]: 0 is not allowed; give a value at least 1"),
        ({"name": "mlp", "widths": 50}, "model.widths: 50 is of type int, expected a list"),
        ({"name": "mlp", "widths": [50, 0]}, r"model.widths\[1\]: 0 is not allowed; give a value at least 1"),
        ({"name": "mlp", "widths": [50], "activation": "rleu"}, "model.activation: 'rleu' .*; did you mean 'relu'"),
        ({"name": "cnn", "kernel": [3, 3, 3]}, "model.kernel: 3 values; expected one for all or 2"),
        ({"name": "cnn", "kernel": "3"}, "model.kernel: '3' is of type str, expected an integer or a list"),
        ({"name": "cnn", "padding": -1}, "model.padding: -1 .*; give a value at least 0"),
    ],
)
def test_wrong_specs_are_named_before_torch_is_needed(spec, message):
    with pytest.raises(LossatlasError, match=message) as caught:
        resolve(spec)
    assert "\n" not in str(caught.value)
    with pytest.raises(LossatlasError, match=message):
        build(spec, (3, 16, 16), 10, 0)


@pytest.mark.parametrize(
    "spec, shape, message",
    [
        ({"name": "cnn"}, (1, 8, 8), "block 2 got a 3 x 3 image, too small for kernel 3, padding 0 and pool 2"),
        ({"name": "cnn"}, (64,), r"model cnn: input got shape \(64,\); expected images"),
        ({"name": "wrn", "depth": 10, "width": 1}, (64,), r"model wrn: input got shape \(64,\); expected images"),
        ({"name": "vgg", "depth": 9}, (64,), r"model vgg: input got shape \(64,\); expected images"),
    ],
)
def test_inputs_that_do_not_fit_are_named(spec, shape, message):
    with pytest.raises(LossatlasError, match=message):
        build(spec, shape, 10, 0)


def test_resolve_fills_defaults_and_copies():
    spec = {"name": "mlp", "widths": (3, 4)}
    resolved = resolve(spec)
    assert resolved == {"name": "mlp", "widths": [3, 4], "activation": "relu", "bias": True, "init": "default"}
    assert resolve({"name": "vgg", "depth": 9, "width": 2}) == {"name": "vgg", "depth": 9, "width": 2.0}
    resolved = resolve({"name": "cnn"})
    resolved["channels"].append(99)
    assert resolve({"name": "cnn"})["channels"] == [20, 20]


@pytest.mark.parametrize("spec", [{"name": "resnet", "depth": 20}, {"name": "vgg", "depth": 9}])
def test_weights_start_as_in_the_code_of_the_landscapes_where_asked(spec, fresh_seed):
    """N(0, 2 / fan_in) and a head of N(0, 1e-3^2), Li et al.'s main.py; the generator is torch's own."""
    model = build({**spec, "init": "fan_in"}, (3, 32, 32), 10, fresh_seed)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            inputs = module.in_channels * module.kernel_size[0] ** 2
            spread = float(module.weight.detach().std())
            assert spread == pytest.approx((2 / inputs) ** 0.5, rel=6 / module.weight.numel() ** 0.5), name
        elif isinstance(module, torch.nn.Linear):
            assert float(module.weight.detach().std()) == pytest.approx(1e-3, rel=6 / module.weight.numel() ** 0.5)
    other = build(spec, (3, 32, 32), 10, fresh_seed)
    assert float(other.get_submodule(name).weight.detach().std()) > 1e-2


def test_projections_go_with_shortcuts():
    with pytest.raises(LossatlasError, match="without shortcuts there is nothing to project"):
        build({"name": "resnet", "depth": 8, "shortcut": False, "projection": True}, (3, 8, 8), 3, 0)
