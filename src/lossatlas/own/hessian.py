"""The curvature at one's own network: both ends of the Hessian's spectrum, its trace and its density.

From Hessian-vector products alone (:mod:`lossatlas.planes.curvature`): extremes by Lanczos with full
reorthogonalisation (of large networks without, :mod:`lossatlas.landscape.large`), each with the residual |H y - mu y|
within which an eigenvalue lies; the trace by Hutchinson's estimate, with its standard error; the density by stochastic
Lanczos quadrature (Ghorbani, Krishnan, Xiao 2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.large import is_large
from lossatlas.own.bars import ticking
from lossatlas.own.measured import out_of_memory
from lossatlas.own.point import Placed, has_statistics, limited
from lossatlas.own.result import Clock, Result
from lossatlas.planes import curvature
from lossatlas.planes.defaults import TOLERANCE
from lossatlas.planes.trust import SAME, Check, Outcome, Verdict
from lossatlas.seeds import derive

EXAMPLES = 1000
"""Examples of a Hessian where nobody says how many: a product is some four passes over them."""

PRODUCTS = 80
"""Products after which the extremes are given up."""


@dataclass(frozen=True, eq=False, repr=False)
class Hessian(Result):
    """Curvature at a point.

    Attributes:
        lambda_min: smallest eigenvalue found; NaN where a product was not finite.
        lambda_max: largest.
        residual_min: an eigenvalue lies within this of ``lambda_min``.
        residual_max: likewise of ``lambda_max``.
        converged: whether both residuals are within 1% of the larger magnitude.
        products: Hessian-vector products taken for the extremes.
        trace: estimate of the sum of all eigenvalues; NaN where it was not asked for.
        trace_error: its standard error.
        nodes: (probes, steps) of the spectral density; empty where it was not asked for.
        weights: (probes, steps), those of a probe sum to one.
        loss: at the point.
        gradient: norm of the gradient there: far from zero, the point is no minimum.
    """

    lambda_min: float
    lambda_max: float
    residual_min: float
    residual_max: float
    converged: bool
    products: int
    trace: float
    trace_error: float
    nodes: Array
    weights: Array
    loss: float
    gradient: float

    kind: ClassVar[str] = "own-hessian"

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        if self.nodes.size:
            columns = self.columns()
            axes.fill_between(columns["eigenvalue"], columns["density"], color=style.HUES[0], alpha=0.25, lw=0)
            axes.plot(columns["eigenvalue"], columns["density"], color=style.HUES[0], lw=1)
            axes.set_yscale("log")
            axes.set_ylim(1e-7 * float(np.nanmax(columns["density"])), None)
            axes.set_ylabel("share of eigenvalues per unit (estimate)")
        else:
            axes.set_yticks([])
        ends = (("smallest", self.lambda_min, self.residual_min), ("largest", self.lambda_max, self.residual_max))
        for (name, value, residual), color, dash in zip(ends, style.HUES[1:], ("-", "--"), strict=False):
            label = f"{name} {within(value, residual)}"
            axes.axvline(value, color=color, lw=1.1, ls=dash, label=label)
            axes.axvspan(value - residual, value + residual, color=color, alpha=0.15, lw=0)
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_title(f"{self.provenance['network']['label']}: loss {self.loss:.4g}", fontsize=8)
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``eigenvalue`` and ``density`` of the smoothed spectrum, or the extremes where there is none."""
        if not self.nodes.size:
            ends = np.array([self.lambda_min, self.lambda_max])
            return {"eigenvalue": ends, "residual": np.array([self.residual_min, self.residual_max])}
        low, high = min(self.lambda_min, np.nanmin(self.nodes)), max(self.lambda_max, np.nanmax(self.nodes))
        at = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 1001)
        width = 0.01 * (high - low) or 1.0
        return {"eigenvalue": at, "density": curvature.smoothed(self.nodes, self.weights, at, width)}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every number by name."""
        names = ("lambda_min", "lambda_max", "residual_min", "residual_max", "converged", "products")
        rest = ("trace", "trace_error", "nodes", "weights", "loss", "gradient")
        return {name: np.asarray(getattr(self, name)) for name in (*names, *rest)}

    def headline(self) -> str:
        """Return extremes with residuals, trace with error, loss and gradient."""
        trace = "" if np.isnan(self.trace) else f"\n  trace {self.trace:.5g} ± {self.trace_error:.2g} (standard error)"
        return (
            f"Hessian of {self.provenance['network']['label']} ({self.provenance['seconds']:.0f} s)\n"
            f"  largest eigenvalue  {within(self.lambda_max, self.residual_max)}\n"
            f"  smallest eigenvalue {within(self.lambda_min, self.residual_min)}{trace}\n"
            f"  loss {self.loss:.6g}, |gradient| {self.gradient:.3g}"
        )


def within(value: float, error: float) -> str:
    """Return a number with as many digits as its error leaves, and the error: 0.0003212 ± 0.002 is 0.000 ± 0.002."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return f"{value:.6g} ± {error:.1g}"
    digits = int(np.clip(-np.floor(np.log10(error)), 0, 12))
    return f"{value:.{digits}f} ± {error:.1g}" if error < 1e5 else f"{value:.3g} ± {error:.1g}"


def hessian(
    network: Placed,
    *,
    trace: int = 16,
    density: tuple[int, int] | None = (4, 30),
    examples: Any = None,
    tolerance: float = TOLERANCE,
    most: int = PRODUCTS,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Hessian:
    """Measure the curvature of the loss at the network.

    Statistics of batch norm are held fixed: the Hessian is that of the loss in eval mode. It is that of the examples
    that are used, a random 1,000 unless said otherwise.

    Args:
        network: from :func:`lossatlas.load`, or any :class:`lossatlas.own.point.Point`.
        trace: random vectors for the trace, a product each; 0 = no trace.
        density: random vectors and Lanczos steps of the spectral density; None = no density.
        examples: how many, drawn at random; ``all``; None = 1,000 at most.
        tolerance: of the extremes' residuals, relative to the larger magnitude.
        most: products for the extremes.
        seed: of random vectors and examples.
        check: whether to ask if the numbers are right: the extremes again on both halves of the examples.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: arguments that do not fit, or a product that does not fit into memory.
    """
    if trace < 0 or (density is not None and (len(density) != 2 or min(density) < 1)) or most < 1:
        raise LossatlasError(
            f"hessian: got trace {trace!r}, density {density!r}, most {most!r}; expected numbers of vectors and steps"
        )
    smaller, said = limited(network, examples, EXAMPLES, seed)
    settings = {"trace": trace, "density": density, "tolerance": tolerance, "most": most, "seed": seed}
    clock = Clock("hessian", smaller, settings)
    landscape, theta = smaller.landscape, smaller.theta
    dim, device = landscape.dim, landscape.device
    halves = _halves(smaller, seed) if check else ()
    total = min(most, dim) + trace + (density[0] * min(density[1], dim) if density else 0)
    with ticking("hessian", total + len(halves) * min(most, dim) // 2, progress) as tick:

        def product(at: Landscape) -> curvature.Product:
            multiply = partial(at.hvp, theta) if is_large(at) else curvature.hessian_at(at, theta)

            def times(v: Tensor) -> Tensor:
                tick()
                try:
                    return multiply(v)
                except (RuntimeError, MemoryError) as error:
                    if out_of_memory(error):
                        raise LossatlasError(
                            f"hessian: out of memory ({str(error).splitlines()[0]}); load the network with a smaller "
                            "batch_size: products are summed over batches"
                        ) from error
                    raise

            return times

        lean = landscape.dtype if is_large(landscape) else None

        def ends(at: Landscape, tolerance: float) -> curvature.Extremes:
            start = curvature.starting_vector(dim, derive(seed, "hessian", "start"), device, lean)
            return curvature.extremes(product(at), start, tolerance, most, lean)

        found = ends(landscape, tolerance)
        sums = (np.nan, np.nan)
        if trace:
            sums = curvature.trace(product(landscape), dim, trace, derive(seed, "hessian", "trace"), device, lean)
        nodes, weights = np.zeros((0, 0)), np.zeros((0, 0))
        if density:
            seeded = derive(seed, "hessian", "density")
            nodes, weights = curvature.density(product(landscape), dim, *density, seeded, device, lean)
        parts = [ends(half, max(tolerance, 0.05)) for half in halves]
    loss, gradient = landscape.loss_and_grad(theta)
    slope = curvature.inner(gradient, gradient) ** 0.5
    spent = found.products + trace + (density[0] * density[1] if density else 0)
    cost = sum(part.products / 2 for part in parts) / max(spent, 1)
    verdict = Verdict(_checks(found, parts, nodes, smaller, slope), cost) if check else Verdict()
    fixed = "batch-norm statistics are held fixed" if has_statistics(smaller) else ""
    kept = "vectors are kept in the weights' type, Lanczos' last two only" if lean is not None else ""
    return Hessian(
        clock.record(),
        verdict,
        tuple(note for note in (said, fixed, kept) if note),
        found.minimum,
        found.maximum,
        found.residual_min,
        found.residual_max,
        found.converged,
        found.products,
        *sums,
        nodes if np.isfinite(nodes).any() else np.zeros((0, 0)),
        weights if np.isfinite(nodes).any() else np.zeros((0, 0)),
        float(loss),
        slope,
    )


def _halves(network: Placed, seed: int) -> tuple[NetworkLandscape, ...]:
    """Return the landscapes of two random halves of the examples; none for a function and under policy ``batch``."""
    landscape = network.landscape
    if not isinstance(landscape, NetworkLandscape) or landscape.batch_norm == "batch" or len(landscape.y) < 2:
        return ()
    count = len(landscape.y)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "trust", "halves")))
    return tuple(landscape.at_examples(rows.sort().values) for rows in (order[: count // 2], order[count // 2 :]))


def _other_starts(found: curvature.Extremes, nodes: Array, larger: float) -> Check:
    """Compare the ends with what Lanczos found from the density's starts: its values never lie beyond the spectrum.

    A residual says that *an* eigenvalue is near, and Lanczos may stop before it has seen the last one.
    """
    low, high = float(nodes.min()), float(nodes.max())
    beyond = max(found.minimum - low, high - found.maximum, 0.0) / larger if larger > 0 else 0.0
    outcome: Outcome = "yes" if beyond <= TOLERANCE else "no"
    words = "no other start went further" if beyond <= TOLERANCE else f"other starts found {low:.3g} to {high:.3g}"
    return Check("other starts", outcome, beyond, "nothing beyond by more than 1% of the larger end", words)


def _checks(
    found: curvature.Extremes, halves: list[curvature.Extremes], nodes: Array, network: Placed, gradient: float
) -> tuple[Check, ...]:
    """Return the checks of a Hessian: residuals, other starts, the smaller end's sign, halves of the data, slope."""
    larger = max(abs(found.minimum), abs(found.maximum))
    worst = max(found.residual_min, found.residual_max) / larger if larger > 0 else 0.0
    outcome: Outcome = "yes" if found.converged else "undecided" if np.isfinite(worst) else "no"
    words = "both ends are eigenvalues" if found.converged else f"not converged in {found.products} products"
    checks = [Check("residuals", outcome, worst, "1% of the larger end", f"{words} (within {worst:.1g} of the larger)")]
    if not np.isfinite(found.minimum):
        return (Check("residuals", "no", float("nan"), "finite products", "a Hessian-vector product was not finite"),)
    if np.isfinite(nodes).any():
        checks.append(_other_starts(found, nodes[np.isfinite(nodes)], larger))
    known = abs(found.minimum) > found.residual_min
    sign = "negative: no minimum in every direction" if found.minimum < 0 else "positive"
    checks.append(
        Check(
            "sign",
            "stated" if known else "undecided",
            found.minimum,
            "the residual is smaller than the smallest eigenvalue",
            f"the smallest eigenvalue is {sign}" if known else "the sign of the smallest eigenvalue is open",
        )
    )
    if halves:
        values = [half.maximum for half in halves]
        gap = abs(values[0] - values[1]) / abs(found.maximum) if found.maximum else float("nan")
        same: Outcome = "undecided" if not np.isfinite(gap) else "yes" if gap <= SAME else "no"
        words = f"the largest eigenvalue is {values[0]:.3g} and {values[1]:.3g} on two halves of the examples"
        checks.append(Check("examples", same, gap, f"halves differ by at most {SAME} of it", words))
    elif isinstance(network.landscape, NetworkLandscape):
        checks.append(Check("examples", "undecided", float("nan"), "none", "a half is another function"))
    checks.append(Check("gradient", "stated", gradient, "none", f"|gradient| {gradient:.3g}: 0 at a stationary point"))
    return tuple(checks)
