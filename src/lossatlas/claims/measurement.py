"""What a measure returns, and the interval it may put around it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 0
"""Resampling is part of the measurement, so its seed is fixed: the same artefacts give the same interval."""


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


def bootstrap(samples: Sequence[Array], combine: Callable[..., Array], paired: bool = False) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of ``combine`` of resampled groups (last axis: the resample)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    shared = rng.integers(len(samples[0]), size=(BOOTSTRAP_SAMPLES, len(samples[0]))) if paired else None
    drawn = []
    for values in samples:
        picks = rng.integers(len(values), size=(BOOTSTRAP_SAMPLES, len(values))) if shared is None else shared
        drawn.append(values[picks])
    low, high = np.quantile(combine(*drawn), [0.025, 0.975])
    return float(low), float(high)
