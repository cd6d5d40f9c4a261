"""Free energies from samples of neighbouring rungs: Bennett's ratio, integration, overlap, mixing of chains.

A rung has the unnormalised density N(x; 0, I) exp(-u(x)); F = ln of its normalisation. Everything takes reduced
energies of samples, (moves, chains), and nothing knows of networks.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from lossatlas.arrays import Array


def bennett(forward: Array, backward: Array) -> float:
    """Return F_1 - F_0 = ln(Z_1 / Z_0) by Bennett's acceptance ratio (1976), which is MBAR for two states.

    Args:
        forward: u_1 - u_0 at samples of 0, any shape.
        backward: u_1 - u_0 at samples of 1, any shape.
    """
    first, second = np.ravel(forward), np.ravel(backward)
    shift = np.log(first.size / second.size)

    def imbalance(change: float) -> float:
        return float(expit(-(shift + first + change)).sum() - expit(shift + second + change).sum())

    low, high = -max(first.max(), second.max()) - abs(shift) - 1.0, -min(first.min(), second.min()) + abs(shift) + 1.0
    return float(brentq(imbalance, low, high, xtol=1e-10))


def overlap(forward: Array, backward: Array) -> float:
    """Return how much two rungs share, the off-diagonal entry of MBAR's overlap matrix: 1/2 = they are one.

    Klimovich, Shirts and Mobley (2015) ask for .03 or more.
    """
    change = bennett(forward, backward)
    first, second = np.ravel(forward), np.ravel(backward)
    share = first.size / (first.size + second.size)
    both = np.concatenate([first, second])
    in_first = expit(both + change + np.log(share / (1 - share)))  # probability that a sample is of rung 0
    return float((in_first * (1 - in_first)).sum() / first.size)


@dataclass(frozen=True)
class Mixing:
    """How well chains have mixed.

    Attributes:
        r_hat: split R-hat (Gelman et al. 2013, section 11.4); 1 = halves of chains agree.
        draws: effective number of independent draws, by the pooled autocorrelation.
    """

    r_hat: float
    draws: float


def mixing(values: Array) -> Mixing:
    """Return the mixing of (moves, chains); NaN for fewer than 8 moves or where nothing varies."""
    half = len(values) // 2
    if half < 4:
        return Mixing(np.nan, np.nan)
    split = np.concatenate([values[:half], values[half : 2 * half]], 1)
    within = split.var(0, ddof=1).mean()
    if within == 0:
        return Mixing(np.nan, np.nan)
    between = split.mean(0).var(ddof=1)
    r_hat = np.sqrt((half - 1) / half + between / within)
    centred = values - values.mean()
    variance, time = np.square(centred).mean(), 1.0
    for lag in range(1, len(values) - 1):
        correlation = (centred[:-lag] * centred[lag:]).mean() / variance
        if correlation < 0.05:
            break
        time += 2 * correlation
    return Mixing(float(r_hat), float(values.size / time))


def log_mean_exp(values: Array) -> float:
    """Return ln of the mean of exp(values) over all entries; -inf where all are."""
    top = values.max()
    return float(top + np.log(np.mean(np.exp(values - top)))) if np.isfinite(top) else float(top)
