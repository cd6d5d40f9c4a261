"""Data and training of the examples: scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, and a few steps of Adam."""

from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate


def digits(count: int, side: int = 8, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Return images (count, channels, side, side) with mean 0 and deviation 1, and labels (count,)."""
    raw = load_digits()
    x = torch.tensor(raw.images[:count], dtype=torch.float32)[:, None]
    x = (x - x.mean()) / x.std()
    if side != 8:
        x = interpolate(x, side, mode="bilinear")
    return x.expand(-1, channels, -1, -1).contiguous(), torch.tensor(raw.target[:count])


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epochs: int,
    lr: float = 3e-3,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    keep: Path | None = None,
) -> nn.Module:
    """Train a model by Adam on minibatches of 64; with ``keep``, leave a checkpoint of every epoch in that folder."""
    optimiser = torch.optim.Adam(model.parameters(), lr)
    order = torch.Generator().manual_seed(0)
    model.train()
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), keep / "epoch-000.pt")
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(x), generator=order).split(64):
            optimiser.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimiser.step()
        if keep:
            torch.save(model.state_dict(), keep / f"epoch-{epoch:03d}.pt")
    return model.eval()


def cnn(seed: int = 0) -> nn.Module:
    """Return a small convolutional network with batch norm, 8,194 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 24),
        nn.ReLU(),
        nn.Linear(24, 10),
    )
