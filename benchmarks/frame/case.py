"""What a comparison is: the same work done by us and by others, what shows that it is the same, and what is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Size = Mapping[str, Any]
"""How much work: name of an axis -> number, and what else tells one size from another."""


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        result: what is compared between sides, any shape.
        counts: of work done, such as gradients.
    """

    result: Any
    counts: Mapping[str, float] = field(default_factory=dict)


Action = Callable[[], Outcome]


@dataclass(frozen=True)
class Side:
    """One way of doing the work.

    Attributes:
        prepare: size -> what is timed; data, networks and imports are made here, untimed.
        check: size, the other side's result (None for a peer, which comes first) -> the result to compare, (n,) or
            more; None = the result of a run.
        package: whose version is recorded; empty = none.
        threads: of the linear algebra.
    """

    prepare: Callable[[Size], Action]
    check: Callable[[Size, Any], Any] | None = None
    package: str = ""
    threads: int = 1


@dataclass(frozen=True)
class Work:
    """The arithmetic or the bytes that the work cannot do without.

    Attributes:
        amount: FLOP, or bytes.
        rate: which rate of the machine bounds it (:mod:`benchmarks.frame.machine`).
    """

    amount: float
    rate: Literal["float32", "float64", "memory", "disk"]


@dataclass(frozen=True)
class Goal:
    """What the issue asks for.

    Attributes:
        asked: the number.
        kind: ``times``: every peer takes at least so many times ours; ``at most``: ours takes at most so many times
            the peer; ``share``: at least this share of the machine's rate.
        quantity: process time ``cpu``, ``wall`` time, peak ``memory``, or the name of a count.
        peer: against whom; empty = against every peer, so the best one counts.
    """

    asked: float
    kind: Literal["times", "at most", "share"] = "times"
    quantity: str = "cpu"
    peer: str = ""


def relative(ours: Any, theirs: Any) -> float:
    """Return the largest difference of two results over the largest of theirs; inf where one is no number."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300))


def cornerwise(ours: Any, theirs: Any) -> float:
    """Return the largest relative difference of the entries of two results, each against its own size."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-300)).max())


@dataclass(frozen=True)
class Case:
    """A comparison.

    Attributes:
        name: by which it is run and recorded.
        row: of the table (:data:`benchmarks.cases.ROWS`).
        what: the work, in a few words.
        same: why both sides do the same work, and how that is checked.
        tolerance: up to which results may differ (``differ``), relative.
        ours: our side.
        peers: the others, by name.
        sizes: ``full`` (what the table says), ``small`` (minutes), ``tiny`` (tests).
        goals: what is asked for.
        limit: size, counts of a run -> the work that the machine bounds; None = not one number.
        axes: name of an axis -> values for which our side is timed again.
        differ: how far two results are from each other.
        rounds: of one run a side.
        reason: why a goal that is not reached is not.
        unmeasured: why peers that a user might think of are not here: name -> reason.
    """

    name: str
    row: str
    what: str
    same: str
    tolerance: float
    ours: Side
    peers: Mapping[str, Side]
    sizes: Mapping[str, Size]
    goals: Sequence[Goal] = ()
    limit: Callable[[Size, Mapping[str, float]], Work] | None = None
    axes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    differ: Callable[[Any, Any], float] = relative
    rounds: int = 5
    reason: str = ""
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    def side(self, name: str) -> Side:
        """Return a side by name; ours is called ``lossatlas``."""
        return self.ours if name == OURS else self.peers[name]


OURS = "lossatlas"
