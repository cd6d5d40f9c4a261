"""Measures on level-set traversals: numbers from the table and the Gram matrix of a cloud of traversals.

Every one is taken replica by replica from the first to the last point of a path; where several clouds are given, the
value is that of the cloud that is worst for the claim, and the detail lists all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.levelsets.numbers import best, ends, metric, sweeps
from lossatlas.levelsets.spec import (
    AngleLeft,
    AverageLoss,
    DecayGap,
    ExplainedVariance,
    LevelKept,
    MeansApart,
    PathChange,
    Rebound,
)
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import bootstrap


def _label(gram: Gram) -> str:
    return str(gram.table["run"].iloc[0])


def _pairs(gram: Gram, quantity: str) -> tuple[Array, Array]:
    """Return a column at the first and at the last point of every path."""
    first, last = ends(gram.table)
    return first[quantity].to_numpy(float), last[quantity].to_numpy(float)


def _spread(values: Array) -> tuple[float, float] | None:
    return bootstrap([values], lambda v: v.mean(axis=-1)) if len(values) > 1 else None


def _worst(found: Sequence[tuple[str, Array]], pick: Callable[..., Any]) -> Measurement:
    """Return the mean over replicas of the cloud that ``pick`` (min or max) chooses."""
    means = [float(values.mean()) for _, values in found]
    chosen = means.index(pick(means))
    detail = ", ".join(f"{label} {mean:.4g} (n {len(v)})" for (label, v), mean in zip(found, means, strict=True))
    return Measurement(means[chosen], _spread(found[chosen][1]), len(found[chosen][1]), detail)


def level_kept(spec: LevelKept, inputs: Inputs) -> Measurement:
    """Largest |L - L0| at the end of any step of any path, or that over the path's own tolerance."""
    found = []
    for gram in inputs.given(spec.cloud):
        table = gram.table[gram.table["source"] == "levelset"]
        scale = table["tolerance"] if spec.relative else 1.0
        found.append((_label(gram), float((table["worst_deviation"] / scale).max()), table["replica"].nunique()))
    detail = ", ".join(f"{label} {value:.3g} (n {n})" for label, value, n in found)
    return Measurement(max(v for _, v, _ in found), None, sum(n for _, _, n in found), detail)


def angle_left(spec: AngleLeft, inputs: Inputs) -> Measurement:
    """Share of the way to 180 degrees between grad L and grad R that is left at the end of a path."""
    found, angles = [], []
    for gram in inputs.given(spec.cloud):
        start, end = _pairs(gram, "angle")
        found.append((_label(gram), (180 - end) / (180 - start)))
        angles.append(f"{_label(gram)} {start.mean():.1f} to {end.mean():.1f} degrees")
    worst = _worst(found, max)
    return Measurement(worst.value, worst.spread, worst.n, f"{worst.detail}; {', '.join(angles)}")


def path_change(spec: PathChange, inputs: Inputs) -> Measurement:
    """A column at the end of a path against its start; several clouds: the largest, or for accuracies the smallest."""
    quantity, found, detail = spec.quantity, [], []
    for gram in inputs.given(spec.cloud):
        start, end = _pairs(gram, quantity)
        found.append((_label(gram), end / start if spec.contrast == "ratio" else end - start))
        detail.append(f"{_label(gram)} {start.mean():.4g} to {end.mean():.4g}")
    worst = _worst(found, min if quantity == "test_accuracy" else max)
    if worst.value is None or not np.isfinite(worst.value):
        return Measurement(None, None, 0, f"{quantity} is not measured on this path")
    return Measurement(worst.value, worst.spread, worst.n, f"{'; '.join(detail)}")


def rebound(spec: Rebound, inputs: Inputs) -> Measurement:
    """Largest rise of a column above its least value so far, over its range along the path: 0 = it only falls."""
    found = []
    for gram in inputs.given(spec.cloud):
        table = gram.table[gram.table["source"] == "levelset"]
        values = []
        for _, path in table.groupby("replica", sort=True):
            q = path.sort_values("steps")[spec.quantity].to_numpy(float)
            values.append(float((q - np.minimum.accumulate(q)).max() / (q.max() - q.min())))
        found.append((_label(gram), np.array(values)))
    return _worst(found, max)


def decay_gap(spec: DecayGap, inputs: Inputs) -> Measurement:
    """How much better the end points of the paths do on the test set than weight decay, or than plain training.

    Accuracy of the traversals less the other's, or mean squared error of the other's less the traversals'.
    """
    (gram,) = inputs.given(spec.cloud)
    quantity = metric(gram.table)
    ours = _pairs(gram, quantity)[1]
    if spec.against == "plain":
        rows = sweeps(gram.table, "none")
        rows, name = rows[rows["optimizer"] == spec.optimizer], f"{spec.optimizer} without decay"
    else:
        value = best(gram.table, spec.choose)
        rows = sweeps(gram.table, "weight_decay")
        rows = rows[rows["value"] == value] if value is not None else rows.iloc[:0]
        name = f"weight decay {value:g}, chosen on {spec.choose}" if value is not None else "weight decay"
    theirs = rows[quantity].to_numpy(float)
    if not len(theirs):
        return Measurement(None, None, 0, f"{name}: not in this cloud")
    sign = 1.0 if quantity == "test_accuracy" else -1.0
    spread = None
    if min(len(ours), len(theirs)) > 1:
        spread = bootstrap([ours, theirs], lambda a, b: sign * (a.mean(axis=-1) - b.mean(axis=-1)))
    detail = f"{quantity}: traversals {_mean(ours)}, {name} {_mean(theirs)}"
    return Measurement(sign * float(ours.mean() - theirs.mean()), spread, min(len(ours), len(theirs)), detail)


def _mean(values: Array) -> str:
    deviation = f" +- {values.std(ddof=1):.3g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{deviation} (n {len(values)})"


def means_apart(spec: MeansApart, inputs: Inputs) -> Measurement:
    """Distance of the mean end point from the mean weight-decay point, in principal axes of the paths or in R^D.

    It is relative to the mean length of the paths' displacement there, or to the distance of the mean end point from
    the origin there. The latter is the control: axes that are spanned by the paths hold next to nothing of networks
    trained independently, whose mean therefore falls near the origin's projection whatever they do.
    """
    (gram,) = inputs.given(spec.cloud)
    value = best(gram.table, spec.choose)
    if value is None:
        return Measurement(None, None, 0, "no weight decay in this cloud")
    paths = np.flatnonzero(gram.table["source"] == "levelset")
    first, last = (rows.index.to_numpy() for rows in ends(gram.table))
    chosen = sweeps(gram.table, "weight_decay")
    decayed = chosen.index[chosen["value"] == value].to_numpy()
    axes = principal_axes(gram, paths, spec.axes)
    raw = gram.raw()
    origin = -axes.weights.T @ raw[np.ix_(paths, paths)] @ axes.mean_weights
    gap = float(np.linalg.norm(axes.of_mean(last) - axes.of_mean(decayed)))
    from_origin = float(np.linalg.norm(axes.of_mean(last) - origin))
    moved = float(np.linalg.norm(axes.coordinates[last] - axes.coordinates[first], axis=1).mean())
    displacement = float(np.sqrt(gram.squared_distances()[first, last]).mean())
    inner = [[float(raw[np.ix_(a, b)].mean()) for b in (last, decayed)] for a in (last, decayed)]
    whole = float(np.sqrt(max(inner[0][0] + inner[1][1] - 2 * inner[0][1], 0.0)))
    norms = gram.norms()
    cosine = inner[0][1] / np.sqrt(inner[0][0] * inner[1][1])
    detail = (
        f"gap {gap:.3g} in {spec.axes} PCs, {whole:.3g} in R^D; mean displacement {moved:.3g} and "
        f"{displacement:.3g}; from the mean end point to the origin {from_origin:.3g} and {np.sqrt(inner[0][0]):.3g}; "
        f"norms: mean end point {np.sqrt(inner[0][0]):.3g} (end points {norms[last].mean():.3g}), mean decay point "
        f"{np.sqrt(inner[1][1]):.3g} (points {norms[decayed].mean():.3g}), cosine of the means {cosine:.3g}; "
        f"lambda {value:g}"
    )
    scales = {
        ("axes", "displacement"): (gap, moved),
        ("axes", "origin"): (gap, from_origin),
        ("whole", "displacement"): (whole, displacement),
        ("whole", "origin"): (whole, float(np.sqrt(inner[0][0]))),
    }
    distance, scale = scales[spec.space, spec.relative_to]
    return Measurement(distance / scale, None, len(last), detail)


def average_loss(spec: AverageLoss, inputs: Inputs) -> Measurement:
    """Loss at the average of the end points over that at the end points themselves."""
    (table,) = inputs.given(spec.average)
    part = spec.part
    ratios = (table[f"mean_{part}_loss"] / table[f"end_{part}_loss"]).to_numpy(float)
    at_mean, at_end = table[f"mean_{part}_loss"].mean(), table[f"end_{part}_loss"].mean()
    detail = f"{part} loss {at_mean:.4g} at the average, {at_end:.4g} at the end points"
    return Measurement(float(ratios.mean()), _spread(ratios), len(ratios), detail)


def explained_variance(spec: ExplainedVariance, inputs: Inputs) -> Measurement:
    """Share of the variance of the first ``traversals`` paths along two principal axes: distance from ``reference``."""
    (gram,) = inputs.given(spec.cloud)
    paths = gram.table[gram.table["source"] == "levelset"]
    replicas = sorted(paths["replica"].unique())[: spec.traversals]
    if len(replicas) < spec.traversals:
        return Measurement(None, None, len(replicas), f"only {len(replicas)} traversals")
    rows = paths.index[paths["replica"].isin(replicas)].to_numpy()
    share = float(principal_axes(gram, rows, 2).explained.sum())
    detail = f"{100 * share:.2f}% of {len(replicas)} traversals' variance, paper {100 * spec.reference:.2f}%"
    return Measurement(abs(share - spec.reference), None, len(replicas), detail)
