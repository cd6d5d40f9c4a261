"""Intervals: coverage by simulation from fresh seeds, closed forms, an independent library, and no collapse to a point."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossatlas import statistics
from lossatlas.statistics import Interval, rank_correlation, spearman, superiority

TRIALS = 1500
LIMIT = 0.05 + 5 * np.sqrt(0.05 * 0.95 / TRIALS)
"""Most false exclusions on one side that a true rate of 5% shows in as many trials: 7.8%, as 144 rates are compared."""


def false_exclusions(draw, truth):
    """Return how often an interval lies wholly above the truth, and wholly below it; None counts as not excluding."""
    found = [draw() for _ in range(TRIALS)]
    above = sum(one is not None and one.low > truth for one in found)
    below = sum(one is not None and one.high < truth for one in found)
    return above / TRIALS, below / TRIALS


SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n) - 0.5,
    "heavy tails": lambda rng, n: rng.standard_t(3, size=n),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [3, 5, 10])
def test_no_more_than_one_in_twenty_false_verdicts_under_the_null(rng, shape, n):
    def sample(size=n):
        return SHAPES[shape](rng, size)

    def pairs():
        shared = sample()
        return shared + 0.5 * sample(), shared + 0.5 * sample()

    intervals = {
        "mean": (lambda: statistics.of_mean(sample()), 0),
        "difference": (lambda: statistics.of_difference(sample(), 3 * sample(2 * n), paired=False), 0),
        "paired difference": (lambda: statistics.of_difference(*pairs(), paired=True), 0),
        "ratio": (lambda: statistics.of_ratio(10 + sample(), 20 + sample(2 * n), paired=False), 0.5),
        "paired ratio": (lambda: statistics.of_ratio(*(10 + side for side in pairs()), paired=True), 1.0),
        "median": (lambda: statistics.of_median(sample(2 * n)), 0),
        "superiority": (lambda: statistics.of_superiority(sample(), sample(n + 2)), 0.5),
        "clusters": (lambda: statistics.of_clusters(list(sample()), lambda part: float(np.mean(part))), 0),
    }
    rates = {name: false_exclusions(draw, truth) for name, (draw, truth) in intervals.items()}
    assert {name: rate for name, rate in rates.items() if max(rate) > LIMIT} == {}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shares_exclude_the_truth_no_more_often_than_they_may(rng, share):
    rates = [false_exclusions(lambda n=n: statistics.of_share(rng.binomial(n, share), n), share) for n in (3, 6, 30)]
    assert max(map(max, rates)) <= 0.025 + 3 * np.sqrt(0.025 / TRIALS)


def test_a_skewed_sample_is_where_students_t_errs(rng):
    """What the interval of a mean does not promise: of a log-normal sample it lies too low up to one time in ten."""
    truth = np.exp(0.125)
    above, below = false_exclusions(lambda: statistics.of_mean(rng.lognormal(0, 0.5, 5)), truth)
    assert above < below < 0.15


def replicas(rng, groups, rows, rho, shared):
    """Return x and y (groups, rows, 2): correlated within and between replicas, of which each has a place of its own."""
    own = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (groups, rows))
    return np.sqrt(shared) * rng.normal(size=(groups, 1, 2)) + np.sqrt(1 - shared) * own


def frame(found):
    groups, rows, _ = found.shape
    flat = found.reshape(-1, 2)
    return pd.DataFrame({"x": flat[:, 0], "y": flat[:, 1], "replica": np.repeat(np.arange(groups), rows)})


@pytest.mark.parametrize("groups", [5, 10])
@pytest.mark.parametrize("shared", [0.0, 0.2])
def test_rank_correlations_keep_replicas_together(rng, groups, shared):
    far = replicas(rng, 20_000, 8, 0.8, shared).reshape(-1, 2)
    truth = spearman(far[:, 0], far[:, 1])
    trials = 400
    found = [rank_correlation(frame(replicas(rng, groups, 8, 0.8, shared)), "x", "y").interval for _ in range(trials)]
    limit = 0.05 + 3 * np.sqrt(0.05 / trials)
    assert sum(one is not None and one.low > truth for one in found) / trials <= limit
    assert sum(one is not None and one.high < truth for one in found) / trials <= limit
    wide = [one.high - one.low for one in found if one is not None]
    assert len(wide) > 0.9 * trials
    assert np.median(wide) < 1.5, "of two at most: an interval that says something"


def test_against_scipy(rng):
    a, b = rng.normal(size=7), rng.normal(1, 2, size=9)
    t = stats.ttest_1samp(a, 0).confidence_interval()
    assert (statistics.of_mean(a).low, statistics.of_mean(a).high) == pytest.approx((t.low, t.high))
    welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    found = statistics.of_difference(a, b, paired=False)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high))
    paired = stats.ttest_rel(a, b[:7]).confidence_interval()
    found = statistics.of_difference(a, b[:7], paired=True)
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))
    for k, n in ((0, 5), (3, 10), (8, 8)):
        exact = stats.binomtest(k, n).proportion_ci()
        found = statistics.of_share(k, n)
        assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    quantile = stats.quantile_test(a, q=0, p=0.5).confidence_interval(0.95)
    found = statistics.of_median(a)
    assert (found.low, found.high) == pytest.approx((quantile.low, quantile.high))
    assert superiority(a, b) == pytest.approx(stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert spearman(a, b[:7]) == pytest.approx(stats.spearmanr(a, b[:7]).statistic)


def test_no_interval_is_a_point(rng):
    same, apart = np.full(8, 0.25), np.arange(8.0)
    assert statistics.of_mean(same) is None
    assert statistics.of_difference(same, same + 1, paired=True) is None
    assert statistics.of_difference(same, same + 1, paired=False) is None
    assert statistics.of_ratio(same, 2 * same, paired=False) is None
    assert statistics.of_median(same) is None
    assert statistics.of_clusters(list(same), lambda part: float(np.mean(part))) is None
    assert statistics.of_share(8, 8).low == pytest.approx(0.025 ** (1 / 8))
    full = statistics.of_superiority(apart + 10, apart)
    assert full.low < 0.7 < full.high == 1.0
    never = rank_correlation(frame(np.stack([apart, apart], axis=-1)[None].repeat(5, axis=0)), "x", "y")
    assert (never.value, never.interval) == (pytest.approx(1.0), None)


def test_too_few_units_have_none(rng):
    two = rng.normal(size=2)
    assert statistics.of_mean(two) is None
    assert statistics.of_difference(two, rng.normal(size=9), paired=False) is None
    assert statistics.of_median(rng.normal(size=5)) is None
    assert statistics.of_share(0, 0) is None
    assert statistics.of_clusters([1.0, 2.0], np.mean) is None
    assert statistics.of_mean([1.0, np.nan, 2.0]) is None
    few = rank_correlation(pd.DataFrame({"x": [1.0, np.inf], "y": [1.0, 2.0], "replica": [0, 1]}), "x", "y")
    assert (np.isnan(few.value), few.interval, few.rows) == (True, None, 1)


def test_the_jackknife_of_a_mean_is_students_t_at_its_own_level(rng):
    values = rng.normal(size=6)
    found = statistics.of_clusters(list(values), lambda part: float(np.mean(part)))
    half = stats.t.ppf((1 + statistics.CLUSTER_LEVEL) / 2, 5) * values.std(ddof=1) / np.sqrt(6)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    positive = np.exp(values)
    found = statistics.of_clusters(list(positive), lambda part: float(np.mean(part)), np.log, np.exp)
    assert 0 < found.low < found.high
    assert str(Interval(1.23456, 2.0, "t")) == "[1.23, 2]"
