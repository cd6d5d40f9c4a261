"""DenseNet from torchvision, with a stem for CIFAR-sized images."""

from torch import nn

from lossatlas.models.registry import image_shape, register


@register("densenet")
def densenet(*, growth: int, blocks: list[int], input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """DenseNet-BC of Huang et al. 2017 (compression 0.5, bottlenecks of 4 times the growth rate) by torchvision.

    torchvision's network is for ImageNet: it divides the image by four before the first block. Its stem (7x7
    convolution of stride 2, BN, ReLU, pooling) is replaced by the 3x3 convolution of stride 1 to twice the growth rate
    that the paper has for CIFAR. Growth 32 and blocks 6, 12, 24, 16 are DenseNet-121.

    Initialisation: torchvision's (convolutions N(0, 2 / fan_in), batch norm 1 and 0, the head's bias zero).
    """
    from torchvision.models import DenseNet

    channels, _, _ = image_shape("densenet", input_shape)
    model = DenseNet(growth, tuple(blocks), 2 * growth, num_classes=outputs)
    stem = nn.Conv2d(channels, 2 * growth, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight)
    model.features.conv0 = stem
    for name in ("norm0", "relu0", "pool0"):
        setattr(model.features, name, nn.Identity())
    return model
