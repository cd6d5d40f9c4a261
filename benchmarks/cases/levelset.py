"""Traversals of a level set of the training loss to the same angle, counted in gradients (Tahir & Katz 2021)."""

import copy
import os
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, cornerwise
from benchmarks.frame.remote import ROOT
from benchmarks.reference.level_path import Scheme, degrees, gradient_of, traverse
from lossatlas.data.sources import open_source
from lossatlas.data.spec import resolve_options
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.levelsets.interest import SquaredNorm
from lossatlas.levelsets.traversal import Settings, tolerance
from lossatlas.levelsets.walk import traversal

FF = {"name": "mlp", "widths": [100, 100, 100], "activation": "tanh", "init": "glorot_normal"}
"""The paper's feed-forward network."""


@cache
def problem(task: str, epochs: int) -> tuple[nn.Module, Any, Tensor, Tensor]:
    """Return a network trained by Adam as in the paper's phase 1, its criterion and its standardised data, float64."""
    os.environ["LOSSATLAS_DOWNLOAD"] = "0"
    part = open_source(task, None, ROOT, resolve_options(task, {})).parts["train"]
    x = torch.from_numpy(np.asarray(part.take(np.arange(len(part.y))))).double()
    x = (x - x.mean(0)) / x.std(0)
    if task == "iris":
        y, outputs, criterion = torch.from_numpy(np.asarray(part.y)).long(), 3, F.cross_entropy
    else:
        y = torch.from_numpy(np.asarray(part.y)).double().flatten()
        y, outputs, criterion = (y - y.mean()) / y.std(), 1, _squared
    model = inputs.network(FF, tuple(x.shape[1:]), outputs).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            criterion(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model, criterion, x, y


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.flatten(), targets)


def _landscape(task: str, epochs: int) -> NetworkLandscape:
    model, _, x, y = problem(task, epochs)
    return NetworkLandscape(model, x, y, "cross_entropy" if task == "iris" else "mse", batch_size=len(x))


def ours(task: str, size: Size) -> Action:
    """``traversal: conjugate``, whose steps are long; the result is loss and angle at the end."""
    landscape = _landscape(task, size["epochs"])

    def run() -> Outcome:
        settings = Settings(traversal="conjugate", angle=size["angle"], steps=10**9, gradients=size["most"])
        path = traversal(landscape, SquaredNorm(), landscape.theta(), settings)
        while path.finished is None:
            path.advance()
        return _end(task, size, path.state.theta, path.state.gradients)

    return run


def paper(task: str, size: Size) -> Action:
    """The paper's scheme with the paper's numbers, from the same start."""
    model, criterion, x, y = problem(task, size["epochs"])
    model = copy.deepcopy(model)  # its weights are written over
    gradient, start = gradient_of(model, criterion, x, y), inputs.weights(model)
    own = Settings()
    scheme = Scheme(
        own.step, own.grow, own.shrink, own.threshold, tolerance(own.tolerance, gradient(start)[0]), own.corrections
    )

    def run() -> Outcome:
        theta, _, count, _ = traverse(gradient, start, scheme, size["angle"], size["most"])
        return _end(task, size, theta, count)

    return run


def _end(task: str, size: Size, theta: Tensor, gradients: int) -> Outcome:
    """Return what is compared of an end point: its loss, and its angle as far as it was asked for."""
    loss, slope = _landscape(task, size["epochs"]).loss_and_grad(theta)
    angle = min(degrees(theta.double(), slope.double()), float(size["angle"]))
    return Outcome(np.array([float(loss), angle]), {"gradients": float(gradients)})


def _case(task: str, name: str, small: float) -> Case:
    return Case(
        name=f"levelset-{task}",
        row="levelset",
        what=f"level-set traversal to the same angle, {name}",
        same=(
            "from the same trained network to the same angle of grad L and grad |theta|^2, the loss kept within the "
            "same tolerance; loss and angle of both end points are compared"
        ),
        tolerance=1e-2,
        differ=cornerwise,
        ours=Side(partial(ours, task)),
        peers={"the paper's scheme": Side(partial(paper, task))},
        sizes={
            "full": {"angle": 175.0, "epochs": 100, "most": 100_000},
            "small": {"angle": small, "epochs": 100, "most": 50_000},
            "tiny": {"angle": 95.0, "epochs": 20, "most": 2_000},
        },
        goals=(Goal(5.0, quantity="gradients"),),
    )


CASES = (_case("iris", "Iris", 150.0), _case("auto-mpg", "Auto-MPG", 95.0))
