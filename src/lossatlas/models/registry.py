"""Builders by name, and what they share: a check of the input and the initialisation of convolutions."""

from collections.abc import Callable

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


def he_initialise(model: nn.Module) -> None:
    """Redraw convolutions from N(0, 2 / fan_out) (He et al. 2015) and set the biases of linear layers to zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
