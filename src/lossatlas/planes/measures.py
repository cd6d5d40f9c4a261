"""Measures on lines, planes, curvature maps and paths: numbers from grid files, descents and Gram matrices.

The independent units are networks: points of one plane and directions through one minimum are not independent of each
other, so a network counts by one number (a share, a median), and one network has no interval.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import (
    apart,
    bends,
    contrast,
    on_plane,
    ratio,
    region,
    sharpness,
    step_lengths,
    towards,
    walk_share,
)
from lossatlas.planes.spec import (
    Bent,
    ConvexRatio,
    DescentAngle,
    Flattening,
    GradientNoise,
    LossSpread,
    NegativeCurvature,
    NetworkAccuracy,
    NormGrowth,
    OfSharpness,
    OfSteps,
    Partition,
    PathKink,
    PathShare,
    PlaneShare,
    RegionSize,
    RescalingGap,
    SegmentSharpness,
    SharpnessRank,
    SharpnessRatio,
    TowardsCentre,
    UphillShare,
)
from lossatlas.specs.base import Reference
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import (
    STATISTICS,
    Interval,
    of_clusters,
    of_difference,
    of_mean,
    of_ratio,
    partial,
    rank_correlation,
    spearman,
)

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


def loss_spread(spec: LossSpread, inputs: Inputs) -> Measurement:
    """Largest over smallest training loss of the networks behind lines, planes or maps."""
    grids: list[Grid] = inputs.given(spec.networks)
    found = [float(grid.minimum["train_loss"]) for grid in grids]
    detail = f"training losses: {_listed(grids, found)}"
    if not (np.isfinite(found).all() and min(found) > 0):
        return nothing(detail, len(found))
    return Measurement(max(found) / min(found), None, len(found), detail, "networks")


def _of_networks(
    first: Sequence[Reference], second: Sequence[Reference], inputs: Inputs, value: Callable[[Grid], float]
) -> Measurement:
    """Compare networks by a number of their planes, each network by its mean over the planes it has."""
    found, details = [], []
    for name, references in (("first", first), ("second", second)):
        entries: list[list[Grid]] = [inputs.given([one]) for one in references]
        if not entries:
            continue
        if len({len(entry) for entry in entries}) > 1:
            return nothing(f"{name}: planes of {' and '.join(str(len(entry)) for entry in entries)} networks")
        values = np.array([[value(grid) for grid in entry] for entry in entries])
        found.append(values.mean(axis=0))
        listed = _listed(entries[0], found[-1])
        details.append(f"{name}: {listed} (mean of {len(entries)} plane{'s' if len(entries) > 1 else ''})")
    detail = "; ".join(details)
    if len(found) == 2:
        return _difference(found[0], found[1], detail)
    each = found[0].tolist()
    return Measurement(float(np.mean(each)), of_mean(each), len(each), detail, "networks", each)


def towards_centre(spec: TowardsCentre, inputs: Inputs) -> Measurement:
    """Share of a plane's points whose negative gradient leads nearer to its centre: ``first``, or less ``second``."""
    return _of_networks(spec.first, spec.second, inputs, lambda grid: float(np.nanmean(towards(grid))))


def region_size(spec: RegionSize, inputs: Inputs) -> Measurement:
    """Share of a plane that is joined to its centre below a loss: ``first``, or less ``second``."""
    return _of_networks(spec.first, spec.second, inputs, lambda grid: region(grid, spec.level))


def partition(spec: Partition, inputs: Inputs) -> Measurement:
    """How much more of the low region around the centre leads to it than of the rest of the plane."""
    found = _of_networks(spec.first, (), inputs, lambda grid: contrast(grid, spec.level))
    if found.value is None or not np.isfinite(found.value):
        return nothing(f"a plane lies wholly inside or outside of the region; {found.detail}")
    return found


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


def _networks(grids: Sequence[Grid], names: Sequence[str], spec: OfSharpness, reach: float | None = None) -> Array:
    """Return test errors, and medians over directions of the sharpness by each name, (networks, 1 + names)."""
    found = []
    for grid in grids:
        lines = [sharpness(grid, how, spec.by, spec.reach if reach is None else reach) for how in names]
        medians = [float(np.median(line)) if len(line) else np.nan for line in lines]
        found.append([1 - float(grid.minimum["test_accuracy"]), *medians])
    return np.array(found)


def sharpness_rank(spec: SharpnessRank, inputs: Inputs) -> Measurement:
    """Rank correlation of sharpness under ``of`` with the test error, less the best of those ``against``.

    Networks of one entry of ``lines`` were trained alike and are kept together: the recipes are the units. With
    ``reaches`` every normalisation has as many tries as the others, in every leave-one-out value anew.
    """
    names = [spec.of, *spec.against]
    # recipes -> (networks, reaches, 1 + names), and training losses (networks,)
    recipes, lost = [], 0
    for one in spec.lines:
        every_one: list[Grid] = inputs.given([one])
        least = spec.trained
        grids = [grid for grid in every_one if least is None or grid.minimum["train_accuracy"] >= least]
        lost += len(every_one) - len(grids)
        if not grids:
            continue
        tried = [_networks(grids, names, spec, reach) for reach in spec.reaches or [spec.reach]]
        recipes.append((np.stack(tried, axis=1), np.array([float(grid.minimum["train_loss"]) for grid in grids])))
    every = np.concatenate([values for values, _ in recipes]) if recipes else np.zeros((0, 1, 1))
    left = f", {lost} with a training accuracy below {spec.trained} left out" if lost else ""
    if len(every) < spec.least or np.isnan(every).any():
        return nothing(f"{len(every)} networks, at least {spec.least} are needed{left}", len(every))

    def ranks(parts: Sequence[tuple[Array, Array]]) -> list[float]:
        return [_best_rank(spec, parts, column) for column in range(1, 1 + len(names))]

    def gap(parts: Sequence[tuple[Array, Array]]) -> float:
        first, *others = ranks(parts)
        return first - max(others, default=0.0)

    interval = None
    if len(recipes) >= LEAST_RECIPES:
        scales = () if spec.against else (_fisher, _back)
        interval = of_clusters(recipes, gap, *scales)
    found = ", ".join(f"{how} {rank:.3f}" for how, rank in zip(names, ranks(recipes), strict=True))
    where = {"all": "", "between": " (means of recipes)", "within": " (within recipes)"}[spec.level]
    fixed = "" if spec.holding is None else f", {spec.holding} held fixed"
    detail = f"Spearman's correlations of {len(every)} networks with the test error{where}{fixed}: {found}{left}"
    value = gap(recipes)
    if not np.isfinite(value):
        return nothing(f"no correlation: some of these do not vary; {detail}", len(recipes))
    return Measurement(value, interval, len(recipes), detail, "recipes")


def _best_rank(spec: SharpnessRank, parts: Sequence[tuple[Array, Array]], column: int) -> float:
    """Return the correlation of one normalisation with the test error, at the reach where it is strongest."""
    found = []
    for reach in range(parts[0][0].shape[1]):
        sharp = [values[:, reach, column] for values, _ in parts]
        found.append(_rank_of(spec, sharp, [values[:, reach, 0] for values, _ in parts], [loss for _, loss in parts]))
    return max(found, key=lambda rank: -1.0 if np.isnan(rank) else abs(rank))


def _rank_of(spec: SharpnessRank, sharp: list[Array], errors: list[Array], losses: list[Array]) -> float:
    """Return a correlation at the level asked for; ``losses`` are held fixed where that is asked for."""
    # Infinite sharpness is the highest rank, and the mean of a recipe that has one is infinite, too.
    largest = np.finfo(np.float64).max / 1e6
    table = [
        np.column_stack([np.nan_to_num(s, posinf=largest), e, x]) for s, e, x in zip(sharp, errors, losses, strict=True)
    ]
    if spec.level == "between":
        rows = np.array([part.mean(axis=0) for part in table])
    elif spec.level == "within":
        # Ranks first: differences of sharpness from the mean of a recipe are otherwise those of its sharpest networks.
        whole = pd.DataFrame(np.concatenate(table)).rank().to_numpy()
        cuts = np.cumsum([len(part) for part in table])[:-1]
        rows = np.concatenate([part - part.mean(axis=0) for part in np.split(whole, cuts)])
    else:
        rows = np.concatenate(table)
    if spec.holding is None:
        return spearman(rows[:, 0], rows[:, 1])
    return partial(rows[:, 0], rows[:, 1], rows[:, 2])


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


def rescaling_gap(spec: RescalingGap, inputs: Inputs) -> Measurement:
    """Largest difference of curves through rescaled copies from those through the networks, in units of their rise.

    A network counts by the largest over its copies and directions; the value is the largest of all. Nothing is sampled
    in the function of a given network: the value is exact but for rounding.
    """
    original: list[Grid] = inputs.given(spec.original)
    copies: list[list[Grid]] = [inputs.given([one]) for one in spec.copies]
    if any(len(several) != len(original) for several in copies):
        return nothing(f"{len(original)} networks, but copies of {', '.join(str(len(one)) for one in copies)}")
    gaps = [
        [float(np.max(apart(grid, several[i], spec.normalise))) for several in copies]
        for i, grid in enumerate(original)
    ]
    each = [max(found) for found in gaps]
    if not np.isfinite(each).all():
        each = [value if not np.isnan(value) else np.inf for value in each]
    detail = f"{spec.normalise}: " + "; ".join(
        f"{_label(grid)} {', '.join(f'{gap:.3g}' for gap in found)}" for grid, found in zip(original, gaps, strict=True)
    )
    return Measurement(max(each), None, len(each), detail, "networks", each, exact=True)


def segment_sharpness(spec: SegmentSharpness, inputs: Inputs) -> Measurement:
    """Ratio of the mean rises of the training loss around the second end of a segment and around its first."""
    grids: list[Grid] = inputs.given(spec.lines)
    rises = np.array([[_rise_around(grid, end, spec.reach) for end in (0.0, 1.0)] for grid in grids])
    detail = "; ".join(f"{_label(g)}: {a:.3g} and {b:.3g}" for g, (a, b) in zip(grids, rises, strict=True))
    if not np.isfinite(rises).all() or (rises <= 0).any():
        return nothing(f"no ratio of these rises around the ends: {detail}")
    each = rises[:, 1] / rises[:, 0]
    logs = of_mean(np.log(each))
    interval = (
        None
        if logs is None
        else Interval(float(np.exp(logs.low)), float(np.exp(logs.high)), f"{logs.method} of the logarithm")
    )
    return Measurement(
        float(np.exp(np.log(each).mean())), interval, len(each), f"rises: {detail}", "pairs of networks", each.tolist()
    )


def _rise_around(grid: Grid, end: float, reach: float) -> float:
    """Return the mean rise of the loss at ``reach`` on both sides of a point of a line; NaN where it is not finite."""
    at = np.interp([end - reach, end, end + reach], grid.x, grid.measured["train_loss"][0], left=np.nan, right=np.nan)
    return float((at[0] + at[2]) / 2 - at[1])


def norm_growth(spec: NormGrowth, inputs: Inputs) -> Measurement:
    """Growth of the weights' norm from start to end, of ``first`` over ``second``: mean over paths, in pairs."""
    sides = [np.array([g.norms()[-1] / g.norms()[0] for g in inputs.given(one)]) for one in (spec.first, spec.second)]
    told = ["; ".join(f"{value:.3g}" for value in side) for side in sides]
    first, second = sides
    paired = len(first) == len(second)
    each = (first / second).tolist() if paired else None
    value = float(first.mean() / second.mean())
    detail = f"first {told[0]}; second {told[1]}"
    return Measurement(value, of_ratio(first, second, paired), min(len(first), len(second)), detail, "paths", each)


def path_share(spec: PathShare, inputs: Inputs) -> Measurement:
    """Share of a path's variance in its first principal axes: the smallest, the largest or the mean among paths."""
    paths: list[Gram] = inputs.given(spec.paths)
    shares = [float(principal_axes(g, np.arange(g.n), spec.axes).explained.sum()) for g in paths]
    walks = [walk_share(step_lengths(g), spec.axes) for g in paths]
    detail = ", ".join(
        f"{g.table['run'].iloc[0]} {v:.3f} (walk {w:.3f})" for g, v, w in zip(paths, shares, walks, strict=True)
    )
    each = shares if spec.less is None else [share - walk for share, walk in zip(shares, walks, strict=True)]
    value = STATISTICS[spec.statistic](each)
    interval = of_mean(each) if spec.statistic == "mean" else None
    return Measurement(float(value), interval, len(each), detail, "paths", each)


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


COLUMN = {"plane": "plane_angle", "full": "angle", "batch": "batch_angle", "total": "total_angle", "turn": "turn"}


def _windows(spec: OfSteps, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the steps of a path that are early, late, and after the first drop of the learning rate."""
    if spec.until is None:
        before, after = table[table["phase"] == 0], table[table["phase"] > 0]
    else:
        before = table.iloc[: max(1, round(spec.until * len(table)))]
        after = table.iloc[len(before) :]
    count = max(1, round(spec.share * len(before)))
    return {"early": before.iloc[:count], "late": before.iloc[len(before) - count :], "after": after.iloc[:count]}


def _angles(spec: DescentAngle, table: pd.DataFrame) -> dict[str, float]:
    """Return the mean angle of a path's steps, or its distance from ``about``, by window; NaN where there is none."""
    found = {}
    for when, steps in _windows(spec, table).items():
        angles = steps[COLUMN[spec.space]].to_numpy(float)
        angles = angles[np.isfinite(angles)]
        if not spec.uphill:
            angles = angles[angles <= 90]
        found[when] = float(np.abs(angles - spec.about).mean()) if len(angles) else np.nan
    return {**found, "change": found["late"] - found["early"]}


def descent_angle(spec: DescentAngle, inputs: Inputs) -> Measurement:
    """Mean angle of steps with the negative gradient in degrees, early or late in a training, or late less early.

    0: straight down, 90: along the contours, 180: up. ``about``: the mean distance of the angle from so many degrees
    instead. Steps without any direction have a mean of 90 degrees, and in a plane of 45 from 90.
    """
    first = [_angles(spec, table) for table in inputs.given(spec.descents)]
    detail = "; ".join(f"{one['early']:.1f} to {one['late']:.1f} degrees" for one in first)
    values = np.array([one[spec.when] for one in first])
    if not spec.second:
        if not np.isfinite(values).all():
            return nothing(f"no such steps on some of the paths: {detail}")
        return Measurement(float(values.mean()), of_mean(values), len(values), detail, "paths", values.tolist())
    second = [_angles(spec, table) for table in inputs.given(spec.second)]
    detail += "; second: " + "; ".join(f"{one['early']:.1f} to {one['late']:.1f} degrees" for one in second)
    others = np.array([one[spec.when] for one in second])
    if not (np.isfinite(values).all() and np.isfinite(others).all()):
        return nothing(f"no such steps on some of the paths: {detail}")
    return replace(_difference(values, others, detail), unit="paths")


def uphill_share(spec: UphillShare, inputs: Inputs) -> Measurement:
    """Share of the steps of a window that go uphill, mean over paths."""
    shares = []
    for table in inputs.given(spec.descents):
        windows = _windows(spec, table)
        up = {
            when: float((angles > 90).mean()) if len(angles := steps[COLUMN[spec.space]].dropna()) else np.nan
            for when, steps in windows.items()
        }
        shares.append({**up, "change": up["late"] - up["early"]}[spec.when])
    detail = ", ".join(f"{share:.3f}" for share in shares)
    if not np.isfinite(shares).all():
        return nothing(f"no such steps on some of the paths: {detail}")
    return Measurement(float(np.mean(shares)), of_mean(shares), len(shares), detail, "paths", shares)


def path_kink(spec: PathKink, inputs: Inputs) -> Measurement:
    """How much nearer to the way to its end a path turns at the first drop, beyond what a random walk does."""
    found, details = [], []
    for table in inputs.given(spec.descents):
        windows = _windows(spec, table)
        if not len(windows["after"]):
            return nothing("the learning rate never drops on some of the paths")
        turned = {
            name: float(windows["late"][name].mean() - windows["after"][name].iloc[0])
            for name in ("end_angle", "walk_angle")
        }
        details.append(f"{turned['end_angle']:.1f} (a walk: {turned['walk_angle']:.1f})")
        found.append(turned["end_angle"] - turned["walk_angle"])
    return Measurement(
        float(np.mean(found)), of_mean(found), len(found), "degrees: " + ", ".join(details), "paths", found
    )


def gradient_noise(spec: GradientNoise, inputs: Inputs) -> Measurement:
    """Log10 of the noise of a minibatch's gradient over the squared gradient: late less early, mean over paths.

    Both are means over the steps of a window: of a single step the squared gradient without what noise adds to it may
    be estimated below zero. Where that of a whole window is, noise hides the gradient and there is no number.
    """
    found, details = [], []
    for table in inputs.given(spec.descents):
        windows = _windows(spec, table)
        noise, signal = ([float(windows[w][name].mean()) for w in ("early", "late")] for name in ("noise", "signal"))
        if not np.isfinite(noise).all() or min(noise) <= 0 or not min(signal) > 0:
            return nothing(f"noise is not known, or hides the gradient: noise {noise}, squared gradient {signal}")
        ratios = [float(np.log10(n / g)) for n, g in zip(noise, signal, strict=True)]
        details.append(f"{ratios[0]:.2f} to {ratios[1]:.2f}")
        found.append(ratios[1] - ratios[0])
    detail = "log10 of noise over gradient: " + "; ".join(details)
    return Measurement(float(np.mean(found)), of_mean(found), len(found), detail, "paths", found)
