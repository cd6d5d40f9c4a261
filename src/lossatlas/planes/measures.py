"""Measures on lines, planes, curvature maps and paths: numbers from grid files, descents and Gram matrices.

One plane a network has no interval; intervals over replicas, directions, points or paths are bootstrapped.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import bends, on_plane, ratio, sharpness
from lossatlas.planes.spec import (
    Bent,
    ConvexRatio,
    DescentAngle,
    Flattening,
    NegativeCurvature,
    OfSharpness,
    PathShare,
    PlaneShare,
    SharpnessRank,
    SharpnessRatio,
)
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import BOOTSTRAP_SEED, bootstrap, spearman

RANK_SAMPLES = 2000
"""Resamples of networks behind the interval of a rank correlation."""


Sides = dict[str, list[Grid]]
"""Grids by the input they are given to."""


def _label(grid: Grid) -> str:
    return str(grid.minimum["run"])


def _listed(grids: Sequence[Grid], values: Sequence[float] | Array) -> str:
    return ", ".join(f"{_label(g)} {v:.3g}" for g, v in zip(grids, values, strict=True))


def _negative(grid: Grid, above: float) -> float:
    """Return the share of a map's points with a spectrum whose ratio is above a threshold."""
    values = ratio(grid)
    found = values[np.isfinite(values)]
    return float((found > above).mean()) if len(found) else np.nan


def negative_curvature(spec: NegativeCurvature, inputs: Inputs) -> Measurement:
    """Share of a plane's points with |lambda_min / lambda_max| above a threshold: ``first`` less ``second``."""
    sides: Sides = {"first": inputs.given(spec.first), "second": inputs.given(spec.second)}
    values = {role: np.array([_negative(grid, spec.above) for grid in grids]) for role, grids in sides.items()}
    detail = "; ".join(
        f"{role}: "
        + ", ".join(
            f"{_label(g)} {v:.3g} ({g.lost('lambda_max')} points without a spectrum)"
            for g, v in zip(grids, values[role], strict=True)
        )
        for role, grids in sides.items()
    )
    return _difference(values["first"], values["second"], detail)


def bent(spec: Bent, inputs: Inputs) -> Measurement:
    """Share of a plane's inner points at which the drawn surface is not convex: ``first`` less ``second``."""
    sides: Sides = {"first": inputs.given(spec.first), "second": inputs.given(spec.second)}
    values = {role: np.array([float(bends(grid).mean()) for grid in grids]) for role, grids in sides.items()}
    detail = "; ".join(f"{role}: {_listed(grids, values[role])}" for role, grids in sides.items())
    return _difference(values["first"], values["second"], detail)


def _difference(first: Array, second: Array, detail: str) -> Measurement:
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return Measurement(None, None, 0, detail)
    spread = None
    if min(len(first), len(second)) > 1:
        spread = bootstrap([first, second], lambda a, b: a.mean(axis=-1) - b.mean(axis=-1))
    return Measurement(float(first.mean() - second.mean()), spread, min(len(first), len(second)), detail)


def flattening(spec: Flattening, inputs: Inputs) -> Measurement:
    """Rank correlation of the median rise of the loss within ``reach`` on a plane with its place among the planes."""
    planes: list[Grid] = inputs.given(spec.planes)
    rises = [on_plane(grid, spec.reach) for grid in planes]
    detail = f"median rises: {_listed(planes, rises)}"
    return Measurement(spearman(list(range(len(rises))), rises), None, len(rises), detail)


def _ranked(grids: Sequence[Grid], how: str, spec: OfSharpness) -> Array:
    """Return the sharpness (networks,) under a normalisation: medians over directions."""
    values = [sharpness(grid, how, spec.by, spec.reach) for grid in grids]
    return np.array([np.median(v) if len(v) else np.nan for v in values])


def sharpness_rank(spec: SharpnessRank, inputs: Inputs) -> Measurement:
    """Rank correlation of sharpness under ``of`` with the test error, less the best of those ``against``."""
    grids: list[Grid] = inputs.given(spec.lines)
    names = [spec.of, *spec.against]
    errors = np.array([1 - float(grid.minimum["test_accuracy"]) for grid in grids])
    sharp = {how: _ranked(grids, how, spec) for how in names}
    if len(grids) < spec.least or any(np.isnan(values).any() for values in sharp.values()):
        return Measurement(None, None, len(grids), f"{len(grids)} networks, at least {spec.least} are needed")

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


def sharpness_ratio(spec: SharpnessRatio, inputs: Inputs) -> Measurement:
    """Sharpness of ``first`` over that of ``second`` under one normalisation: medians over directions and replicas."""
    sides: Sides = {"first": inputs.given(spec.first), "second": inputs.given(spec.second)}
    values = {
        role: np.concatenate([sharpness(grid, spec.normalise, spec.by, spec.reach) for grid in grids])
        for role, grids in sides.items()
    }
    medians = {role: float(np.median(v)) for role, v in values.items()}
    if not np.isfinite(list(medians.values())).all() or medians["second"] <= 0:
        return Measurement(None, None, 0, f"{spec.by}: {medians}, no ratio of these")
    spread = None
    if min(map(len, values.values())) > 1:
        spread = bootstrap(list(values.values()), lambda a, b: np.median(a, axis=-1) / np.median(b, axis=-1))
    detail = ", ".join(
        f"{role} {medians[role]:.3g} (n {len(values[role])} lines of {len(sides[role])} networks)" for role in sides
    )
    number = min(map(len, values.values()))
    return Measurement(medians["first"] / medians["second"], spread, number, f"{spec.by}: {detail}")


def path_share(spec: PathShare, inputs: Inputs) -> Measurement:
    """Share of a path's variance in its first principal axes: the smallest or the largest among paths."""
    paths: list[Gram] = inputs.given(spec.paths)
    shares = [float(principal_axes(g, np.arange(g.n), spec.axes).explained.sum()) for g in paths]
    detail = ", ".join(f"{g.table['run'].iloc[0]} {v:.3f}" for g, v in zip(paths, shares, strict=True))
    pick = {"min": min, "max": max}[spec.statistic]
    return Measurement(pick(shares), (min(shares), max(shares)) if len(shares) > 1 else None, len(shares), detail)


def plane_share(spec: PlaneShare, inputs: Inputs) -> Measurement:
    """Share of a path's variance in a plane that is not its principal one: the largest among planes."""
    planes: list[Grid] = inputs.given(spec.planes)
    shares = [float(grid.explained.sum()) for grid in planes]
    detail = ", ".join(f"{_label(g)}, {g.slice.get('axes')}: {v:.3g}" for g, v in zip(planes, shares, strict=True))
    return Measurement(max(shares), None, len(shares), detail)


def convex_ratio(spec: ConvexRatio, inputs: Inputs) -> Measurement:
    """Median of |lambda_min / lambda_max| where the drawn surface looks convex, or that less the median elsewhere."""
    maps: list[Grid] = inputs.given(spec.maps)
    values = np.concatenate([ratio(grid)[1:-1, 1:-1].ravel() for grid in maps])
    bent_there = np.concatenate([bends(grid).ravel() for grid in maps])
    groups = [values[np.isfinite(values) & (bent_there == side)] for side in (False, True)]
    names = ("convex-looking", "other")
    detail = ", ".join(
        f"{name}: median {np.median(v):.3g} (n {len(v)})" if len(v) else f"{name}: none"
        for name, v in zip(names, groups, strict=True)
    )
    wanted = groups if spec.relative_to == "other" else groups[:1]
    if any(len(group) == 0 for group in wanted):
        return Measurement(None, None, 0, detail)
    if spec.relative_to == "other":
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


def descent_angle(spec: DescentAngle, inputs: Inputs) -> Measurement:
    """Mean angle of steps with the negative gradient in degrees, early or late in a training, or late less early.

    Early and late: the first and the last ``share`` of the steps. 0: straight down, 90: along the contours, 180: up.
    ``about``: the mean distance of the angle from so many degrees instead.
    """
    column = "plane_angle" if spec.space == "plane" else "angle"
    tables: list[pd.DataFrame] = inputs.given(spec.descents)
    early, late = [], []
    for table in tables:
        angles = np.abs(table[column].to_numpy(float) - spec.about)
        count = max(1, round(spec.share * len(angles)))
        early.append(np.nanmean(angles[:count]))
        late.append(np.nanmean(angles[-count:]))
    detail = "; ".join(f"{a:.1f} to {b:.1f} degrees" for a, b in zip(early, late, strict=True))
    found = {"early": np.array(early), "late": np.array(late), "change": np.array(late) - np.array(early)}
    values = found[spec.when]
    spread = bootstrap([values], lambda v: v.mean(axis=-1)) if len(values) > 1 else None
    return Measurement(float(values.mean()), spread, len(values), f"{detail}; interval over paths")
