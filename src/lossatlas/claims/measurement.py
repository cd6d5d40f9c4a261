"""What a measure is, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """What a measure found.

    Attributes:
        value: the number; None when the artefacts do not allow it.
        spread: (low, high) over directions or replicas; None when there is only one.
        n: number of directions, replicas or runs behind it.
        detail: numbers behind the number, or the reason why there is none.
    """

    value: float | None
    spread: tuple[float, float] | None
    n: int
    detail: str


MeasureFunction = Callable[[Mapping[str, Sequence[Any]], Mapping[str, Any]], Measurement]
