"""Measures on lines, planes, curvature maps and paths: numbers from grid files, descents and Gram matrices.

The independent units are networks: points of one plane and directions through one minimum are not independent of each
other, so a network counts by one number (a share, a median), and one network has no interval.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
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
    NetworkAccuracy,
    OfSharpness,
    PathShare,
    PlaneShare,
    SharpnessRank,
    SharpnessRatio,
)
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import of_clusters, of_difference, of_mean, of_ratio, rank_correlation, spearman

LEAST_RECIPES = 5
"""Recipes that a rank correlation's interval needs: of 24 orders of four one is perfect, too many for p < .025."""

Sides = dict[str, list[Grid]]
"""Grids by the input they are given to."""


def _label(grid: Grid) -> str:
    return str(grid.minimum["run"])


def _listed(grids: Sequence[Grid], values: Sequence[float] | Array) -> str:
    return ", ".join(f"{_label(g)} {v:.3g}" for g, v in zip(grids, values, strict=True))


def network_accuracy(spec: NetworkAccuracy, inputs: Inputs) -> Measurement:
    """Smallest accuracy of the networks behind lines, planes or maps."""
    grids: list[Grid] = inputs.given(spec.networks)
    found = [float(grid.minimum.get(spec.quantity, np.nan)) for grid in grids]
    each = [value if np.isfinite(value) else 0.0 for value in found]
    return Measurement(min(each), None, len(each), f"{spec.quantity}: {_listed(grids, found)}", "networks", each)


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
    """Compare networks; as many on both sides are paired by their places, replica by replica."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return nothing(detail)
    paired = len(first) == len(second)
    each = (first - second).tolist() if paired else None
    interval = of_difference(first, second, paired)
    value = float(first.mean() - second.mean())
    return Measurement(value, interval, min(len(first), len(second)), detail, "networks", each)


def flattening(spec: Flattening, inputs: Inputs) -> Measurement:
    """Rank correlation of the median rise of the loss within ``reach`` on a plane with its place among the planes.

    Planes of the replicas of one place are of different networks; all of one replica are one unit.
    """
    places: list[list[Grid]] = [inputs.given([one]) for one in spec.planes]
    rows = [
        {"place": place, "rise": on_plane(grid, spec.reach), "replica": replica}
        for place, grids in enumerate(places)
        for replica, grid in enumerate(grids)
    ]
    grids = [grid for several in places for grid in several]
    detail = f"median rises: {_listed(grids, [row['rise'] for row in rows])}"
    if len(places) < 3:
        return nothing(f"{len(places)} planes have no rank correlation, at least 3 are needed; {detail}")
    table = pd.DataFrame(rows)
    # Ranks alone count, and what overflows is the steepest.
    table["rise"] = np.nan_to_num(table["rise"].to_numpy(np.float64), posinf=np.finfo(np.float64).max)
    found = rank_correlation(table, "place", "rise")
    return Measurement(found.value, found.interval, found.replicas, detail, "initialisations")


def _networks(grids: Sequence[Grid], names: Sequence[str], spec: OfSharpness) -> Array:
    """Return test errors, and medians over directions of the sharpness by each name, (networks, 1 + names)."""
    found = []
    for grid in grids:
        lines = [sharpness(grid, how, spec.by, spec.reach) for how in names]
        medians = [float(np.median(line)) if len(line) else np.nan for line in lines]
        found.append([1 - float(grid.minimum["test_accuracy"]), *medians])
    return np.array(found)


def sharpness_rank(spec: SharpnessRank, inputs: Inputs) -> Measurement:
    """Rank correlation of sharpness under ``of`` with the test error, less the best of those ``against``.

    Networks of one entry of ``lines`` were trained alike and are kept together: the recipes are the units.
    """
    names = [spec.of, *spec.against]
    recipes = [_networks(inputs.given([one]), names, spec) for one in spec.lines]
    every = np.concatenate(recipes)
    if len(every) < spec.least or np.isnan(every).any():
        return nothing(f"{len(every)} networks, at least {spec.least} are needed", len(every))

    def gap(parts: Sequence[Array]) -> float:
        rows = np.concatenate(parts)
        ranks = [spearman(rows[:, i], rows[:, 0]) for i in range(1, rows.shape[1])]
        return ranks[0] - max(ranks[1:], default=0.0)

    interval = None
    if len(recipes) >= LEAST_RECIPES:
        scales = () if spec.against else (_fisher, _back)
        interval = of_clusters(recipes, gap, *scales)
    found = ", ".join(f"{how} {spearman(every[:, 1 + i], every[:, 0]):.3f}" for i, how in enumerate(names))
    detail = f"Spearman's correlations of {len(every)} networks with the test error: {found}"
    return Measurement(gap(recipes), interval, len(recipes), detail, "recipes")


def _fisher(rank: float) -> float:
    return float(np.arctanh(np.clip(rank, -1 + 1e-9, 1 - 1e-9)))


def _back(z: float) -> float:
    return float(np.tanh(z))


def sharpness_ratio(spec: SharpnessRatio, inputs: Inputs) -> Measurement:
    """Sharpness of ``first`` over that of ``second``: means over networks of medians over directions.

    As many networks on both sides are paired by their places, replica by replica.
    """
    sides: Sides = {"first": inputs.given(spec.first), "second": inputs.given(spec.second)}
    first, second = (_networks(grids, [spec.normalise], spec)[:, 1] for grids in sides.values())
    detail = "; ".join(f"{role}: {_listed(sides[role], v)}" for role, v in zip(sides, (first, second), strict=True))
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (second > 0).all()):
        return nothing(f"{spec.by}: no ratio of these; {detail}")
    paired = len(first) == len(second)
    each = (first / second).tolist() if paired else None
    interval = of_ratio(first, second, paired)
    value, number = float(first.mean() / second.mean()), min(len(first), len(second))
    return Measurement(value, interval, number, f"{spec.by}: {detail}", "networks", each)


def path_share(spec: PathShare, inputs: Inputs) -> Measurement:
    """Share of a path's variance in its first principal axes: the smallest or the largest among paths."""
    paths: list[Gram] = inputs.given(spec.paths)
    shares = [float(principal_axes(g, np.arange(g.n), spec.axes).explained.sum()) for g in paths]
    detail = ", ".join(f"{g.table['run'].iloc[0]} {v:.3f}" for g, v in zip(paths, shares, strict=True))
    pick = {"min": min, "max": max}[spec.statistic]
    return Measurement(pick(shares), None, len(shares), detail, "paths", shares)


def plane_share(spec: PlaneShare, inputs: Inputs) -> Measurement:
    """Share of a path's variance in a plane that is not its principal one: the largest among planes."""
    planes: list[Grid] = inputs.given(spec.planes)
    shares = [float(grid.explained.sum()) for grid in planes]
    detail = ", ".join(f"{_label(g)}, {g.slice.get('axes')}: {v:.3g}" for g, v in zip(planes, shares, strict=True))
    return Measurement(max(shares), None, len(shares), detail, "planes", shares)


def convex_ratio(spec: ConvexRatio, inputs: Inputs) -> Measurement:
    """Median |lambda_min / lambda_max| where a surface looks convex, or less that elsewhere: the mean over networks."""
    each, details = [], []
    for grid in inputs.given(spec.maps):
        values, bent_there = ratio(grid)[1:-1, 1:-1], bends(grid)
        groups = [values[np.isfinite(values) & (bent_there == side)] for side in (False, True)]
        medians = [float(np.median(group)) if len(group) else np.nan for group in groups]
        told = [f"{m:.3g} ({len(group)} points)" for m, group in zip(medians, groups, strict=True)]
        details.append(f"{_label(grid)}: convex-looking {told[0]}, other {told[1]}")
        each.append(medians[0] - medians[1] if spec.relative_to == "other" else medians[0])
    found = [value for value in each if np.isfinite(value)]
    lost = f"; {len(each) - len(found)} networks without such points left out" if len(found) < len(each) else ""
    detail = "; ".join(details) + lost
    if not found:
        return nothing(detail)
    return Measurement(float(np.mean(found)), of_mean(found), len(found), detail, "networks", found)


def descent_angle(spec: DescentAngle, inputs: Inputs) -> Measurement:
    """Mean angle of steps with the negative gradient in degrees, early or late in a training, or late less early.

    Early and late: the first and the last ``share`` of the steps up to ``until``. 0: straight down, 90: along the
    contours, 180: up. ``about``: the mean distance of the angle from so many degrees instead.
    """
    column = "plane_angle" if spec.space == "plane" else "angle"
    tables: list[pd.DataFrame] = inputs.given(spec.descents)
    early, late = [], []
    for table in tables:
        angles = np.abs(table[column].to_numpy(float) - spec.about)
        angles = angles[: max(1, round(spec.until * len(angles)))]
        count = max(1, round(spec.share * len(angles)))
        early.append(np.nanmean(angles[:count]))
        late.append(np.nanmean(angles[-count:]))
    detail = "; ".join(f"{a:.1f} to {b:.1f} degrees" for a, b in zip(early, late, strict=True))
    found = {"early": np.array(early), "late": np.array(late), "change": np.array(late) - np.array(early)}
    values = found[spec.when]
    return Measurement(float(values.mean()), of_mean(values), len(values), detail, "paths", values.tolist())
