"""Names and arguments of the built-in models, with types and defaults. Imports no torch: the Snakefile reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from typing import Any

from lossatlas.errors import LossatlasError

REQUIRED = object()

ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "elu", "gelu", "silu")
INITS = ("default", "glorot_normal")


@dataclass(frozen=True)
class Argument:
    """An argument of a model.

    Attributes:
        type: ``int``, ``number`` (positive, a float), ``bool``, ``choice``, ``ints`` (a list) or ``int or ints``.
        default: its value when the spec leaves it out, or ``REQUIRED``.
        doc: one line for the user.
        choices: the values of a ``choice``.
        least: the smallest integer allowed.
    """

    type: str
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    least: int = 1

    def expected(self) -> str:
        """Return what the argument must be, in words."""
        if self.type == "choice":
            return "one of " + ", ".join(self.choices)
        if self.type == "bool":
            return "true or false"
        if self.type == "number":
            return "a number > 0"
        integer = f"an integer >= {self.least}"
        return {"int": integer, "ints": f"a list, each {integer}"}.get(self.type, f"{integer}, or a list of them")

    def accepts(self, value: Any) -> bool:
        """Return whether a value from YAML is allowed."""
        if self.type == "choice":
            return isinstance(value, str) and value in self.choices
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < inf
        single = isinstance(value, int) and not isinstance(value, bool) and value >= self.least
        several = isinstance(value, list | tuple) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= self.least for v in value
        )
        return {"int": single, "ints": several}.get(self.type, single or (several and len(value) > 0))


_ACTIVATION = Argument("choice", "relu", "activation function", ACTIVATIONS)
_SMOOTH = Argument("choice", "softplus", "activation function", ACTIVATIONS)
_BIAS = Argument("bool", True, "whether layers have biases")
_INIT = Argument("choice", "default", "torch's own initialisation, or Glorot normal with zero biases", INITS)

MODELS: dict[str, dict[str, Argument]] = {
    "wrn": {
        "depth": Argument("int", REQUIRED, "number of convolutions on a path, 6n + 4", least=10),
        "width": Argument("int", REQUIRED, "widening factor k: the groups have 16k, 32k and 64k channels"),
        "shortcut": Argument("bool", True, "false leaves the residual connections out (Li et al. 2018)"),
    },
    "resnet": {
        "depth": Argument("int", REQUIRED, "number of convolutions on a path and the head, 6n + 2", least=8),
        "width": Argument("number", 1.0, "the groups have 16, 32 and 64 times as many channels"),
        "shortcut": Argument("bool", True, "false leaves the residual connections out (Li et al. 2018)"),
    },
    "vgg": {
        "depth": Argument("int", REQUIRED, "number of layers with weights: 9, 11, 13, 16 or 19", least=9),
        "width": Argument("number", 1.0, "the groups have 64, 128, 256, 512 and 512 times as many channels"),
    },
    "densenet": {
        "growth": Argument("int", 32, "growth rate: channels that each layer adds"),
        "blocks": Argument("ints", [6, 12, 24, 16], "layers of each dense block"),
    },
    "mlp": {
        "widths": Argument("ints", REQUIRED, "widths of the hidden layers, [] for a linear model"),
        "activation": _ACTIVATION,
        "bias": _BIAS,
        "init": _INIT,
    },
    "fcp": {"widths": Argument("ints", [50, 50], "widths of the hidden layers"), "activation": _SMOOTH},
    "lenet": {"activation": _SMOOTH},
    "autoencoder": {"widths": Argument("ints", [32, 32, 32], "widths of the hidden layers"), "activation": _SMOOTH},
    "lstm": {
        "hidden": Argument("int", 48, "size of the state"),
        "steps": Argument("int", 28, "pieces that the permuted pixels are read in, a divisor of their number"),
    },
    "binary_mlp": {
        "widths": Argument("ints", REQUIRED, "widths of the hidden layers; the output is one logit for two classes"),
        "activation": _ACTIVATION,
    },
    "radial": {
        "widths": Argument("ints", REQUIRED, "widths of the hidden layers, the first one even"),
        "radius": Argument("number", REQUIRED, "radius of the circle that the initial weights draw"),
        "slope": Argument("number", REQUIRED, "slope of the initial logits along the radius"),
    },
    "quadratic": {},
    "cnn": {
        "channels": Argument("ints", [20, 20], "filters of each block"),
        "kernel": Argument("int or ints", 3, "side of the square filters, for all blocks or each"),
        "padding": Argument("int or ints", 0, "zeros added around each block's input, for all blocks or each", least=0),
        "pool": Argument("int", 2, "side and stride of the average pooling, 1 for none"),
        "hidden": Argument("ints", [], "widths of fully connected layers before the linear head"),
        "activation": _ACTIVATION,
        "bias": _BIAS,
        "init": _INIT,
    },
}

VGG_GROUPS = {9: (2, 2, 3), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each group of a VGG, by its depth."""


def vgg_hidden(depth: int) -> int:
    """Return the number of hidden fully connected layers of a VGG: what its convolutions and its head leave."""
    return depth - sum(VGG_GROUPS[depth]) - 1


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times a width, rounded, at least one."""
    return max(1, round(channels * width))


def nearest(word: object, known: list[str]) -> str:
    """Return ``known: a, b; did you mean 'a'?`` for an error message."""
    close = get_close_matches(str(word), known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return f"known: {', '.join(known) or 'none'}{hint}"


def resolve(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Check a model's spec and fill in the defaults.

    Args:
        spec: ``{name: wrn | mlp | ..., ...arguments}``, or ``{builder: "package.module:function", ...keywords}`` whose
            keywords are the builder's own business until it is imported.

    Returns:
        A new mapping with every argument of a built-in model present.

    Raises:
        LossatlasError: an unknown name or argument, a missing one, or a value that is not allowed.
    """
    if not isinstance(spec, Mapping):
        raise LossatlasError(f"model: got {spec!r}; expected a mapping with a key 'name' or 'builder'")
    if ("name" in spec) == ("builder" in spec):
        raise LossatlasError(f"model: got keys {list(spec)!r}; expected exactly one of 'name' and 'builder'")
    if "builder" in spec:
        split_builder(spec["builder"])
        return dict(spec)
    name = spec["name"]
    if not isinstance(name, str) or name not in MODELS:
        raise LossatlasError(f"model: unknown name {name!r}; {nearest(name, sorted(MODELS))}")
    arguments = MODELS[name]
    for key, value in spec.items():
        if key == "name":
            continue
        if key not in arguments:
            raise LossatlasError(f"model {name}: unknown argument {key!r}; {nearest(key, sorted(arguments))}")
        if not arguments[key].accepts(value):
            raise LossatlasError(f"model {name}: {key} got {value!r}; expected {arguments[key].expected()}")
    result: dict[str, Any] = {"name": name}
    for key, argument in arguments.items():
        value = spec.get(key, argument.default)
        if value is REQUIRED:
            raise LossatlasError(f"model {name}: argument {key!r} is missing; expected {argument.expected()}")
        if argument.type == "number":  # 2 and 2.0 are one model
            value = float(value)
        result[key] = list(value) if isinstance(value, list | tuple) else value
    _check_values(result)
    return result


def check(spec: Mapping[str, Any]) -> None:
    """Raise the ``LossatlasError`` that ``resolve`` would raise, and return nothing."""
    resolve(spec)


def split_builder(builder: Any) -> tuple[str, str]:
    """Return module and function of ``package.module:function``."""
    if isinstance(builder, str):
        module, colon, function = builder.partition(":")
        if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
            return module, function
    raise LossatlasError(f"model: builder got {builder!r}; expected 'package.module:function'")


def per_block(value: int | list[int], count: int) -> list[int]:
    """Return one integer for each block from one for all or a list."""
    return [value] * count if isinstance(value, int) else list(value)


def _check_values(spec: dict[str, Any]) -> None:
    """Raise for arguments that are wrong together or beyond what their type says."""
    family = {"wrn": 4, "resnet": 2}
    if spec["name"] in family and (spec["depth"] - family[spec["name"]]) % 6:
        extra = family[spec["name"]]
        low = spec["depth"] - (spec["depth"] - extra) % 6
        examples = ", ".join(str(6 * n + extra) for n in range(1, 5))
        raise LossatlasError(
            f"model {spec['name']}: depth got {spec['depth']}; expected 6n + {extra} ({examples}, ...), the "
            f"nearest are {low} and {low + 6}"
        )
    if spec["name"] == "vgg" and spec["depth"] not in VGG_GROUPS:
        raise LossatlasError(f"model vgg: depth got {spec['depth']}; expected one of {', '.join(map(str, VGG_GROUPS))}")
    if spec["name"] == "cnn":
        blocks = len(spec["channels"])
        for key in ("kernel", "padding"):
            count = len(per_block(spec[key], blocks))
            if count != blocks:
                raise LossatlasError(
                    f"model cnn: {key} got {count} values; expected one for all or {blocks}, one for each of channels"
                )
