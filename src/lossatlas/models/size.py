"""The size of a network, counted from its spec: layers, parameters, arithmetic. Light.

Convolutions and linear layers are counted, one multiplication and one addition a weight and output position; batch
norm, activations and pooling are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from lossatlas.models.spec import VGG_GROUPS, per_block, scaled, vgg_hidden

UNKNOWN_MODEL: Mapping = {"name": "wrn", "depth": 28, "width": 2, "shortcut": True}
"""What a user's own builder is taken for on images: nothing is known of it before it is imported."""

FLAT_BUILDER: Mapping = {"name": "mlp", "widths": [1024, 1024], "bias": True}
"""The same for inputs that are no images."""


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        weights: its number of weights, biases included.
        multiplications: for one example; 0 for a batch norm, whose arithmetic is left out.
    """

    weights: int
    multiplications: int


@dataclass(frozen=True)
class Network:
    """A network's size.

    Attributes:
        layers: convolutions and linear layers.
        parameters: D, batch norm's included.
        flops: floating-point operations of one example's forward pass.
    """

    layers: int
    parameters: int
    flops: float


def network(model: Mapping, shape: Sequence[int], outputs: int) -> Network:
    """Return the size of a resolved model for inputs of ``shape`` (C, H, W) or (d,)."""
    if "builder" in model:
        model = UNKNOWN_MODEL if len(shape) == 3 else FLAT_BUILDER
    makers = {"wrn": _wrn, "resnet": _resnet, "vgg": _vgg, "densenet": _densenet, "mlp": _mlp, "cnn": _cnn}
    makers |= {"fcp": _fcp, "lenet": _lenet, "autoencoder": _autoencoder, "lstm": _lstm}
    makers |= {"binary_mlp": _binary_mlp, "radial": _mlp, "quadratic": _quadratic}
    layers = list(makers[str(model["name"])](model, tuple(shape), outputs))
    return Network(
        sum(layer.multiplications > 0 for layer in layers),
        sum(layer.weights for layer in layers),
        2.0 * sum(layer.multiplications for layer in layers),
    )


def _conv(inputs: int, outputs: int, kernel: int, positions: int, bias: bool) -> Layer:
    weights = inputs * outputs * kernel**2
    return Layer(weights + outputs * bias, weights * positions)


def _norm(channels: int) -> Layer:
    """Return a batch norm: a scale and a shift a channel."""
    return Layer(2 * channels, 0)


def _linear(sizes: Sequence[int], bias: bool) -> Iterator[Layer]:
    for fan_in, fan_out in pairwise(sizes):
        yield Layer((fan_in + bias) * fan_out, fan_in * fan_out)


def _mlp(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    yield from _linear([prod(shape), *model["widths"], outputs], model.get("bias", True))


def _binary_mlp(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    yield from _linear([prod(shape), *model["widths"], 1], bias=True)


def _quadratic(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    """Yield the pixels' layer and the products', whose forward pass takes all k^2 products of the half-size image."""
    yield from _linear([prod(shape), outputs], bias=True)
    half = shape[0] * (shape[1] // 2) * (shape[2] // 2)
    yield Layer(outputs * half * (half + 1) // 2, outputs * half * (half + 1))


def _cnn(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    depth, height, width = shape
    blocks = len(model["channels"])
    kernels, paddings = per_block(model["kernel"], blocks), per_block(model["padding"], blocks)
    for filters, kernel, padding in zip(model["channels"], kernels, paddings, strict=True):
        height, width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        yield _conv(depth, filters, kernel, height * width, model["bias"])
        depth, height, width = filters, height // model["pool"], width // model["pool"]
    yield from _linear([depth * height * width, *model["hidden"], outputs], model["bias"])


def _fcp(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    yield from _linear([prod(shape), *model["widths"], outputs], bias=False)


def _autoencoder(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    yield from _linear([prod(shape), *model["widths"], prod(shape)], bias=False)


def _lenet(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    blocks = {"channels": [6, 16], "kernel": 5, "padding": [2, 0], "pool": 2, "hidden": [120, 84], "bias": True}
    yield from _cnn(blocks, shape, outputs)


def _lstm(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    inputs, hidden = prod(shape) // model["steps"], model["hidden"]
    yield Layer(4 * hidden * (inputs + hidden + 2), model["steps"] * 4 * hidden * (inputs + hidden))
    yield from _linear([hidden, outputs], bias=False)


def _wrn_blocks(model: Mapping) -> Iterator[tuple[int, int, int]]:
    """Yield (channels in, channels out, stride) of every block."""
    previous = 16
    for filters, stride in ((16 * model["width"], 1), (32 * model["width"], 2), (64 * model["width"], 2)):
        for i in range((model["depth"] - 4) // 6):
            yield previous, filters, stride if i == 0 else 1
            previous = filters


def _wrn(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    channels, height, width = shape
    yield _conv(channels, 16, 3, height * width, bias=False)
    filters = 16
    for inputs, filters, stride in _wrn_blocks(model):
        height, width = -(-height // stride), -(-width // stride)
        yield from (_norm(inputs), _norm(filters))
        yield _conv(inputs, filters, 3, height * width, bias=False)
        yield _conv(filters, filters, 3, height * width, bias=False)
        if model["shortcut"] and (inputs != filters or stride != 1):
            yield _conv(inputs, filters, 1, height * width, bias=False)
    yield _norm(filters)
    yield from _linear([filters, outputs], bias=True)


def _resnet(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    channels, height, width = shape
    previous = scaled(16, model["width"])
    yield _conv(channels, previous, 3, height * width, bias=False)
    yield _norm(previous)
    for base, first_stride in ((16, 1), (32, 2), (64, 2)):
        filters = scaled(base, model["width"])
        height, width = -(-height // first_stride), -(-width // first_stride)
        for _ in range((model["depth"] - 2) // 6):
            yield _conv(previous, filters, 3, height * width, bias=False)
            yield _conv(filters, filters, 3, height * width, bias=False)
            yield from (_norm(filters), _norm(filters))
            previous = filters
    yield from _linear([previous, outputs], bias=True)


def _vgg(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    channels, height, width = shape
    for group, count in enumerate(VGG_GROUPS[model["depth"]]):
        filters = scaled(min(64 * 2**group, 512), model["width"])
        for _ in range(count):
            yield _conv(channels, filters, 3, height * width, bias=False)
            yield _norm(filters)
            channels = filters
        height, width = -(-height // 2), -(-width // 2)
    sizes = [channels * height * width, *[channels] * vgg_hidden(model["depth"])]
    yield from _linear(sizes, bias=False)
    yield from (_norm(channels) for _ in sizes[1:])
    yield from _linear([sizes[-1], outputs], bias=True)


def _densenet(model: Mapping, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
    (depth, height, width), growth = shape, model["growth"]
    channels = 2 * growth
    yield _conv(depth, channels, 3, height * width, bias=False)
    for block, count in enumerate(model["blocks"]):
        if block:  # a transition halves channels and image
            yield _norm(channels)
            yield _conv(channels, channels // 2, 1, height * width, bias=False)
            channels, height, width = channels // 2, height // 2, width // 2
        for _ in range(count):
            yield from (_norm(channels), _norm(4 * growth))
            yield _conv(channels, 4 * growth, 1, height * width, bias=False)
            yield _conv(4 * growth, growth, 3, height * width, bias=False)
            channels += growth
    yield _norm(channels)
    yield from _linear([channels, outputs], bias=True)
