"""What a measure returns."""

from dataclasses import dataclass


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
