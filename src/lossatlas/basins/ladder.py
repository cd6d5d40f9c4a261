"""The Gaussian mass of a basin by a ladder of tethers, from a width that the loss hardly limits outwards.

A rung has a width of the Gaussian and a factor beta of the loss: density N(x; 0, I) exp(-beta L(theta* + width P x)),
F = ln E exp(-beta L) its normalisation. On the first rung beta = 0, the draws are exact and F = 0; the width is such
that half of them lie below the cutoff. Each next rung is wider, by a ratio that keeps rungs overlapping, and beta is
tuned until <L> is the cutoff c; Hamiltonian chains go on from rung to rung. Then, at a width that is asked for,

    ln M = F + ln <exp(beta L) 1[L <= c]>    (an identity)
    ln M <= F + beta c                       (Chernoff, for any beta >= 0)
    F >= -sum <u_(k+1) - u_k>_k              (Gibbs and Bogoliubov)

Neighbours differ in L alone, so rungs go as the root of 2 beta <L>, the number of directions that L limits, and not of
the number of weights. Sources: tethers from the inside out and their diagnostics from Casiulis and Martiniani (Papers
in Physics 15, 150001), free energies from Bennett (1976); beta <L> from Lau et al. (arXiv 2308.12108).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.energies import Mixing, bennett, log_mean_exp, mixing, overlap
from lossatlas.basins.moves import Chains, Energy, move
from lossatlas.errors import LossatlasError

RATIO = 1.15
"""Largest ratio of the widths of two rungs."""

ANGLE = (0.6, 1.8)
"""Range of the angle of a trajectory, of which a quarter turn would forget a Gaussian."""

ACCEPTANCE = 0.8
"""Share of moves taken that the step is tuned to."""

EXACT = 40
"""Exact draws a chain on the first rung."""


@dataclass(frozen=True)
class Settings:
    """How a ladder is walked.

    Attributes:
        chains: m.
        burn: moves a rung that are thrown away; step and beta are tuned in them.
        moves: moves a rung that are measured.
        ratio: largest ratio of two widths.
    """

    chains: int = 32
    burn: int = 15
    moves: int = 30
    ratio: float = RATIO


@dataclass(frozen=True)
class Rung:
    """What was measured on a rung.

    Attributes:
        width, beta: of the rung.
        losses: (moves, chains), L.
        narrower, wider: (moves, chains), L at the same x and the widths of the neighbours; None at the ends.
        virial: (moves, chains), beta x . grad L: its mean is that of -dF / d ln width.
        acceptance, step: of the moves.
        frequency: (n,), of the moves.
        gradients: evaluated on the rung, chains counted one by one.
    """

    width: float
    beta: float
    losses: Array
    narrower: Array | None
    wider: Array | None
    virial: Array
    acceptance: float
    step: float
    frequency: Tensor
    gradients: int


Look = Callable[[Tensor, float, float], None]
"""Called with the chains' places (m, n), width and beta at the end of each rung."""


def first_width(energy: Energy, cutoff: float, generator: torch.Generator, draws: int = 64) -> float:
    """Return the width at which half of the Gaussian's draws lie below the cutoff.

    Raises:
        LossatlasError: the centre lies above the cutoff, or no width up to 100 brings half of the draws above it.
    """
    x = _normal(energy, draws, generator)
    if float(energy.losses(torch.zeros_like(x[:1]), 1.0)[0]) > cutoff:
        raise LossatlasError(f"mass: the minimum itself lies above the cutoff {cutoff:g}")

    def inside(width: float) -> float:
        return float((energy.losses(x, width) <= cutoff).double().mean())

    low, high = 1e-8, 100.0
    if inside(high) > 0.5:
        raise LossatlasError(f"mass: half of all draws of width {high:g} lie below the cutoff {cutoff:g}")
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if inside(middle) > 0.5 else (low, middle)
    return low


def climb(
    energy: Energy,
    cutoff: float,
    widths: Sequence[float],
    settings: Settings,
    generator: torch.Generator,
    group: Tensor | None = None,
    look: Look | None = None,
) -> tuple[list[Rung], Tensor]:
    """Walk outwards to the widest of the widths asked for; each that lies above the first rung's is a rung.

    Args:
        energy: the loss in Gaussian coordinates.
        cutoff: c.
        widths: asked for, ascending.
        settings: how.
        generator: of everything random, on the CPU.
        group: (n,) int64; frequencies are half averaged over groups. Each coordinate is its own by default.
        look: see :data:`Look`.

    Returns:
        The rungs and the places (m, n) where the chains end.
    """
    start = first_width(energy, cutoff, generator)
    wanted = [width for width in widths if width > start]
    rungs = [_exact(energy, start, settings, generator)]
    frequency = torch.ones(energy.dim)
    if not wanted:
        return rungs, _normal(energy, settings.chains, generator)
    spread = rungs[0].losses.mean() / rungs[0].losses.std()  # of a quadratic: root of half the directions it limits
    following = _next(start, wanted, settings.ratio, 2 * spread**2)
    rungs[0] = _exact(energy, start, settings, generator, following)
    x = _normal(energy, settings.chains, generator)
    beta, step = 1.0 / cutoff, 1.0
    while following is not None:
        before, width = rungs[-1].width, following
        beta *= (width / before) if len(rungs) > 1 else 1.0
        chains = Chains.at(energy, x, width)
        extra = 10 if len(rungs) == 1 else 0
        beta, step = _tune(energy, chains, width, beta, step, frequency, settings.burn + extra, generator, cutoff)
        following = _next(width, wanted, settings.ratio, 2 * beta * cutoff)
        rung, stiffness = _measure(
            energy, chains, (before, width, following), beta, step, frequency, settings.moves, generator
        )
        rungs.append(rung)
        x = chains.x
        if look is not None:
            look(x, width, beta)
        if following is not None:
            frequency = _frequency(stiffness * (following / width) ** 2, group)
    return rungs, x


def descend(
    energy: Energy, rungs: Sequence[Rung], x: Tensor, settings: Settings, generator: torch.Generator
) -> list[Rung]:
    """Walk the same rungs back from where a climb ended, and return what is measured, narrowest first.

    A free energy that differs from the climb's shows chains that followed the ladder without being in equilibrium. The
    first rung needs no chain: its draws are exact.
    """
    found: list[Rung] = []
    for k in range(len(rungs) - 1, 0, -1):
        rung = rungs[k]
        wider = rungs[k + 1].width if k + 1 < len(rungs) else None
        chains = Chains.at(energy, x, rung.width)
        _, step = _tune(
            energy, chains, rung.width, rung.beta, rung.step, rung.frequency, settings.burn, generator, None
        )
        neighbours = (rungs[k - 1].width, rung.width, wider)
        measured, _ = _measure(energy, chains, neighbours, rung.beta, step, rung.frequency, settings.moves, generator)
        found.append(measured)
        x = chains.x
    following = rungs[1].width if len(rungs) > 1 else None
    return [_exact(energy, rungs[0].width, settings, generator, following), *reversed(found)]


def tempered(
    energy: Energy, rung: Rung, x: Tensor, beta: float, settings: Settings, generator: torch.Generator
) -> Rung:
    """Return a rung of the same width and another beta, from the places (m, n) of chains on it."""
    chains = Chains.at(energy, x, rung.width)
    _, step = _tune(energy, chains, rung.width, beta, rung.step, rung.frequency, 2 * settings.burn, generator, None)
    measured, _ = _measure(
        energy, chains, (None, rung.width, None), beta, step, rung.frequency, settings.moves, generator
    )
    return measured


def _next(width: float, wanted: Sequence[float], ratio: float, directions: float) -> float | None:
    """Return the next rung's width: a step that keeps overlap, or the next width asked for if that is nearer."""
    further = [one for one in wanted if one > width * (1 + 1e-9)]
    if not further:
        return None
    step = width * min(ratio, math.exp(1 / math.sqrt(max(directions, 1e-3))))
    return further[0] if step > further[0] / 1.02 else step


def _normal(energy: Energy, count: int, generator: torch.Generator) -> Tensor:
    """Return exact draws of the tether (count, n) float32, where the energy is evaluated."""
    return torch.randn(count, energy.dim, generator=generator, dtype=torch.float32).to(energy.like)


def _exact(
    energy: Energy, width: float, settings: Settings, generator: torch.Generator, wider: float | None = None
) -> Rung:
    """Return the first rung, where beta is 0 and draws are exact."""
    losses, beside = [], []
    for _ in range(max(EXACT, settings.moves)):
        x = _normal(energy, settings.chains, generator)
        losses.append(energy.losses(x, width).cpu().numpy())
        if wider is not None:
            beside.append(energy.losses(x, wider).cpu().numpy())
    found = np.array(losses)
    ones = torch.ones(energy.dim)
    return Rung(width, 0.0, found, None, np.array(beside) if beside else None, 0 * found, 1.0, 1.0, ones, 0)


def _tune(
    energy: Energy,
    chains: Chains,
    width: float,
    beta: float,
    step: float,
    frequency: Tensor,
    count: int,
    generator: torch.Generator,
    cutoff: float | None,
) -> tuple[float, float]:
    """Move the chains while the step follows the acceptance and, with a cutoff, beta follows <L>; return both."""
    for k in range(count):
        early = k < count / 2
        rate = _move(energy, chains, width, beta, step, frequency, generator)
        step = min(step * math.exp((rate - ACCEPTANCE) * (0.8 if early else 0.4)), 1.2)
        if cutoff is not None and k > 1:
            factor = (float(chains.loss.mean()) / cutoff) ** (0.5 if early else 0.3)
            beta *= min(1.3, max(0.7, factor))
    return beta, step


def _move(
    energy: Energy,
    chains: Chains,
    width: float,
    beta: float,
    step: float,
    frequency: Tensor,
    generator: torch.Generator,
) -> float:
    """Move once, with a random angle and a step that varies by a tenth, so that no orbit closes."""
    drawn = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    angle = ANGLE[0] + (ANGLE[1] - ANGLE[0]) * drawn[0]
    return move(energy, chains, width, beta, step * (0.9 + 0.2 * drawn[1]), angle, frequency, generator)


def _measure(
    energy: Energy,
    chains: Chains,
    widths: tuple[float | None, float, float | None],
    beta: float,
    step: float,
    frequency: Tensor,
    count: int,
    generator: torch.Generator,
) -> tuple[Rung, Tensor]:
    """Return a rung from so many moves, and the stiffness (n,) of beta L in each coordinate.

    The stiffness is E[(x + beta grad L)_i beta grad_i L], which is E[beta d2L / dx_i2] by Stein's identity.
    """
    losses, virial, acceptance = [], [], 0.0
    beside: tuple[list[Array], list[Array]] = ([], [])
    stiffness = torch.zeros(energy.dim, dtype=torch.float64)
    used = chains.gradients
    for _ in range(count):
        acceptance += _move(energy, chains, widths[1], beta, step, frequency, generator) / count
        pull = beta * chains.gradient
        stiffness += ((chains.x + pull) * pull).double().mean(0).cpu() / count
        losses.append(chains.loss.cpu().numpy())
        virial.append((chains.x * pull).sum(1, dtype=torch.float64).cpu().numpy())
        for kept, width in zip(beside, (widths[0], widths[2]), strict=True):
            if width is not None:
                kept.append(energy.losses(chains.x, width).cpu().numpy())
    narrower, wider = (np.array(kept) if kept else None for kept in beside)
    rung = Rung(
        widths[1],
        beta,
        np.array(losses),
        narrower,
        wider,
        np.array(virial),
        acceptance,
        step,
        frequency,
        chains.gradients - used,
    )
    return rung, stiffness.clamp(min=0.0)


def _frequency(stiffness: Tensor, group: Tensor | None) -> Tensor:
    """Return frequencies (n,) float32, (1 + h)^-1/2, with h half averaged over groups: its estimate is noisy."""
    if group is not None:
        count = int(group.max()) + 1
        sums = torch.zeros(count, dtype=torch.float64).index_add_(0, group.cpu(), stiffness)
        sizes = torch.bincount(group.cpu(), minlength=count).clamp(min=1)
        stiffness = 0.5 * stiffness + 0.5 * (sums / sizes)[group.cpu()]
    return (1 + stiffness).rsqrt().float()


# ---------------------------------------------------------------------------------------------------------------------
# what a ladder says


@dataclass(frozen=True)
class Mass:
    """The Gaussian mass of a basin at one width, and when to believe it. Logarithms are natural.

    Attributes:
        width, beta: of the rung it is taken from; beta 0 = counted among exact draws.
        log_mass: estimate of ln M.
        error: its standard error by the jackknife over chains.
        low, high: lower bound by Gibbs and Bogoliubov, upper bound by Chernoff: bounds if chains are in equilibrium,
            up to their sampling.
        integrated: the estimate with F by thermodynamic integration in place of Bennett's ratio.
        directions: 2 beta <L>, the number of directions that the loss limits.
        least_overlap: of all pairs of rungs up to here.
        mixing: the worst split R-hat of L up to here, and the effective draws on this rung.
        inside: share of samples below the cutoff.
        rungs, gradients: up to here.
    """

    width: float
    beta: float
    log_mass: float
    error: float
    low: float
    high: float
    integrated: float
    directions: float
    least_overlap: float
    mixing: Mixing
    inside: float
    rungs: int
    gradients: int


def masses(rungs: Sequence[Rung], cutoff: float) -> list[Mass]:
    """Return the mass at every rung but the first."""
    steps = [_step(first, second) for first, second in pairwise(rungs)]
    mixed = [mixing(rung.losses) for rung in rungs[1:]]
    return [_mass(rungs[: k + 1], steps[:k], mixed[:k], cutoff) for k in range(1, len(rungs))]


def counted(energy: Energy, cutoff: float, width: float, draws: int, generator: torch.Generator) -> Mass:
    """Return the mass at a width where a good share of exact draws lies below the cutoff: it is counted."""
    losses = np.concatenate(
        [energy.losses(_normal(energy, 64, generator), width).cpu().numpy() for _ in range(-(-draws // 64))]
    )
    share = float((losses <= cutoff).mean())
    value = math.log(share) if share else -math.inf
    error = math.sqrt((1 - share) / (share * len(losses))) if share else math.nan
    nothing = Mixing(math.nan, float(len(losses)))
    return Mass(width, 0.0, value, error, value, value, value, 0.0, 0.5, nothing, share, 1, 0)


@dataclass(frozen=True)
class _Step:
    """The difference of F between two neighbouring rungs.

    Attributes:
        change: by Bennett's ratio.
        others: (chains,), the same without each chain in turn.
        integrated: by thermodynamic integration; from the first rung by Bennett's ratio, since L has heavy tails there.
        low: lower bound, by Gibbs and Bogoliubov.
        overlap: of the two.
    """

    change: float
    others: Array
    integrated: float
    low: float
    overlap: float


def _step(first: Rung, second: Rung) -> _Step:
    """Return what two neighbouring rungs say of their free energies."""
    assert first.wider is not None
    assert second.narrower is not None
    forward = second.beta * first.wider - first.beta * first.losses
    backward = second.beta * second.losses - first.beta * second.narrower
    change = bennett(forward, backward)
    others = []
    for left in range(forward.shape[1]):
        keep = np.arange(forward.shape[1]) != left
        others.append(bennett(forward[:, keep], backward[:, keep]))
    integrated = change
    if first.beta > 0:
        ratio, rise = math.log(second.width / first.width), second.beta - first.beta
        integrated = -0.5 * rise * float(first.losses.mean() + second.losses.mean())
        integrated -= 0.5 * ratio * float(first.virial.mean() + second.virial.mean())
    return _Step(change, np.array(others), integrated, -float(forward.mean()), overlap(forward, backward))


def _mass(rungs: Sequence[Rung], steps: Sequence[_Step], mixed: Sequence[Mixing], cutoff: float) -> Mass:
    """Return the mass at the last of the rungs."""
    last = rungs[-1]
    energy = sum(step.change for step in steps)
    tail = _tail(last.losses, last.beta, cutoff)
    chains = last.losses.shape[1]
    others = np.sum([step.others for step in steps], 0)  # one chain is one unit: it went up the whole ladder
    others += [_tail(np.delete(last.losses, left, 1), last.beta, cutoff) for left in range(chains)]
    return Mass(
        width=last.width,
        beta=last.beta,
        log_mass=energy + tail,
        error=math.sqrt((chains - 1) * np.var(others)) if np.isfinite(others).all() else math.nan,
        low=sum(step.low for step in steps) + tail,
        high=energy + last.beta * cutoff,
        integrated=sum(step.integrated for step in steps) + tail,
        directions=2 * last.beta * float(last.losses.mean()),
        least_overlap=min(step.overlap for step in steps),
        mixing=Mixing(max(one.r_hat for one in mixed), mixed[-1].draws),
        inside=float((last.losses <= cutoff).mean()),
        rungs=len(rungs),
        gradients=sum(rung.gradients for rung in rungs),
    )


def _tail(losses: Array, beta: float, cutoff: float) -> float:
    """Return ln <exp(beta L) 1[L <= c]>."""
    with np.errstate(divide="ignore"):
        return log_mean_exp(np.where(losses <= cutoff, beta * losses, -np.inf))
