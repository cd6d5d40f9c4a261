"""One step of FourierPathFinder (Yu & Morozov, section II.3): a gradient at each of 51 points, and Adam."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work
from benchmarks.reference.path_step import PlainPath
from lossatlas.barriers.pathfinder import FourierPath, Settings
from lossatlas.landscape.landscape import Landscape, NetworkLandscape, channels_last
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted
from lossatlas.train.blocks import in_blocks

SHAPE, BATCH = (1, 28, 28), 500
"""An image; examples that are evaluated at once, as many as the probe's default."""


def problem(name: str, size: Size) -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor]:
    """Return network, images, classes and two ends (D,)."""
    x, y = inputs.mnist(size["examples"])
    model = inputs.network({"name": name}, SHAPE)
    first = inputs.weights(model)
    last = inputs.weights(inputs.network({"name": name}, SHAPE, seed=1))
    return model, x, y, first, last


def _ours(name: str, size: Size) -> tuple[FourierPath, Landscape]:
    model, x, y, first, last = problem(name, size)
    landscape = NetworkLandscape(model, channels_last(x), y, batch_size=BATCH)
    return FourierPath(first, last, Settings(points=size["points"])), in_blocks(landscape) or landscape


def ours(name: str, size: Size) -> Action:
    """A step as the probe ``path`` takes it."""
    path, landscape = _ours(name, size)

    def run() -> Outcome:
        path.advance(landscape)
        return Outcome(path.state.coefficients)

    return run


def our_gradient(name: str, size: Size, _: Any) -> Any:
    """Return the gradient at the straight line."""
    path, landscape = _ours(name, size)
    return path.gradient(landscape)


def _plain(name: str, size: Size) -> PlainPath:
    model, x, y, first, last = problem(name, size)
    settings = Settings()
    shape = (settings.terms, size["points"], settings.penalty, settings.lr)
    return PlainPath(model, F.cross_entropy, x, y, first, last, *shape)


def loop(name: str, size: Size) -> Action:
    """A step of the loop over points."""
    path = _plain(name, size)

    def run() -> Outcome:
        path.step()
        return Outcome(path.coefficients.detach())

    return run


def loop_gradient(name: str, size: Size, _: Any) -> Any:
    """Return the gradient at the straight line."""
    return _plain(name, size).gradient().detach().numpy()


def mapped(name: str, size: Size) -> Action:
    """A step with ``torch.func.vmap`` in place of the loop."""
    path = _plain(name, size)

    def run() -> Outcome:
        path.mapped_gradient()
        path.optimizer.step()
        return Outcome(path.coefficients.detach())

    return run


def mapped_gradient(name: str, size: Size, _: Any) -> Any:
    """Return the gradient at the straight line."""
    return _plain(name, size).mapped_gradient().detach().numpy()


def arithmetic(name: str, size: Size, _: Mapping) -> Work:
    """Return the arithmetic of a gradient at every point: three forward passes."""
    flops = counted(catalogue.resolve({"name": name}), SHAPE, inputs.CLASSES).flops
    return Work(3 * flops * size["examples"] * size["points"], "float32")


def _case(name: str, small: int) -> Case:
    peers = {"loop over points with autograd": Side(partial(loop, name), partial(loop_gradient, name), "torch")}
    unmeasured = {}
    if name == "fcp":
        peers["torch.func.vmap over points"] = Side(partial(mapped, name), partial(mapped_gradient, name), "torch")
    else:
        unmeasured["torch.func.vmap over points"] = "holds the activations of all points at once"
    return Case(
        name=f"path-{name}",
        row="path",
        what=f"one step of FourierPathFinder, {'FCP' if name == 'fcp' else 'LeNet'}",
        same=(
            "the gradient of Eq. 4 at the same points on the same images, and a step of Adam; the gradients at the "
            "straight line between two networks are compared (after a step they are not: Adam makes a step of full "
            "length of a coordinate whose gradient is rounding)"
        ),
        tolerance=1e-4,
        ours=Side(partial(ours, name), partial(our_gradient, name)),
        peers=peers,
        unmeasured=unmeasured,
        sizes={
            "full": {"examples": 10_000, "points": 51},
            "small": {"examples": 10_000, "points": small},
            "tiny": {"examples": 60, "points": 4},
        },
        goals=(Goal(3.0, peer="loop over points with autograd"),),
        limit=partial(arithmetic, name),
        reason=(
            "The first layer of a block of points is one product, near the machine's rate by oneDNN. What is left are "
            "the points' own layers, narrow, by MKL, the activation and the cross entropy in float64."
            if name == "fcp"
            else "Convolutions of a block of points are one call and less than half of the time (`torch.profiler`); a "
            "quarter is the softplus and its slope, which torch makes no faster for us."
        ),
        axes={"points": (2, 4, 8), "examples": (1000, 2000, 4000)}
        if name == "fcp"
        else {"examples": (500, 1000, 2000)},
    )


CASES = (_case("fcp", 11), _case("lenet", 3))
