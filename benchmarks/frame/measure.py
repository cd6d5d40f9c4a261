"""One comparison from beginning to end: check that the work is the same, then time it in turns, then see it grow."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.frame.alternate import Sample, alternate, ratios, spread
from benchmarks.frame.case import OURS, Case
from benchmarks.frame.remote import SideError

EMPTY: dict[str, Any] = {"checks": {}, "ratios": {}, "limit": None, "growth": {}}
"""What a comparison says where nothing was measured."""

GROWTH_RUNS = 3
"""Runs of our side at each value of an axis."""


class Doer(Protocol):
    """What does one side: a process (:class:`benchmarks.frame.remote.Remote`), or in tests an object."""

    def prepare(self, size: Mapping[str, Any]) -> str:
        """Make everything that is not timed; return the version of the side's package."""

    def check(self, given: Path | None, to: Path) -> None:
        """Write the result that is compared."""

    def run(self) -> Sample:
        """Run once."""

    def close(self) -> None:
        """Let it go."""


Open = Callable[[str], Doer]
"""Name of a side -> what does it."""


def measure(case: Case, open_side: Open, size_name: str, rounds: int, rates: Mapping[str, float]) -> dict[str, Any]:
    """Return what a comparison found, ready to be kept as JSON.

    A peer that cannot run, or whose result is not ours within the tolerance, is not timed: its reason takes the place
    of its times. Without any peer our side is timed alone.

    Args:
        case: what to compare.
        open_side: starts a side.
        size_name: which of the case's sizes.
        rounds: of one run a side.
        rates: of the machine, from the same run.
    """
    size, running = dict(case.sizes[size_name]), {}
    record: dict[str, Any] = {"size": size_name, "sizes": size, "rounds": rounds, "sides": {}, **EMPTY, "checks": {}}
    try:
        running[OURS] = open_side(OURS)
        record["sides"][OURS] = {"version": running[OURS].prepare(size)}
        for peer in case.peers:
            running[peer] = open_side(peer)
            if not _admitted(case, peer, running, size, record):
                running.pop(peer).close()
        samples = alternate({name: doer.run for name, doer in running.items()}, rounds)
        for name, found in samples.items():
            record["sides"][name] |= _columns(found)
        record["ratios"] = _ratios(case, samples)
        record["limit"] = _limit(case, size, samples[OURS], rates)
        record["growth"] = {} if size_name == "tiny" else _growth(case, running[OURS], size)
    except SideError as error:
        record["sides"][OURS] = {"missing": str(error)}
    finally:
        for doer in running.values():
            doer.close()
    return record


def left_out(case: Case, size_name: str, rounds: int, reason: str) -> dict[str, Any]:
    """Return the record of a comparison that is not made, with its reason."""
    size = dict(case.sizes[size_name])
    return {"size": size_name, "sizes": size, "rounds": rounds, "sides": {OURS: {"missing": reason}}, **EMPTY}


def _admitted(case: Case, peer: str, running: Mapping[str, Doer], size: dict[str, Any], record: dict) -> bool:
    """Prepare a peer and compare results; say in the record why it is left out, if it is."""
    try:
        record["sides"][peer] = {"version": running[peer].prepare(size)}
        with tempfile.TemporaryDirectory() as folder:
            theirs, ours = Path(folder) / "theirs.npy", Path(folder) / "ours.npy"
            running[peer].check(None, theirs)
            running[OURS].check(theirs, ours)
            deviation = case.differ(np.load(ours), np.load(theirs))
    except SideError as error:
        record["sides"][peer] = {"missing": str(error)}
        return False
    passed = bool(deviation <= case.tolerance)
    record["checks"][peer] = {
        "deviation": deviation if np.isfinite(deviation) else None,
        "tolerance": case.tolerance,
        "passed": passed,
    }
    return passed


def _columns(samples: list[Sample]) -> dict[str, Any]:
    counts = {name: [sample.counts[name] for sample in samples] for name in samples[0].counts}
    return {
        "cpu": [sample.cpu for sample in samples],
        "wall": [sample.wall for sample in samples],
        "memory": [sample.memory for sample in samples],
        "counts": counts,
    }


def quantities(case: Case) -> list[str]:
    """Return the quantities of which a case wants ratios: process time, and those of its goals."""
    return list(dict.fromkeys(["cpu", *(goal.quantity for goal in case.goals)]))


def _ratios(case: Case, samples: Mapping[str, list[Sample]]) -> dict[str, Any]:
    """Return quantity -> peer -> every round's ratio with median and range."""
    found: dict[str, Any] = {}
    for quantity in quantities(case):
        ours = [sample.of(quantity) for sample in samples[OURS]]
        for peer in samples:
            if peer != OURS:
                each = ratios(ours, [sample.of(quantity) for sample in samples[peer]])
                found.setdefault(quantity, {})[peer] = {**vars(spread(each)), "rounds": each}
    return found


def _limit(case: Case, size: dict[str, Any], ours: list[Sample], rates: Mapping[str, float]) -> dict[str, Any] | None:
    """Return the work that bounds a case, and the share of the machine's rate that our side reached, round by round."""
    if case.limit is None:
        return None
    work = case.limit(size, ours[0].counts)
    shares = [work.amount / rates[work.rate] / sample.cpu for sample in ours]
    return {"amount": work.amount, "rate": work.rate, **vars(spread(shares))}


def _growth(case: Case, ours: Doer, size: dict[str, Any]) -> dict[str, Any]:
    """Return axis -> values, the median process time at each, and the exponent of the power law through them."""
    found = {}
    for axis, values in case.axes.items():
        try:
            seconds = [_once_warm(ours, {**size, axis: value}) for value in values]
        except SideError as error:
            found[axis] = {"missing": str(error)}
            continue
        found[axis] = {"values": list(values), "seconds": seconds, "exponent": exponent(values, seconds)}
    return found


def _once_warm(ours: Doer, size: dict[str, Any]) -> float:
    """Return the median process time of our side at a size, after one run to warm up."""
    ours.prepare(size)
    ours.run()
    return spread([ours.run().cpu for _ in range(GROWTH_RUNS)]).median


def exponent(values: Any, seconds: Any) -> float:
    """Return the slope of log time over log size."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
