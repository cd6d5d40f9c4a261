"""The size of a network, counted from its layers: layers, parameters, arithmetic. Light.

Convolutions and linear layers are counted, one multiplication and one addition a weight and output position; batch
norm, activations and pooling are left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        weights: its number of weights, biases included.
        multiplications: for one example; 0 for a batch norm, whose arithmetic is left out.
        outputs: numbers it hands on for one example; 0 for a batch norm, which changes those of the layer before.
    """

    weights: int
    multiplications: int
    outputs: int = 0


@dataclass(frozen=True)
class Network:
    """A network's size.

    Attributes:
        layers: convolutions and linear layers.
        parameters: D, batch norm's included.
        flops: floating-point operations of one example's forward pass.
        outputs: numbers that its layers hand on in it.
    """

    layers: int
    parameters: int
    flops: float
    outputs: int = 0


def total(layers: Iterable[Layer]) -> Network:
    """Return the size of a network of these layers."""
    every = list(layers)
    return Network(
        sum(layer.multiplications > 0 for layer in every),
        sum(layer.weights for layer in every),
        2.0 * sum(layer.multiplications for layer in every),
        sum(layer.outputs for layer in every),
    )


def conv(inputs: int, outputs: int, kernel: int, positions: int, bias: bool) -> Layer:
    """Return a convolution with square filters, evaluated at so many positions."""
    weights = inputs * outputs * kernel**2
    return Layer(weights + outputs * bias, weights * positions, outputs * positions)


def norm(channels: int) -> Layer:
    """Return a batch norm: a scale and a shift a channel."""
    return Layer(2 * channels, 0)


def linear(sizes: Sequence[int], bias: bool) -> Iterator[Layer]:
    """Yield fully connected layers between each two sizes."""
    for fan_in, fan_out in pairwise(sizes):
        yield Layer((fan_in + bias) * fan_out, fan_in * fan_out, fan_out)
