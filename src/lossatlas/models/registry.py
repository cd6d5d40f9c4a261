"""Builders by name, and what they share: a check of the input and the initialisation of convolutions."""

from collections.abc import Callable
from typing import Literal

from torch import nn

from lossatlas.errors import LossatlasError

Builder = Callable[..., nn.Module]

REGISTRY: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder under the name by which :data:`lossatlas.models.spec.MODELS` describes its arguments."""

    def enter(builder: Builder) -> Builder:
        REGISTRY[name] = builder
        return builder

    return enter


def image_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (channels, height, width) of a model's input, which must be images."""
    if len(shape) != 3:
        raise LossatlasError(f"model {name}: input got shape {shape}; expected images (channels, height, width)")
    return shape


def he_initialise(model: nn.Module, init: str = "he") -> None:
    """Redraw convolutions (He et al. 2015) and set the biases of linear layers to zero.

    Args:
        model: changed in place.
        init: ``he``: N(0, 2 / fan_out), linear layers as torch draws them. ``fan_in``: N(0, 2 / fan_in), linear layers
            from N(0, 1e-3^2), as in Li et al.'s code.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            mode: Literal["fan_in", "fan_out"] = "fan_out" if init == "he" else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            if init == "fan_in":
                nn.init.normal_(module.weight, std=1e-3)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
