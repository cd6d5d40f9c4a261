"""2D surfaces: the loss on a grid of a plane of two random, filter-normalised directions."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work, relative
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted

CHECKED = 3
"""Points along a side of the grid on which results are compared."""

Problem = tuple[nn.Module, Tensor, Tensor]


def lenet(size: Size) -> Problem:
    """Return LeNet and images of MNIST."""
    return inputs.network({"name": "lenet"}, (1, 28, 28)), *inputs.mnist(size["examples"])


def resnet(size: Size) -> Problem:
    """Return ResNet-20 with the batch-norm statistics of a few steps of training, and images of CIFAR's kind."""
    x, y = inputs.noise(size["examples"], size["pixels"])
    model = inputs.network({"name": "resnet", "depth": 20}, tuple(x.shape[1:]))
    return inputs.descended(model, x, y, 3), x, y


def swiss_roll(size: Size) -> Problem:
    """Return Huang et al.'s network for the swiss roll and its points."""
    x, y = inputs.swiss_roll(size["examples"])
    return copy.deepcopy(inputs.swiss_network()), x, y


def ours(make: Callable[[Size], Problem], size: Size) -> Action:
    """``lossatlas.load(...).surface(...)``, as README has it, without the questions whether the picture is right."""
    net = _loaded(make(size))

    def run() -> Outcome:
        found = net.surface(grid=size["grid"], examples="all", check=False, progress=False)
        return Outcome(found.loss)

    return run


def _loaded(problem: Problem) -> Any:
    model, x, y = problem
    return la.load(model, data=(x, y), examples=None)


def our_check(make: Callable[[Size], Problem], size: Size, given: Any) -> Any:
    """Return our losses (n,) at the points (n, D) at which the other package evaluated its own."""
    points = torch.from_numpy(given[:, 1:]).float()
    return _loaded(make(size)).landscape.losses(points)


class _Recorded:
    """What a package calls at every point: the loss, kept with the weights at which it was asked for."""

    def __init__(self, value: Callable[[], float], model: nn.Module) -> None:
        self.value, self.model = value, model
        self.rows: list[np.ndarray] = []

    def __call__(self) -> float:
        found = self.value()
        self.rows.append(np.concatenate([[found], inputs.weights(self.model).double().numpy()]))
        return found


def loss_landscapes(make: Callable[[Size], Problem], size: Size) -> Action:
    """``random_plane`` with ``metrics.Loss``, as its README says."""
    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    model, x, y = make(size)
    metric = Loss(F.cross_entropy, x, y)

    def run() -> Outcome:
        return Outcome(random_plane(model, metric, 1, size["grid"], normalization="filter", deepcopy_model=True))

    return run


def loss_landscapes_check(make: Callable[[Size], Problem], size: Size, _: Any) -> Any:
    """Return losses and weights (n, 1 + D) of a small plane."""
    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    model, x, y = make(size)
    metric, rows = Loss(F.cross_entropy, x, y), []

    def recording(wrapper: Any) -> float:
        recorded = _Recorded(lambda: metric(wrapper), wrapper.modules[0])
        found = recorded()
        rows.extend(recorded.rows)
        return found

    random_plane(model, recording, 1, CHECKED, normalization="filter", deepcopy_model=True)
    return np.stack(rows)


def _directions(model: nn.Module) -> list[list[Tensor]]:
    """Return two random directions, scaled filter by filter: landscaper is given its directions."""
    drawn = [[torch.randn_like(p) for p in model.parameters()] for _ in range(2)]
    return [
        [
            d * (p.detach().flatten(1).norm(dim=1) / d.flatten(1).norm(dim=1)).reshape(-1, *[1] * (d.ndim - 1))
            if d.ndim > 1
            else d * p.detach().norm() / d.norm()
            for d, p in zip(direction, model.parameters(), strict=True)
        ]
        for direction in drawn
    ]


@torch.no_grad()
def _batch_loss(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    x, y = data
    return F.cross_entropy(model(x), y).item()


def landscaper(make: Callable[[Size], Problem], size: Size) -> Action:
    """``compute_loss_landscape`` along two random directions."""
    from landscaper.compute import compute_loss_landscape

    model, x, y = make(size)

    def run() -> Outcome:
        dirs, plane = _directions(model), {"dim": 2, "steps": size["grid"], "device": "cpu"}
        return Outcome(compute_loss_landscape(model, (x, y), dirs, _batch_loss, **plane)[0])

    return run


def landscaper_check(make: Callable[[Size], Problem], size: Size, _: Any) -> Any:
    """Return losses and weights (n, 1 + D) of a small plane."""
    from landscaper.compute import compute_loss_landscape

    model, x, y = make(size)
    recorded = _Recorded(lambda: _batch_loss(model, (x, y)), model)
    plane = {"dim": 2, "steps": CHECKED, "device": "cpu"}
    compute_loss_landscape(model, (x, y), _directions(model), lambda *_: recorded(), **plane)
    return np.stack(recorded.rows)


def losses_differ(ours: Any, theirs: Any) -> float:
    """Compare our losses (n,) with the first column of theirs, relative to the largest but to no less than a tenth.

    Others take the mean in float32, which of a confident network is quantised at some 1e-7.
    """
    return relative(ours, theirs[:, 0]) * min(float(np.abs(theirs[:, 0]).max()) / 0.1, 1.0)


def arithmetic(spec: dict, shape: Callable[[Size], tuple[int, ...]], outputs: int, size: Size, _: Mapping) -> Work:
    """Return the arithmetic of a forward pass over all examples at every point."""
    flops = counted(catalogue.resolve(spec), shape(size), outputs).flops
    return Work(flops * size["examples"] * size["grid"] ** 2, "float32")


REASONS = {
    "lenet": (
        "Convolutions of a block of points are one call and a quarter of the time (`torch.profiler`); nearly half is "
        "the softplus, which torch makes no faster for us."
    ),
    "resnet-20": (
        "Both sides spend their time in the same convolutions, three quarters of it (`torch.profiler`), and those run "
        "at two thirds of the machine's rate."
    ),
    "swiss-roll": (
        "A block of points is one product a layer, of matrices 16 to 32 wide, by MKL near its rate and half of the "
        "time (`torch.profiler`); the rest are activations, copies and calls."
    ),
}
"""Why a surface is not faster."""


def _case(name: str, make: Callable[[Size], Problem], asked: float, **more: Any) -> Case:
    peers = {
        "loss-landscapes": (loss_landscapes, loss_landscapes_check),
        "landscaper": (landscaper, landscaper_check),
    }
    return Case(
        name=f"surface-{name}",
        row="surface",
        same=(
            "the mean loss of the same network on the same examples at as many points of a random, filter-normalised "
            "plane; our loss at points where the other package evaluated its own is its loss"
        ),
        tolerance=1e-5,
        differ=losses_differ,
        ours=Side(partial(ours, make), partial(our_check, make)),
        peers={key: Side(partial(run, make), partial(check, make), key) for key, (run, check) in peers.items()},
        goals=(Goal(asked),),
        reason=REASONS[name],
        **more,
    )


RESNET = {"name": "resnet", "depth": 20}

CASES = (
    _case(
        "lenet",
        lenet,
        4.0,
        what="2D surface, LeNet on MNIST images",
        sizes={
            "full": {"examples": 10_000, "grid": 11},
            "small": {"examples": 10_000, "grid": 5},
            "tiny": {"examples": 100, "grid": 3},
        },
        limit=partial(arithmetic, {"name": "lenet"}, lambda _: (1, 28, 28), 10),
        axes={"examples": (250, 500, 1000)},
    ),
    _case(
        "resnet-20",
        resnet,
        2.0,
        what="2D surface, ResNet-20",
        sizes={
            "full": {"examples": 1000, "grid": 7, "pixels": 32},
            "small": {"examples": 500, "grid": 3, "pixels": 32},
            "tiny": {"examples": 20, "grid": 3, "pixels": 8},
        },
        limit=partial(arithmetic, RESNET, lambda size: (3, size["pixels"], size["pixels"]), 10),
        axes={"examples": (60, 125, 250)},
    ),
    _case(
        "swiss-roll",
        swiss_roll,
        10.0,
        what="2D surface, swiss-roll network (3,614 weights, 200 points)",
        sizes={
            "full": {"examples": 200, "grid": 51},
            "small": {"examples": 200, "grid": 51},
            "tiny": {"examples": 50, "grid": 5},
        },
        limit=partial(arithmetic, inputs.SWISS_NET, lambda _: (2,), 2),
        axes={"grid": (11, 21, 41)},
    ),
)
