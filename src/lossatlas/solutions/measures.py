"""Measures that compare sets of trained weight vectors: their losses, and how far their weights are spread."""

from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement
from lossatlas.solutions.numbers import pooled
from lossatlas.solutions.spec import BestRate, SolutionLosses, WeightSpread
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import bootstrap


def _ratio(first: Array, second: Array, names: tuple[str, str], bound: str) -> Measurement:
    """Return the ratio of two means over runs with its bootstrap interval, or one end of that interval."""
    spread = None
    if min(len(first), len(second)) > 1:
        spread = bootstrap([first, second], lambda a, b: a.mean(axis=-1) / b.mean(axis=-1))
    value = float(first.mean() / second.mean())
    said = f"{names[0]} {first.mean():.4g} (n {len(first)}), {names[1]} {second.mean():.4g} (n {len(second)})"
    if bound == "mean":
        return Measurement(value, spread, min(len(first), len(second)), said)
    if spread is None:
        return Measurement(None, None, 1, f"one run has no interval; {said}")
    end = spread[0] if bound == "low" else spread[1]
    return Measurement(
        end, spread, min(len(first), len(second)), f"{bound} end of the 95% interval; ratio {value:.4g}; {said}"
    )


def solution_losses(spec: SolutionLosses, inputs: Inputs) -> Measurement:
    """Mean loss of the first set over that of the second."""
    grams = (inputs.given(side)[0] for side in (spec.first, spec.second))
    first, second = (gram.table[spec.quantity].to_numpy(float) for gram in grams)
    return _ratio(first, second, ("first", "second"), spec.bound)


def best_rate(spec: BestRate, inputs: Inputs) -> Measurement:
    """Mean loss of the first set over that of a scan at its best learning rate; rates with a diverged run are out."""
    quantity = spec.quantity
    scan = inputs.given(spec.scan)[0].table
    runs = scan.groupby("value").size()
    means = scan[scan["value"].isin(runs[runs == runs.max()].index)].groupby("value")[quantity].mean()
    best = float(means.idxmin())
    theirs = scan.loc[scan["value"] == best, quantity].to_numpy(float)
    first = inputs.given(spec.first)[0].table[quantity].to_numpy(float)
    found = _ratio(first, theirs, ("first", f"SGD at lr {best:g}"), spec.bound)
    listed = ", ".join(f"lr {value:g} {mean:.4g}" for value, mean in means.items())
    return Measurement(found.value, found.spread, found.n, f"{found.detail}; {listed}")


def weight_spread(spec: WeightSpread, inputs: Inputs) -> Measurement:
    """Standard deviation of all weights of a set, or mean length of its vectors, of the first over the second set."""
    first, second = (inputs.given(side)[0] for side in (spec.first, spec.second))
    if spec.quantity == "norm":
        return _ratio(first.norms(), second.norms(), ("first", "second"), spec.bound)
    (mean, std), (other_mean, other_std) = pooled(first.table), pooled(second.table)
    spread = bootstrap([_moments(first.table), _moments(second.table)], _of_moments) if first.n > 1 < second.n else None
    detail = f"first {mean:.4g} +- {std:.4g} (n {first.n}), second {other_mean:.4g} +- {other_std:.4g} (n {second.n})"
    return Measurement(std / other_std, spread, min(first.n, second.n), detail)


def _moments(table: pd.DataFrame) -> Any:
    """Return each vector's mean and mean square as one number, so that both are resampled together."""
    mean, std = table["weight_mean"].to_numpy(float), table["weight_std"].to_numpy(float)
    return mean + 1j * (std**2 + mean**2)


def _of_moments(first: Any, second: Any) -> Any:
    def deviation(moments: Any) -> Any:
        averaged = moments.mean(axis=-1)
        return np.sqrt(averaged.imag - averaged.real**2)

    return deviation(first) / deviation(second)
