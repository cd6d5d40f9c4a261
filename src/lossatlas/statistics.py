"""Intervals and rank correlations that several subjects share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array

BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 0
"""Resampling is part of the measurement, so its seed is fixed: the same artefacts give the same interval."""


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


STATISTICS: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}
"""Statistics of a sample by name."""


def spearman(first: Sequence[float] | Array, second: Sequence[float] | Array) -> float:
    """Return Spearman's rank correlation; infinite values have the highest rank; NaN where one side is constant."""
    ranks = [pd.Series(np.asarray(values, dtype=np.float64)).rank().to_numpy() for values in (first, second)]
    if min(rank.std() for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


REPLICA_SAMPLES = 2000


def rank_correlation(table: pd.DataFrame, x: str, y: str) -> tuple[float, float, float, int]:
    """Return Spearman's rank correlation of two columns, its 95% interval, and how many rows it is over.

    Rows without a finite value are left out. The interval is a bootstrap over replicas: networks of one replica share
    their initialisation and data and are not independent.
    """
    rows = table[np.isfinite(table[x]) & np.isfinite(table[y])]
    if len(rows) < 3:
        return np.nan, np.nan, np.nan, len(rows)
    groups = [part[[x, y]].to_numpy() for _, part in rows.groupby("replica", sort=True)]
    generator, drawn = np.random.default_rng(0), []
    for _ in range(REPLICA_SAMPLES if len(groups) > 1 else 0):
        sample = np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))])
        drawn.append(spearman(sample[:, 0], sample[:, 1]))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return spearman(rows[x].to_numpy(), rows[y].to_numpy()), float(low), float(high), len(rows)
