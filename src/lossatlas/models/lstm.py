"""An LSTM that reads an image as a sequence of pixels in a fixed random order (Le, Jaitly & Hinton 2015)."""

from math import prod

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.models.registry import register

PERMUTATION_SEED = 1234
"""Of the order of the pixels: ``torch.randperm(pixels, generator=torch.Generator().manual_seed(1234))``."""


class PixelLSTM(nn.Module):
    """One LSTM layer over the permuted pixels in ``steps`` equal pieces, and a linear head without bias on its end.

    Parameters in torch's own order: ``weight_ih`` (4h, pixels / steps), ``weight_hh`` (4h, h), ``bias_ih``, ``bias_hh``
    (4h,), head (outputs, h), so that a flat vector of an ``nn.LSTM`` with such a head loads unchanged. For 28 x 28
    pixels in 28 steps, h = 48 and 10 outputs: 15,456 parameters (Yu & Morozov, table 1). Initialisation: torch's own.
    """

    permutation: Tensor

    def __init__(self, pixels: int, outputs: int, hidden: int, steps: int) -> None:
        super().__init__()
        if pixels % steps:
            raise LossatlasError(f"model lstm: steps got {steps}; expected a divisor of the {pixels} pixels")
        order = torch.randperm(pixels, generator=torch.Generator().manual_seed(PERMUTATION_SEED))
        self.register_buffer("permutation", order, persistent=False)
        self.steps = steps
        self.lstm = nn.LSTM(pixels // steps, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (n, ...) to logits (n, outputs)."""
        sequence = x.flatten(1)[:, self.permutation].reshape(len(x), self.steps, -1)
        return self.head(self.lstm(sequence)[0][:, -1])


@register("lstm")
def lstm(*, hidden: int, steps: int, input_shape: tuple[int, ...], outputs: int) -> PixelLSTM:
    """LSTM over an input's values in a fixed random order; see ``PixelLSTM``."""
    return PixelLSTM(prod(input_shape), outputs, hidden, steps)
