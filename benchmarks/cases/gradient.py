"""The full-batch gradient of the convolutional networks of study levelsets, against its own arithmetic."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work
from lossatlas.landscape.landscape import NetworkLandscape, channels_last
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted

MNIST = {"name": "cnn", "channels": [20, 20], "activation": "tanh", "init": "glorot_normal"}
CIFAR = {"name": "cnn", "channels": [60, 60], "hidden": [300], "activation": "tanh", "init": "glorot_normal"}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
BATCH = 50
"""Images that the study evaluates at once: their activations stay in the cache."""


def problem(spec: dict, data: str, size: Size) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the untrained network, images and classes."""
    x, y = inputs.mnist(size["examples"]) if data == "mnist" else inputs.noise(size["examples"], 32)
    return inputs.network(spec, SHAPES[data]), x, y


def ours(spec: dict, data: str, size: Size) -> Action:
    """A gradient as the probe ``levelset`` takes it."""
    model, x, y = problem(spec, data, size)
    landscape = NetworkLandscape(model, channels_last(x), y, batch_size=BATCH)
    theta = landscape.theta()
    return lambda: Outcome(landscape.loss_and_grad(theta)[1])


def plain(spec: dict, data: str, size: Size) -> Action:
    """Torch's gradient of all images in one pass."""
    model, x, y = problem(spec, data, size)
    parameters = list(model.parameters())

    def run() -> Outcome:
        slopes = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
        return Outcome(torch.cat([slope.flatten() for slope in slopes]))

    return run


def arithmetic(spec: dict, data: str, size: Size, _: Mapping) -> Work:
    """Return the arithmetic of three forward passes."""
    flops = counted(catalogue.resolve(spec), SHAPES[data], inputs.CLASSES).flops
    return Work(3 * flops * size["examples"], "float32")


def _case(spec: dict[str, Any], data: str, name: str) -> Case:
    return Case(
        name=f"gradient-{data}",
        row="gradient",
        what=f"gradient of the convolutional network of study levelsets, {name}",
        same="the gradient of the mean loss of the same network on the same images; gradients are compared",
        tolerance=1e-4,
        ours=Side(partial(ours, spec, data)),
        peers={"torch, all images at once": Side(partial(plain, spec, data), package="torch")},
        sizes={"full": {"examples": 1000}, "small": {"examples": 1000}, "tiny": {"examples": 60}},
        goals=(Goal(0.6, "share"),),
        limit=partial(arithmetic, spec, data),
        reason=(
            "Convolutions, of few channels and below the machine's rate, are about half of the time; the rest are "
            "pooling and the hyperbolic tangent, by NumPy, which are no products (`torch.profiler`)."
        ),
        axes={"examples": (250, 500, 1000)},
    )


CASES = (_case(MNIST, "mnist", "MNIST"), _case(CIFAR, "cifar10", "CIFAR-10"))
