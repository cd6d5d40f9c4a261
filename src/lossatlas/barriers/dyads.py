"""Two samples of pairs compared, where pairs share points: heights of paths between minima are not independent.

The quantity is the *superiority* of the first sample, P(a > b) + P(a = b) / 2 over all its pairs a and the other's b:
1/2 means no difference, and only the order of the values counts. Its interval is from a bootstrap of the points (the
minima), not of the pairs: points are drawn with replacement and a pair weighs as often as both its points were drawn
(Snijders & Borgatti 1999). Its p-value is from a permutation test on disjoint pairs alone: those are independent, so
exchanging their labels is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from lossatlas.arrays import Array

RESAMPLES = 4000
PERMUTATIONS = 10_000
SEED = 0
"""Resampling is part of the measurement, so its seed is fixed."""


@dataclass(frozen=True)
class Sample:
    """Values of pairs of points.

    Attributes:
        values: (n,).
        first, second: (n,) numbers of the points that each pair joins.
    """

    values: Array
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def disjoint(self) -> NDArray[np.intp]:
        """Return pairs that share no point: each, in order, that shares none with those before it."""
        used: set[int] = set()
        chosen = []
        for i, pair in enumerate(zip(self.first.tolist(), self.second.tolist(), strict=True)):
            if not used & set(pair):
                used |= set(pair)
                chosen.append(i)
        return np.array(chosen, dtype=np.intp)

    def weights(self, rng: np.random.Generator) -> Array:
        """Return how often each pair occurs in bootstraps of the points, (RESAMPLES, n)."""
        points = np.unique(np.concatenate([self.first, self.second]))
        drawn = rng.multinomial(len(points), np.full(len(points), 1 / len(points)), size=RESAMPLES)
        return (drawn[:, np.searchsorted(points, self.first)] * drawn[:, np.searchsorted(points, self.second)]).astype(
            float
        )


@dataclass(frozen=True)
class Comparison:
    """How two samples of pairs compare.

    Attributes:
        superiority: of the first sample.
        low, high: its 95% interval.
        p: two-sided, of the permutation test on disjoint pairs.
        disjoint: numbers of disjoint pairs in the two samples.
        least_p: the smallest p that so few pairs can give.
    """

    superiority: float
    low: float
    high: float
    p: float
    disjoint: tuple[int, int]
    least_p: float


def wins(first: Array, second: Array) -> Array:
    """Return (n, m): 1 where a value of the first exceeds one of the second, 1/2 where they are equal, else 0."""
    return (first[:, None] > second[None, :]) + 0.5 * (first[:, None] == second[None, :])


def compare(first: Sample, second: Sample) -> Comparison:
    """Compare two samples of pairs."""
    rng = np.random.default_rng(SEED)
    table = wins(first.values, second.values)
    a, b = first.weights(rng), second.weights(rng)
    totals = a.sum(1) * b.sum(1)
    drawn = ((a @ table) * b).sum(1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    chosen = [sample.values[sample.disjoint()] for sample in (first, second)]
    p, least = _permuted(chosen[0], chosen[1], rng)
    return Comparison(float(table.mean()), float(low), float(high), p, (len(chosen[0]), len(chosen[1])), least)


def _permuted(first: Array, second: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return the p-value of the superiority under all, or many random, exchanges of labels, and the least possible."""
    values, n = np.concatenate([first, second]), len(first)
    table = wins(values, values)
    labellings: Sequence[Sequence[int]]
    if comb(len(values), n) <= PERMUTATIONS:
        labellings = list(combinations(range(len(values)), n))
    else:
        drawn = [rng.permutation(len(values))[:n] for _ in range(PERMUTATIONS - 1)]
        labellings = [np.arange(n), *drawn]  # type: ignore[list-item]
    inside = np.zeros((len(labellings), len(values)))
    for i, rows in enumerate(labellings):
        inside[i, list(rows)] = 1.0
    found = ((inside @ table) * (1 - inside)).sum(1) / (n * len(second)) - 0.5
    reached = np.abs(found) >= abs(float(wins(first, second).mean()) - 0.5) - 1e-12
    return float(reached.mean()), float((np.abs(found) >= 0.5 - 1e-12).mean() or 1 / len(labellings))
