"""Measures on the last recorded epoch of runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import STATISTICS, of_difference
from lossatlas.train.spec import AccuracyGap, MaxTrainLoss, MinAccuracy


def accuracy_gap(spec: AccuracyGap, inputs: Inputs) -> Measurement:
    """Measure how far one set of runs is ahead of another, in their mean last accuracy."""
    sides = {}
    for role, runs in (("better", spec.better), ("worse", spec.worse)):
        values = _last(inputs.given(runs), spec.quantity)
        sides[role] = values[np.isfinite(values)]
        if not len(sides[role]):
            return nothing(f"{role}: no replica has a finite {spec.quantity}")
    better, worse = sides["better"], sides["worse"]
    detail = f"better: {better.mean():.4g} (n {len(better)}), worse: {worse.mean():.4g} (n {len(worse)})"
    value, n = float(better.mean() - worse.mean()), min(len(better), len(worse))
    return Measurement(value, of_difference(better, worse, paired=False), n, detail, "initialisations")


def max_train_loss(spec: MaxTrainLoss, inputs: Inputs) -> Measurement:
    """Measure the largest last training loss of runs."""
    return _extreme(_last(inputs.given(spec.runs), "train_loss"), "max", np.inf, "train_loss")


def min_accuracy(spec: MinAccuracy, inputs: Inputs) -> Measurement:
    """Measure the smallest last accuracy of runs."""
    return _extreme(_last(inputs.given(spec.runs), spec.quantity), "min", 0.0, spec.quantity)


def _extreme(values: Array, statistic: str, absent: float, quantity: str) -> Measurement:
    if not len(values):
        return nothing("no run")
    finite = np.isfinite(values)
    counted = np.where(finite, values, absent)
    detail = f"{quantity}: " + ", ".join(f"{value:.4g}" for value in values)
    if not finite.all():
        detail += f"; {int((~finite).sum())} of {len(values)} not finite, counted as {absent:g}"
    value = float(STATISTICS[statistic](counted))
    return Measurement(value, None, len(values), detail, "runs", each=tuple(map(float, counted)))


def _last(runs: Sequence[pd.Series], quantity: str) -> Array:
    """Return a quantity of runs at their last recorded epoch; NaN where it was not recorded."""
    return np.array([float(run.get(quantity, np.nan)) for run in runs], dtype=np.float64)
