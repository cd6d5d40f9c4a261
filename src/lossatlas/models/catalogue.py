"""Names and arguments of the built-in models, with types and defaults. Imports no torch: the Snakefile reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from lossatlas.errors import LossatlasError

REQUIRED = object()

ACTIVATIONS = ("relu", "tanh", "softplus", "sigmoid", "elu", "gelu", "silu")
INITS = ("default", "glorot_normal")


@dataclass(frozen=True)
class Argument:
    """An argument of a model.

    Attributes:
        type: ``int``, ``bool``, ``choice``, ``ints`` (a list) or ``int or ints``.
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
        integer = f"an integer >= {self.least}"
        return {"int": integer, "ints": f"a list, each {integer}"}.get(self.type, f"{integer}, or a list of them")

    def accepts(self, value: Any) -> bool:
        """Return whether a value from YAML is allowed."""
        if self.type == "choice":
            return isinstance(value, str) and value in self.choices
        if self.type == "bool":
            return isinstance(value, bool)
        single = isinstance(value, int) and not isinstance(value, bool) and value >= self.least
        several = isinstance(value, list | tuple) and all(
            isinstance(v, int) and not isinstance(v, bool) and v >= self.least for v in value
        )
        return {"int": single, "ints": several}.get(self.type, single or (several and len(value) > 0))


_ACTIVATION = Argument("choice", "relu", "activation function", ACTIVATIONS)
_BIAS = Argument("bool", True, "whether layers have biases")
_INIT = Argument("choice", "default", "torch's own initialisation, or Glorot normal with zero biases", INITS)

MODELS: dict[str, dict[str, Argument]] = {
    "wrn": {
        "depth": Argument("int", REQUIRED, "number of convolutions on a path, 6n + 4", least=10),
        "width": Argument("int", REQUIRED, "widening factor k: the groups have 16k, 32k and 64k channels"),
        "shortcut": Argument("bool", True, "false leaves the residual connections out (Li et al. 2018)"),
    },
    "mlp": {
        "widths": Argument("ints", REQUIRED, "widths of the hidden layers, [] for a linear model"),
        "activation": _ACTIVATION,
        "bias": _BIAS,
        "init": _INIT,
    },
    "binary_mlp": {
        "widths": Argument("ints", REQUIRED, "widths of the hidden layers; the output is one logit for two classes"),
        "activation": _ACTIVATION,
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


def nearest(word: object, known: list[str]) -> str:
    """Return ``known: a, b; did you mean 'a'?`` for an error message."""
    close = get_close_matches(str(word), known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return f"known: {', '.join(known) or 'none'}{hint}"


def resolve(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Check a model's spec and fill in the defaults.

    Args:
        spec: ``{name: wrn | mlp | cnn, ...arguments}``, or ``{builder: "package.module:function", ...keywords}`` whose
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
    if spec["name"] == "wrn" and (spec["depth"] - 4) % 6:
        low = spec["depth"] - (spec["depth"] - 4) % 6
        raise LossatlasError(
            f"model wrn: depth got {spec['depth']}; expected 6n + 4 (10, 16, 22, 28, ...), the nearest are "
            f"{low} and {low + 6}"
        )
    if spec["name"] == "cnn":
        blocks = len(spec["channels"])
        for key in ("kernel", "padding"):
            count = len(per_block(spec[key], blocks))
            if count != blocks:
                raise LossatlasError(
                    f"model cnn: {key} got {count} values; expected one for all or {blocks}, one for each of channels"
                )
