"""Measures on lines, planes, curvature maps and paths: numbers from grid files, descents and Gram matrices.

One plane a network has no interval; intervals over replicas, directions, points or paths are bootstrapped.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import bends, on_plane, ratio, sharpness
from lossatlas.statistics import BOOTSTRAP_SEED, bootstrap, spearman

RANK_SAMPLES = 2000
"""Resamples of networks behind the interval of a rank correlation."""


def _label(grid: Grid) -> str:
    return str(grid.minimum["run"])


def _negative(grid: Grid, above: float) -> float:
    """Return the share of a map's points with a spectrum whose ratio is above a threshold."""
    values = ratio(grid)
    found = values[np.isfinite(values)]
    return float((found > above).mean()) if len(found) else np.nan


def negative_curvature(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Share of a plane's points with |lambda_min / lambda_max| above a threshold: ``first`` less ``second``."""
    first, second = (
        np.array([_negative(g, parameters["above"]) for g in inputs[role]]) for role in ("first", "second")
    )
    detail = "; ".join(
        f"{role}: "
        + ", ".join(
            f"{_label(g)} {v:.3g} ({g.lost('lambda_max')} points without a spectrum)"
            for g, v in zip(inputs[role], values, strict=True)
        )
        for role, values in (("first", first), ("second", second))
    )
    return _difference(first, second, detail)


def bent(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Share of a plane's inner points at which the drawn surface is not convex: ``first`` less ``second``."""
    first, second = (np.array([float(bends(g).mean()) for g in inputs[role]]) for role in ("first", "second"))
    detail = "; ".join(
        f"{role}: " + ", ".join(f"{_label(g)} {v:.3g}" for g, v in zip(inputs[role], values, strict=True))
        for role, values in (("first", first), ("second", second))
    )
    return _difference(first, second, detail)


def _difference(first: Array, second: Array, detail: str) -> Measurement:
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Measurement(None, None, 0, detail)
    spread = None
    if min(len(first), len(second)) > 1:
        spread = bootstrap([first, second], lambda a, b: a.mean(axis=-1) - b.mean(axis=-1))
    return Measurement(float(first.mean() - second.mean()), spread, min(len(first), len(second)), detail)


def flattening(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Rank correlation of the median rise of the loss within ``reach`` on a plane with its place among the planes."""
    rises = [on_plane(grid, parameters["reach"]) for grid in inputs["planes"]]
    detail = ", ".join(f"{_label(g)} {v:.3g}" for g, v in zip(inputs["planes"], rises, strict=True))
    return Measurement(spearman(list(range(len(rises))), rises), None, len(rises), f"median rises: {detail}")


def _ranked(grids: Sequence[Grid], how: str, parameters: Mapping[str, Any]) -> Array:
    """Return the sharpness (networks,) under a normalisation: medians over directions."""
    values = [sharpness(grid, how, parameters["measure"], parameters["reach"]) for grid in grids]
    return np.array([np.median(v) if len(v) else np.nan for v in values])


def sharpness_rank(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Rank correlation of sharpness under ``of`` with the test error, less the best of those ``against``."""
    grids, names = inputs["lines"], [parameters["of"], *parameters["against"]]
    errors = np.array([1 - float(grid.minimum["test_accuracy"]) for grid in grids])
    sharp = {how: _ranked(grids, how, parameters) for how in names}
    if len(grids) < parameters["least"] or any(np.isnan(values).any() for values in sharp.values()):
        return Measurement(None, None, len(grids), f"{len(grids)} networks, at least {parameters['least']} are needed")

    def gap(chosen: NDArray[np.intp]) -> float:
        ranks = [spearman(sharp[how][chosen], errors[chosen]) for how in names]
        return ranks[0] - max(ranks[1:], default=0.0)

    every = np.arange(len(grids))
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = np.array([gap(rng.integers(len(grids), size=len(grids))) for _ in range(RANK_SAMPLES)])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    found = ", ".join(f"{how} {spearman(sharp[how], errors):.3f}" for how in names)
    detail = f"Spearman's correlations with the test error: {found}; interval over networks"
    return Measurement(gap(every), (float(low), float(high)), len(grids), detail)


def sharpness_ratio(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Sharpness of ``first`` over that of ``second`` under one normalisation: medians over directions and replicas."""
    values = {
        role: np.concatenate(
            [sharpness(g, parameters["normalise"], parameters["measure"], parameters["reach"]) for g in inputs[role]]
        )
        for role in ("first", "second")
    }
    medians = {role: float(np.median(v)) for role, v in values.items()}
    if not np.isfinite(list(medians.values())).all() or medians["second"] <= 0:
        return Measurement(None, None, 0, f"{parameters['measure']}: {medians}, no ratio of these")
    spread = None
    if min(map(len, values.values())) > 1:
        spread = bootstrap(list(values.values()), lambda a, b: np.median(a, axis=-1) / np.median(b, axis=-1))
    detail = ", ".join(
        f"{role} {medians[role]:.3g} (n {len(values[role])} lines of {len(inputs[role])} networks)" for role in values
    )
    return Measurement(
        medians["first"] / medians["second"],
        spread,
        min(map(len, values.values())),
        f"{parameters['measure']}: {detail}",
    )


def path_share(inputs: Mapping[str, Sequence[Gram]], parameters: Mapping[str, Any]) -> Measurement:
    """Share of a path's variance in its first principal axes: the smallest or the largest among paths."""
    shares = [float(principal_axes(g, np.arange(g.n), parameters["axes"]).explained.sum()) for g in inputs["paths"]]
    detail = ", ".join(f"{g.table['run'].iloc[0]} {v:.3f}" for g, v in zip(inputs["paths"], shares, strict=True))
    pick = {"min": min, "max": max}[parameters["statistic"]]
    return Measurement(pick(shares), (min(shares), max(shares)) if len(shares) > 1 else None, len(shares), detail)


def plane_share(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Share of a path's variance in a plane that is not its principal one: the largest among planes."""
    shares = [float(grid.explained.sum()) for grid in inputs["planes"]]
    detail = ", ".join(
        f"{_label(g)}, {g.slice.get('axes')}: {v:.3g}" for g, v in zip(inputs["planes"], shares, strict=True)
    )
    return Measurement(max(shares), None, len(shares), detail)


def convex_ratio(inputs: Mapping[str, Sequence[Grid]], parameters: Mapping[str, Any]) -> Measurement:
    """Median of |lambda_min / lambda_max| where the drawn surface looks convex, or that less the median elsewhere."""
    values = np.concatenate([ratio(grid)[1:-1, 1:-1].ravel() for grid in inputs["maps"]])
    bent_there = np.concatenate([bends(grid).ravel() for grid in inputs["maps"]])
    groups = [values[np.isfinite(values) & (bent_there == side)] for side in (False, True)]
    names = ("convex-looking", "other")
    detail = ", ".join(
        f"{name}: median {np.median(v):.3g} (n {len(v)})" if len(v) else f"{name}: none"
        for name, v in zip(names, groups, strict=True)
    )
    wanted = groups if parameters["relative_to"] == "other" else groups[:1]
    if any(len(group) == 0 for group in wanted):
        return Measurement(None, None, 0, detail)
    if parameters["relative_to"] == "other":
        value = float(np.median(groups[0]) - np.median(groups[1]))
        spread = (
            bootstrap(groups, lambda a, b: np.median(a, axis=-1) - np.median(b, axis=-1))
            if min(map(len, groups)) > 1
            else None
        )
    else:
        value = float(np.median(groups[0]))
        spread = bootstrap(groups[:1], lambda a: np.median(a, axis=-1)) if len(groups[0]) > 1 else None
    return Measurement(value, spread, len(groups[0]), f"{detail}; interval over points")


def descent_angle(inputs: Mapping[str, Sequence[pd.DataFrame]], parameters: Mapping[str, Any]) -> Measurement:
    """Mean angle of steps with the negative gradient in degrees, early or late in a training, or late less early.

    Early and late: the first and the last ``share`` of the steps. 0: straight down, 90: along the contours, 180: up.
    ``about``: the mean distance of the angle from so many degrees instead.
    """
    column = "plane_angle" if parameters["space"] == "plane" else "angle"
    early, late = [], []
    for table in inputs["descents"]:
        angles = np.abs(table[column].to_numpy(float) - parameters["about"])
        count = max(1, round(parameters["share"] * len(angles)))
        early.append(np.nanmean(angles[:count]))
        late.append(np.nanmean(angles[-count:]))
    detail = "; ".join(f"{a:.1f} to {b:.1f} degrees" for a, b in zip(early, late, strict=True))
    values = {"early": np.array(early), "late": np.array(late), "change": np.array(late) - np.array(early)}[
        parameters["when"]
    ]
    spread = bootstrap([values], lambda v: v.mean(axis=-1)) if len(values) > 1 else None
    return Measurement(float(values.mean()), spread, len(values), f"{detail}; interval over paths")


REGISTRY: dict[str, Callable[[Mapping[str, Sequence[Any]], Mapping[str, Any]], Measurement]] = {
    "negative_curvature": negative_curvature,
    "bent": bent,
    "flattening": flattening,
    "sharpness_rank": sharpness_rank,
    "sharpness_ratio": sharpness_ratio,
    "path_share": path_share,
    "plane_share": plane_share,
    "convex_ratio": convex_ratio,
    "descent_angle": descent_angle,
}
"""The function of each measure."""
