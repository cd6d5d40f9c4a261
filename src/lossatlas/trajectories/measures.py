"""Measures on retrainings and on whole trainings, in R^D, never from a picture.

A trajectory measure gives one number for each retraining. With x_k = theta_k - theta_o (theta_o is row 0 of the cloud,
x_0 the jump) every one of them follows from the inner products x_j . x_k that ``gram.h5`` holds. The numbers of one
direction (seed) are averaged over its step sizes first: directions, not trajectories, are the independent draws, so
``n`` and the interval are over directions.

A path measure gives one number for each training (run and replica) of a cloud of whole trainings, and compares two
runs; trainings of one replica start from the same weights and are paired. Lengths are those of the polyline through the
recorded points: they can only be compared between runs that were recorded alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import STATISTICS, bootstrap
from lossatlas.trajectories.numbers import OF_PATH, paths, per_trajectory
from lossatlas.trajectories.spec import (
    Contrast,
    FactorEffect,
    FactorRatio,
    OfFactors,
    OfPaths,
    OfTrajectories,
    Retrainings,
)


def _directions(values: pd.DataFrame, statistic: str) -> pd.Series:
    """Return one value a direction."""
    return values.groupby("direction", sort=True)["value"].agg(lambda v: float(STATISTICS[statistic](v)))


def _by_step(values: pd.DataFrame) -> str:
    means = values.groupby("step", sort=True)["value"].mean()
    return ", ".join(f"{mean:.4g} at step {step:g}" for step, mean in means.items())


def _finite(values: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    finite = values[np.isfinite(values["value"].to_numpy(float))]
    lost = len(values) - len(finite)
    return finite, f"; {lost} of {len(values)} trajectories undefined and left out" if lost else ""


def _nothing(chosen: Retrainings, values: pd.DataFrame) -> Measurement:
    """Return the measurement of an empty selection, with the reason."""
    if len(values):
        reason = f"undefined for all {len(values)} trajectories"
    else:
        given = {"steps": chosen.steps, "seeds": chosen.seeds}
        words = ", ".join(f"{k} [{', '.join(f'{v:g}' for v in some)}]" for k, some in given.items() if some is not None)
        reason = "no retraining with its jump and a later point" + (f" among {words}" if words else "")
    return Measurement(None, None, 0, reason)


def of_trajectories(spec: OfTrajectories, inputs: Inputs) -> Measurement:
    """Measure trajectories; the value is over directions."""
    values = per_trajectory(spec.measure, inputs.given(spec.cloud), spec)
    finite, lost = _finite(values)
    if finite.empty:
        return _nothing(spec, values)
    directions = _directions(finite, spec.statistic).to_numpy(float)
    spread = None
    if len(directions) > 1 and spec.spread == "bootstrap":
        spread = bootstrap([directions], lambda d: STATISTICS[spec.statistic](d, axis=-1))
    elif len(directions) > 1:
        spread = (float(directions.min()), float(directions.max()))
    value = float(STATISTICS[spec.statistic](directions))
    return Measurement(value, spread, len(directions), _by_step(finite) + lost)


def contrast(spec: Contrast, inputs: Inputs) -> Measurement:
    """Measure how a trajectory measure differs between clouds, or between step sizes of one."""
    clouds = {"first": inputs.given(spec.first), "second": inputs.given(spec.second)}
    sides, details = [], []
    for side, own_steps in (("first", spec.first_steps), ("second", spec.second_steps)):
        chosen = spec if own_steps is None else spec.model_copy(update={"steps": own_steps})
        values = per_trajectory(spec.of, clouds[side], chosen)
        finite, lost = _finite(values)
        if finite.empty:
            return Measurement(None, None, 0, f"{side}: {_nothing(chosen, values).detail}")
        sides.append(_directions(finite, spec.statistic))
        details.append(f"{side}: {STATISTICS[spec.statistic](sides[-1]):.4g} ({_by_step(finite)}{lost})")
    same_clouds = len(clouds["first"]) == len(clouds["second"]) and all(
        a is b for a, b in zip(clouds["first"], clouds["second"], strict=True)
    )
    paired = same_clouds and list(sides[0].index) == list(sides[1].index)
    first, second = (side.to_numpy(float) for side in sides)
    return _compared(first, second, spec, paired, "; ".join(details))


def _cells(clouds: Sequence[Gram], spec: OfFactors) -> tuple[pd.DataFrame, str]:
    """Return a trajectory measure by direction (seed) and step, a column a cloud: those that all clouds have.

    Also what was compared, in words.
    """
    columns = []
    for gram in clouds:
        values, _ = _finite(per_trajectory(spec.of, [gram], spec))
        seeds = np.array([seed for _, seed in values["direction"]], dtype=np.int64)
        cell = pd.MultiIndex.from_arrays([seeds, values["step"].to_numpy(np.float64)], names=["seed", "step"])
        columns.append(pd.Series(values["value"].to_numpy(np.float64), cell).groupby(level=["seed", "step"]).mean())
    cells = pd.concat(columns, axis=1, keys=range(len(clouds)))
    common = cells.dropna().sort_index()
    directions, steps = (common.index.get_level_values(name).unique() for name in ("seed", "step"))
    shown = f" ({', '.join(f'{step:g}' for step in sorted(steps))})" if len(steps) else ""
    words = f"{len(directions)} directions, {len(steps)} steps{shown} in all {len(clouds)} clouds"
    lost = len(cells) - len(common)
    return common, words + (f", {lost} of {len(cells)} jumps not in all and left out" if lost else "")


def factor_effect(spec: FactorEffect, inputs: Inputs) -> Measurement:
    """Measure what a factor does to a trajectory measure: the mean over pairs of clouds of with less without.

    A direction counts by the mean over its pairs and steps; the interval is over directions.
    """
    with_factor, without = inputs.given(spec.with_), inputs.given(spec.without)
    pairs = len(with_factor)
    cells, compared = _cells([*with_factor, *without], spec)
    if cells.empty:
        return Measurement(None, None, 0, f"nothing to compare: {compared}")
    by_direction = cells.groupby(level="seed").mean().to_numpy(np.float64)
    effects = by_direction[:, :pairs] - by_direction[:, pairs:]
    means = by_direction.mean(axis=0)
    detail = "; ".join(f"{a:.4g} with, {b:.4g} without" for a, b in zip(means[:pairs], means[pairs:], strict=True))
    each = effects.mean(axis=1)
    spread = None
    if len(each) > 1:
        by_bootstrap = spec.spread == "bootstrap"
        resampled = bootstrap([each], lambda e: e.mean(axis=-1)) if by_bootstrap else None
        spread = resampled or (float(each.min()), float(each.max()))
    return Measurement(float(each.mean()), spread, len(each), f"{detail}; {compared}")


def factor_ratio(spec: FactorRatio, inputs: Inputs) -> Measurement:
    """Measure which of two crossed factors does more to a trajectory measure: |effect of A| over |effect of B|.

    Factor A is with against without, averaged over good and bad; factor B is good against bad, averaged over with and
    without. Both come from the same four clouds and the same resampled directions.
    """
    clouds = inputs.given([*spec.good_with, *spec.good_without, *spec.bad_with, *spec.bad_without])
    cells, compared = _cells(clouds, spec)
    if cells.empty:
        return Measurement(None, None, 0, f"nothing to compare: {compared}")
    by_direction = cells.groupby(level="seed").mean().to_numpy(np.float64)
    good_with, good_without, bad_with, bad_without = by_direction.reshape(len(by_direction), 4, -1).mean(axis=-1).T
    a = (good_with + bad_with - good_without - bad_without) / 2
    b = (good_with + good_without - bad_with - bad_without) / 2
    several = len(a) > 1

    def words(effect: Array) -> str:
        low, high = bootstrap([effect], lambda e: e.mean(axis=-1)) if several else (np.nan, np.nan)
        return f"{effect.mean():.4g}" + (f" [{low:.4g}, {high:.4g}]" if several else "")

    detail = f"with less without {words(a)}, good less bad {words(b)}; {compared}"
    if abs(b.mean()) <= 1e-12 * max(abs(a.mean()), float(np.abs(by_direction).max())):
        return Measurement(None, None, 0, f"no ratio: good and bad do not differ; {detail}")

    def combine(top: Array, bottom: Array) -> Array:
        # A resample may cancel exactly; the ratio is then beyond all others, not undefined.
        return np.abs(top.mean(axis=-1)) / np.maximum(np.abs(bottom.mean(axis=-1)), 1e-12 * abs(b.mean()))

    spread = bootstrap([a, b], combine, paired=True) if several else None
    return Measurement(float(abs(a.mean()) / abs(b.mean())), spread, len(a), detail)


def _compared(first: Array, second: Array, spec: Contrast | OfPaths, paired: bool, detail: str) -> Measurement:
    """Compare two samples by the difference or the ratio of their statistics; the interval is over pairs of values.

    Args:
        first: values of the independent draws.
        second: those it is compared with.
        spec: ``statistic``, ``contrast``, ``spread``.
        paired: whether values of equal index belong together.
        detail: the numbers behind.
    """
    statistic, ratio = STATISTICS[spec.statistic], spec.contrast == "ratio"
    if ratio and (second <= 0).any():
        return Measurement(None, None, 0, f"no ratio: the second value is not positive; {detail}")

    def combine(a: Array, b: Array) -> Array:
        top, bottom = statistic(a, axis=-1), statistic(b, axis=-1)
        return top / bottom if ratio else top - bottom

    def pairwise(a: Any, b: Any) -> Any:
        return a / b if ratio else a - b

    spread = None
    if len(first) > 1 and len(second) > 1:
        if spec.spread == "bootstrap":
            spread = bootstrap([first, second], combine, paired)
        elif paired:
            each = pairwise(first, second)
            spread = (float(each.min()), float(each.max()))
        else:
            every = pairwise(first[:, None], second[None, :])
            spread = (float(every.min()), float(every.max()))
    return Measurement(float(combine(first, second)), spread, min(len(first), len(second)), detail)


def of_paths(spec: OfPaths, inputs: Inputs) -> Measurement:
    """Measure the trainings of two runs, replica by replica, and compare them."""
    clouds = inputs.given(spec.cloud)
    sides, details = [], []
    for side, run in (("first", spec.first), ("second", spec.second)):
        trainings = paths(clouds, run)
        values = {key: OF_PATH[spec.measure](*path) for key, path in trainings.items()}
        finite = {key: value for key, value in values.items() if np.isfinite(value)}
        if not finite:
            runs = sorted({str(label) for gram in clouds for label in gram.table["run"]})
            reason = "no training recorded from epoch 0 on" if not values else "undefined: the weights did not move"
            return Measurement(None, None, 0, f"{side}: {reason} for run {run!r}; the cloud has {', '.join(runs)}")
        lost = f", {len(values) - len(finite)} undefined left out" if len(finite) < len(values) else ""
        middle = STATISTICS[spec.statistic](list(finite.values()))
        details.append(f"{run}: {middle:.4g} (n {len(finite)}{lost})")
        sides.append(finite)
    first, second = (np.array(list(side.values())) for side in sides)
    return _compared(first, second, spec, list(sides[0]) == list(sides[1]), "; ".join(details))
