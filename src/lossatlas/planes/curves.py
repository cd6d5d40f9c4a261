"""When two curves along lines count as one. Imports neither torch nor pandas."""

import numpy as np

from lossatlas.arrays import Array

SAME = 0.5
"""Largest difference of two curves that count as one, in units of the rise that the picture shows."""


def difference(a: Array, b: Array, rise: float) -> float:
    """Return max |a - b| / rise over the steps where one is finite; inf where only one of them is, NaN without any."""
    if not rise > 0 or not np.isfinite(rise):
        return float("nan")
    either = np.isfinite(a) | np.isfinite(b)
    if not either.any():
        return float("nan")
    with np.errstate(invalid="ignore"):
        gap = np.abs(a - b)[either]
    return float("inf") if not np.isfinite(gap).all() else float(gap.max() / rise)
