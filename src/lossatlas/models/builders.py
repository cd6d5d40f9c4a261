"""Build a network from its spec, its weights drawn from a seed."""

from __future__ import annotations

import inspect
import traceback
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout
from lossatlas.models import densenet, lstm, resnet, vgg  # noqa: F401  (they enter themselves)
from lossatlas.models.registry import REGISTRY, Builder, he_initialise, image_shape, register
from lossatlas.models.spec import per_block, resolve
from lossatlas.specs import source
from lossatlas.specs.yaml import nearest

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def build(spec: Mapping[str, Any], input_shape: Sequence[int], outputs: int, seed: int) -> nn.Module:
    """Return a newly initialised network on the CPU.

    Its weights come from torch's CPU generator seeded with ``seed``; the generator's state is put back afterwards, so
    the caller's random numbers are the same with and without this call. A user's builder must draw from that generator.

    Args:
        spec: see :mod:`lossatlas.models.spec`. A user's builder is called with the spec's other keys as
            keywords, and with ``input_shape`` and ``outputs`` where its signature accepts them and the spec does not
            set them.
        input_shape: shape of one example: (C, H, W) for images, (d,) for features.
        outputs: number of classes or regressed values.
        seed: of the initialisation.

    Raises:
        LossatlasError: a wrong spec, a builder that cannot be imported or called, or one that returns no network.
    """
    shape = tuple(int(n) for n in input_shape)
    resolved = resolve(spec)
    if "builder" in resolved:
        builder, keywords = _user_builder(resolved, shape, outputs)
    else:
        builder = REGISTRY[resolved.pop("name")]
        keywords = {**resolved, "input_shape": shape, "outputs": outputs}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        try:
            model = builder(**keywords)
        except Exception as error:
            if "builder" not in resolved:
                raise
            raise _theirs(f"model: builder {resolved['builder']!r}", error) from error
    if "builder" in resolved:
        _check_network(model, resolved["builder"])
    return model


def check_outputs(model: nn.Module, name: str, x: Tensor, y: Tensor, classes: int, more: bool = False) -> None:
    """Run a user's network on a few examples, as it is evaluated, and refuse what no loss can be taken of.

    Args:
        model: the network; it is left in the mode it was in.
        name: of its builder.
        x: its inputs (n, ...).
        y: their targets: int64 classes (n,) or of tokens (n, T), or floating numbers (n,) or (n, k).
        classes: number of classes; of no meaning for numbers.
        more: whether there may be more logits than classes: a head for classes that the data do not have.

    Raises:
        LossatlasError: the network raises, or returns anything else than a logit a class or a number a target.
    """
    where, given = f"model: builder {name!r}", f"{_dtype(x)} inputs {tuple(x.shape)}"
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model(x)
    except Exception as error:
        raise _theirs(f"{where}: its network, given {given},", error) from error
    finally:
        model.train(training)
    if not isinstance(outputs, Tensor):
        raise LossatlasError(
            f"{where}: its network returns {type(outputs).__name__}, expected one tensor; return its logits alone"
        )
    shape = tuple(outputs.shape)
    if y.is_floating_point():
        expected, right = (
            f"{tuple(y.shape)}, a number a target",
            outputs.numel() == y.numel() and len(outputs) == len(y),
        )
    else:
        expected = f"{(*y.shape, classes)}, a logit a class; an argument `outputs` of the builder is told their number"
        right = shape[:-1] == tuple(y.shape) and (shape[-1] == classes or (more and shape[-1] > classes))
    if not right or not outputs.is_floating_point():
        raise LossatlasError(f"{where}: its network returns {_dtype(outputs)} {shape} for {given}; expected {expected}")


def _theirs(where: str, error: Exception) -> LossatlasError:
    """Return the error for an exception in a user's code, with the last of its lines that is not a package's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _installed(f.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    said = " ".join(str(error).split())
    return LossatlasError(f"{where} raised {type(error).__name__}: {said[:300]}{place}; correct it")


def _installed(file: str) -> bool:
    return bool({*source.INSTALLED} & {*Path(file).parts}) or Path(__file__).parents[1] in Path(file).parents


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def from_vector(model: AnyModule, theta: Tensor | np.ndarray) -> AnyModule:
    """Copy a flat weight vector (D,) into a network's parameters, in place, and return the network."""
    Layout.of(model).load_into(model, theta)
    return model


def _user_builder(spec: dict[str, Any], shape: tuple[int, ...], outputs: int) -> tuple[Builder, dict[str, Any]]:
    """Import a user's builder and settle its keywords."""
    name = spec["builder"]
    try:
        builder = source.load(name, spec["source_sha256"])
    except (ImportError, AttributeError) as error:
        raise LossatlasError(f"model: builder {name!r} cannot be imported ({error}); correct its module") from error
    if not callable(builder):
        raise LossatlasError(f"model: builder {name!r} is of type {type(builder).__name__}; expected a function")
    keywords = {key: value for key, value in spec.items() if key not in source.Code.model_fields}
    signature = inspect.signature(builder)
    parameters = signature.parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    accepted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for key, value in (("input_shape", shape), ("outputs", outputs)):
        if takes_any or key in accepted:
            keywords.setdefault(key, value)
    for key in keywords:
        if not takes_any and key not in accepted:
            raise LossatlasError(f"model: builder {name!r} has no argument {key!r}; {nearest(key, sorted(accepted))}")
    try:
        signature.bind(**keywords)
    except TypeError as error:
        raise LossatlasError(f"model: builder {name!r} got {sorted(keywords)!r}: {error}") from error
    return builder, keywords


def _check_network(model: Any, builder: str) -> None:
    if not isinstance(model, nn.Module):
        raise LossatlasError(f"model: builder {builder!r} returned {type(model).__name__}; expected a torch.nn.Module")
    if not any(True for _ in model.parameters()):
        raise LossatlasError(f"model: builder {builder!r} returned {type(model).__name__} without parameters")
    for name, value in model.named_parameters():
        if nn.parameter.is_lazy(value):
            raise LossatlasError(
                f"model: builder {builder!r}: parameter {name!r} has no shape yet (a lazy layer); give the layer its "
                "sizes, or call the network once on an example in the builder"
            )
        if value.dtype not in (torch.float32, torch.float64):
            raise LossatlasError(
                f"model: builder {builder!r}: parameter {name!r} is {_dtype(value)}, expected float32; return "
                "model.float(): `precision` of the recipe says in what it is computed"
            )


def _initialise(model: nn.Module, init: str) -> None:
    """Redraw the weights: ``default`` keeps torch's, ``glorot_normal`` is N(0, 2 / (fan_in + fan_out)), biases 0."""
    if init == "default":
        return
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _dense(sizes: Sequence[int], activation: str, bias: bool, first: int = 1) -> list[tuple[str, nn.Module]]:
    """Return linear layers with an activation between each two, none after the last."""
    layers: list[tuple[str, nn.Module]] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layers.append((f"linear{first + i}", nn.Linear(fan_in, fan_out, bias=bias)))
        if i < len(sizes) - 2:
            layers.append((f"{activation}{first + i}", _ACTIVATIONS[activation]()))
    return layers


@register("mlp")
def mlp(
    *, widths: list[int], activation: str, bias: bool, init: str, input_shape: tuple[int, ...], outputs: int
) -> nn.Sequential:
    """Fully connected network: the input flattened, hidden layers with an activation each, a linear head."""
    sizes = [prod(input_shape), *widths, outputs]
    model = nn.Sequential(OrderedDict([("flatten", nn.Flatten()), *_dense(sizes, activation, bias)]))
    _initialise(model, init)
    return model


@register("cnn")
def cnn(
    *,
    channels: list[int],
    kernel: int | list[int],
    padding: int | list[int],
    pool: int,
    hidden: list[int],
    activation: str,
    bias: bool,
    init: str,
    input_shape: tuple[int, ...],
    outputs: int,
) -> nn.Sequential:
    """Blocks of convolution, activation and average pooling, then fully connected layers and a linear head.

    Tahir & Katz (levelsets) on MNIST: the defaults with tanh and Glorot normal; on CIFAR-10 ``channels=[60, 60]``,
    ``hidden=[300]``. They do not state the padding; none is our choice, because it is what the common frameworks do
    unless told otherwise. LeNet-5 (61,706 parameters on MNIST) is ``channels=[6, 16], kernel=5,
    padding=[2, 0], hidden=[120, 84]``.
    """
    depth, height, width = image_shape("cnn", input_shape)
    kernels, paddings = per_block(kernel, len(channels)), per_block(padding, len(channels))
    layers: list[tuple[str, nn.Module]] = []
    for i, (filters, side, margin) in enumerate(zip(channels, kernels, paddings, strict=True), start=1):
        got = (height, width)
        height = (height + 2 * margin - side + 1) // pool
        width = (width + 2 * margin - side + 1) // pool
        if min(height, width) < 1:
            raise LossatlasError(
                f"model cnn: block {i} got a {got[0]} x {got[1]} image, too small for kernel {side}, padding {margin} "
                f"and pool {pool}; use padding {side // 2}, fewer blocks or larger images than {input_shape}"
            )
        layers.append((f"conv{i}", nn.Conv2d(depth, filters, side, padding=margin, bias=bias)))
        layers.append((f"{activation}{i}", _ACTIVATIONS[activation]()))
        if pool > 1:
            layers.append((f"pool{i}", nn.AvgPool2d(pool)))
        depth = filters
    layers.append(("flatten", nn.Flatten()))
    sizes = [depth * height * width, *hidden, outputs]
    layers += _dense(sizes, activation, bias, first=len(channels) + 1)
    model = nn.Sequential(OrderedDict(layers))
    _initialise(model, init)
    return model


@register("fcp")
def fcp(*, widths: list[int], activation: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Fully connected perceptron without biases (Yu & Morozov): 784-50-50-10 on MNIST, 42,200 parameters.

    Softplus by default, as in the authors' code: smooth, which quasi-Newton steps need. The text says ReLU.
    """
    return mlp(
        widths=widths, activation=activation, bias=False, init="default", input_shape=input_shape, outputs=outputs
    )


@register("lenet")
def lenet(*, activation: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """LeNet-5 with average pooling (LeCun et al. 1998; Yu & Morozov): 61,706 parameters on MNIST.

    Softplus by default, as in Yu & Morozov's code; their text says ReLU.
    """
    return cnn(
        channels=[6, 16],
        kernel=5,
        padding=[2, 0],
        pool=2,
        hidden=[120, 84],
        activation=activation,
        bias=True,
        init="default",
        input_shape=input_shape,
        outputs=outputs,
    )


@register("autoencoder")
def autoencoder(*, widths: list[int], activation: str, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Fully connected autoencoder without biases (Yu & Morozov): 784-32-32-32-784 on MNIST, 52,224 parameters.

    An activation after each hidden layer, a sigmoid at the end: for inputs in [0, 1]. It has as many outputs as
    inputs whatever ``outputs`` says, and is trained with ``labels: inputs``.
    """
    sizes = [prod(input_shape), *widths, prod(input_shape)]
    layers = [("flatten", nn.Flatten()), *_dense(sizes, activation, bias=False), ("sigmoid", nn.Sigmoid())]
    return nn.Sequential(OrderedDict(layers))


class _Block(nn.Module):
    """Pre-activation basic block: BN, ReLU, 3x3 convolution, twice, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = shortcut
        self.project = shortcut and (inputs != outputs or stride != 1)
        if self.project:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.bn1(x))
        out = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        if not self.shortcut:
            return out
        return out + (self.projection(active) if self.project else x)


class WideResNet(nn.Module):
    """Wide ResNet WRN-depth-width (Zagoruyko & Komodakis 2016, table 1), pre-activation, B(3, 3) blocks, no dropout.

    A 3x3 convolution to 16 channels; three groups of n = (depth - 4) / 6 blocks with 16k, 32k and 64k channels, the
    second and third starting with stride 2; batch norm, ReLU, average over the whole remaining image (so 16 x 16 and
    32 x 32 inputs both work), linear head. A block that changes shape has a 1x1 convolution on the activated input as
    its shortcut, as in the authors' code. WRN-28-2 with 3 input channels and 10 outputs has 1,467,610 parameters.

    Initialisation: convolutions N(0, 2 / fan_out), the "MSR" initialisation of the authors' code; batch norm 1 and 0;
    the head's weights torch's default (uniform within 1 / sqrt(fan_in)), its bias zero.
    """

    def __init__(self, depth: int, width: int, channels: int, outputs: int, shortcut: bool = True) -> None:
        super().__init__()
        resolve({"name": "wrn", "depth": depth, "width": width, "shortcut": shortcut})
        blocks = (depth - 4) // 6
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        previous, groups = 16, []
        for filters, first_stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            group = []
            for i in range(blocks):
                group.append(_Block(previous, filters, first_stride if i == 0 else 1, shortcut))
                previous = filters
            groups.append(nn.Sequential(*group))
        self.groups = nn.Sequential(*groups)
        self.bn = nn.BatchNorm2d(previous)
        self.linear = nn.Linear(previous, outputs)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, outputs)."""
        features = torch.relu(self.bn(self.groups(self.conv(x))))
        return self.linear(nn.functional.adaptive_avg_pool2d(features, 1).flatten(1))


@register("wrn")
def wrn(*, depth: int, width: int, shortcut: bool, input_shape: tuple[int, ...], outputs: int) -> WideResNet:
    """Wide ResNet for images of any size; see ``WideResNet``."""
    channels, _, _ = image_shape("wrn", input_shape)
    return WideResNet(depth, width, channels, outputs, shortcut)
