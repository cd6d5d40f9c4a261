"""What training costs, counted from the spec: parameters, arithmetic, examples, steps. Imports no torch.

Convolutions and linear layers are counted, one multiplication and one addition a weight and output position; batch
norm, activations and pooling are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod

from lossatlas.data import spec as data_sets
from lossatlas.legacy.models import VGG_GROUPS, per_block, scaled, vgg_hidden
from lossatlas.specs.artefact import Artefact

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


@dataclass(frozen=True)
class Work:
    """What one training job computes.

    Attributes:
        network: the network trained.
        train, test: examples.
        bytes: of one example as stored.
        steps: optimiser steps.
        flops: forward and backward passes (3 forward passes) of every step, and the evaluation of every recorded row.
        rows: weight vectors recorded.
    """

    network: Network
    train: int
    test: int
    bytes: int
    steps: int
    flops: float
    rows: int


IMPORTED = 1000
"""Rows an imported file is taken to have: nothing is known of it before it is read."""

TRAINING = ("runs", "retrains", "sweeps")
"""Kinds that train."""

ON_NETWORKS = (
    *TRAINING,
    "levelsets",
    "surfaces",
    "averages",
    "triangles",
    "imports",
    "paths",
    "volumes",
    "slices",
    "boundaries",
    "tiles",
    "descents",
)
"""Kinds that evaluate networks."""


CROSSING_EVALUATIONS = 13
"""Evaluations of the loss a direction of a volume probe takes on its way out; 9 more close each cutoff's bracket."""

PILOT_EVALUATIONS = 30
"""Evaluations along a pilot direction: factors of two from 1e-10 to a radius of about 0.1."""


@cache
def work(made: Artefact) -> Work:
    """Return what an artefact of :data:`ON_NETWORKS` computes, from its spec and its data's.

    A step of a level set counts as two full gradients: the predictor's, and at most one of the corrector.
    """
    if not made.inputs.get("data"):  # a function in closed form
        return Work(Network(1, 2, 0.0), 0, 0, 0, 0, 0.0, _points(made))
    (data,) = made.inputs["data"]
    train, test, shape, outputs, size = _examples(data.spec)
    train = (made.spec.get("resample") or {}).get("train") or train
    net = network(made.spec["model"], shape, outputs)
    if made.kind == "paths":
        return _path_work(made, net, train, test, size)
    if made.kind in ("tiles", "descents"):
        return _on_slice(made, net, train, test, size)
    if made.kind not in ("runs", "retrains"):
        members = len(made.spec.get("members", []))
        rows = _points(made)
        if made.kind == "sweeps":
            epochs = made.spec["recipe"]["epochs"] * members
            steps = epochs * -(-train // (made.spec["recipe"]["batch"] or train))
            if made.spec.get("lockstep"):
                steps //= members  # one step moves all of them
            passes = epochs * (3.0 * _share(made, train) + _line_search(made.spec["recipe"]))
        else:
            steps = 2 * made.spec["settings"]["steps"] * members if made.kind == "levelsets" else 0
            passes = 3.0 * steps
        if made.kind == "volumes":  # crossings on some training examples; each minimum on all of both parts
            seen = min(train, made.spec["examples"] or train)
            return Work(net, train, test, size, 0, net.flops * (rows * seen + members * (train + test)), rows)
        return Work(net, train, test, size, steps, net.flops * (passes * train + rows * (train + test)), rows)
    recipe = made.spec["recipe"]
    jumps = len(made.spec.get("jumps", [None]))
    epochs = recipe["epochs"] * jumps
    rows = epochs + jumps if "jumps" in made.spec else _recorded(made.spec["record"], recipe["epochs"])
    steps = epochs * -(-train // (recipe["batch"] or train))
    flops = net.flops * (3.0 * epochs * train * _share(made, train) + rows * (train + test))
    return Work(net, train, test, size, steps, flops, rows)


def _path_work(made: Artefact, net: Network, train: int, test: int, size: int) -> Work:
    """Return the work of path probes: a gradient a point and step, and every recorded path on all examples."""
    spec = made.spec
    points, members = spec["settings"]["points"], len(spec["members"])
    steps = spec["settings"]["steps"] * members * points
    fitted = train if spec["fit"] == "train" else test
    batch = min(spec["minibatch"] or fitted, fitted)
    rows = members * len(spec["record"]) * points
    return Work(net, train, test, size, steps, net.flops * (3.0 * steps * batch + rows * (train + test)), rows)


def _line_search(recipe: Mapping) -> float:
    """Return the forward passes an epoch of a recipe takes beside its gradient."""
    return float(recipe.get("options", {}).get("evaluations", 0))


def _on_slice(made: Artefact, net: Network, train: int, test: int, size: int) -> Work:
    """Return the work of a tile or a descent.

    A Hessian-vector product counts as three gradients, 9 forward passes (forward and backward 3, their derivative 6); a
    point of a curvature map as all the products it may take. Recomputed batch-norm statistics are one more pass.
    """
    spec = made.spec
    seen = min(train, spec["examples"] or train)
    tested = min(test, spec["examples"] or test) if "test" in spec["parts"] else 0
    if made.kind == "descents":  # a gradient at each recorded point, four losses around its projection
        rows = work(made.inputs["run"][0]).rows
        passes = 3.0 + 4 * (2 if spec["batch_norm"] == "recompute" else 1)
        return Work(net, train, test, size, 5 * rows, net.flops * passes * rows * seen, rows)
    points = (spec["rows"][1] - spec["rows"][0]) * int(spec["x"][2])
    if spec["measure"]["kind"] == "losses":
        passes = points * (seen * (2 if spec["batch_norm"] == "recompute" else 1) + tested)
        return Work(net, train, test, size, points, net.flops * passes, points)
    about = spec["measure"]
    products = (
        about["products"] + about["trace"] + (about["density"][0] * about["density"][1] if about["density"] else 0)
    )
    return Work(net, train, test, size, points * products, net.flops * 9.0 * points * products * seen, points)


def _points(made: Artefact) -> int:
    """Return how many weight vectors a sweep or a probe keeps or evaluates."""
    if made.kind in ("surfaces", "triangles"):
        return int(made.spec["grid"]) ** 2
    if made.kind == "imports":
        return IMPORTED
    if made.kind == "sweeps" and made.spec["history"] is None:
        return len(made.spec["members"]) * int(made.spec["recipe"]["epochs"])
    members = len(made.spec.get("members", [None]))
    if made.kind == "volumes":
        each = CROSSING_EVALUATIONS + len(made.spec["cutoffs"]) * 9
        return members * (int(made.spec["directions"]) * each + int(made.spec["pilot"]) * PILOT_EVALUATIONS)
    if made.kind == "slices":
        return members * int(made.spec["grid"]) ** 2
    return members * int(made.spec.get("points") or made.spec.get("history") or 1)


def _share(made: Artefact, train: int) -> float:
    """Return how many times the training examples a step looks at, D_d of a poisoned objective counted in."""
    poison = made.spec.get("poison")
    return 1.0 if poison is None else 1.0 + min(poison["points"], poison["batch"]) / min(train, poison["batch"])


def _recorded(record: Mapping, epochs: int) -> int:
    """Return the rows a run records."""
    fine = min(record["fine_epochs"], epochs)
    return fine * record["per_epoch"] + (epochs - fine + 1 if record["epochs"] == "all" else 1)


def _examples(spec: Mapping) -> tuple[int, int, tuple[int, ...], int, int]:
    """Return training and test examples, shape, network outputs and bytes of one example of prepared data."""
    about = data_sets.describe(spec["name"])
    sizes = data_sets.describe_variant(spec["name"], spec["variant"])["sizes"]
    train, test = (spec[part] or sizes[part] or 50_000 for part in ("train", "test"))
    train += (spec.get("options") or {}).get("extra") or 0
    shape = tuple(about["shape"] or (3, 32, 32))
    if len(shape) == 3 and spec["size"]:
        shape = (shape[0], spec["size"], spec["size"])
    classes = about.get("classes")
    outputs = 1 if about["task"] == "regression" else len(classes) if isinstance(classes, list) else int(classes or 10)
    return train, test, shape, outputs, prod(shape) * (1 if len(shape) == 3 else 4)


def rows(made: Artefact) -> int:
    """Return n, the number of points of a run, a retraining, a cloud, or of the cloud something is made from."""
    if "best" in made.spec:
        return int(made.spec["best"]["count"])
    if made.kind == "clouds" and "sets" in made.spec:
        return sum(int(part["spec"].get("best", {}).get("count", 1)) for part in made.spec["sets"])
    if made.kind in (*TRAINING, "levelsets", "imports"):
        return work(made).rows
    if made.kind == "synthetic":
        return int(made.spec["branches"] * made.spec["points"])
    points = sum(rows(part) for part in made.inputs.get("points", ()))
    if made.kind == "clouds":
        return points + len(made.inputs.get("run", ()))
    return max(rows(part) for parts in made.inputs.values() for part in parts)


def dimension(made: Artefact) -> int:
    """Return D, the number of weights of the points of a cloud, or of the cloud something is made from."""
    if made.kind in (*TRAINING, "levelsets", "imports"):
        return work(made).network.parameters
    if made.kind == "synthetic":
        return int(made.spec["dimension"])
    return max(dimension(part) for parts in made.inputs.values() for part in parts)
