"""95% confidence intervals over independent units, and rank correlations, that several subjects share.

A unit is what was drawn independently: an initialisation, a data set, a path. Every function takes one value a unit (or
one group of rows a unit) and returns None where there are too few units for the interval to exclude anything, or where
all units have one value, so that no interval collapses to a point: what is known of the spread of values that never
differed is nothing. Coverage is simulated in ``tests/test_statistics.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lossatlas.arrays import Array

LEVEL = 0.95
"""Confidence of every interval, two-sided: a threshold outside is excluded at p < .025 on its side."""

CLUSTER_LEVEL = 0.98
"""Nominal confidence of the jackknife over clusters: with three to ten of them, whose rows share much, its intervals at
95% exclude the truth on one side in up to 7% of simulations, these in at most 5%."""

LEAST_UNITS = 3
"""Units that Student's t is used for: with two, its quantile is 12.7 and their spread hardly known."""

LEAST_ORDERED = 6
"""Units that order statistics need: of five, the smallest and the largest enclose the median with 93.8% only."""

_TINY = 1e-12
"""Spread, relative to the values, below which they count as equal."""


@dataclass(frozen=True)
class Interval:
    """A 95% confidence interval.

    Attributes:
        low, high: its ends; infinite where it has none on that side.
        method: what it is computed by, in words.
    """

    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"[{self.low:.3g}, {self.high:.3g}]"


def of_mean(values: Sequence[float] | Array) -> Interval | None:
    """Return the interval of a mean over units, by Student's t."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < LEAST_UNITS or not np.isfinite(sample).all():
        return None
    return _t(float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(len(sample))), len(sample) - 1, "Student's t")


def of_difference(first: Sequence[float] | Array, second: Sequence[float] | Array, paired: bool) -> Interval | None:
    """Return the interval of mean(first) - mean(second): paired t where equal indices belong together, or Welch's."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if paired:
        found = of_mean(a - b)
        return None if found is None else Interval(found.low, found.high, "paired t")
    if not _enough(a, b):
        return None
    error, freedom = _welch(a.var(ddof=1) / len(a), b.var(ddof=1) / len(b), len(a), len(b))
    return _t(float(a.mean() - b.mean()), error, freedom, "Welch's t", max(abs(a.mean()), abs(b.mean())))


def of_ratio(first: Sequence[float] | Array, second: Sequence[float] | Array, paired: bool) -> Interval | None:
    """Return the interval of mean(first) / mean(second) of positive values, by t on its logarithm.

    The variance of the logarithm is that of the delta method, var(a) / mean(a)^2 + var(b) / mean(b)^2; for pairs that
    of the linearised differences a_i / mean(a) - b_i / mean(b).
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if not _enough(a, b) or min(a.mean(), b.mean()) <= 0:
        return None
    middle = float(np.log(a.mean() / b.mean()))
    if paired:
        apart = a / a.mean() - b / b.mean()
        found = _t(middle, float(apart.std(ddof=1) / np.sqrt(len(apart))), len(apart) - 1, "paired t of the logarithm")
    else:
        parts = [values.var(ddof=1) / len(values) / values.mean() ** 2 for values in (a, b)]
        error, freedom = _welch(parts[0], parts[1], len(a), len(b))
        found = _t(middle, error, freedom, "Welch's t of the logarithm")
    return None if found is None else Interval(float(np.exp(found.low)), float(np.exp(found.high)), found.method)


def of_median(values: Sequence[float] | Array) -> Interval | None:
    """Return the interval of a median over units, by order statistics (exact for any continuous distribution)."""
    sample = np.sort(np.asarray(values, dtype=np.float64))
    n = len(sample)
    if n < LEAST_ORDERED or np.isnan(sample).any():
        return None
    # The k-th smallest and the k-th largest enclose the median unless fewer than k values lie on one side of it.
    k = int(stats.binom.ppf((1 - LEVEL) / 2, n, 0.5))
    k = k if stats.binom.cdf(k - 1, n, 0.5) <= (1 - LEVEL) / 2 else k - 1
    low, high = float(sample[k - 1]), float(sample[n - k])
    return None if low == high else Interval(low, high, "order statistics")


def of_share(count: float, total: int) -> Interval | None:
    """Return the interval of a share of units, by Clopper and Pearson (exact); a count may have halves (ties)."""
    if total < 1:
        return None
    tail = (1 - LEVEL) / 2
    low = stats.beta.ppf(tail, count, total - count + 1) if count > 0 else 0.0
    high = stats.beta.ppf(1 - tail, count + 1, total - count) if count < total else 1.0
    return Interval(float(low), float(high), "Clopper and Pearson")


def superiority(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return how often a value of the first sample is above one of the second, ties counted half."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    return float((np.sign(a[:, None] - b[None, :]).mean() + 1) / 2)


def of_superiority(first: Sequence[float] | Array, second: Sequence[float] | Array) -> Interval | None:
    """Return the interval of :func:`superiority`, which does not collapse where the samples are apart.

    As many independent comparisons as the smaller sample has units would give Clopper and Pearson's interval; the mean
    over all pairs varies less than over these (Hoeffding 1963, section 5), so theirs is conservative.
    """
    n = min(len(first), len(second))
    found = of_share(superiority(first, second) * n, n) if n else None
    return None if found is None else Interval(found.low, found.high, "Clopper and Pearson on disjoint pairs")


def of_clusters(
    clusters: Sequence[Any],
    statistic: Callable[[Sequence[Any]], float],
    forward: Callable[[float], float] = float,
    back: Callable[[float], float] = float,
) -> Interval | None:
    """Return the interval of any smooth statistic of independent clusters: jackknife that leaves one out, with t.

    Args:
        clusters: one entry an independent unit, all of its rows together.
        statistic: number of some of the clusters.
        forward: to a scale on which the statistic is nearly normal, such as its logarithm.
        back: from there.
    """
    n = len(clusters)
    if n < LEAST_UNITS:
        return None
    every = forward(statistic(clusters))
    others = np.array([forward(statistic([*clusters[:i], *clusters[i + 1 :]])) for i in range(n)])
    if not (np.isfinite(every) and np.isfinite(others).all()):
        return None
    pseudo = n * every - (n - 1) * others
    error, method = float(pseudo.std(ddof=1) / np.sqrt(n)), "jackknife over units, t"
    found = _t(float(pseudo.mean()), error, n - 1, method, level=CLUSTER_LEVEL)
    return None if found is None else Interval(back(found.low), back(found.high), found.method)


def around(
    value: float,
    others: Sequence[float] | Array,
    forward: Callable[[float], float] = float,
    back: Callable[[float], float] = float,
) -> Interval | None:
    """Return the jackknife's interval about a value itself, from its values without each unit in turn.

    For numbers that depend on how many units there are, such as distances between means: taking the jackknife's bias
    off, as :func:`of_clusters` does, would give those of infinitely many units. ``forward`` and ``back`` as there.
    """
    left = np.array([forward(float(one)) for one in others])
    if len(left) < LEAST_UNITS or not np.isfinite(left).all():
        return None
    n = len(left)
    error = float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    found = _t(forward(value), error, n - 1, "jackknife over units, t, about the value", level=CLUSTER_LEVEL)
    return None if found is None else Interval(back(found.low), back(found.high), found.method)


def _enough(*samples: Array) -> bool:
    return all(len(sample) >= LEAST_UNITS and bool(np.isfinite(sample).all()) for sample in samples)


def _welch(first: float, second: float, n: int, m: int) -> tuple[float, float]:
    """Return standard error and degrees of freedom of a difference (Welch and Satterthwaite)."""
    total = first + second
    parts = first**2 / (n - 1) + second**2 / (m - 1)
    return float(np.sqrt(total)), float(total**2 / parts) if parts else 1.0


def _t(
    middle: float, error: float, freedom: float, method: str, scale: float | None = None, level: float = LEVEL
) -> Interval | None:
    """Return middle +- t times error; None where nothing varied."""
    if error <= _TINY * max(abs(middle if scale is None else scale), _TINY):
        return None
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(middle - half, middle + half, method)


# ---------------------------------------------------------------------------------------------------------------------
# rank correlations

STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}
"""Statistics of a sample by name."""


def spearman(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return Spearman's rank correlation; infinite values have the highest rank; NaN where one side is constant."""
    ranks = [pd.Series(np.asarray(values, dtype=np.float64)).rank().to_numpy() for values in (first, second)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def partial(first: Sequence[float] | Array, second: Sequence[float] | Array, given: Sequence[float] | Array) -> float:
    """Return Spearman's partial correlation of two samples, a third held fixed; NaN where one of them is constant.

    (r_ab - r_ac r_bc) / sqrt((1 - r_ac^2) (1 - r_bc^2)): that of what a linear fit of the third's ranks leaves of the
    other two's ranks. NaN as well where the third's ranks fix one of the others'.
    """
    ab, ac, bc = spearman(first, second), spearman(first, given), spearman(second, given)
    if np.isnan(ac) or np.isnan(bc):
        return ab  # a constant holds nothing
    rest = (1 - ac**2) * (1 - bc**2)
    return float((ab - ac * bc) / np.sqrt(rest)) if rest > _TINY else float("nan")


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over rows that come in independent replicas.

    Attributes:
        value: Spearman's, of all rows.
        interval: over replicas.
        rows, replicas: how many.
    """

    value: float
    interval: Interval | None
    rows: int
    replicas: int

    def __str__(self) -> str:
        interval = "" if self.interval is None else f" {self.interval}"
        return f"{self.value:.3f}{interval} ({self.rows} minima, {self.replicas} replicas)"


def rank_correlation(table: pd.DataFrame, x: str, y: str) -> Correlation:
    """Return Spearman's rank correlation of two columns with its interval over ``replica``.

    Rows without a finite value are left out. Networks of one replica share their initialisation and data and are not
    independent: replicas are left out whole, on the scale of Fisher's z.
    """
    rows = table[np.isfinite(table[x]) & np.isfinite(table[y])]
    groups = [part[[x, y]].to_numpy(np.float64) for _, part in rows.groupby("replica", sort=True)]
    if len(rows) < 3:
        return Correlation(np.nan, None, len(rows), len(groups))

    def pooled(parts: Sequence[Array]) -> float:
        together = np.concatenate(parts)
        return spearman(together[:, 0], together[:, 1])

    def forward(rank: float) -> float:
        return float(np.arctanh(np.clip(rank, -1 + 1e-9, 1 - 1e-9)))

    interval = of_clusters(groups, pooled, forward, lambda z: float(np.tanh(z)))
    return Correlation(pooled(groups), interval, len(rows), len(groups))
