"""The basin around a minimum: how far it reaches in random directions, and its volume (Huang et al. 2020, section 5).

The basin is the set of points whose loss lies below a cutoff, as seen from the minimum: r(phi) is the distance at which
the loss first crosses the cutoff along direction phi. Its volume in n dimensions is V = omega_n E[r^n] over directions
on the unit sphere, omega_n = pi^(n/2) / Gamma(1 + n/2). For a set that is not star-shaped that is the volume of the
part which the minimum sees.

r^n overflows float64 at once, so everything is a logarithm. E[r^n] hangs on the few largest radii: beside the estimate
stand its bootstrap interval and the effective number of directions, (sum w)^2 / sum w^2 with w = r^n, which says how
many directions carry it. Where that number is near one, the estimate has not converged and is a lower bound.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.defaults import BLOCK
from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import Landscape, NetworkLandscape

BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True)
class Search:
    """How a first crossing is looked for.

    Attributes:
        tolerance: relative width of the bracket at which a radius counts as found.
        growth: factor between two steps outwards. A crossing and a return between two steps go unseen.
        pilot: directions that find the size of the basin before all the others are walked.
        least: step with which the pilot begins, and below which a radius counts as zero.
        most: step beyond which a direction counts as unbounded.
        chunk: directions evaluated at once.
    """

    tolerance: float = 2.5e-5
    growth: float = 1.15
    pilot: int = BLOCK
    least: float = 1e-10
    most: float = 1e6
    chunk: int = 32


@dataclass(frozen=True)
class Crossings:
    """Where the loss first crosses each cutoff.

    Attributes:
        radii: (cutoffs, k) float64; inf = it never did up to ``Search.most``, 0 = the minimum itself lies above.
        evaluations: of the loss, in all.
    """

    radii: Array
    evaluations: int


class Radii:
    """First crossings of the loss along rays from one point, all rays of a chunk in lockstep.

    Attributes:
        first: step to walk from, None before :meth:`prepare`; settable, to resume.
    """

    def __init__(self, landscape: Landscape, centre: Tensor, search: Search | None = None) -> None:
        """Look from ``centre`` (D,)."""
        self.landscape, self.search = landscape, search or Search()
        self.centre = centre.detach().to(landscape.device, landscape.dtype)
        self.least = float(landscape.loss(self.centre))
        self.evaluations = 1
        self.first: float | None = None

    def losses(self, directions: Tensor, steps: Array) -> Array:
        """Return the losses (k,) at centre + step * direction; a loss that is not finite is infinite."""
        self.evaluations += len(steps)
        scale = torch.from_numpy(steps).to(directions.device, directions.dtype)[:, None]
        found = self.landscape.losses(self.centre + scale * directions).cpu().numpy()
        return np.where(np.isfinite(found), found, np.inf)

    def first_step(self, directions: Tensor, cutoff: float) -> float:
        """Return a step from which to walk outwards: half of the least lower bracket of the pilot directions.

        The pilot walks by factors of two from ``Search.least``.
        """
        pilot = directions[: self.search.pilot]
        inside, steps = np.full(len(pilot), np.inf), self.search.least
        active = np.arange(len(pilot))
        while len(active) and steps < self.search.most:
            out = self.losses(pilot[torch.from_numpy(active)], np.full(len(active), steps)) >= cutoff
            inside[active[out]] = steps / 2
            active = active[~out]
            steps *= 2
        return max(min(float(inside.min()), self.search.most) / 2, self.search.least)

    def prepare(self, directions: Tensor, cutoffs: Array) -> None:
        """Find the step to walk from, for the lowest cutoff above the loss here; later calls keep it."""
        above = cutoffs[cutoffs > self.least]
        if self.first is None and len(above):
            self.first = self.first_step(directions, float(above[0]))

    def crossings(self, directions: Tensor, cutoffs: Array) -> Crossings:
        """Return the first crossing of each cutoff along each direction.

        The rays walk outwards by ``growth`` until the loss is at least the cutoff, then a safeguarded regula falsi on
        the logarithm of the loss closes the bracket. A higher cutoff is looked for from the last step that lay below
        the lower one. The step that is walked from is found from a pilot, unless :meth:`prepare` has found it.

        Args:
            directions: (k, D), of any length; radii are multiples of them.
            cutoffs: ascending, above 0.

        Raises:
            LossatlasError: cutoffs that do not ascend.
        """
        if len(cutoffs) == 0 or cutoffs[0] <= 0 or (np.diff(cutoffs) <= 0).any():
            raise LossatlasError(f"volume: cutoffs got {list(cutoffs)!r}; expected ascending numbers above 0")
        before = self.evaluations
        self.prepare(directions, cutoffs)
        radii = np.empty((len(cutoffs), len(directions)))
        inside = np.zeros(len(directions))
        for i, cutoff in enumerate(cutoffs):
            if self.least >= cutoff:
                radii[i] = 0.0
                continue
            for start in range(0, len(directions), self.search.chunk):
                part = slice(start, start + self.search.chunk)
                radii[i, part], inside[part] = self._solve(directions[part], float(cutoff), inside[part])
        return Crossings(radii, self.evaluations - before)

    def _solve(self, directions: Tensor, cutoff: float, inside: Array) -> tuple[Array, Array]:
        """Return radii and, for the next cutoff, steps below this one before which the loss was below it."""
        low, high, low_loss, high_loss = self._walk(directions, cutoff, inside)
        kept = low.copy()
        target = np.log(cutoff)
        a, b = low.copy(), high.copy()
        fa, fb = _log(low_loss) - target, _log(high_loss) - target
        radii = np.where(np.isinf(high), np.inf, (a + b) / 2)
        active = np.flatnonzero(np.isfinite(high) & (b - a > self.search.tolerance * b))
        side = np.zeros(len(directions))
        halve = np.zeros(len(directions), dtype=bool)
        while len(active):
            x, width = self._guess(a, b, fa, fb, halve, active), (b - a)[active]
            f = _log(self.losses(directions[torch.from_numpy(active)], x)) - target
            out = f >= 0
            for chosen, mine, value, other_value, sign in (
                (active[out], b, fb, fa, 1.0),
                (active[~out], a, fa, fb, -1.0),
            ):
                hit = np.isin(active, chosen)
                mine[chosen], value[chosen] = x[hit], f[hit]
                stuck = chosen[side[chosen] == sign]  # Illinois: the end that stays counts half
                other_value[stuck] /= 2
                side[chosen] = sign
            halve[active] = (b - a)[active] > 0.5 * width
            radii[active] = (a + b)[active] / 2
            active = active[(b - a)[active] > self.search.tolerance * b[active]]
        return radii, kept

    def _guess(
        self, a: Array, b: Array, fa: Array, fb: Array, halve: NDArray[np.bool_], active: NDArray[np.intp]
    ) -> Array:
        """Return the next step of each open bracket: the secant's zero, or its middle after a step that did little."""
        a, b, fa, fb = a[active], b[active], fa[active], fb[active]
        with np.errstate(invalid="ignore", divide="ignore"):
            secant = a + (b - a) * (-fa) / (fb - fa)
        # A zero that hugs one end leaves the far end where it is: look a little to its other side.
        margin = 0.4 * self.search.tolerance * b
        secant = np.clip(secant, a + margin, b - margin)
        return np.where(np.isfinite(secant) & ~halve[active], secant, (a + b) / 2)

    def _walk(self, directions: Tensor, cutoff: float, inside: Array) -> tuple[Array, Array, Array, Array]:
        """Return for each direction the last step below the cutoff, the first one not below, and their losses.

        A step that nothing lies below is 0, with the loss of the minimum; one that is never reached is inf.
        """
        count = len(directions)
        low, low_loss = inside.copy(), np.full(count, self.least)
        high, high_loss = np.full(count, np.inf), np.full(count, np.inf)
        step = np.where(inside > 0, inside * self.search.growth, self.first or self.search.least)
        active, fresh = np.arange(count), inside == 0
        while len(active):
            found = self.losses(directions[torch.from_numpy(active)], step[active])
            out = found >= cutoff
            # Outside at the very first step: it crosses nearer than the pilot said, so walk from further in.
            restart = active[out & fresh[active] & (step[active] > 2 * self.search.least)]
            step[restart] = np.maximum(step[restart] / 8, self.search.least)
            done = np.setdiff1d(active[out], restart)
            hit = np.isin(active, done)
            high[done], high_loss[done] = step[done], found[hit]
            on = active[~out]
            low[on], low_loss[on] = step[on], found[~out]
            fresh[on] = False
            step[on] *= self.search.growth
            active = np.concatenate([restart, on[step[on] <= self.search.most]])
            active.sort()
        return low, high, low_loss, high_loss


def _log(losses: Array) -> Array:
    """Return logarithms; an infinite loss is a very large one and a loss of zero a very small one."""
    return np.log(np.clip(losses, 1e-300, 1e300))


@dataclass(frozen=True)
class Volume:
    """What radii along random directions say of a basin of n dimensions.

    Attributes:
        log10_volume: log10 of omega_n E[r^n]; NaN where a direction is unbounded or the radius is zero.
        low, high: 95% percentile bootstrap interval over directions. No resample holds a radius above the largest one
            seen, so it understates what more directions would add.
        effective: effective number of directions behind it.
        median, largest: radii.
        unbounded: share of directions without a crossing.
    """

    log10_volume: float
    low: float
    high: float
    effective: float
    median: float
    largest: float
    unbounded: float


def log_ball(n: int) -> float:
    """Return the natural logarithm of the volume of the unit ball in n dimensions."""
    return float(0.5 * n * np.log(np.pi) - gammaln(1 + 0.5 * n))


def log_mean_power(radii: Array, n: int) -> Array:
    """Return log E[r^n] over the last axis, float64, without forming r^n."""
    powers = n * np.log(radii)
    top = powers.max(axis=-1, keepdims=True)
    return np.log(np.mean(np.exp(powers - top), axis=-1)) + top[..., 0]


def effective_number(radii: Array, n: int) -> float:
    """Return (sum w)^2 / sum w^2 for w = r^n: 1 = one direction carries the estimate, k = all do alike."""
    weights = np.exp(n * (np.log(radii) - np.log(radii.max())))
    return float(weights.sum() ** 2 / np.square(weights).sum())


def summarise(radii: Array, n: int, seed: int, samples: int = BOOTSTRAP_SAMPLES) -> Volume:
    """Return the volume and its doubts from radii (k,) in n dimensions; ``seed`` is the bootstrap's."""
    unbounded = float(np.isinf(radii).mean())
    median, largest = float(np.median(radii)), float(radii.max())
    if unbounded or not (radii > 0).all():
        return Volume(np.nan, np.nan, np.nan, np.nan, median, largest, unbounded)
    constant = log_ball(n)
    value = float(log_mean_power(radii, n) + constant) / np.log(10)
    generator = np.random.default_rng(seed)
    drawn = [log_mean_power(radii[generator.integers(len(radii), size=len(radii))], n) for _ in range(samples)]
    low, high = (np.quantile(drawn, [0.025, 0.975]) + constant) / np.log(10)
    return Volume(value, float(low), float(high), effective_number(radii, n), median, largest, 0.0)


def matched_output_scale(landscape: NetworkLandscape, theta: Tensor, target: float) -> Tensor:
    """Return theta with its output layer multiplied by the number that makes the loss ``target``.

    Every decision stays what it is: minima of different losses are compared at one of them. For networks that end in a
    linear layer, whose parameters come last.

    Raises:
        LossatlasError: no factor does it, since examples are classified wrongly.
    """
    head = landscape.layout.names[-1].rpartition(".")[0]
    mask = torch.cat(
        [
            torch.full((size,), name.rpartition(".")[0] == head)
            for name, size in zip(landscape.layout.names, landscape.layout.sizes, strict=True)
        ]
    ).to(theta.device)

    def scaled(log_factor: float) -> Tensor:
        return torch.where(mask, theta * float(np.exp(log_factor)), theta)

    low, high = -12.0, 12.0  # a larger factor gives a lower loss while every example is right
    if float(landscape.loss(scaled(high))) > target:
        raise LossatlasError(f"volume: no scale of the outputs brings the training loss down to {target:g}")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(landscape.loss(scaled(middle))) > target else (low, middle)
    return scaled(high)
