"""The built-in models: names, arguments, limits and defaults. Light: the Snakefile reads it.

A model for everyone is one class here and one builder of its name in :mod:`lossatlas.models.builders`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from math import inf, prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias, Union, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lossatlas.models.size import Layer, Network, conv, linear, norm, total
from lossatlas.specs.base import Spec, key, mistake, read
from lossatlas.specs.source import Code
from lossatlas.specs.yaml import nearest

Activation = Literal["relu", "tanh", "softplus", "sigmoid", "elu", "gelu", "silu"]
Init = Literal["default", "glorot_normal"]
Start = Literal["he", "fan_in"]
Width = Annotated[int, key("Of a layer or block.", ge=1)]
Widths = Annotated[list[Width], BeforeValidator(lambda value: list(value) if isinstance(value, tuple) else value)]
Positive = Annotated[float, key("A number above 0.", gt=0, lt=inf)]

_HIDDEN = "Widths of the hidden layers"
_ACTIVATION = "Activation function."
_BIAS = "Whether layers have biases."
_INIT = "Torch's own initialisation, or Glorot normal with zero biases."
_START = (
    "he: convolutions from N(0, 2 / fan_out), linear layers torch's. fan_in: from N(0, 2 / fan_in), linear layers from "
    "N(0, 1e-3^2), as Li et al.'s code (main.py) draws them."
)
_SHORTCUT = "false leaves the residual connections out (Li et al. 2018)."

VGG_GROUPS = {9: (2, 2, 3), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each group of a VGG, by its depth."""


def vgg_hidden(depth: int) -> int:
    """Return the number of hidden fully connected layers of a VGG: what its convolutions and its head leave."""
    return depth - sum(VGG_GROUPS[depth]) - 1


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times a width, rounded, at least one."""
    return max(1, round(channels * width))


def per_block(value: int | list[int], count: int) -> list[int]:
    """Return one integer for each block from one for all or a list."""
    return [value] * count if isinstance(value, int) else list(value)


def _in_steps(extra: int) -> Callable[[int], int]:
    """Return a check that a depth is 6n + extra."""

    def check(depth: int) -> int:
        if (depth - extra) % 6:
            low = depth - (depth - extra) % 6
            examples = ", ".join(str(6 * n + extra) for n in range(1, 5))
            raise mistake("", f"{depth} is not 6n + {extra} ({examples}, ...); the nearest are {low} and {low + 6}")
        return depth

    return check


class BuiltIn(Spec):
    """A model of ours; subclasses have a literal ``name``."""

    title: ClassVar[str] = ""
    """How a figure's title names it; its name by default."""

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers for inputs of ``shape`` (C, H, W) or (d,), from which a job's time and memory follow."""
        raise TypeError(f"{type(self).__name__}: its layers are not counted; give it a method `layers`")


class Wrn(BuiltIn):
    """Wide residual network (Zagoruyko and Komodakis 2016)."""

    title: ClassVar[str] = "WRN"
    name: Literal["wrn"]
    depth: Annotated[int, AfterValidator(_in_steps(4))] = key("Number of convolutions on a path, 6n + 4.", ge=10)
    width: int = key("Widening factor k: the groups have 16k, 32k and 64k channels.", ge=1)
    shortcut: bool = key(_SHORTCUT, True)

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        channels, height, width = shape
        yield conv(channels, 16, 3, height * width, bias=False)
        filters = 16
        for inputs, filters, stride in self._blocks():
            height, width = -(-height // stride), -(-width // stride)
            yield from (norm(inputs), norm(filters))
            yield conv(inputs, filters, 3, height * width, bias=False)
            yield conv(filters, filters, 3, height * width, bias=False)
            if self.shortcut and (inputs != filters or stride != 1):
                yield conv(inputs, filters, 1, height * width, bias=False)
        yield norm(filters)
        yield from linear([filters, outputs], bias=True)

    def _blocks(self) -> Iterator[tuple[int, int, int]]:
        """Yield (channels in, channels out, stride) of every block."""
        previous = 16
        for filters, stride in ((16 * self.width, 1), (32 * self.width, 2), (64 * self.width, 2)):
            for i in range((self.depth - 4) // 6):
                yield previous, filters, stride if i == 0 else 1
                previous = filters


class ResNet(BuiltIn):
    """Residual network for small images (He et al. 2016)."""

    title: ClassVar[str] = "ResNet"
    name: Literal["resnet"]
    depth: Annotated[int, AfterValidator(_in_steps(2))] = key(
        "Number of convolutions on a path and the head, 6n + 2.", ge=8
    )
    width: Positive = key("The groups have 16, 32 and 64 times as many channels.", 1.0)
    shortcut: bool = key(_SHORTCUT, True)
    projection: bool = key(
        "Shortcuts that change the shape are 1x1 convolutions with batch norm (option B), as in Li et al.'s code; "
        "false: every second pixel and channels of zeros (option A).",
        False,
        quiet=True,
    )
    init: Start = key(_START, "he", quiet=True)

    @model_validator(mode="after")
    def _fits(self) -> "ResNet":
        if self.projection and not self.shortcut:
            raise mistake("projection", "without shortcuts there is nothing to project")
        return self

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        channels, height, width = shape
        previous = scaled(16, self.width)
        yield conv(channels, previous, 3, height * width, bias=False)
        yield norm(previous)
        for base, first_stride in ((16, 1), (32, 2), (64, 2)):
            filters = scaled(base, self.width)
            height, width = -(-height // first_stride), -(-width // first_stride)
            for i in range((self.depth - 2) // 6):
                yield conv(previous, filters, 3, height * width, bias=False)
                yield conv(filters, filters, 3, height * width, bias=False)
                yield from (norm(filters), norm(filters))
                if self.projection and (filters != previous or (i == 0 and first_stride != 1)):
                    yield conv(previous, filters, 1, height * width, bias=False)
                    yield norm(filters)
                previous = filters
        yield from linear([previous, outputs], bias=True)


class Vgg(BuiltIn):
    """VGG with batch norm (Simonyan and Zisserman 2015)."""

    title: ClassVar[str] = "VGG"
    name: Literal["vgg"]
    depth: Literal[9, 11, 13, 16, 19] = key("Number of layers with weights.")
    width: Positive = key("The groups have 64, 128, 256, 512 and 512 times as many channels.", 1.0)
    init: Start = key(_START, "he", quiet=True)
    hidden: int | None = key(
        "Hidden linear layers; null: what the depth leaves, two. Codes for CIFAR often have none.",
        None,
        quiet=True,
        ge=0,
    )

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        channels, height, width = shape
        for group, count in enumerate(VGG_GROUPS[self.depth]):
            filters = scaled(min(64 * 2**group, 512), self.width)
            for _ in range(count):
                yield conv(channels, filters, 3, height * width, bias=False)
                yield norm(filters)
                channels = filters
            height, width = -(-height // 2), -(-width // 2)
        sizes = [
            channels * height * width,
            *[channels] * (vgg_hidden(self.depth) if self.hidden is None else self.hidden),
        ]
        yield from linear(sizes, bias=False)
        yield from (norm(channels) for _ in sizes[1:])
        yield from linear([sizes[-1], outputs], bias=True)


class DenseNet(BuiltIn):
    """DenseNet with bottlenecks (Huang et al. 2017)."""

    title: ClassVar[str] = "DenseNet"
    name: Literal["densenet"]
    growth: int = key("Growth rate: channels that each layer adds.", 32, ge=1)
    blocks: Widths = key("Layers of each dense block.", [6, 12, 24, 16])

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        (depth, height, width), growth = shape, self.growth
        channels = 2 * growth
        yield conv(depth, channels, 3, height * width, bias=False)
        for block, count in enumerate(self.blocks):
            if block:  # a transition halves channels and image
                yield norm(channels)
                yield conv(channels, channels // 2, 1, height * width, bias=False)
                channels, height, width = channels // 2, height // 2, width // 2
            for _ in range(count):
                yield from (norm(channels), norm(4 * growth))
                yield conv(channels, 4 * growth, 1, height * width, bias=False)
                yield conv(4 * growth, growth, 3, height * width, bias=False)
                channels += growth
        yield norm(channels)
        yield from linear([channels, outputs], bias=True)


class Mlp(BuiltIn):
    """Fully connected network."""

    name: Literal["mlp"]
    widths: Widths = key(f"{_HIDDEN}, [] for a linear model.")
    activation: Activation = key(_ACTIVATION, "relu")
    bias: bool = key(_BIAS, True)
    init: Init = key(_INIT, "default")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        yield from linear([prod(shape), *self.widths, outputs], self.bias)


class Fcp(BuiltIn):
    """Fully connected perceptron of Yu and Morozov."""

    name: Literal["fcp"]
    widths: Widths = key(f"{_HIDDEN}.", [50, 50])
    activation: Activation = key(_ACTIVATION, "softplus")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        yield from linear([prod(shape), *self.widths, outputs], bias=False)


class LeNet(BuiltIn):
    """LeNet-5."""

    name: Literal["lenet"]
    activation: Activation = key(_ACTIVATION, "softplus")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        blocks = Cnn(name="cnn", channels=[6, 16], kernel=5, padding=[2, 0], hidden=[120, 84])
        yield from blocks.layers(shape, outputs)


class Autoencoder(BuiltIn):
    """Fully connected autoencoder of Yu and Morozov."""

    name: Literal["autoencoder"]
    widths: Widths = key(f"{_HIDDEN}.", [32, 32, 32])
    activation: Activation = key(_ACTIVATION, "softplus")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        yield from linear([prod(shape), *self.widths, prod(shape)], bias=False)


class Lstm(BuiltIn):
    """LSTM that reads permuted pixels piece by piece."""

    name: Literal["lstm"]
    hidden: int = key("Size of the state.", 48, ge=1)
    steps: int = key("Pieces that the permuted pixels are read in, a divisor of their number.", 28, ge=1)

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        inputs, hidden = prod(shape) // self.steps, self.hidden
        yield Layer(
            4 * hidden * (inputs + hidden + 2), self.steps * 4 * hidden * (inputs + hidden), self.steps * 5 * hidden
        )
        yield from linear([hidden, outputs], bias=False)


class BinaryMlp(BuiltIn):
    """Fully connected network with one logit for two classes."""

    name: Literal["binary_mlp"]
    widths: Widths = key(f"{_HIDDEN}; the output is one logit for two classes.")
    activation: Activation = key(_ACTIVATION, "relu")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        yield from linear([prod(shape), *self.widths, 1], bias=True)


class Radial(BuiltIn):
    """Fully connected network whose initial weights draw a circle in the plane."""

    name: Literal["radial"]
    widths: Widths = key(f"{_HIDDEN}, the first one even.")
    radius: Positive = key("Radius of the circle that the initial weights draw.")
    slope: Positive = key("Slope of the initial logits along the radius.")

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        yield from linear([prod(shape), *self.widths, outputs], bias=True)


class Quadratic(BuiltIn):
    """Linear model in pixels and their products."""

    name: Literal["quadratic"]

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield the pixels' layer and that of all products of the pixels of the half-size image."""
        yield from linear([prod(shape), outputs], bias=True)
        half = shape[0] * (shape[1] // 2) * (shape[2] // 2)
        yield Layer(outputs * half * (half + 1) // 2, outputs * half * (half + 1), outputs * half)


class Cnn(BuiltIn):
    """Convolutional network with average pooling."""

    name: Literal["cnn"]
    channels: Widths = key("Filters of each block.", [20, 20])
    kernel: Width | Widths = key("Side of the square filters, for all blocks or each.", 3)
    padding: Annotated[int, key("Zeros.", ge=0)] | list[Annotated[int, key("Zeros.", ge=0)]] = key(
        "Zeros added around each block's input, for all blocks or each.", 0
    )
    pool: int = key("Side and stride of the average pooling, 1 for none.", 2, ge=1)
    hidden: Widths = key("Widths of fully connected layers before the linear head.", [])
    activation: Activation = key(_ACTIVATION, "relu")
    bias: bool = key(_BIAS, True)
    init: Init = key(_INIT, "default")

    @field_validator("kernel", "padding")
    @classmethod
    def _for_each_block(cls, value: int | list[int], info: ValidationInfo) -> int | list[int]:
        blocks = len(info.data.get("channels", []))
        count = len(per_block(value, blocks))
        if count != blocks:
            raise mistake("", f"{count} values; expected one for all or {blocks}, one for each of channels")
        return value

    def layers(self, shape: tuple[int, ...], outputs: int) -> Iterator[Layer]:
        """Yield its layers."""
        depth, height, width = shape
        blocks = len(self.channels)
        kernels, paddings = per_block(self.kernel, blocks), per_block(self.padding, blocks)
        for filters, kernel, padding in zip(self.channels, kernels, paddings, strict=True):
            height, width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
            yield conv(depth, filters, kernel, height * width, self.bias)
            depth, height, width = filters, height // self.pool, width // self.pool
        yield from linear([depth * height * width, *self.hidden, outputs], self.bias)


class Builder(Code):
    """A user's own model: ``builder`` returns the network, the other keys are its keywords."""

    model_config = ConfigDict(extra="allow")

    def hashed(self) -> dict[str, Any]:
        """Return the builder with the digest of its source and its keywords."""
        return {**super().hashed(), **(self.model_extra or {})}


MODELS: dict[str, type[BuiltIn]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in BuiltIn.__subclasses__()
}
"""Every model of ours, by name."""

_USERS = "a user's own"
"""Tag of a builder among the models; no key, since places in messages are found by keys."""

UNKNOWN: dict[str, Any] = {"name": "wrn", "depth": 28, "width": 2}
"""What a user's own builder is taken for on images: nothing is known of it before it is imported."""

UNKNOWN_FLAT: dict[str, Any] = {"name": "mlp", "widths": [1024, 1024]}
"""The same for inputs that are no images."""


def network(model: Mapping[str, Any], shape: Sequence[int], outputs: int) -> Network:
    """Return the size of a resolved model for inputs of ``shape`` (C, H, W) or (d,)."""
    if "builder" in model:
        model = UNKNOWN if len(shape) == 3 else UNKNOWN_FLAT
    return _network(json.dumps(model, sort_keys=True), tuple(shape), outputs)


@cache
def _network(model: str, shape: tuple[int, ...], outputs: int) -> Network:
    """Return the size of a model given as JSON: a study has hundreds of jobs on a few networks."""
    read = json.loads(model)
    return total(MODELS[read["name"]].model_validate(read).layers(shape, outputs))


def _known(raw: Any) -> Any:
    """Return a mapping that says which model it is, and has only keys that this one takes."""
    if isinstance(raw, Spec):
        return raw
    if not isinstance(raw, Mapping):
        raise mistake("", f"{raw!r} is of type {type(raw).__name__}, expected a mapping with a key `name` or `builder`")
    if ("name" in raw) == ("builder" in raw):
        raise mistake("", f"keys {list(raw)}; give one of `name` and `builder`")
    if "builder" in raw:
        return raw
    name = raw["name"]
    if not isinstance(name, str) or name not in MODELS:
        raise mistake("name", f"{name!r} is not a model; {nearest(str(name), list(MODELS))}")
    arguments = [argument for argument in MODELS[name].model_fields if argument != "name"]
    for argument in raw:
        if argument != "name" and argument not in arguments:
            raise mistake(str(argument), f"unknown key of {name}; {nearest(str(argument), arguments)}")
    return raw


def _tag(raw: Any) -> str:
    """Return which model it is."""
    return str(getattr(raw, "name", _USERS) if isinstance(raw, Spec) else raw.get("name", _USERS))


if TYPE_CHECKING:
    Model: TypeAlias = BuiltIn | Builder
else:
    Model = Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in (*MODELS.items(), (_USERS, Builder)))],  # noqa: UP007
        Discriminator(_tag),
        BeforeValidator(_known),
    ]
    """A model of a study: one of ours by name, or a user's builder."""


class Named(Spec):
    """A model by itself, for callers outside a study."""

    model: Model


def resolve(spec: Any) -> dict[str, Any]:
    """Check a model's mapping and fill in the defaults.

    Raises:
        LossatlasError: an unknown name or argument, a missing one, or a value that is not allowed.
    """
    return dict(read(Named, {"model": spec}).hashed()["model"])


def label(model: Spec) -> str:
    """Return a short readable label: wrn-10-2, resnet-20-noshort, mlp, or the builder's function name."""
    spec = model.hashed()
    if "builder" in spec:
        return str(spec["builder"]).split(":")[-1]
    parts = [spec["name"], *(f"{spec[name]:g}" for name in ("depth", "width") if name in spec)]
    if spec["name"] == "resnet" and not spec["shortcut"]:
        parts.append("noshort")
    return "-".join(parts)


def title(spec: Mapping[str, Any], name: str) -> str:
    """Return how a figure's title names a resolved model; ``name`` stands for a user's own."""
    if "builder" in spec:
        return name
    shown = MODELS[spec["name"]].title or spec["name"]
    depth = f"-{spec['depth']}" if "depth" in spec else ""
    width = f", width x{spec['width']:g}" if spec.get("width", 1) != 1 else ""
    more = ", projections" if spec.get("projection") else ""
    return f"{shown}{depth}{width}{more}"
