"""Sides that take turns, A B A B ..., and what their times say of each other.

Whatever else the machine does slows both sides of a round alike, so a ratio is taken round by round; its range over the
rounds says how far it can be trusted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Timed = Callable[[], "Sample"]


@dataclass(frozen=True)
class Sample:
    """One run.

    Attributes:
        cpu: process time, children included, seconds.
        wall: seconds.
        memory: peak of resident memory during the run, bytes; 0 = unknown.
        counts: of work done.
    """

    cpu: float
    wall: float
    memory: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)

    def of(self, quantity: str) -> float:
        """Return a quantity by name."""
        return float(getattr(self, quantity) if quantity in ("cpu", "wall", "memory") else self.counts[quantity])


@dataclass(frozen=True)
class Spread:
    """Median and range."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the range of values."""
    return Spread(float(median(values)), float(min(values)), float(max(values)))


def alternate(sides: Mapping[str, Timed], rounds: int) -> dict[str, list[Sample]]:
    """Run every side once a round, in the order given, and return their samples."""
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            found[name].append(run())
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return theirs over ours, round by round: how many times as much the other side took."""
    return [b / a for a, b in zip(ours, theirs, strict=True)]
