"""ResNet for CIFAR-sized images, 6n + 2 layers, with and without its shortcuts."""

import torch
from torch import Tensor, nn

from lossatlas.models.registry import he_initialise, image_shape, register
from lossatlas.models.spec import scaled


class _Block(nn.Module):
    """Basic block: 3x3 convolution, BN, ReLU, 3x3 convolution, BN, plus the shortcut, ReLU.

    Where the block halves the image the shortcut takes every second pixel, and where it has more channels it pads with
    channels of zeros (He et al.'s option A): a shortcut has no parameters. With ``projection`` it is a 1x1 convolution
    with BN there (option B), as in Li et al.'s code.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: bool, projection: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut, self.stride, self.more = shortcut, stride, outputs - inputs
        self.projection: nn.Sequential | None = None
        if projection and (stride != 1 or inputs != outputs):
            layers = (nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
            self.projection = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.projection is not None:
            # Every other pixel first: oneDNN's AVX2 backward pass of a strided 1x1 convolution of few channels crashes.
            out = out + self.projection(x[:, :, :: self.stride, :: self.stride])
        elif self.shortcut:
            kept = x[:, :, :: self.stride, :: self.stride]
            out = out + nn.functional.pad(kept, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return torch.relu(out)


class ResNet(nn.Module):
    """ResNet of He et al. 2016, section 4.2, for images of any size.

    A 3x3 convolution with BN and ReLU; three groups of n = (depth - 2) / 6 blocks with 16, 32 and 64 channels times the
    width, the second and third starting with stride 2; average over the remaining image; linear head. ResNet-20 with 3
    input channels and 10 outputs has 269,722 parameters. With ``shortcut`` false (Li et al. 2018: "noshort") the layers
    are the same ones, and so is their number of parameters. Width 2, 4, 8 at depth 56 are Li et al.'s Wide-ResNets.

    With ``projection`` ResNet-20 has 272,474 parameters, as Li et al.'s.

    Initialisation: ``he_initialise``; batch norm 1 and 0; the head's weights torch's default, its bias zero.
    """

    def __init__(
        self,
        depth: int,
        width: float,
        channels: int,
        outputs: int,
        shortcut: bool = True,
        projection: bool = False,
        init: str = "he",
    ) -> None:
        super().__init__()
        filters = [scaled(n, width) for n in (16, 32, 64)]
        self.conv = nn.Conv2d(channels, filters[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(filters[0])
        groups, previous = [], filters[0]
        for number, first_stride in zip(filters, (1, 2, 2), strict=True):
            blocks = []
            for i in range((depth - 2) // 6):
                blocks.append(_Block(previous, number, first_stride if i == 0 else 1, shortcut, projection))
                previous = number
            groups.append(nn.Sequential(*blocks))
        self.groups = nn.Sequential(*groups)
        self.linear = nn.Linear(previous, outputs)
        he_initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, outputs)."""
        features = self.groups(torch.relu(self.bn(self.conv(x))))
        return self.linear(nn.functional.adaptive_avg_pool2d(features, 1).flatten(1))


@register("resnet")
def resnet(
    *,
    depth: int,
    width: float,
    shortcut: bool,
    input_shape: tuple[int, ...],
    outputs: int,
    projection: bool = False,
    init: str = "he",
) -> ResNet:
    """ResNet for images of any size; see ``ResNet``."""
    channels, _, _ = image_shape("resnet", input_shape)
    return ResNet(depth, width, channels, outputs, shortcut, projection, init)
