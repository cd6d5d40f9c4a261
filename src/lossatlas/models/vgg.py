"""VGG with batch norm for CIFAR-sized images."""

from collections import OrderedDict

from torch import nn

from lossatlas.models.registry import he_initialise, image_shape, register
from lossatlas.models.spec import VGG_GROUPS, scaled, vgg_hidden


@register("vgg")
def vgg(
    *,
    depth: int,
    width: float,
    hidden: int | None = None,
    input_shape: tuple[int, ...],
    outputs: int,
    init: str = "he",
) -> nn.Sequential:
    """VGG of Simonyan & Zisserman 2015, batch norm behind every layer but the head, no dropout.

    Groups of 3x3 convolutions (:data:`~lossatlas.models.spec.VGG_GROUPS`), each layer with BN and ReLU, each group with
    2x2 max pooling (sizes rounded up, so that 16-pixel images survive five groups); then fully connected layers and a
    linear head; ``depth`` counts the layers with weights, unless ``hidden`` says how many of them are linear. Channels
    are 64, 128, 256, 512, 512, times the width; the hidden layers are as wide as the last group, instead of ImageNet's
    4,096. VGG-9, which is not in that paper, is Li et al.'s: 7 convolutions in three groups and one hidden layer of
    256. Layers in front of a batch norm have no biases, since it would remove them.

    Initialisation: ``he_initialise``; batch norm 1 and 0; linear weights torch's default, biases zero.
    """
    channels, height, width_in = image_shape("vgg", input_shape)
    layers: list[tuple[str, nn.Module]] = []
    for group, count in enumerate(VGG_GROUPS[depth], start=1):
        filters = scaled(min(64 * 2 ** (group - 1), 512), width)
        for i in range(1, count + 1):
            layers.append((f"conv{group}_{i}", nn.Conv2d(channels, filters, 3, padding=1, bias=False)))
            layers += [(f"bn{group}_{i}", nn.BatchNorm2d(filters)), (f"relu{group}_{i}", nn.ReLU())]
            channels = filters
        layers.append((f"pool{group}", nn.MaxPool2d(2, ceil_mode=True)))
        height, width_in = -(-height // 2), -(-width_in // 2)
    layers.append(("flatten", nn.Flatten()))
    features = channels * height * width_in
    for i in range(1, (vgg_hidden(depth) if hidden is None else hidden) + 1):
        layers.append((f"linear{i}", nn.Linear(features, channels, bias=False)))
        layers += [(f"bn{i}", nn.BatchNorm1d(channels)), (f"relu{i}", nn.ReLU())]
        features = channels
    layers.append(("head", nn.Linear(features, outputs)))
    model = nn.Sequential(OrderedDict(layers))
    he_initialise(model, init)
    return model
