"""Curvature of ResNet-20: both ends of the spectrum, trace, spectral density, and what a Hessian product costs."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lossatlas as la
from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted

RESNET = {"name": "resnet", "depth": 20}
ERRORS = 5.0
"""Standard errors by which two estimates from other random vectors may differ."""


def problem(size: Size) -> tuple[nn.Module, Tensor, Tensor]:
    """Return ResNet-20 after a few steps of training, and images of CIFAR's kind."""
    x, y = inputs.noise(size["examples"], size["pixels"])
    return inputs.descended(inputs.network(RESNET, tuple(x.shape[1:])), x, y, 20), x, y


def _loaded(size: Size, precision: str | None = None) -> Any:
    model, x, y = problem(size)
    return la.load(model, data=(x, y), examples=None, precision=precision)


# ---------------------------------------------------------------------------------------------------------------------
# operators of the other packages, made as their documentation says: one batch of all examples


def _curvlinops(size: Size) -> Any:
    from curvlinops import HessianLinearOperator

    model, x, y = problem(size)
    parameters = [p for p in model.parameters() if p.requires_grad]
    return HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, y)])


def _eigenthings(size: Size) -> Any:
    from hessian_eigenthings import HessianOperator, supervised_loss

    model, x, y = problem(size)
    return HessianOperator(model, [(x, y)], supervised_loss(F.cross_entropy))


def _pyhessian(size: Size) -> Any:
    from pyhessian import hessian

    model, x, y = problem(size)
    return hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)


# ---------------------------------------------------------------------------------------------------------------------
# both ends of the spectrum

TOLERANCE = 1e-3


def our_ends(size: Size) -> Action:
    """``hessian(...)`` of README without trace and density."""
    net = _loaded(size)

    def run() -> Outcome:
        keys = {"trace": 0, "density": None, "examples": "all", "check": False, "progress": False}
        found = net.hessian(tolerance=TOLERANCE, most=size["most"], **keys)
        return Outcome([found.lambda_min, found.lambda_max], {"products": found.products})

    return run


def scipy_ends(size: Size) -> Action:
    """curvlinops' operator in ``scipy.sparse.linalg.eigsh``, an end at a time."""
    from scipy.sparse.linalg import eigsh

    operator = _curvlinops(size).to_scipy()
    start = np.random.default_rng(0).standard_normal(operator.shape[0])

    def run() -> Outcome:
        keys = {"k": 1, "tol": TOLERANCE, "v0": start, "return_eigenvectors": False}
        return Outcome([float(eigsh(operator, which=which, **keys)[0]) for which in ("SA", "LA")])

    return run


def eigenthings_ends(size: Size) -> Action:
    """``lanczos`` of hessian-eigenthings, an end at a time; its number of steps is the caller's."""
    from hessian_eigenthings import lanczos

    operator = _eigenthings(size)

    def run() -> Outcome:
        keys = {"k": 1, "max_iter": size["most"], "tol": TOLERANCE, "seed": 0}
        return Outcome([float(lanczos(operator, which=which, **keys).eigenvalues[0]) for which in ("SA", "LA")])

    return run


# ---------------------------------------------------------------------------------------------------------------------
# trace


def _mean_and_error(values: Any) -> list[float]:
    values = np.asarray(values, np.float64)
    return [float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)]


def our_trace(size: Size) -> Action:
    """Hutchinson's estimate by ``curvature.trace``, which ``hessian(trace=...)`` calls."""
    from lossatlas.planes import curvature

    net = _loaded(size)
    product = curvature.hessian_at(net.landscape, net.theta)

    def run() -> Outcome:
        found = curvature.trace(product, net.landscape.dim, size["probes"], 0, torch.device("cpu"))
        return Outcome(found)

    return run


def pyhessian_trace(size: Size) -> Action:
    """``hessian(...).trace`` of PyHessian without its early stop; its gradient's graph is kept from the start."""
    found = _pyhessian(size)
    return lambda: Outcome(_mean_and_error(found.trace(maxIter=size["probes"], tol=0.0)))


def curvlinops_trace(size: Size) -> Action:
    """``hutchinson_trace`` of curvlinops, a vector a call, so that there is a standard error."""
    from curvlinops import hutchinson_trace

    operator = _curvlinops(size)

    def run() -> Outcome:
        return Outcome(_mean_and_error([float(hutchinson_trace(operator, 1)) for _ in range(size["probes"])]))

    return run


def eigenthings_trace(size: Size) -> Action:
    """``trace`` of hessian-eigenthings by Hutchinson's method."""
    from hessian_eigenthings import trace

    operator = _eigenthings(size)

    def run() -> Outcome:
        found = trace(operator, num_matvecs=size["probes"], method="hutchinson", seed=0)
        return Outcome([found.estimate, found.stderr])

    return run


def in_errors(ours: Any, theirs: Any) -> float:
    """Return how many standard errors two estimates (mean, error, ...) are apart; further errors add to the first."""
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return float("inf")
    return float(abs(ours[0] - theirs[0]) / np.linalg.norm([*ours[1:], *theirs[1:]]))


# ---------------------------------------------------------------------------------------------------------------------
# spectral density; compared by its mean, trace / D, as each estimated it


def our_density(size: Size) -> Action:
    """Stochastic Lanczos quadrature by ``curvature.density``, which ``hessian(density=...)`` calls."""
    from lossatlas.planes import curvature

    net = _loaded(size)
    product = curvature.hessian_at(net.landscape, net.theta)

    def run() -> Outcome:
        shape = (size["probes"], size["steps"])
        nodes, weights = curvature.density(product, net.landscape.dim, *shape, 0, torch.device("cpu"))
        return Outcome(_mean_and_error((np.nan_to_num(nodes) * weights).sum(1)))

    return run


def eigenthings_density(size: Size) -> Action:
    """``spectral_density`` of hessian-eigenthings."""
    from hessian_eigenthings import spectral_density

    operator = _eigenthings(size)

    def run() -> Outcome:
        found = spectral_density(operator, num_runs=size["probes"], lanczos_steps=size["steps"], seed=0)
        return Outcome(_mean_and_error((found.raw_eigenvalues.nan_to_num() * found.raw_weights).sum(1)))

    return run


def curvlinops_density(size: Size) -> Action:
    """``lanczos_approximate_spectrum`` of curvlinops, which looks for the spectrum's ends first."""
    from curvlinops import lanczos_approximate_spectrum

    operator = _curvlinops(size)

    def run() -> Outcome:
        grid, density = lanczos_approximate_spectrum(operator, size["steps"], num_repeats=size["probes"])
        mean = float((grid * density).sum() / density.sum())
        width = float(grid[-1] - grid[0]) / size["steps"]  # of kernels, which the ends of its grid cut off
        return Outcome([mean, width / ERRORS])

    return run


def pyhessian_density(size: Size) -> Action:
    """``hessian(...).density`` of PyHessian."""
    found = _pyhessian(size)

    def run() -> Outcome:
        nodes, weights = (np.array(part) for part in found.density(iter=size["steps"], n_v=size["probes"]))
        return Outcome(_mean_and_error((nodes * weights).sum(1)))

    return run


# ---------------------------------------------------------------------------------------------------------------------
# one product


def our_product(size: Size) -> Action:
    """One Hessian-vector product after another one at the same point, as Lanczos takes them."""
    from lossatlas.planes import curvature

    net = _loaded(size)
    v = _direction(net.landscape.dim)
    product = curvature.hessian_at(net.landscape, net.theta)
    product(v)
    return lambda: Outcome(product(v))


def our_gradient(size: Size) -> Action:
    """One gradient of the same landscape."""
    net = _loaded(size)
    return lambda: Outcome(net.landscape.loss_and_grad(net.theta)[1])


def difference(size: Size, _: Any) -> Any:
    """Return the product with the same vector by central differences of gradients, in float64.

    Every rectifier that turns on or off between the two points adds a step of the gradient over their distance: of 200
    million, with a distance of 1e-5, ten times what is asked for; with 1e-7 all in all 1e-5 of it.
    """
    net = _loaded(size, "float64")
    v, step = _direction(net.landscape.dim).double(), 1e-7
    ahead, behind = (net.landscape.grad(net.theta + sign * step * v) for sign in (1, -1))
    return ((ahead - behind) / (2 * step)).numpy()


def curvlinops_product(size: Size) -> Action:
    """One product with curvlinops' operator."""
    operator = _curvlinops(size)
    v = _direction(operator.shape[1])
    return lambda: Outcome(operator @ v)


def eigenthings_product(size: Size) -> Action:
    """One product with hessian-eigenthings' operator."""
    operator = _eigenthings(size)
    v = _direction(operator.size)
    return lambda: Outcome(operator.matvec(v))


def _direction(dim: int) -> Tensor:
    v = torch.randn(dim, generator=torch.Generator().manual_seed(0))
    return v / v.norm()


# ---------------------------------------------------------------------------------------------------------------------


def products(number: Any, size: Size, counts: Mapping[str, float]) -> Work:
    """Return the arithmetic of Hessian products where the gradient's graph is kept: six forward passes each.

    A product with its own graph takes nine, as torch's own counter says: three are the gradient's.
    """
    shape = (3, size["pixels"], size["pixels"])
    flops = counted(catalogue.resolve(RESNET), shape, inputs.CLASSES).flops
    return Work(6 * flops * size["examples"] * number(size, counts), "float32")


def _sizes(small: dict[str, int], tiny: dict[str, int], full: dict[str, int] | None = None) -> dict[str, Size]:
    return {
        "full": {"examples": 1000, "pixels": 32, **(full or small)},
        "small": {"examples": 64, "pixels": 16, **small},
        "tiny": {"examples": 12, "pixels": 8, **tiny},
    }


AGAIN = (
    "Both sides spend their time in the kernels of convolutions and their gradients (`torch.profiler`), of few images "
    "mostly in their calls; what is kept between products, the gradient's graph, PyHessian keeps as well, from the "
    "start and for one batch whatever its size."
)
"""Why products are not faster."""

CASES = (
    Case(
        name="hessian-ends",
        row="hessian",
        what="smallest and largest eigenvalue to 1e-3, ResNet-20",
        same=(
            "both ends of the spectrum of the same Hessian, from random starts, to a residual of a thousandth of the "
            "eigenvalue; eigenvalues are compared, relative to the larger one"
        ),
        tolerance=2 * TOLERANCE,
        ours=Side(our_ends),
        peers={
            "curvlinops + eigsh": Side(scipy_ends, package="curvlinops-for-pytorch"),
            "hessian-eigenthings": Side(eigenthings_ends, package="hessian-eigenthings"),
        },
        sizes=_sizes({"most": 40, "examples": 32, "pixels": 8}, {"most": 40}, {"most": 80, "examples": 64}),
        reason=AGAIN,
        goals=(Goal(2.0),),
        limit=partial(products, lambda size, counts: counts["products"]),
        unmeasured={"PyHessian": "has the eigenvalue of largest magnitude by power iteration, not both ends"},
    ),
    Case(
        name="hessian-trace",
        row="hessian",
        what="trace by Hutchinson's estimate, ResNet-20",
        same=(
            "as many random sign vectors, a product each; the estimates are compared in units of their standard errors"
        ),
        tolerance=ERRORS,
        differ=in_errors,
        ours=Side(our_trace),
        peers={
            "PyHessian": Side(pyhessian_trace, package="PyHessian"),
            "curvlinops": Side(curvlinops_trace, package="curvlinops-for-pytorch"),
            "hessian-eigenthings": Side(eigenthings_trace, package="hessian-eigenthings"),
        },
        sizes=_sizes({"probes": 4}, {"probes": 8}, {"probes": 4}),
        reason=AGAIN,
        goals=(Goal(2.0),),
        limit=partial(products, lambda size, _: size["probes"]),
        axes={"probes": (2, 4, 8)},
    ),
    Case(
        name="hessian-density",
        row="hessian",
        what="spectral density by stochastic Lanczos quadrature, ResNet-20",
        same=(
            "as many random vectors with as many Lanczos steps; the densities' means, which are trace / D, are "
            "compared in units of their standard errors, of curvlinops to the width of its kernels"
        ),
        tolerance=ERRORS,
        differ=in_errors,
        ours=Side(our_density),
        peers={
            "PyHessian": Side(pyhessian_density, package="PyHessian"),
            "curvlinops": Side(curvlinops_density, package="curvlinops-for-pytorch"),
            "hessian-eigenthings": Side(eigenthings_density, package="hessian-eigenthings"),
        },
        sizes=_sizes(
            {"probes": 4, "steps": 8, "examples": 32, "pixels": 8},
            {"probes": 4, "steps": 8},
            {"probes": 4, "steps": 10, "examples": 64},
        ),
        reason=AGAIN,
        goals=(Goal(2.0),),
        limit=partial(products, lambda size, _: size["probes"] * size["steps"]),
    ),
    Case(
        name="hessian-product",
        row="hessian",
        what="one Hessian product in units of a gradient, ResNet-20",
        same=(
            "both at the same point on the same images; the product is compared with central differences of float64 "
            "gradients, and with the other packages' products"
        ),
        tolerance=2e-3,
        ours=Side(our_product),
        peers={
            "a gradient": Side(our_gradient, difference, "torch"),
            "curvlinops": Side(curvlinops_product, package="curvlinops-for-pytorch"),
            "hessian-eigenthings": Side(eigenthings_product, package="hessian-eigenthings"),
        },
        sizes=_sizes({}, {}),
        goals=(
            Goal(2.5, "at most", peer="a gradient"),
            Goal(2.0, peer="curvlinops"),
            Goal(2.0, peer="hessian-eigenthings"),
        ),
        limit=partial(products, lambda *_: 1),
        axes={"examples": (16, 32, 64)},
        reason="A second backward pass through kept graphs is twice a gradient's arithmetic; none of it is compiled.",
    ),
)
