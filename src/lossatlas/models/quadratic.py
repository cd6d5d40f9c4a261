"""Linear model on pixels and all products of two pixels of the halved image (Huang et al. 2020, section 2)."""

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.models.registry import image_shape, register


class QuadraticFeatures(nn.Module):
    """One linear layer on the pixels x and the products z_i z_j, i <= j, of the image z averaged down by two.

    A 3 x 32 x 32 image has 3,072 pixels and 295,296 products, with the bias 298,369 weights an output. The features
    are never formed: sum_{i<=j} w_ij z_i z_j is z^T W z with W upper triangular, so a batch of B images takes B x k
    numbers an output (k = 768) in place of B x 295,296. All features are divided by the square root of their number, so
    that one learning rate does for images of every size: it is the same as dividing the learning rate by that number.

    Args:
        channels, side: of the (square) images; the side must be even.
        outputs: number of classes.
    """

    def __init__(self, channels: int, side: int, outputs: int) -> None:
        super().__init__()
        self.pixels = channels * (side // 2) ** 2
        features = channels * side**2 + self.pixels * (self.pixels + 1) // 2
        self.linear = nn.Linear(channels * side**2, outputs)
        self.products = nn.Parameter(torch.empty(outputs, features - channels * side**2))
        self.scale = features**-0.5
        bound = features**-0.5  # torch's own initialisation of a linear layer with so many inputs
        for weight in (self.linear.weight, self.linear.bias, self.products):
            nn.init.uniform_(weight, -bound, bound)
        rows, columns = torch.triu_indices(self.pixels, self.pixels)
        self.place: Tensor
        self.register_buffer("place", rows * self.pixels + columns, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, outputs)."""
        z = nn.functional.avg_pool2d(images, 2).flatten(1)
        outputs, half = len(self.products), self.pixels
        matrices = torch.zeros(outputs, half * half, dtype=self.products.dtype, device=z.device)
        matrices = matrices.index_copy(1, self.place, self.products).reshape(outputs * half, half)
        bilinear = nn.functional.linear(z, matrices).reshape(len(z), outputs, half)
        return (self.linear(images.flatten(1)) + (bilinear * z[:, None]).sum(-1)) * self.scale


@register("quadratic")
def quadratic(*, input_shape: tuple[int, ...], outputs: int) -> QuadraticFeatures:
    """Linear model with quadratic features; see ``QuadraticFeatures``."""
    channels, height, width = image_shape("quadratic", input_shape)
    if height != width or height % 2:
        raise LossatlasError(f"model quadratic: images of {height} x {width} pixels; expected square ones of even side")
    return QuadraticFeatures(channels, height, outputs)
