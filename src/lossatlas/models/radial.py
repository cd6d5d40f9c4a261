"""A fully connected network that is made, not trained: it tells the inside of a circle from its outside.

Huang et al. (2020), figure 8, say that the circle between two pinched rings exists and is not found. These initial
weights are the proof: from them, training on the same points goes on to a minimum that keeps the circle.
"""

from collections import OrderedDict
from math import pi, prod

import torch
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.models.builders import _dense
from lossatlas.models.registry import register


@register("radial")
def radial(
    *, widths: list[int], radius: float, slope: float, input_shape: tuple[int, ...], outputs: int
) -> nn.Sequential:
    """ReLU network of the layers of ``mlp`` whose initial logits are -+ slope (|x| - radius).

    The first layer has unit weights in ``widths[0]`` directions u_k, evenly spread: (pi / w) sum relu(u_k . x) is |x|
    to a relative (pi / w)^2 / 4. Two units of each following layer carry the positive and the negative
    part of |x| - radius, each layer multiplying by the same factor. All other units keep torch's random weights, but
    nothing flows from them into these two or the logits, so that training can use them.

    Args:
        widths: of the hidden layers, two or more; the first even, the others at least 2.
        radius: of the circle, in the units of the inputs.
        slope: of the logits along the radius.
        input_shape: two features.
        outputs: two classes: 0 inside, 1 outside.
    """
    if prod(input_shape) != 2 or outputs != 2:
        raise LossatlasError(f"model radial: {prod(input_shape)} features, {outputs} classes; expected 2 and 2")
    if len(widths) < 2 or widths[0] % 2 or min(widths) < 2:
        raise LossatlasError(f"model radial: widths got {widths}; expected two or more, from 2 up, the first one even")
    named = _dense([2, *widths, 2], "relu", bias=True)
    first, second, *rest = (layer for _, layer in named if isinstance(layer, nn.Linear))
    factor = slope ** (1 / len(widths))  # of every layer after the first
    with torch.no_grad():
        angles = torch.arange(widths[0]) * (2 * pi / widths[0])
        first.weight.copy_(torch.stack([angles.cos(), angles.sin()], 1))
        first.bias.zero_()
        outward = torch.tensor([1.0, -1.0])
        second.weight[:2] = outward[:, None] * factor * pi / widths[0]
        second.bias[:2] = -outward * factor * radius
        for layer in rest:
            layer.weight[:2] = factor * torch.eye(2, layer.in_features)
            layer.bias[:2] = 0.0
        rest[-1].weight[:, :2] = factor * torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    return nn.Sequential(OrderedDict([("flatten", nn.Flatten()), *named]))
