"""Measures on retrainings and on whole trainings, in R^D, never from a picture.

A trajectory measure gives one number for each retraining. With x_k = theta_k - theta_o (theta_o is row 0 of the cloud,
x_0 the jump) every one of them follows from the inner products x_j . x_k that ``gram.h5`` holds. Directions from one
minimum are not independent of each other: a cloud counts by the mean over its directions, each by the mean over its
step sizes, and the independent units, which ``n`` counts, are initialisations. Clouds around one minimum are one unit.
Clouds are compared on the jumps (direction and step size) that all of them have.

A path measure gives one number for each training (run and replica) of a cloud of whole trainings, and compares two
runs; trainings of one replica start from the same weights and are paired. Lengths are those of the polyline through the
recorded points: they can only be compared between runs that were recorded alike.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.clouds.files import Gram
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import STATISTICS, Interval, of_difference, of_mean, of_ratio
from lossatlas.trajectories.numbers import OF_PATH, paths, per_trajectory, share_ends
from lossatlas.trajectories.spec import (
    AngleRatio,
    Contrast,
    DecayShare,
    EndSpread,
    FactorEffect,
    FactorRatio,
    NullDistance,
    OfPaths,
    OfTrajectories,
    PathAccuracy,
    PathPairs,
    Resemblance,
    Retrainings,
)

UNIT = "initialisations"


def _finite(values: pd.DataFrame) -> pd.DataFrame:
    return values[np.isfinite(values["value"].to_numpy(float))]


def _absent(chosen: Retrainings, values: pd.DataFrame) -> str:
    """Return why a selection has no number."""
    if len(values):
        return f"undefined for all {len(values)} trajectories"
    given = {"steps": chosen.steps, "seeds": chosen.seeds}
    words = ", ".join(f"{k} [{', '.join(f'{v:g}' for v in some)}]" for k, some in given.items() if some is not None)
    return "no retraining with its jump and a later point" + (f" among {words}" if words else "")


def _cells(clouds: Sequence[Gram], of: str, chosen: Retrainings) -> tuple[pd.DataFrame, str]:
    """Return a trajectory measure by direction (seed) and step, a column a cloud: those that all clouds have.

    Also what was compared, in words.
    """
    columns = []
    for gram in clouds:
        values = _finite(per_trajectory(of, [gram], chosen))
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


def _of_clouds(cells: pd.DataFrame, statistic: str = "mean") -> Array:
    """Return the value of each cloud (a column): of the step sizes of a direction, then of the directions."""
    function = STATISTICS[statistic]
    by_direction = cells.groupby(level="seed").agg(statistic)
    return np.array([float(function(by_direction[column])) for column in by_direction])


def _by_step(cells: pd.DataFrame) -> str:
    means = cells.mean(axis=1).groupby(level="step", sort=True).mean()
    return ", ".join(f"{mean:.4g} at step {step:g}" for step, mean in means.items())


def _by_direction(cells: pd.DataFrame) -> str:
    means = cells.mean(axis=1).groupby(level="seed").mean()
    return f"by direction {means.min():.4g} to {means.max():.4g} ({len(means)})"


def _units(sides: Sequence[Sequence[Gram]], labels: Sequence[int] | None = None) -> NDArray[np.intp]:
    """Return the unit (places,) of each place in lists of clouds whose entries of one place belong together.

    Places that share a label, or the minimum of any of their clouds, are one unit. A minimum is told by its norm, which
    no two trained networks have in common.
    """
    norms = np.array([[gram.reference_norm2 for gram in clouds] for clouds in sides])
    one = np.isclose(norms[:, None, :, None], norms[None, :, None, :], rtol=1e-9, atol=0).any(axis=(0, 1))
    if labels is not None:
        one |= np.equal.outer(labels, labels)
    units: NDArray[np.intp] = connected_components(one)[1]
    return units


def _over(values: Array, units: NDArray[np.intp]) -> Array:
    """Return the mean of the places of each unit, (units,)."""
    return np.array([float(values[units == unit].mean()) for unit in range(units.max() + 1)])


def of_trajectories(spec: OfTrajectories, inputs: Inputs) -> Measurement:
    """Measure trajectories; the value is the mean over initialisations."""
    clouds = inputs.given(spec.cloud)
    values = per_trajectory(spec.measure, clouds, spec)
    cells, compared = _cells(clouds, spec.measure, spec)
    if cells.empty:
        return nothing(_absent(spec, values) if _finite(values).empty else f"nothing to compare: {compared}")
    each = _over(_of_clouds(cells, spec.statistic), _units([clouds]))
    lost = len(values) - len(_finite(values))
    detail = f"{_by_step(cells)}; {_by_direction(cells)}" + (f"; {compared}" if len(clouds) > 1 else "")
    detail += f"; {lost} of {len(values)} trajectories undefined and left out" if lost else ""
    return _mean(each, detail)


def decay_share(spec: DecayShare, inputs: Inputs) -> Measurement:
    """Measure how far the share left is from what decay alone leaves: largest of a cloud, mean of an initialisation."""
    each: dict[int, list[float]] = {}
    details = []
    for number, table in zip(spec.initialisations, inputs.given(spec.cloud), strict=True):
        ends = share_ends(table)
        ends = ends[ends["step"] > 0]
        errors = (ends[f"{spec.of}_left"] - ends["predicted"]).abs().to_numpy(np.float64)
        if not len(errors) or not np.isfinite(errors).all():
            return nothing("a cloud without a jump, or a share that is not finite")
        each.setdefault(number, []).append(float(errors.max()))
        details.append(f"{ends[f'{spec.of}_left'].mean():.3f} of {ends['predicted'].mean():.3f}")
    values = np.array([np.mean(each[number]) for number in sorted(each)])
    detail = f"left, of predicted, by cloud: {', '.join(details)}"
    return _mean(values, detail)


def _ends(tables: Sequence[pd.DataFrame], quantity: str, at: str) -> tuple[pd.DataFrame, str]:
    """Return, of the jumps that all clouds have, a distance at the end or at its largest over the jump's, by cloud."""
    columns = []
    for table in tables:
        grouped = table[table["step"] > 0].sort_values("epoch", kind="stable").groupby(["seed", "step"])[quantity]
        columns.append((grouped.max() if at == "largest" else grouped.last()) / grouped.first())
    cells = pd.concat(columns, axis=1, keys=range(len(tables))).dropna()
    return cells, f"{len(cells)} jumps in all {len(tables)} clouds"


def angle_ratio(spec: AngleRatio, inputs: Inputs) -> Measurement:
    """Measure how far retrainings go from theta_o, over the jump's distance, by the filters' angles or in R^D."""
    first, second = inputs.given(spec.cloud), inputs.given(spec.second)
    if second and len(first) != len(second):
        return nothing(f"{len(first)} clouds against {len(second)}; give as many")
    cells, compared = _ends([*first, *second], spec.quantity, spec.at)
    if cells.empty:
        return nothing(f"nothing to compare: {compared}")
    each = cells.mean(axis=0).to_numpy(np.float64)
    detail = f"by cloud: {', '.join(f'{value:.4g}' for value in each)}; {compared}"
    if second:
        return _compared(each[: len(first)], each[len(first) :], "difference", True, detail)
    return _mean(each, detail)


def null_distance(spec: NullDistance, inputs: Inputs) -> Measurement:
    """Measure how far retraining from theta_o itself leads, over how far it leads from a jump."""
    ends: list[list[float]] = []
    for clouds, step in ((spec.step_zero, 0.0), (spec.cloud, spec.step)):
        chosen = [share_ends(table) for table in inputs.given(clouds)]
        ends.append([float(table[np.isclose(table["step"], step)][spec.quantity].mean()) for table in chosen])
    null, jumped = (np.array(side) for side in ends)
    if len(null) != len(jumped) or not (np.isfinite(null).all() and np.isfinite(jumped).all()):
        return nothing(f"{len(null)} null clouds and {len(jumped)} with step {spec.step:g}, or one without its step")
    detail = f"from itself {', '.join(f'{v:.4g}' for v in null)}; from the jump {', '.join(f'{v:.4g}' for v in jumped)}"
    return _compared(null, jumped, "ratio", True, detail)


def contrast(spec: Contrast, inputs: Inputs) -> Measurement:
    """Measure how a trajectory measure differs between clouds, or between step sizes of one.

    As many clouds on either side are paired by their places; else the sides count as independent.
    """
    first, second = inputs.given(spec.first), inputs.given(spec.second)
    if spec.first_steps is None and spec.second_steps is None:
        cells, compared = _cells([*first, *second], spec.of, spec)
        parts = [cells.iloc[:, : len(first)], cells.iloc[:, len(first) :]]
    else:
        parts, words = [], []
        for clouds, own in ((first, spec.first_steps), (second, spec.second_steps)):
            found, said = _cells(clouds, spec.of, spec if own is None else spec.model_copy(update={"steps": own}))
            parts.append(found)
            words.append(said)
        both = parts[0].index.get_level_values("seed").intersection(parts[1].index.get_level_values("seed"))
        parts = [part[part.index.get_level_values("seed").isin(both)] for part in parts]
        compared = " and ".join(words)
    if any(part.empty for part in parts):
        return nothing(f"nothing to compare: {compared}")
    values = [_of_clouds(part, spec.statistic) for part in parts]
    paired = len(first) == len(second)
    if paired:
        units = _units([first, second])
        sides = [_over(side, units) for side in values]
    else:
        sides = [_over(side, _units([clouds])) for side, clouds in zip(values, (first, second), strict=True)]
    told = [f"{side.mean():.4g} ({_by_step(part)})" for side, part in zip(sides, parts, strict=True)]
    return _compared(sides[0], sides[1], spec.contrast, paired, f"first: {told[0]}; second: {told[1]}; {compared}")


def resemblance(spec: Resemblance, inputs: Inputs) -> Measurement:
    """Measure whether clouds resemble one kind of cloud more than another, step size by step size."""
    sides = [inputs.given(one) for one in (spec.first, spec.like, spec.unlike)]
    cells, compared = _cells([gram for side in sides for gram in side], spec.of, spec)
    if cells.empty:
        return nothing(f"nothing to compare: {compared}")
    by_step = cells.groupby(level="step").mean().to_numpy(np.float64).reshape(-1, 3, len(sides[0]))
    first, like, unlike = by_step[:, 0], by_step[:, 1], by_step[:, 2]
    near, far = (np.sqrt(((first - other) ** 2).mean(axis=0)) for other in (like, unlike))
    each = _over(near - far, _units(sides))
    return _mean(each, f"distance {near.mean():.4g} from like, {far.mean():.4g} from unlike; {compared}")


def _mean(values: Array, detail: str) -> Measurement:
    """Return the mean over independent units."""
    return Measurement(float(values.mean()), of_mean(values), len(values), detail, UNIT, values.tolist())


def _compared(first: Array, second: Array, how: str, paired: bool, detail: str) -> Measurement:
    """Compare the means of two samples of units by their difference or their ratio.

    Args:
        first: values of the independent units.
        second: those they are compared with.
        how: ``difference`` or ``ratio``.
        paired: whether values of equal index belong together.
        detail: the numbers behind.
    """
    if how == "ratio" and (second <= 0).any():
        return nothing(f"no ratio: the second value is not positive; {detail}")
    if how == "ratio":
        value, interval = float(first.mean() / second.mean()), of_ratio(first, second, paired)
        each = (first / second).tolist() if paired else None
    else:
        value, interval = float(first.mean() - second.mean()), of_difference(first, second, paired)
        each = (first - second).tolist() if paired else None
    return Measurement(value, interval, min(len(first), len(second)), detail, UNIT, each)


def factor_effect(spec: FactorEffect, inputs: Inputs) -> Measurement:
    """Measure what a factor does to a trajectory measure: the mean over initialisations of with less without.

    An initialisation counts by the mean over its pairs of clouds, their directions and steps.
    """
    with_factor, without = inputs.given(spec.with_), inputs.given(spec.without)
    pairs = len(with_factor)
    cells, compared = _cells([*with_factor, *without], spec.of, spec)
    if cells.empty:
        return nothing(f"nothing to compare: {compared}")
    means = _of_clouds(cells)
    detail = "; ".join(f"{a:.4g} with, {b:.4g} without" for a, b in zip(means[:pairs], means[pairs:], strict=True))
    each = _over(means[:pairs] - means[pairs:], _units([with_factor, without], spec.initialisations))
    return _mean(each, f"{detail}; {compared}")


def factor_ratio(spec: FactorRatio, inputs: Inputs) -> Measurement:
    """Measure which of two crossed factors does more to a trajectory measure: |effect of A| over |effect of B|.

    Factor A is with against without, averaged over good and bad; factor B is good against bad, averaged over with and
    without. Both come from the same clouds, initialisation by initialisation.
    """
    sides = [inputs.given(one) for one in (spec.good_with, spec.good_without, spec.bad_with, spec.bad_without)]
    cells, compared = _cells([gram for side in sides for gram in side], spec.of, spec)
    if cells.empty:
        return nothing(f"nothing to compare: {compared}")
    units = _units(sides, spec.initialisations)
    good_with, good_without, bad_with, bad_without = (
        _over(side, units) for side in _of_clouds(cells).reshape(4, len(sides[0]))
    )
    a = (good_with + bad_with - good_without - bad_without) / 2
    b = (good_with + good_without - bad_with - bad_without) / 2
    detail = f"with less without {_effect(a)}, good less bad {_effect(b)}; {compared}"
    if abs(b.mean()) <= 1e-12 * max(abs(a.mean()), float(np.abs(cells.to_numpy()).max())):
        return nothing(f"no ratio: good and bad do not differ; {detail}")
    value = float(abs(a.mean()) / abs(b.mean()))
    return Measurement(value, ratio_of_sizes(a, b), len(a), detail, UNIT)


def _effect(values: Array) -> str:
    interval = of_mean(values)
    return f"{values.mean():.4g}" + ("" if interval is None else f" {interval}")


def ratio_of_sizes(a: Array, b: Array) -> Interval | None:
    """Return the interval of |mean(a)| / |mean(b)| over paired units.

    The logarithm's t needs both signs to be known: where the interval of mean(a) includes 0, so does that of the ratio,
    and where that of mean(b) does, the ratio has no upper end.
    """
    found = of_ratio(a * np.sign(a.mean()), b * np.sign(b.mean()), paired=True)
    if found is None:
        return None
    top, bottom = (of_mean(values) for values in (a, b))
    low = found.low if top is not None and top.low * top.high > 0 else 0.0
    high = found.high if bottom is not None and bottom.low * bottom.high > 0 else np.inf
    return Interval(low, high, found.method)


def of_paths(spec: OfPaths, inputs: Inputs) -> Measurement:
    """Measure the trainings of two runs and compare them, initialisation by initialisation."""
    clouds = inputs.given(spec.cloud)
    sides, details = [], []
    for side, run in (("first", spec.first), ("second", spec.second)):
        trainings = {replica: path for (_, replica), path in paths(clouds, run).items()}
        values = {replica: OF_PATH[spec.measure](*path) for replica, path in trainings.items()}
        finite = {replica: value for replica, value in values.items() if np.isfinite(value)}
        if not finite:
            reason = "no training recorded from epoch 0 on" if not values else "undefined: the weights did not move"
            return nothing(f"{side}: {reason} for run {run!r}; the cloud has {_runs(clouds)}")
        lost = f", {len(values) - len(finite)} undefined left out" if len(finite) < len(values) else ""
        details.append(f"{run}: {np.mean(list(finite.values())):.4g} (n {len(finite)}{lost})")
        sides.append(finite)
    common = sorted(set(sides[0]) & set(sides[1]))
    if common:
        first, second = (np.array([side[replica] for replica in common]) for side in sides)
    else:
        first, second = (np.array(list(side.values())) for side in sides)
    return _compared(first, second, spec.contrast, bool(common), "; ".join(details))


def _displacements(gram: Gram, first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    """Return the cosine of the displacements of two trainings of one cloud, from the first point to the last."""
    a, b, c, d = first[0], first[-1], second[0], second[-1]
    inner = gram.gram[b, d] - gram.gram[b, c] - gram.gram[a, d] + gram.gram[a, c]
    near = gram.squared_distances()
    return float(inner / np.sqrt(near[a, b] * near[c, d]))


def _apart(gram: Gram, first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    return float(np.sqrt(gram.squared_distances()[first[-1], second[-1]]))


def path_pairs(spec: PathPairs, inputs: Inputs) -> Measurement:
    """Measure how alike trainings of two runs from one initialisation are, against those from different ones."""
    clouds = inputs.given(spec.cloud)
    sides = [paths(clouds, run) for run in (spec.first, spec.second)]
    common = sorted(set(sides[0]) & set(sides[1]))
    others = {one: [other for other in common if other[0] == one[0] and other != one] for one in common}
    if len(common) < 2 or not all(others.values()):
        return nothing(f"{len(common)} common initialisations of {spec.first!r} and {spec.second!r}; at least 2")
    of = _apart if spec.of == "ends" else _displacements
    pairs = {
        (one, other): of(sides[0][one][0], sides[0][one][1], sides[1][other][1])
        for one in common
        for other in [one, *others[one]]
    }
    same = np.array([pairs[one, one] for one in common])
    apart = np.array([np.mean([pairs[one, other] for other in others[one]]) for one in common])
    detail = f"one initialisation {same.mean():.4g}, different ones {apart.mean():.4g}"
    if spec.of == "cosine":
        return _mean(same, detail)
    return _compared(same, apart, "ratio" if spec.of == "ends" else "difference", True, detail)


def end_spread(spec: EndSpread, inputs: Inputs) -> Measurement:
    """Measure how far apart the last weights of one run from different initialisations are, against another run's."""
    clouds = inputs.given(spec.cloud)
    sides = []
    for run in (spec.first, spec.second):
        found = paths(clouds, run)
        together = {one: [other for other in found if other[0] == one[0] and other != one] for one in found}
        means = {
            one: np.mean([_apart(gram, rows, found[other][1]) for other in together[one]])
            for one, (gram, rows) in found.items()
            if together[one]
        }
        if len(means) < 2:
            return nothing(f"{len(found)} trainings of run {run!r}; at least 2 initialisations of one cloud")
        sides.append({one[1]: float(value) for one, value in means.items()})
    common = sorted(set(sides[0]) & set(sides[1]))
    if not common:
        return nothing(f"no initialisation has both {spec.first!r} and {spec.second!r}")
    first, second = (np.array([side[replica] for replica in common]) for side in sides)
    detail = f"{spec.first}: {first.mean():.4g}, {spec.second}: {second.mean():.4g}"
    return _compared(first, second, spec.contrast, True, detail)


def path_accuracy(spec: PathAccuracy, inputs: Inputs) -> Measurement:
    """Measure the smallest last accuracy of the trainings of some runs."""
    clouds = inputs.given(spec.cloud)
    each, details = [], []
    for run in spec.runs:
        trainings = {replica: path for (_, replica), path in paths(clouds, run).items()}
        last = [float(gram.table[spec.quantity].iloc[rows[-1]]) for gram, rows in trainings.values()]
        if not last:
            return nothing(f"no training recorded from epoch 0 on for run {run!r}; the cloud has {_runs(clouds)}")
        each += [value if np.isfinite(value) else 0.0 for value in last]
        details.append(f"{run}: " + ", ".join(f"{value:.4g}" for value in last))
    return Measurement(min(each), None, len(each), "; ".join(details), "trainings", each)


def _runs(clouds: Sequence[Gram]) -> str:
    return ", ".join(sorted({str(label) for gram in clouds for label in gram.table["run"]}))
