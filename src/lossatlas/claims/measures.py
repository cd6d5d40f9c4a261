"""Measures: numbers taken from artefacts, in R^D, never from a picture.

A trajectory measure gives one number for each retraining. With x_k = theta_k - theta_o (theta_o is row 0 of the cloud,
x_0 the jump) every one of them follows from the inner products x_j . x_k that ``gram.h5`` holds. The numbers of one
direction (seed) are averaged over its step sizes first: directions, not trajectories, are the independent draws, so
``n`` and the interval are over directions.

A path measure gives one number for each training (run and replica) of a cloud of whole trainings, and compares two
runs; trainings of one replica start from the same weights and are paired. Lengths are those of the polyline through the
recorded points: they can only be compared between runs that were recorded alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.claims import generalization, levelsets, optimizers_paths, solutions, surfaces
from lossatlas.claims.catalogue import MEASURES, PATH_MEASURES, TRAJECTORY_MEASURES
from lossatlas.claims.measurement import Measurement
from lossatlas.embed.gram import Gram
from lossatlas.figures.catalogue import EXACT
from lossatlas.figures.scores import Scores
from lossatlas.files.points import TRAJECTORY
from lossatlas.statistics import STATISTICS, bootstrap


@dataclass(frozen=True)
class Trajectory:
    """One retraining: rows of its cloud's Gram matrix in epoch order, the jump first."""

    gram: Gram
    rows: NDArray[np.intp]
    direction: tuple[int, int]
    step: float

    @property
    def inner(self) -> Array:
        """Inner products of the jump with every point, (k,)."""
        return self.gram.gram[self.rows[0], self.rows]

    @property
    def radii(self) -> Array:
        """Distances from theta_o, (k,)."""
        return np.sqrt(np.maximum(np.diagonal(self.gram.gram)[self.rows], 0.0))

    @property
    def epochs(self) -> Array:
        """Epochs of its points, (k,)."""
        return self.gram.table["epoch"].to_numpy(np.float64)[self.rows]

    @property
    def ratios(self) -> Array:
        """Distances from theta_o over the jump's, (k,)."""
        return self.radii / self.radii[0]

    @property
    def cosines(self) -> Array:
        """Cosines of the displacements from theta_o with the jump, (k,); not finite at theta_o itself."""
        return self.inner / (self.radii * self.radii[0])

    def lengths2(self, steps: Sequence[tuple[int, int]]) -> Array:
        """Squared lengths of the motions between pairs of its points."""
        distances2 = self.gram.squared_distances()
        return np.array([distances2[self.rows[i], self.rows[j]] for i, j in steps])


def trajectories(clouds: Sequence[Gram], parameters: Mapping[str, Any]) -> list[Trajectory]:
    """Return the retrainings of jump-and-retrain clouds that ``steps`` and ``seeds`` select (null = all)."""
    found = []
    for number, gram in enumerate(clouds):
        table = gram.table.reset_index(drop=True)
        keys = [name for name in TRAJECTORY if name in table]
        for _, rows in table[table["seed"] >= 0].groupby(keys, sort=True):
            seed, step = int(rows["seed"].iloc[0]), float(rows["step"].iloc[0])
            wanted = parameters.get("steps") is None or bool(np.isclose(step, parameters["steps"]).any())
            wanted &= parameters.get("seeds") is None or seed in parameters["seeds"]
            ordered = rows.sort_values("epoch", kind="stable")
            if wanted and ordered["epoch"].iloc[0] == 0 and len(ordered) > 1:
                found.append(Trajectory(gram, ordered.index.to_numpy(), (number, seed), step))
    return found


def _outwardness(t: Trajectory, _: Mapping[str, Any]) -> float:
    return float(t.ratios.max())


def _return_fraction(t: Trajectory, _: Mapping[str, Any]) -> float:
    return float(t.ratios[-1])


def _direction_kept(t: Trajectory, parameters: Mapping[str, Any]) -> float:
    if parameters["quantity"] == "left":
        return float(t.inner[-1] / t.inner[0])
    return float(t.cosines[-1])


def _lateral(t: Trajectory, parameters: Mapping[str, Any]) -> float:
    last = len(t.rows) - 1
    moves = [(0, last)] if parameters["over"] == "displacement" else [(k, k + 1) for k in range(last)]
    lengths2, radii2 = t.lengths2(moves), t.radii**2
    starts, ends = (np.array(side) for side in zip(*moves, strict=True))
    if parameters["relative_to"] == "jump":
        along2 = ((t.inner[ends] - t.inner[starts]) / t.radii[0]) ** 2
    else:
        # The radius of a motion from a to b is that of its midpoint m: |m|^2 = (|a|^2 + |b|^2) / 2 - |b - a|^2 / 4.
        middle2 = (radii2[starts] + radii2[ends]) / 2 - lengths2 / 4
        product = (radii2[ends] - radii2[starts]) / 2  # (b - a) . m
        with np.errstate(divide="ignore", invalid="ignore"):
            along2 = np.where(middle2 > 1e-12 * lengths2, product**2 / middle2, lengths2)
    return float(np.sum(np.clip(lengths2 - along2, 0.0, None)) / np.sum(lengths2))


_OF: dict[str, Callable[[Trajectory, Mapping[str, Any]], float]] = {
    "outwardness": _outwardness,
    "return_fraction": _return_fraction,
    "direction_kept": _direction_kept,
    "lateral": _lateral,
}


def per_trajectory(name: str, clouds: Sequence[Gram], parameters: Mapping[str, Any]) -> pd.DataFrame:
    """Return a trajectory measure's values: columns direction, step, value; not finite where it is undefined."""
    found = trajectories(clouds, parameters)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [_OF[name](t, parameters) for t in found]
    rows = {"direction": [t.direction for t in found], "step": [t.step for t in found], "value": values}
    return pd.DataFrame(rows, columns=["direction", "step", "value"])


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


def _nothing(parameters: Mapping[str, Any], values: pd.DataFrame) -> Measurement:
    """Return the measurement of an empty selection, with the reason."""
    if len(values):
        reason = f"undefined for all {len(values)} trajectories"
    else:
        chosen = ", ".join(f"{k} {parameters[k]}" for k in ("steps", "seeds") if parameters.get(k) is not None)
        reason = "no retraining with its jump and a later point" + (f" among {chosen}" if chosen else "")
    return Measurement(None, None, 0, reason)


def _trajectory_measure(name: str) -> "MeasureFunction":
    def measure(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
        values = per_trajectory(name, inputs["cloud"], parameters)
        finite, lost = _finite(values)
        if finite.empty:
            return _nothing(parameters, values)
        statistic = parameters["statistic"]
        directions = _directions(finite, statistic).to_numpy(float)
        spread = None
        if len(directions) > 1 and parameters["spread"] == "bootstrap":
            spread = bootstrap([directions], lambda d: STATISTICS[statistic](d, axis=-1))
        elif len(directions) > 1:
            spread = (float(directions.min()), float(directions.max()))
        value = float(STATISTICS[statistic](directions))
        return Measurement(value, spread, len(directions), _by_step(finite) + lost)

    return measure


def _contrast(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    sides, details = [], []
    for side in ("first", "second"):
        own_steps = parameters[f"{side}_steps"]
        chosen = {**parameters, "steps": parameters["steps"] if own_steps is None else own_steps}
        values = per_trajectory(parameters["of"], inputs[side], chosen)
        finite, lost = _finite(values)
        if finite.empty:
            empty = _nothing(chosen, values)
            return Measurement(None, None, 0, f"{side}: {empty.detail}")
        sides.append(_directions(finite, parameters["statistic"]))
        details.append(f"{side}: {STATISTICS[parameters['statistic']](sides[-1]):.4g} ({_by_step(finite)}{lost})")
    same_clouds = len(inputs["first"]) == len(inputs["second"]) and all(
        a is b for a, b in zip(inputs["first"], inputs["second"], strict=True)
    )
    paired = same_clouds and list(sides[0].index) == list(sides[1].index)
    first, second = (side.to_numpy(float) for side in sides)
    return _compared(first, second, parameters, paired, "; ".join(details))


def _cells(clouds: Sequence[Gram], parameters: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return a trajectory measure by direction (seed) and step, a column a cloud: those that all clouds have.

    Also what was compared, in words.
    """
    columns = []
    for gram in clouds:
        values, _ = _finite(per_trajectory(parameters["of"], [gram], parameters))
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


def _factor_effect(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    """Measure what a factor does to a trajectory measure: the mean over pairs of clouds of with less without.

    A direction counts by the mean over its pairs and steps; the interval is over directions.
    """
    pairs = len(inputs["with"])
    if pairs != len(inputs["without"]):
        return Measurement(None, None, 0, f"{pairs} clouds with, {len(inputs['without'])} without: not pairs")
    cells, compared = _cells([*inputs["with"], *inputs["without"]], parameters)
    if cells.empty:
        return Measurement(None, None, 0, f"nothing to compare: {compared}")
    by_direction = cells.groupby(level="seed").mean().to_numpy(np.float64)
    effects = by_direction[:, :pairs] - by_direction[:, pairs:]
    means = by_direction.mean(axis=0)
    detail = "; ".join(f"{a:.4g} with, {b:.4g} without" for a, b in zip(means[:pairs], means[pairs:], strict=True))
    each = effects.mean(axis=1)
    spread = None
    if len(each) > 1:
        by_bootstrap = parameters["spread"] == "bootstrap"
        resampled = bootstrap([each], lambda e: e.mean(axis=-1)) if by_bootstrap else None
        spread = resampled or (float(each.min()), float(each.max()))
    return Measurement(float(each.mean()), spread, len(each), f"{detail}; {compared}")


def _factor_ratio(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    """Measure which of two crossed factors does more to a trajectory measure: |effect of A| over |effect of B|.

    Factor A is with against without, averaged over good and bad; factor B is good against bad, averaged over with and
    without. Both come from the same four clouds and the same resampled directions.
    """
    roles = ("good_with", "good_without", "bad_with", "bad_without")
    sizes = [len(inputs[role]) for role in roles]
    if len(set(sizes)) > 1:
        return Measurement(None, None, 0, f"{sizes} clouds: not the same number in each role")
    cells, compared = _cells([gram for role in roles for gram in inputs[role]], parameters)
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


def _compared(first: Array, second: Array, parameters: Mapping[str, Any], paired: bool, detail: str) -> Measurement:
    """Compare two samples by the difference or the ratio of their statistics; the interval is over pairs of values.

    Args:
        first: values of the independent draws.
        second: those it is compared with.
        parameters: ``statistic``, ``contrast``, ``spread``.
        paired: whether values of equal index belong together.
        detail: the numbers behind.
    """
    statistic, ratio = STATISTICS[parameters["statistic"]], parameters["contrast"] == "ratio"
    if ratio and (second <= 0).any():
        return Measurement(None, None, 0, f"no ratio: the second value is not positive; {detail}")

    def combine(a: Array, b: Array) -> Array:
        top, bottom = statistic(a, axis=-1), statistic(b, axis=-1)
        return top / bottom if ratio else top - bottom

    def pairwise(a: Any, b: Any) -> Any:
        return a / b if ratio else a - b

    spread = None
    if len(first) > 1 and len(second) > 1:
        if parameters["spread"] == "bootstrap":
            spread = bootstrap([first, second], combine, paired)
        elif paired:
            each = pairwise(first, second)
            spread = (float(each.min()), float(each.max()))
        else:
            every = pairwise(first[:, None], second[None, :])
            spread = (float(every.min()), float(every.max()))
    return Measurement(float(combine(first, second)), spread, min(len(first), len(second)), detail)


def paths(clouds: Sequence[Gram], run: str) -> dict[tuple[int, int], tuple[Gram, NDArray[np.intp]]]:
    """Return the trainings of a run: (cloud, replica) -> Gram matrix and rows in epoch order.

    Only paths that begin at the initialisation (epoch 0) and have a later point.
    """
    found = {}
    for number, gram in enumerate(clouds):
        table = gram.table.reset_index(drop=True)
        replicas = table["replica"] if "replica" in table else pd.Series(0, index=table.index)
        mine = table[(table["run"] == run) & (table["seed"] == -1)]
        for _, rows in mine.groupby(replicas, sort=True):
            ordered = rows.sort_values("epoch", kind="stable")
            if ordered["epoch"].iloc[0] == 0 and len(ordered) > 1:
                found[number, int(replicas[ordered.index[0]])] = (gram, ordered.index.to_numpy())
    return found


def _path_length(gram: Gram, rows: NDArray[np.intp]) -> float:
    return float(np.sqrt(gram.squared_distances()[rows[:-1], rows[1:]]).sum())


def _displacement(gram: Gram, rows: NDArray[np.intp]) -> float:
    return float(np.sqrt(gram.squared_distances()[rows[0], rows[-1]]))


def _straightness(gram: Gram, rows: NDArray[np.intp]) -> float:
    moved = _displacement(gram, rows)
    return _path_length(gram, rows) / moved if moved > 0 else np.inf


_OF_PATH: dict[str, Callable[[Gram, NDArray[np.intp]], float]] = {
    "weight_norm": lambda gram, rows: float(gram.norms()[rows[-1]]),
    "distance_from_init": _displacement,
    "path_length": _path_length,
    "straightness": _straightness,
}


def _path_measure(name: str) -> "MeasureFunction":
    def measure(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
        sides, details = [], []
        for side in ("first", "second"):
            run = parameters[side]
            trainings = paths(inputs["cloud"], run)
            values = {key: _OF_PATH[name](*path) for key, path in trainings.items()}
            finite = {key: value for key, value in values.items() if np.isfinite(value)}
            if not finite:
                runs = sorted({str(label) for gram in inputs["cloud"] for label in gram.table["run"]})
                reason = "no training recorded from epoch 0 on" if not values else "undefined: the weights did not move"
                return Measurement(None, None, 0, f"{side}: {reason} for run {run!r}; the cloud has {', '.join(runs)}")
            lost = f", {len(values) - len(finite)} undefined left out" if len(finite) < len(values) else ""
            middle = STATISTICS[parameters["statistic"]](list(finite.values()))
            details.append(f"{run}: {middle:.4g} (n {len(finite)}{lost})")
            sides.append(finite)
        first, second = (np.array(list(side.values())) for side in sides)
        return _compared(first, second, parameters, list(sides[0]) == list(sides[1]), "; ".join(details))

    return measure


def _best_method(inputs: Mapping[str, Sequence[Scores]], parameters: Mapping[str, Any]) -> Measurement:
    """Measure how far a method is ahead of the best other one, with means over seeds on each cloud.

    The value is the mean over clouds of (the method's mean - the largest mean of another method), the interval the
    range of that difference over all pairs of seeds of all clouds. A method that does not take the metric asked for
    counts under its own; the cloud itself (``exact``) does not compete.
    """
    method, score, settings = parameters["method"], parameters["score"], parameters["settings"]
    gaps, low, high, details = [], np.inf, -np.inf, []
    for scores in inputs["scores"]:
        metrics: dict[str, list[str]] = {}
        for name, metric in scores.methods():
            metrics.setdefault(name, []).append(metric)
        found = {}
        for name, taken in metrics.items():
            metric = parameters["metric"] if parameters["metric"] in taken else taken[0]
            values = scores.values(name, metric, score, settings)
            if name != EXACT and len(values):
                found[name] = values
        if method not in found or len(found) < 2:
            absent = "no cloud to select settings on" if settings == "selected" and not scores.select else "not scored"
            return Measurement(None, None, 0, f"{scores.name}: {absent}: {score} of {method} or of any other method")
        mine = found.pop(method)
        best = max(found, key=lambda name: found[name].mean())
        gaps.append(float(mine.mean() - found[best].mean()))
        pairs = mine[:, None] - found[best][None, :]
        low, high = min(low, float(pairs.min())), max(high, float(pairs.max()))
        others = ", ".join(f"{name} {values.mean():.3f}" for name, values in found.items())
        details.append(f"{scores.name}: {method} {mine.mean():.3f}, {others}")
    several = len(gaps) > 1 or low < high
    detail = f"best on {sum(gap > 0 for gap in gaps)} of {len(gaps)} clouds; " + "; ".join(details)
    return Measurement(float(np.mean(gaps)), (low, high) if several else None, len(gaps), detail)


def _accuracy_gap(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    quantity = parameters["quantity"]
    sides = {}
    for role in ("better", "worse"):
        values = _last(inputs[role], quantity)
        sides[role] = values[np.isfinite(values)]
        if not len(sides[role]):
            return Measurement(None, None, 0, f"{role}: no replica has a finite {quantity}")
    better, worse = sides["better"], sides["worse"]
    spread = None
    if len(better) > 1 or len(worse) > 1:
        if parameters["spread"] == "bootstrap":
            spread = bootstrap([better, worse], lambda b, w: b.mean(axis=-1) - w.mean(axis=-1))
        else:
            spread = (float(better.min() - worse.max()), float(better.max() - worse.min()))
    detail = f"better: {better.mean():.4g} (n {len(better)}), worse: {worse.mean():.4g} (n {len(worse)})"
    return Measurement(float(better.mean() - worse.mean()), spread, min(len(better), len(worse)), detail)


def _max_train_loss(inputs: Mapping[str, Sequence[Any]], _: Mapping[str, Any]) -> Measurement:
    return _extreme(_last(inputs["runs"], "train_loss"), "max", np.inf, "train_loss")


def _min_accuracy(inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    quantity = parameters["quantity"]
    return _extreme(_last(inputs["runs"], quantity), "min", 0.0, quantity)


def _extreme(values: Array, statistic: str, absent: float, quantity: str) -> Measurement:
    if not len(values):
        return Measurement(None, None, 0, "no run")
    finite = np.isfinite(values)
    counted = np.where(finite, values, absent)
    detail = f"{quantity}: " + ", ".join(f"{value:.4g}" for value in values)
    if not finite.all():
        detail += f"; {int((~finite).sum())} of {len(values)} not finite, counted as {absent:g}"
    spread = (float(counted.min()), float(counted.max())) if len(counted) > 1 else None
    return Measurement(float(STATISTICS[statistic](counted)), spread, len(values), detail)


def _last(runs: Sequence[pd.Series], quantity: str) -> Array:
    """Return a quantity of runs at their last recorded epoch; NaN where it was not recorded."""
    return np.array([float(run.get(quantity, np.nan)) for run in runs], dtype=np.float64)


MeasureFunction = Callable[[Mapping[str, Sequence[Any]], Mapping[str, Any]], Measurement]

REGISTRY: dict[str, MeasureFunction] = {
    **{name: _trajectory_measure(name) for name in TRAJECTORY_MEASURES},
    **{name: _path_measure(name) for name in PATH_MEASURES},
    "contrast": _contrast,
    "factor_effect": _factor_effect,
    "factor_ratio": _factor_ratio,
    "best_method": _best_method,
    "accuracy_gap": _accuracy_gap,
    "max_train_loss": _max_train_loss,
    "min_accuracy": _min_accuracy,
    **levelsets.REGISTRY,
    **optimizers_paths.REGISTRY,
    **solutions.REGISTRY,
    **generalization.REGISTRY,
    **surfaces.REGISTRY,
}
"""The function of each measure of the catalogue: (role -> loaded artefacts, resolved parameters) -> measurement."""


def measure(name: str, inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    """Measure on loaded artefacts.

    Args:
        name: a measure of the catalogue.
        inputs: role -> artefacts: :class:`Gram` for ``gram``, the last recorded row of each run for ``runs``,
            :class:`~lossatlas.figures.scores.Scores` for ``scores``.
        parameters: parameters that differ from the measure's defaults.

    Returns:
        The measurement; its value is None when the artefacts do not allow one.
    """
    return REGISTRY[name](inputs, {**MEASURES[name].parameters, **parameters})
