"""Fully connected network with a single output for two classes (Huang et al. 2020)."""

from collections import OrderedDict
from math import prod

from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.models.builders import _dense
from lossatlas.models.registry import register


class BinaryLogit(nn.Module):
    """Make the logits (0, z) of two classes from one output z: softmax cross entropy of them is the logistic loss."""

    def forward(self, z: Tensor) -> Tensor:
        """Map (..., 1) to (..., 2)."""
        return nn.functional.pad(z, (1, 0))


@register("binary_mlp")
def binary_mlp(*, widths: list[int], activation: str, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Hidden layers with an activation each and one linear output, the logit of the second of two classes.

    Widths 23, 16, 26, 32, 28, 31 on two inputs make the 3,614 parameters of the paper; with two outputs, 3,646.
    """
    if outputs != 2:
        raise LossatlasError(f"model binary_mlp: the data have {outputs} classes; it tells two apart, take mlp")
    sizes = [prod(input_shape), *widths, 1]
    layers = [("flatten", nn.Flatten()), *_dense(sizes, activation, bias=True), ("logits", BinaryLogit())]
    return nn.Sequential(OrderedDict(layers))
