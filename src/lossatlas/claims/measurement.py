"""What a measure returns."""

from collections.abc import Sequence
from dataclasses import dataclass

from lossatlas.statistics import Interval


@dataclass(frozen=True)
class Measurement:
    """What a measure found.

    Attributes:
        value: the number; None when the artefacts do not allow it.
        interval: 95%, over the units; None where there are too few of them, or no spread among them.
        n: number of independent units behind it.
        detail: numbers behind the number, or the reason why there is none.
        unit: what the n are, in the plural: ``initialisations``, ``data sets``, ``paths``.
        each: the value of every unit, for claims about every or most of them; None where they have none of their own.
        exact: whether the number is computed without sampling, as the height of a given function on a given path is:
            then there is nothing that an interval could be over.
    """

    value: float | None
    interval: Interval | None
    n: int
    detail: str
    unit: str = "replicas"
    each: Sequence[float] | None = None
    exact: bool = False


def nothing(detail: str, n: int = 0) -> Measurement:
    """Return the measurement where there is no number, with the reason."""
    return Measurement(None, None, n, detail)


def counted(n: int, unit: str) -> str:
    """Return a number of units in words: ``1 path of SGD``, ``3 data sets``."""
    if n != 1:
        return f"{n} {unit}"
    head, _, rest = unit.partition(" of ")
    return f"1 {head.removesuffix('s')}" + (f" of {rest}" if rest else "")
