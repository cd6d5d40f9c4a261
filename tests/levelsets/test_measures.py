"""Measures on traversals against known answers, and how often their intervals exclude the truth."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from harness import measure
from scipy import stats

from lossatlas.claims.spec import Holds
from lossatlas.claims.verdict import judge
from lossatlas.clouds.files import Gram
from lossatlas.levelsets.measures import in_deviations
from lossatlas.statistics import around

DIMENSION = 40


def gram_of(theta, table):
    """Return a cloud with a plain column for what no test needs."""
    absent = {"test_accuracy": np.nan, "source": "levelset"}
    return Gram.from_rows(theta, pd.DataFrame({**{k: v for k, v in absent.items() if k not in table}, **table}))


def paths(rng, count, points, theta=None, **columns):
    """Return a cloud of paths, replica by replica; every column is (count, points)."""
    table = {"replica": np.repeat(np.arange(count), points), "steps": np.tile(10.0 * np.arange(points), count)}
    theta = rng.standard_normal((count * points, DIMENSION)) if theta is None else theta
    return gram_of(theta, {**table, **{name: np.ravel(values) for name, values in columns.items()}})


def compared(rng, ours, theirs, replicas):
    """Return a cloud of paths of two points that end at accuracies, with networks of one weight decay."""
    n, m = len(ours), len(theirs)
    table = {
        "replica": [*np.repeat(np.arange(n), 2), *replicas],
        "steps": [*np.tile([0.0, 1.0], n), *np.zeros(m)],
        "source": ["levelset"] * 2 * n + ["sweep"] * m,
        "parameter": ["none"] * 2 * n + ["weight_decay"] * m,
        "value": 0.1,
        "held_out": 0,
        "test_accuracy": [*np.stack([np.full(n, 0.5), ours], axis=1).ravel(), *theirs],
        "test_loss": 1.0,
    }
    return gram_of(rng.standard_normal((2 * n + m, DIMENSION)), table)


def test_numbers_along_a_path_are_means_over_paths(rng):
    """Of each path one number, by hand; intervals are those of t over the paths."""
    angle = np.stack([rng.uniform(80, 100, 6), rng.uniform(100, 120, 6), rng.uniform(150, 180, 6)], axis=1)
    loss = rng.uniform(0.2, 2.0, (6, 3))
    norm2 = np.stack([rng.uniform(90, 110, 6), rng.uniform(40, 80, 6), rng.uniform(10, 20, 6)], axis=1)
    cloud = paths(rng, 6, 3, angle=angle, test_loss=loss, norm2=norm2, train_loss=0.01 * loss)
    expected = {
        "start_loss": 0.01 * loss[:, 0],
        "angle_left": (180 - angle[:, 2]) / (180 - angle[:, 0]),
        "early_fall": (norm2[:, 0] - norm2[:, 1]) / (norm2[:, 0] - norm2[:, 2]),
        "path_change": loss[:, 2] - loss[:, 0],
        "share_below": (loss[:, 1:] < loss[:, :1]).mean(1),
    }
    for name, values in expected.items():
        found = measure(name, {"cloud": cloud})
        assert found.value == pytest.approx(values.mean())
        np.testing.assert_allclose(found.each, values)
        assert (found.n, found.unit) == (6, "paths")
        if np.ptp(values) > 0:
            interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert (found.interval.low, found.interval.high) == pytest.approx(tuple(interval))
    assert measure("early_fall", {"cloud": cloud}, after=0.25).value == pytest.approx(
        ((norm2[:, 0] - norm2[:, 1]) / 2 / (norm2[:, 0] - norm2[:, 2])).mean()
    )
    ratio = measure("path_change", {"cloud": cloud}, quantity="norm2", contrast="ratio")
    assert ratio.value == pytest.approx(norm2[:, 2].mean() / norm2[:, 0].mean())
    assert ratio.interval.low < ratio.value < ratio.interval.high
    assert measure("path_change", {"cloud": cloud}, quantity="test_accuracy").value is None


def test_the_share_of_the_papers_steps_is_that_of_the_shortest_path(rng):
    """Paths of 20 steps: all of 20, half of 40; one that came to its end is whole, whatever its steps."""
    cloud = {"cloud": paths(rng, 3, 3, stopped=[["", "", "steps"]] * 3)}
    assert measure("walked_share", cloud, steps=20).value == 1.0
    assert measure("walked_share", cloud, steps=10).value == 1.0
    assert measure("walked_share", cloud, steps=40).value == 0.5
    ended = {"cloud": paths(rng, 3, 3, stopped=[["", "", why] for why in ("angle", "stationary", "steps")])}
    found = measure("walked_share", ended, steps=40)
    assert (found.value, found.each) == (0.5, [1.0, 1.0, 0.5])
    ended = {"cloud": paths(rng, 2, 3, stopped=[["", "", "angle"]] * 2)}
    assert measure("walked_share", ended, steps=40).value == 1.0


def test_a_gap_in_deviations_has_a_least_unit():
    gap, deviation = np.array([-0.1, 0.0, 0.02, -0.1]), np.array([0.05, 0.0, 0.01, 0.0])
    np.testing.assert_allclose(in_deviations(gap, deviation, 0.0), [-2.0, 0.0, 2.0, -np.inf])
    np.testing.assert_allclose(in_deviations(gap, deviation, 1 / 30), [-2.0, 0.0, 0.6, -3.0])


def test_a_column_that_never_falls_has_no_early_fall(rng):
    found = measure("early_fall", {"cloud": paths(rng, 3, 2, norm2=np.tile([1.0, 2.0], (3, 1)))})
    assert np.isnan(found.value)
    assert judge(found, Holds(op=">", value=0.5)).verdict == "undecided"


def test_networks_of_the_same_replica_are_compared_in_pairs(rng):
    """Splits differ by more than the methods: pairs see the difference, independent groups do not."""
    split, gain = rng.normal(0.8, 0.05, 8), rng.normal(0.01, 0.001, 8)
    paired = measure("decay_gap", {"cloud": compared(rng, split + gain, split, np.arange(8))}, choose="test")
    apart = measure("decay_gap", {"cloud": compared(rng, split + gain, split, 100 + np.arange(8))}, choose="test")
    assert paired.value == pytest.approx(gain.mean())
    assert apart.value == pytest.approx(gain.mean())
    interval = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
    assert (paired.interval.low, paired.interval.high) == pytest.approx(tuple(interval))
    interval = stats.ttest_ind(split + gain, split, equal_var=False).confidence_interval(0.95)
    assert (apart.interval.low, apart.interval.high) == pytest.approx(tuple(interval))
    assert (paired.unit, apart.unit) == ("pairs", "networks a side")
    some = measure("decay_gap", {"cloud": compared(rng, split + gain, split, 4 + np.arange(8))}, choose="test")
    assert some.n == 4  # replicas 4 to 7 are in both


def test_accuracies_in_steps_are_judged_path_by_path(rng):
    """Ten paths that are all two flowers of 30 worse have no spread, but no two verdicts."""
    holds = Holds(op="within", value=[-0.0334, 0.0334], of="most")
    for flowers, verdict in ((2, "fails"), (1, "holds"), (0, "holds")):
        cloud = compared(rng, np.full(10, 1 - flowers / 30), np.ones(10), 100 + np.arange(10))
        found = measure("decay_gap", {"cloud": cloud}, choose="test")
        assert found.interval is None
        assert judge(found, holds).verdict == verdict
        assert judge(found, Holds(op=">", value=0.0)).verdict == "not judged"


def test_end_points_without_anything_in_common_are_sqrt_2_apart(rng):
    def found(common, count=10):
        ends = common * np.ones(DIMENSION) + rng.standard_normal((count, DIMENSION))
        theta = np.stack([rng.standard_normal((count, DIMENSION)), ends], axis=1).reshape(-1, DIMENSION)
        return measure("ends_apart", {"cloud": paths(rng, count, 2, theta)})

    holds = Holds(op="<", value=1.0)
    assert found(0.0).value == pytest.approx(np.sqrt(2), rel=0.1)
    assert judge(found(0.0), holds).verdict == "fails"
    assert found(2.0).value == pytest.approx(np.sqrt(2 / 5), rel=0.15)
    assert judge(found(2.0), holds).verdict == "holds"
    assert found(0.0, 2).interval is None


def test_intervals_about_a_distance_of_means_cover_it(rng):
    """Length of the mean of n vectors, which falls with n: its expectation is missed on one side at most once in 20."""
    n, trials, sides = 6, 400, np.zeros(2)
    norms = [np.linalg.norm(rng.standard_normal((n, 12)).mean(0)) for _ in range(20_000)]
    truth = np.log(norms).mean()
    for _ in range(trials):
        x = rng.standard_normal((n, 12))
        value, others = np.log(np.linalg.norm(x.mean(0))), []
        for i in range(n):
            others.append(np.log(np.linalg.norm(np.delete(x, i, 0).mean(0))))
        interval = around(value, others)
        assert (interval.low + interval.high) / 2 == pytest.approx(value)
        sides += [truth < interval.low, truth > interval.high]
    assert sides.max() <= 0.05 * trials + 3 * np.sqrt(0.05 * 0.95 * trials)
    assert around(1.0, [1.0, 1.0, 1.0]) is None
    assert around(1.0, []) is None


def test_an_average_like_any_end_point_is_not_judged_worse(rng):
    """Under the null the average is one more value of the same kind: it holds in at most one in twenty."""
    trials, wrong = 600, 0
    for _ in range(trials):
        logs = rng.normal(1.0, 0.3, 8)
        table = pd.DataFrame({"mean_test_loss": np.exp(logs[0]), "end_test_loss": np.exp(logs[1:])})
        found = measure("average_loss", {"average": table}, part="test")
        wrong += judge(found, Holds(op=">", value=1.0)).verdict == "holds"
    assert found.value == pytest.approx(np.exp((logs[0] - logs[1:]).mean()))
    assert wrong <= 0.05 * trials
    worse = pd.DataFrame({"mean_test_loss": 500.0, "end_test_loss": np.exp(logs)})
    found = measure("average_loss", {"average": worse}, part="test")
    assert judge(found, Holds(op=">", value=1.0)).verdict == "holds"


def test_explained_variance_is_that_of_all_sets_of_paths(rng):
    """Shares by a dense decomposition; the interval is about the value, also for the one set of all paths."""
    count, points = 5, 6
    theta = np.cumsum(rng.standard_normal((count * points, DIMENSION)), axis=0)
    cloud = paths(rng, count, points, theta)

    def share(chosen):
        rows = np.concatenate([np.arange(points * r, points * (r + 1)) for r in chosen])
        squares = np.linalg.svd(theta[rows] - theta[rows].mean(0), compute_uv=False) ** 2
        return squares[:2].sum() / squares.sum()

    for size in (1, 2, 5):
        found = measure("explained_variance", {"cloud": cloud}, traversals=size)
        assert found.value == pytest.approx(np.mean([share(chosen) for chosen in combinations(range(count), size)]))
        assert (found.interval.low + found.interval.high) / 2 == pytest.approx(found.value)
        assert found.n == count
    assert measure("explained_variance", {"cloud": cloud}, traversals=6).value is None


def test_means_are_compared_where_the_claim_asks(rng):
    """Two groups of vectors about one centre: their means are near each other, and as near the origin."""
    n, points = 8, 4
    ends, decayed = (rng.standard_normal((n, DIMENSION)) for _ in range(2))
    theta = np.stack([3 * ends + k * (ends - 3 * ends) / (points - 1) for k in range(points)], axis=1)
    table = {
        "replica": [*np.repeat(np.arange(n), points), *(100 + np.arange(n))],
        "steps": [*np.tile(np.arange(points, dtype=float), n), *np.zeros(n)],
        "source": ["levelset"] * n * points + ["sweep"] * n,
        "parameter": ["none"] * n * points + ["weight_decay"] * n,
        "value": 0.1,
        "held_out": 0,
        "test_loss": 1.0,
    }
    cloud = gram_of(np.concatenate([theta.reshape(-1, DIMENSION), decayed]), table)
    gap = np.linalg.norm(ends.mean(0) - decayed.mean(0))
    moved = np.linalg.norm(2 * ends, axis=1).mean()
    keys = {"choose": "test", "space": "whole"}
    found = measure("means_apart", {"cloud": cloud}, **keys)
    assert found.value == pytest.approx(gap / moved)
    assert found.interval.low < found.value < found.interval.high
    assert (found.n, found.unit) == (n, "networks a side")
    origin = measure("means_apart", {"cloud": cloud}, **keys, relative_to="origin")
    assert origin.value == pytest.approx(gap / np.linalg.norm(ends.mean(0)))
    assert judge(origin, Holds(op="<", value=0.5)).verdict == "fails"
    few = np.flatnonzero((cloud.table["source"] == "sweep") & (cloud.table["replica"] > 101))
    kept = np.setdiff1d(np.arange(cloud.n), few)
    theta = np.concatenate([theta.reshape(-1, DIMENSION), decayed])[kept]
    smaller = gram_of(theta, cloud.table.iloc[kept].reset_index(drop=True).to_dict("list"))
    assert measure("means_apart", {"cloud": smaller}, **keys).interval is None  # two networks


def beside(rng, lengths, losses, source="control"):
    """Return a cloud of paths and of controls, their test loss linear in their length, (kinds, replicas) each."""
    rows = []
    for kind, name in enumerate(("levelset", source)):
        for replica, (length, slope) in enumerate(zip(lengths[kind], losses[kind], strict=True)):
            for share in (0.0, 0.5, 1.0):
                at = share * length
                rows.append({"source": name, "replica": replica, "steps": 10 * share, "length": at})
                rows[-1] |= {"test_loss": 1.0 + slope * at, "norm2": 9.0 - slope * at, "rejected": 2 * share}
    return gram_of(rng.standard_normal((len(rows), DIMENSION)), pd.DataFrame(rows).to_dict("list"))


def test_a_control_is_compared_at_the_length_that_both_have(rng):
    lengths, slopes = rng.uniform(1, 3, (2, 5)), rng.uniform(-1, 1, (2, 5))
    found = measure("control_gap", {"cloud": beside(rng, lengths, slopes)}, control="control")
    expected = (slopes[0] - slopes[1]) * lengths.min(0)
    np.testing.assert_allclose(found.each, expected)
    assert (found.n, found.unit) == (5, "pairs")
    assert found.interval.low < expected.mean() < found.interval.high
    assert measure("control_gap", {"cloud": beside(rng, lengths, slopes)}, control="none").value is None
    assert measure("steps_mended", {"cloud": beside(rng, lengths, slopes)}, quantity="rejected").value == 0.2
    changed = measure("path_change", {"cloud": beside(rng, lengths, slopes)}, source="control")
    np.testing.assert_allclose(changed.each, slopes[1] * lengths[1])


def test_the_same_path_is_told_from_another_one(rng):
    lengths, slopes = rng.uniform(1, 3, (2, 4)), np.tile(rng.uniform(0.5, 1, 4), (2, 1))
    assert measure("same_path", {"cloud": beside(rng, lengths, slopes)}, other="control").value < 1e-12
    slopes[1] *= 1.5
    lengths[1] = lengths[0]
    found = measure("same_path", {"cloud": beside(rng, lengths, slopes)}, other="control")
    assert found.value == pytest.approx(0.5)


def test_the_distance_that_is_left_is_that_of_roots(rng):
    left = rng.uniform(0.001, 0.9, 6)
    cloud = paths(
        rng,
        6,
        2,
        objective=np.stack([np.full(6, 16.0), 16 * left**2], 1),
        train_loss=np.full((6, 2), 0.1),
        length=np.ones((6, 2)),
        between=np.stack([np.zeros(6), 0.01 * left], 1),
    )
    np.testing.assert_allclose(measure("distance_left", {"cloud": cloud}).each, left)
    between = measure("distance_left", {"cloud": cloud}, quantity="between")
    np.testing.assert_allclose(between.each, 0.1 * left)
