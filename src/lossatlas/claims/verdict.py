"""The rules by which a claim, and a statement made of claims, get their verdict. Thresholds stand in the studies.

A claim *holds* or *fails* only when the 95% interval over independent units excludes the threshold; else it is
*undecided*. It is *not judged*, with the reason, where a premise fails, where there are too few units for an interval,
or where the preset is too small.
"""

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass

from lossatlas.claims.measurement import Measurement, counted
from lossatlas.claims.spec import FAILS, HOLDS, HOLDS_BUT, NOT_JUDGED, UNDECIDED, Holds, Statement
from lossatlas.statistics import Interval, of_share

_OPS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}

MOST = 0.5
"""Share of units that must be excluded from below before "every" or "most" holds: a sample never shows every one."""


@dataclass(frozen=True)
class Judgement:
    """A verdict with the numbers it stands on.

    Attributes:
        verdict: one of :data:`lossatlas.claims.spec.VERDICTS`.
        value, interval: what was compared with the threshold; of claims about every or most units the share of those
            that satisfy it.
        reason: why it is not judged or undecided; "" otherwise.
    """

    verdict: str
    value: float | None
    interval: Interval | None
    reason: str = ""


def satisfies(value: float, holds: Holds) -> bool:
    """Tell whether a number satisfies a threshold."""
    if holds.op == "within":
        low, high = holds.bounds
        return low <= value <= high
    return bool(_OPS[holds.op](value, holds.bounds[0]))


def judge(found: Measurement, holds: Holds) -> Judgement:
    """Return the verdict on a measurement."""
    if found.value is None:
        return Judgement(NOT_JUDGED, None, None, found.detail)
    if holds.of != "value":
        return _of_units(found, holds)
    value, interval = found.value, found.interval
    if math.isnan(value):
        return Judgement(UNDECIDED, value, None, "the value is undefined")
    if found.exact:
        return Judgement(HOLDS if satisfies(value, holds) else FAILS, value, None)
    if interval is None:
        return Judgement(NOT_JUDGED, value, None, _without_interval(found))
    if holds.op == "within":
        low, high = holds.bounds
        inside, outside = low <= interval.low and interval.high <= high, interval.high < low or interval.low > high
    else:
        ends = (interval.low, interval.high) if holds.op in (">", ">=") else (interval.high, interval.low)
        inside, outside = satisfies(ends[0], holds), not satisfies(ends[1], holds)
    if inside or outside:
        return Judgement(HOLDS if inside else FAILS, value, interval)
    return Judgement(UNDECIDED, value, interval, "the interval includes the threshold")


def _without_interval(found: Measurement) -> str:
    if found.each is not None and len(set(found.each)) == 1 and len(found.each) > 1:
        return f"all {counted(found.n, found.unit)} have one value: nothing is known of the spread"
    return f"{counted(found.n, found.unit)}: too few for an interval"


def _of_units(found: Measurement, holds: Holds) -> Judgement:
    """Judge a claim about every unit, which one counterexample refutes, about most, or that there is one at all."""
    if not found.each:
        return Judgement(NOT_JUDGED, found.value, None, "the measure has no value for each unit")
    count = sum(satisfies(value, holds) for value in found.each if not math.isnan(value))
    total = len(found.each)
    share, interval = count / total, of_share(count, total)
    assert interval is not None
    if holds.of == "any":
        none = f"none of {counted(total, found.unit)} is an example"
        return Judgement(HOLDS, share, interval) if count else Judgement(UNDECIDED, share, interval, none)
    if holds.of == "every" and count < total:
        return Judgement(FAILS, share, interval)
    if interval.low > MOST:
        return Judgement(HOLDS, share, interval)
    if interval.high < MOST:
        return Judgement(FAILS, share, interval)
    if holds.of == "every":
        return Judgement(UNDECIDED, share, interval, f"{counted(total, found.unit)} without an exception: too few")
    return Judgement(UNDECIDED, share, interval, "the interval includes one half")


def judge_statement(statement: Statement, verdicts: Mapping[str, str]) -> tuple[str, str]:
    """Return the verdict on a statement of a paper from those on its claims, and why.

    It fails if a main claim fails; else it is not judged, or undecided, if one is; else it holds: but not without a
    "but" where a control fails, an explanation that would do without it holds, or one of its further checks fails.
    """
    for verdict in (FAILS, NOT_JUDGED, UNDECIDED):
        named = [id for id in statement.main if verdicts[id] == verdict]
        if named:
            return verdict, f"{', '.join(named)}: {verdict}" if len(statement.main) > 1 else ""
    against = [f"{id} fails" for id in (*statement.controls, *statement.checks) if verdicts[id] == FAILS]
    against += [f"{id} holds" for id in statement.rivals if verdicts[id] == HOLDS]
    if against:
        return HOLDS_BUT, ", ".join(against)
    open_ = [f"{id} {verdicts[id]}" for id in (*statement.controls, *statement.rivals)]
    open_ = [words for words in open_ if words.endswith((UNDECIDED, NOT_JUDGED))]
    return HOLDS, ", ".join(open_)
