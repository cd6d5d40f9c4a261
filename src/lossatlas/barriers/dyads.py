"""Two samples of pairs compared, where pairs share points: heights of paths between minima are not independent.

The quantity is the *superiority* of the first sample, P(a > b) + P(a = b) / 2: 1/2 means no difference, and only the
order of the values counts. Pairs that share a point are not independent; those of a *matching*, which share none, are.
Each sample is split into matchings and its largest are kept: the superiority is the mean over them, its interval the
exact one for as many independent pairs as one of them has, since a mean over several varies no more than one of them.
It does not collapse where every value of one sample is above every one of the other. The p-value is that of a
permutation test on one matching of each sample, which is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.statistics import Interval, of_share

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

    def matchings(self) -> list[NDArray[np.intp]]:
        """Return the largest of the matchings that the pairs are split into, each in turn into the first it fits."""
        used: list[set[int]] = []
        chosen: list[list[int]] = []
        for i, pair in enumerate(zip(self.first.tolist(), self.second.tolist(), strict=True)):
            place = next((k for k, points in enumerate(used) if not points & set(pair)), len(used))
            if place == len(used):
                used.append(set())
                chosen.append([])
            used[place] |= set(pair)
            chosen[place].append(i)
        most = max(map(len, chosen))
        return [np.array(rows, dtype=np.intp) for rows in chosen if len(rows) == most]


@dataclass(frozen=True)
class Comparison:
    """How two samples of pairs compare.

    Attributes:
        superiority: of the first sample.
        interval: its 95% interval.
        p: two-sided, of the permutation test on disjoint pairs.
        disjoint: numbers of disjoint pairs in the two samples.
        least_p: the smallest p that so few pairs can give.
    """

    superiority: float
    interval: Interval
    p: float
    disjoint: tuple[int, int]
    least_p: float


def wins(first: Array, second: Array) -> Array:
    """Return (n, m): 1 where a value of the first exceeds one of the second, 1/2 where they are equal, else 0."""
    return (first[:, None] > second[None, :]) + 0.5 * (first[:, None] == second[None, :])


def compare(first: Sample, second: Sample) -> Comparison:
    """Compare two samples of pairs, neither of them empty."""
    matched = first.matchings(), second.matchings()
    a, b = (sample.values[np.concatenate(kept)] for sample, kept in zip((first, second), matched, strict=True))
    value = float(wins(a, b).mean())
    count = min(len(kept[0]) for kept in matched)
    found = of_share(value * count, count)
    assert found is not None  # there is one pair at least
    interval = Interval(found.low, found.high, f"{found.method} on disjoint pairs")
    chosen = first.values[matched[0][0]], second.values[matched[1][0]]
    p, least = _permuted(chosen[0], chosen[1], np.random.default_rng(SEED))
    return Comparison(value, interval, p, (len(chosen[0]), len(chosen[1])), least)


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
