"""The rules of verdicts, on measurements whose answer is known."""

import numpy as np
import pytest

from lossatlas import statistics
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.claims.spec import Holds, Statement, folded
from lossatlas.claims.verdict import judge, judge_statement
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read
from lossatlas.statistics import Interval


def measured(value, low=None, high=None, **more):
    interval = None if low is None else Interval(low, high, "known")
    return Measurement(value, interval, 10, "", **more)


def holds(op, value, of="value"):
    return read(Holds, {"op": op, "value": value, "of": of})


@pytest.mark.parametrize(
    ("found", "threshold", "verdict"),
    [
        (measured(2.0, 1.5, 2.5), holds(">", 1.0), "holds"),
        (measured(2.0, 0.5, 3.5), holds(">", 1.0), "undecided"),
        (measured(0.5, 0.2, 0.9), holds(">", 1.0), "fails"),
        (measured(0.5, 0.2, 1.0), holds(">", 1.0), "fails"),
        (measured(0.5, 0.2, 1.0), holds(">=", 1.0), "undecided"),
        (measured(0.5, 0.2, 0.9), holds("<", 1.0), "holds"),
        (measured(2.0, 1.5, 2.5), holds("<", 1.0), "fails"),
        (measured(1.1, 0.9, 1.3), holds("<=", 1.0), "undecided"),
        (measured(0.0, -0.1, 0.2), holds("within", [-0.5, 0.5]), "holds"),
        (measured(0.0, -0.1, 0.7), holds("within", [-0.5, 0.5]), "undecided"),
        (measured(2.0, 1.0, 3.0), holds("within", [-0.5, 0.5]), "fails"),
        (measured(2.0), holds(">", 1.0), "not judged"),
        (measured(2.0, exact=True), holds(">", 1.0), "holds"),
        (measured(0.3, exact=True), holds("within", [0, 0.2]), "fails"),
        (measured(np.nan, 0, 1), holds(">", 1.0), "undecided"),
        (nothing("no run"), holds(">", 1.0), "not judged"),
    ],
)
def test_a_claim_is_judged_by_its_interval(found, threshold, verdict):
    assert judge(found, threshold).verdict == verdict


@pytest.mark.parametrize(
    ("values", "of", "verdict"),
    [
        ([1.0] * 9 + [0.0], "every", "fails"),
        ([1.0] * 10, "every", "holds"),
        ([1.0] * 5, "every", "undecided"),
        ([1.0] * 9 + [0.0], "most", "holds"),
        ([1.0] * 6 + [0.0] * 4, "most", "undecided"),
        ([1.0] + [0.0] * 9, "most", "fails"),
        ([1.0] + [0.0] * 9, "any", "holds"),
        ([0.0] * 9, "any", "undecided"),
        ([1.0] * 9 + [np.nan], "every", "fails"),
    ],
)
def test_a_claim_about_units(values, of, verdict):
    """One exception refutes every; a sample without one shows no more than most; an example shows that there is one."""
    found = judge(measured(min(values), each=tuple(values)), holds(">", 0.5, of))
    assert found.verdict == verdict
    assert found.value == pytest.approx(np.mean(np.array(values) > 0.5))
    assert found.interval.low < found.interval.high


def test_the_reason_is_told():
    assert judge(measured(2.0), holds(">", 1.0)).reason == "10 replicas: too few for an interval"
    same = measured(2.0, each=(2.0,) * 10, unit="paths")
    assert judge(same, holds(">", 1.0)).reason == "all 10 paths have one value: nothing is known of the spread"
    assert judge(measured(2.0, 0, 3), holds(">", 1.0)).reason == "the interval includes the threshold"
    assert judge(measured(2.0), holds(">", 1.0, "every")).reason == "the measure has no value for each unit"


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_null_is_taken_for_an_effect_no_more_than_one_time_in_twenty(rng, n):
    """The whole rule on simulated replicas that have no effect, for each kind of comparison that measures make."""
    trials, threshold = 1500, holds(">", 0.0)
    makers = {
        "mean": lambda: statistics.of_mean(rng.normal(size=n)),
        "paired": lambda: statistics.of_difference(rng.normal(size=n), rng.normal(size=n), paired=True),
        "two sets": lambda: statistics.of_difference(rng.normal(size=n), rng.normal(0, 3, size=2 * n), paired=False),
    }
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    for name, make in makers.items():
        verdicts = [judge(Measurement(0.1, make(), n, ""), threshold).verdict for _ in range(trials)]
        assert verdicts.count("holds") / trials <= limit, name
        assert verdicts.count("fails") / trials <= limit, name
    coins = [judge(measured(0.5, each=tuple(rng.random(n))), holds(">", 0.5, "most")).verdict for _ in range(trials)]
    assert max(coins.count("holds"), coins.count("fails")) / trials <= limit


def test_an_effect_is_found(rng):
    """The rule has power: an effect of two standard deviations over ten pairs."""
    verdicts = [
        judge(Measurement(2.0, statistics.of_mean(rng.normal(2, 1, 10)), 10, ""), holds(">", 0.0)).verdict
        for _ in range(200)
    ]
    assert verdicts.count("holds") > 190


STATEMENT = {"id": "S", "sentence": "It is.", "main": ["m", "n"], "controls": ["c"], "rivals": ["r"], "checks": ["k"]}


@pytest.mark.parametrize(
    ("changed", "verdict", "reason"),
    [
        ({}, "holds", ""),
        ({"c": "fails"}, "holds, but", "c fails"),
        ({"r": "holds"}, "holds, but", "r holds"),
        ({"k": "fails", "c": "fails"}, "holds, but", "c fails, k fails"),
        ({"k": "undecided"}, "holds", ""),
        ({"c": "undecided"}, "holds", "c undecided"),
        ({"m": "fails", "n": "undecided"}, "fails", "m: fails"),
        ({"m": "undecided"}, "undecided", "m: undecided"),
        ({"m": "undecided", "n": "not judged"}, "not judged", "n: not judged"),
    ],
)
def test_a_statement_is_judged_by_its_claims(changed, verdict, reason):
    verdicts = {"m": "holds", "n": "holds", "c": "holds", "r": "fails", "k": "holds", **changed}
    assert judge_statement(read(Statement, STATEMENT), verdicts) == (verdict, reason)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (["m", "n", "c", "r"], "statements.S: k: not a claim of this study"),
        (["m", "n", "c", "r", "k", "x"], "claims.x: in no statement; name it in one of `statements`"),
    ],
)
def test_every_claim_is_part_of_one_statement(claims, message):
    with pytest.raises(LossatlasError, match=message):
        folded([read(Statement, STATEMENT)], claims)
    other = read(Statement, {"id": "T", "sentence": "So.", "main": ["k"]})
    with pytest.raises(LossatlasError, match=r"statements\.T: k: already a claim of statement S"):
        folded([read(Statement, STATEMENT), other], ["m", "n", "c", "r", "k"])
    alone = folded([], ["x", "y"])
    assert [(one.id, one.main) for one in alone] == [("x", ["x"]), ("y", ["y"])]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"op": "within", "value": 1.0}, r"value: `within` takes two values, \[least, largest\]"),
        ({"op": ">", "value": [0.0, 1.0]}, "value: `>` takes one value"),
        ({"op": "within", "value": [1.0]}, "value"),
        ({"op": ">", "value": 1.0, "of": "all"}, "of: 'all' is not allowed"),
    ],
)
def test_thresholds_are_checked(raw, message):
    with pytest.raises(LossatlasError, match=message):
        read(Holds, raw)
    assert str(holds("within", [-0.5, 0.5])) == "within -0.5 to 0.5"
    assert str(holds(">=", 0.99, "every")) == ">= 0.99 in every"
