"""Data and networks that both sides of a comparison get: plain torch modules and tensors, as a user has them."""

import os
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.frame.remote import ROOT
from lossatlas import models
from lossatlas.data.sources import open_source
from lossatlas.data.spec import resolve_options
from lossatlas.errors import LossatlasError

CLASSES = 10

BFLOAT16 = ("bfloat16", ", in bfloat16", 5e-2, "Without instructions for bfloat16 a CPU gains nothing by it.")
"""Precision, its words, tolerance and reason: a factor is off by 0.4 % at most; sums, weights and steps are float32."""


def mnist(count: int) -> tuple[Tensor, Tensor]:
    """Return the first training images of MNIST, (n, 1, 28, 28) float32 in [0, 1], and their classes.

    Raises:
        LossatlasError: there are not so many (``dvc pull`` brings some).
    """
    os.environ["LOSSATLAS_DOWNLOAD"] = "0"
    try:
        opened = open_source("mnist", "original", ROOT, resolve_options("mnist", {}))
    except LossatlasError:
        opened = open_source("mnist", "bundled", ROOT, resolve_options("mnist", {}))
    part = opened.parts["train"]
    if len(part.y) < count:
        raise LossatlasError(f"MNIST: got {len(part.y)} images, expected {count}; set LOSSATLAS_DATA to all of them")
    x = torch.from_numpy(np.asarray(part.take(np.arange(count)))).float() / 255
    return x, torch.from_numpy(np.asarray(part.y[:count])).long()


def noise(count: int, pixels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random images of CIFAR's kind, (n, 3, pixels, pixels) float32, and classes that their means decide."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % CLASSES
    shift = torch.randn(CLASSES, 3, 4, 4, generator=generator)
    coarse = nn.functional.interpolate(shift[y], size=(pixels, pixels))
    return coarse + torch.randn(count, 3, pixels, pixels, generator=generator), y


def network(spec: dict[str, Any], shape: tuple[int, ...], outputs: int = CLASSES, seed: int = 0) -> nn.Module:
    """Return a network from the project's catalogue, in eval mode."""
    return models.build(spec, shape, outputs, seed).eval()


def descended(model: nn.Module, x: Tensor, y: Tensor, steps: int, lr: float = 0.05, batch: int = 64) -> nn.Module:
    """Return the network after some steps of SGD in train mode, so that its curvature is not that of noise."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.eval()


def weights(model: nn.Module) -> Tensor:
    """Return a network's parameters as one vector (D,)."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@cache
def swiss_roll(points: int = 200) -> tuple[Tensor, Tensor]:
    """Return points (n, 2) on two arms of a spiral, as Huang et al. 2020 (section 5) use them, and their arm."""
    generator = torch.Generator().manual_seed(0)
    arm = torch.arange(points) % 2
    angle = 1.5 * torch.pi * (1 + 2 * torch.rand(points, generator=generator))
    x = torch.stack([angle * torch.cos(angle + torch.pi * arm), angle * torch.sin(angle + torch.pi * arm)], 1)
    return x / 2, arm


@cache
def swiss_network(points: int = 200, steps: int = 600) -> nn.Module:
    """Return the swiss roll's network after some full-batch steps of Adam; callers copy it before they change it."""
    x, y = swiss_roll(points)
    model = network(SWISS_NET, (2,), 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


SWISS_NET = {"name": "binary_mlp", "widths": [23, 16, 26, 32, 28, 31], "activation": "relu"}
"""Huang et al.'s network for the swiss roll, 3,614 weights."""
