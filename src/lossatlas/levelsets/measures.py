"""Measures on level-set traversals: numbers from the table and the Gram matrix of a cloud of traversals.

The independent unit is the path: it has its own initialisation, and its own training examples where a task draws them
anew for every replica. Where a task has one split, all that is measured is about that split.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb, exp, log, nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.levelsets.files import Surface, history
from lossatlas.levelsets.numbers import PATHS, at, best, continued, ends, metric, sweeps, walked
from lossatlas.levelsets.spec import (
    AngleLeft,
    AverageLoss,
    ControlGap,
    DecayGap,
    DistanceLeft,
    EarlyFall,
    EndsApart,
    ExplainedVariance,
    LeastMargin,
    MeansApart,
    OfTraversals,
    PathChange,
    PlaneLoss,
    RivalGap,
    SamePath,
    ShareBelow,
    StartLoss,
    StepsMended,
    WalkedShare,
)
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import Interval, around, of_clusters, of_difference, of_mean, of_ratio

UNIT, SIDE = "paths", "networks a side"

MOST_SETS = 2000
"""Sets of paths whose principal axes are computed one after the other; of ten paths there are at most 252."""


def _gram(spec: OfTraversals, inputs: Inputs) -> Gram:
    (gram,) = inputs.given(spec.cloud)
    return gram


def _pairs(gram: Gram, quantity: str, source: str = PATHS) -> tuple[Array, Array]:
    """Return a column at the first and at the last point of every path."""
    first, last = ends(gram.table, source)
    return first[quantity].to_numpy(float), last[quantity].to_numpy(float)


def _mean(values: Array, detail: str) -> Measurement:
    """Return the mean over paths."""
    return Measurement(float(values.mean()), of_mean(values), len(values), detail, UNIT, values.tolist())


def _ratio(first: Array, second: Array, detail: str) -> Measurement:
    """Return the ratio of two means over the same paths."""
    value, interval = float(first.mean() / second.mean()), of_ratio(first, second, paired=True)
    return Measurement(value, interval, len(first), detail, UNIT, (first / second).tolist())


def _columns(gram: Gram, quantity: str) -> list[tuple[Array, Array]]:
    """Return steps and a column along every path, by replica."""
    found = walked(gram.table).values()
    return [(path["steps"].to_numpy(float), path[quantity].to_numpy(float)) for path in found]


# ---------------------------------------------------------------------------------------------------------------------
# along a path


def start_loss(spec: StartLoss, inputs: Inputs) -> Measurement:
    """Training loss at the start, which a path keeps, mean over paths."""
    losses = _pairs(_gram(spec, inputs), "train_loss")[0]
    return _mean(losses, f"smallest {losses.min():.3g}, largest {losses.max():.3g}")


def angle_left(spec: AngleLeft, inputs: Inputs) -> Measurement:
    """Share of the way to 180 degrees between grad L and grad R that is left at the end, mean over paths."""
    start, end = _pairs(_gram(spec, inputs), "angle")
    return _mean((180 - end) / (180 - start), f"{start.mean():.1f} to {end.mean():.1f} degrees")


def early_fall(spec: EarlyFall, inputs: Inputs) -> Measurement:
    """Share of a column's fall that is done after a share of the steps, mean over paths: that share, if steady."""
    shares = []
    for steps, values in _columns(_gram(spec, inputs), spec.quantity):
        then = np.interp(steps[0] + spec.after * (steps[-1] - steps[0]), steps, values)
        fall = values[0] - values[-1]
        shares.append(float((values[0] - then) / fall) if fall > 0 else nan)
    return _mean(np.array(shares), f"{spec.quantity}, after {100 * spec.after:g}% of the steps")


def path_change(spec: PathChange, inputs: Inputs) -> Measurement:
    """A column at the end of a path against its start: mean difference, or ratio of the means."""
    start, end = _pairs(_gram(spec, inputs), spec.quantity, spec.source)
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        return nothing(f"{spec.quantity} is not measured on this path")
    detail = f"{spec.quantity} {start.mean():.4g} to {end.mean():.4g}"
    return _ratio(end, start, detail) if spec.contrast == "ratio" else _mean(end - start, detail)


def share_below(spec: ShareBelow, inputs: Inputs) -> Measurement:
    """Share of a path's recorded points, its start left out, at which a column is below the start; mean over paths."""
    columns = _columns(_gram(spec, inputs), spec.quantity)
    shares = np.array([float((values[1:] < values[0]).mean()) for _, values in columns])
    return _mean(shares, f"{spec.quantity}, smallest share {shares.min():.2f}, largest {shares.max():.2f}")


def walked_share(spec: WalkedShare, inputs: Inputs) -> Measurement:
    """Steps over those of the paper, at most 1, and 1 where a path came to an end of its own; the least of all paths.

    What is said of a whole path cannot be refuted by a part of it.
    """
    last = ends(_gram(spec, inputs).table)[1]
    shares = np.minimum(last["steps"].to_numpy(float) / spec.steps, 1.0)
    shares[last["stopped"].isin(("angle", "stationary")).to_numpy()] = 1.0
    steps = int(last["steps"].min())
    return Measurement(float(shares.min()), None, len(shares), f"{steps} of {spec.steps} steps", UNIT, shares.tolist())


def steps_mended(spec: StepsMended, inputs: Inputs) -> Measurement:
    """Corrector steps, or steps taken back, per predictor step of a path; mean over paths."""
    last = ends(_gram(spec, inputs).table)[1]
    shares = (last[spec.quantity] / last["steps"]).to_numpy(float)
    steps, counted = int(last["steps"].sum()), int(last[spec.quantity].sum())
    return _mean(shares, f"{counted} {spec.quantity} in {steps} predictor steps")


def same_path(spec: SamePath, inputs: Inputs) -> Measurement:
    """How far another traversal is from the cloud's own at equal length: largest difference over the fall by then."""
    gram = _gram(spec, inputs)
    apart = []
    for ours, theirs in _matched(gram, spec.other):
        lengths = theirs["length"].to_numpy(float)
        common = min(lengths.max(), ours["length"].max())
        lengths = np.append(lengths[lengths < common], common)
        own, other = (at(path, spec.quantity, "length", lengths) for path in (ours, theirs))
        fall = abs(own[-1] - own[0])
        apart.append(float(np.abs(other - own).max() / fall) if fall > 0 else nan)
    if not apart:
        return nothing(f"no traversal {spec.other!r} of the same replicas")
    return _mean(np.array(apart), f"{spec.quantity}, largest {max(apart):.3g} of its fall")


def _matched(gram: Gram, other: str) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the cloud's own path and another one of every replica that has both."""
    ours, theirs = walked(gram.table), walked(gram.table, other)
    return [(ours[replica], theirs[replica]) for replica in ours if replica in theirs]


def control_gap(spec: ControlGap, inputs: Inputs) -> Measurement:
    """A column on the paths less that on a control of the same replica at equal loss and length, mean over pairs."""
    ours: list[float] = []
    theirs: list[float] = []
    lengths = []
    for path, control in _matched(_gram(spec, inputs), spec.control):
        length = min(path["length"].max(), control["length"].max())
        lengths.append(length)
        for side, rows in ((ours, path), (theirs, control)):
            side.append(float(at(rows, spec.quantity, "length", np.array([length]))[0]))
    if not ours:
        return nothing(f"no control {spec.control!r} of the same replicas")
    gaps = np.array(ours) - np.array(theirs)
    detail = (
        f"{spec.quantity} {np.mean(ours):.4g} against {np.mean(theirs):.4g} after a length of {np.mean(lengths):.3g}"
    )
    return Measurement(float(gaps.mean()), of_mean(gaps), len(gaps), detail, "pairs", gaps.tolist())


def distance_left(spec: DistanceLeft, inputs: Inputs) -> Measurement:
    """Share of the distance from a target that is left at the end of a walk, or the worst loss between two points."""
    first, last = ends(_gram(spec, inputs).table, spec.source)
    before, after = (np.sqrt(rows["objective"].to_numpy(float)) for rows in (first, last))
    level = first["train_loss"].mean()
    if spec.quantity == "between":
        worst = last["between"].to_numpy(float) / first["train_loss"].to_numpy(float)
        return _mean(worst, f"at level {level:.3g}; largest {worst.max():.3g} of it")
    detail = f"level {level:.3g}: distance {before.mean():.3g}, length {last['length'].mean():.3g}"
    return _mean(after / before, f"{detail}; largest share left {(after / before).max():.2g}")


def _spelt(values: Array) -> str:
    spread = float(values.std(ddof=1)) if len(values) > 1 else nan
    spread = 0.0 if spread < 1e-12 * abs(values.mean()) else spread  # of equal numbers: rounding
    deviation = f" +- {spread:.3g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{deviation} (n {len(values)})"


# ---------------------------------------------------------------------------------------------------------------------
# beside weight decay


def decay_gap(spec: DecayGap, inputs: Inputs) -> Measurement:
    """How much better the end points of the paths do on the test set than weight decay, or than plain training.

    Accuracy of the traversals less the other's, or mean squared error of the other's less the traversals'. Paths and
    networks of equal replicas share initialisation and split and are compared in pairs; without equal ones they are
    independent. That lambda is the best of several is not in the interval.
    """
    gram = _gram(spec, inputs)
    quantity, (rows, name) = metric(gram.table), _others(spec, gram.table)
    if rows.empty:
        return nothing(f"{name}: not in this cloud")
    last = ends(gram.table)[1].set_index("replica")[quantity]
    other = rows.set_index("replica")[quantity]
    shared = last.index.intersection(other.index)
    if len(shared):
        last, other = last[shared], other[shared]
    ours, theirs = last.to_numpy(float), other.to_numpy(float)
    sign = 1.0 if quantity == "test_accuracy" else -1.0
    value = sign * float(ours.mean() - theirs.mean())
    interval = of_difference(sign * ours, sign * theirs, paired=len(shared) > 0)
    each = sign * (ours - (theirs if len(shared) else theirs.mean()))
    detail = f"{quantity}: traversals {_spelt(ours)}, {name} {_spelt(theirs)}"
    unit = "pairs" if len(shared) else SIDE
    return Measurement(value, interval, min(len(ours), len(theirs)), detail, unit, each.tolist())


def _others(spec: DecayGap, table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the networks that traversals are compared with, and their name."""
    if spec.against == "plain":
        rows = sweeps(table, "none")
        return rows[rows["optimizer"] == spec.optimizer], f"{spec.optimizer} without decay"
    value, rows = best(table, spec.choose), sweeps(table, "weight_decay")
    if value is None:
        return rows.iloc[:0], "weight decay"
    return rows[rows["value"] == value], f"weight decay {value:g}, chosen on {spec.choose}"


def rival_gap(spec: RivalGap, inputs: Inputs) -> Measurement:
    """How much better paths do than weight decay from the same start after as many gradients, mean over pairs.

    As many: those of the one that took fewer, from the start of phase 2. A path's performance there is that of its last
    recorded point by then; weight decay's is that of its last evaluation by then.
    """
    (path_file,) = inputs.paths("gram", *spec.cloud[0].name)
    gram = _gram(spec, inputs)
    quantity = metric(gram.table)
    rows = continued(history(path_file), spec.optimizer, quantity)
    ours, theirs, taken = [], [], []
    for replica, path in walked(gram.table, spec.source).items():
        rival = rows[rows["replica"] == replica].sort_values("example_gradients")
        if rival.empty:
            continue
        budget = min(path["example_gradients"].max(), rival["example_gradients"].max())
        taken.append(budget)
        ours.append(float(path.loc[path["example_gradients"] <= budget, quantity].iloc[-1]))
        theirs.append(float(rival.loc[rival["example_gradients"] <= budget, quantity].iloc[-1]))
    if not ours:
        return nothing(f"no weight decay by {spec.optimizer} from the starts of these paths")
    sign = 1.0 if quantity == "test_accuracy" else -1.0
    gaps = sign * (np.array(ours) - np.array(theirs))
    detail = (
        f"{quantity}: {_spelt(np.array(ours))} against {_spelt(np.array(theirs))}, lambda {rows['value'].iloc[0]:g}"
    )
    detail += f", {np.mean(taken):.3g} example-wise gradients"
    return Measurement(float(gaps.mean()), of_mean(gaps), len(gaps), detail, "pairs", gaps.tolist())


def in_deviations(gap: Array, deviation: Array, resolution: float) -> Array:
    """Return gaps in standard deviations, (n,), which count as at least the resolution; no gap is none in any unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap == 0, 0.0, gap / np.maximum(deviation, resolution))


def least_margin(spec: LeastMargin, inputs: Inputs) -> Measurement:
    """How far mean performance falls below that of weight decay at worst, over any number of gradients, in deviations.

    The interval leaves out a path and a network at a time.
    """
    (path_file,) = inputs.paths("gram", *spec.cloud[0].name)
    gram = _gram(spec, inputs)
    quantity, value = metric(gram.table), best(gram.table, spec.choose)
    if value is None:
        return nothing("no weight decay in this cloud")
    sign = 1.0 if quantity == "test_accuracy" else -1.0
    seen = sweeps(history(path_file), "weight_decay")
    seen = seen[seen["value"] == value]
    ours = list(walked(gram.table).values())
    theirs = [rows.sort_values("example_gradients") for _, rows in seen.groupby("replica", sort=True)]
    count = min(len(ours), len(theirs))

    def least(left_out: int | None) -> float:
        a, b = ([one for i, one in enumerate(side) if i != left_out] for side in (ours, theirs))
        shortest = min(len(path) for path in a)
        performance = np.array([path[quantity].to_numpy(float)[:shortest] for path in a])
        spent = np.array([(p["start_gradients"] + p["example_gradients"]).to_numpy(float)[:shortest] for p in a])
        other = np.array([at(rows, quantity, "example_gradients", spent.mean(0)) for rows in b])
        spread = np.maximum(performance.std(0, ddof=1), other.std(0, ddof=1))
        return float(in_deviations(sign * (performance.mean(0) - other.mean(0)), spread, spec.resolution).min())

    if count < 3:
        return nothing(f"{count} paths or networks", count)
    found = least(None)
    interval = around(found, [least(i) for i in range(count)])
    return Measurement(found, interval, count, f"{quantity}; lambda {value:g}, chosen on {spec.choose}", SIDE)


# ---------------------------------------------------------------------------------------------------------------------
# where the paths go

Rows = NDArray[np.intp]


def means_apart(spec: MeansApart, inputs: Inputs) -> Measurement:
    """Distance of the mean end point from the mean weight-decay point, in principal axes of the paths or in R^D.

    It is relative to the mean length of the paths' displacement there, or to the distance of the mean end point from
    the origin there. The latter is the control: axes that are spanned by the paths hold next to nothing of networks
    trained independently, whose mean therefore falls near the origin's projection whatever they do.

    The interval leaves out a path and a network at a time, and takes the axes anew from the paths that remain.
    """
    gram = _gram(spec, inputs)
    value = best(gram.table, spec.choose)
    if value is None:
        return nothing("no weight decay in this cloud")
    chosen = sweeps(gram.table, "weight_decay")
    decayed = chosen.index[chosen["value"] == value].to_numpy()
    replicas = ends(gram.table)[0]["replica"].to_numpy()
    raw, count = gram.raw(), min(len(replicas), len(decayed))

    def distances(left_out: int | None) -> dict[tuple[str, str], float]:
        paths, networks = (
            side if left_out is None else np.delete(side, np.arange(left_out, len(side), count))
            for side in (replicas, decayed)
        )
        whole = _in_whole(gram, raw, paths, networks)
        if left_out is not None and spec.space == "whole":
            return whole
        return {**_in_axes(gram, raw, paths, networks, spec.axes), **whole}

    found = distances(None)
    wanted = (spec.space, spec.relative_to)
    interval = None
    if count > 2:
        others = [log(distances(i)[wanted]) for i in range(count)]
        inner = around(log(found[wanted]), others)
        interval = None if inner is None else Interval(exp(inner.low), exp(inner.high), inner.method)
    names = {"axes": f"{spec.axes} PCs", "whole": "R^D"}
    ratios = {place: found[place] for place in found if place[1] in ("displacement", "origin")}
    said = ", ".join(f"in {names[space]} over {scale} {ratio:.3g}" for (space, scale), ratio in ratios.items())
    detail = f"{said}; gap in R^D {found['whole', 'gap']:.3g}, cosine of the means {found['whole', 'cosine']:.3g}"
    return Measurement(found[wanted], interval, count, f"{detail}; lambda {value:g}", SIDE)


def _in_axes(gram: Gram, raw: Array, replicas: Rows, decayed: Rows, count: int) -> dict[tuple[str, str], float]:
    """Return the distances in the principal axes of some replicas' paths."""
    table = gram.table
    paths = np.flatnonzero((table["source"] == "levelset") & table["replica"].isin(replicas))
    first, last = _ends_of(table, replicas)
    axes = principal_axes(gram, paths, count)
    origin = -axes.weights.T @ raw[np.ix_(paths, paths)] @ axes.mean_weights
    gap = float(np.linalg.norm(axes.of_mean(last) - axes.of_mean(decayed)))
    moved = float(np.linalg.norm(axes.coordinates[last] - axes.coordinates[first], axis=1).mean())
    from_origin = float(np.linalg.norm(axes.of_mean(last) - origin))
    return {("axes", "displacement"): gap / moved, ("axes", "origin"): gap / from_origin}


def _in_whole(gram: Gram, raw: Array, replicas: Rows, decayed: Rows) -> dict[tuple[str, str], float]:
    """Return the distances in the whole space."""
    first, last = _ends_of(gram.table, replicas)
    inner = [[float(raw[np.ix_(a, b)].mean()) for b in (last, decayed)] for a in (last, decayed)]
    gap = float(np.sqrt(max(inner[0][0] + inner[1][1] - 2 * inner[0][1], 0.0)))
    moved2 = raw[first, first] + raw[last, last] - 2 * raw[first, last]
    return {
        ("whole", "displacement"): gap / float(np.sqrt(np.maximum(moved2, 0.0)).mean()),
        ("whole", "origin"): gap / float(np.sqrt(inner[0][0])),
        ("whole", "gap"): gap,
        ("whole", "cosine"): inner[0][1] / float(np.sqrt(inner[0][0] * inner[1][1])),
    }


def _ends_of(table: pd.DataFrame, replicas: Rows) -> tuple[Rows, Rows]:
    """Return the rows of the first and of the last points of some replicas' paths."""
    first, last = (rows[rows["replica"].isin(replicas)].index.to_numpy() for rows in ends(table))
    return first, last


def ends_apart(spec: EndsApart, inputs: Inputs) -> Measurement:
    """Distance of two paths' end points over their distance from the origin, root mean squares over pairs and paths.

    Vectors without anything in common, as independent initialisations are, have sqrt 2; 1 is where they are as near to
    one another as to the origin.
    """
    gram = _gram(spec, inputs)
    raw = gram.raw()

    def apart(rows: Sequence[int]) -> float:
        if len(rows) < 2:
            return nan
        inner = raw[np.ix_(rows, rows)]
        norm2 = float(np.trace(inner)) / len(rows)
        cross = (float(inner.sum()) - float(np.trace(inner))) / (len(rows) * (len(rows) - 1))
        return float(np.sqrt(max(2 * (norm2 - cross), 0.0) / norm2))

    first, last = (rows.index.tolist() for rows in ends(gram.table))
    interval = of_clusters(last, apart)
    return Measurement(apart(last), interval, len(last), f"of the start points {apart(first):.3g}", UNIT)


def average_loss(spec: AverageLoss, inputs: Inputs) -> Measurement:
    """Loss at the average of the end points over that at the end points themselves, geometric mean over the paths.

    There is one average: its interval is that of one more value whose logarithm varies as those of the end points do.
    """
    (table,) = inputs.given(spec.average)
    part = spec.part
    ratios = (table[f"mean_{part}_loss"] / table[f"end_{part}_loss"]).to_numpy(float)
    logs, n = np.log(ratios), len(ratios)
    inner, interval = of_mean(logs), None
    if inner is not None:
        half = (inner.high - inner.low) / 2 * np.sqrt(n + 1)
        interval = Interval(exp(logs.mean() - half), exp(logs.mean() + half), "t of the logarithm, for one more value")
    at_mean, at_end = table[f"mean_{part}_loss"].mean(), table[f"end_{part}_loss"].mean()
    detail = f"{part} loss {at_mean:.4g} at the average, {at_end:.4g} at the end points"
    return Measurement(exp(logs.mean()), interval, n, detail, "end points", ratios.tolist())


def plane_loss(spec: PlaneLoss, inputs: Inputs) -> Measurement:
    """Loss of a plane at the projections of its paths' points over the paths' own, geometric mean over the points.

    Of two planes: the ratio of theirs, over the paths they share.
    """
    found = [_on_plane(surface) for surface in inputs.given(spec.surface)]
    shared = sorted(set.intersection(*(set(one) for one in found)))
    logs = np.array([[one[replica] for replica in shared] for one in found])
    values = logs[0] - logs[1] if len(found) == 2 else logs[0]
    inner = of_mean(values)
    interval = None if inner is None else Interval(exp(inner.low), exp(inner.high), "t of the logarithm")
    detail = " against ".join(f"{exp(row.mean()):.3g}" for row in logs) + " times the paths' own loss"
    return Measurement(exp(values.mean()), interval, len(shared), detail, UNIT, np.exp(values).tolist())


def _on_plane(surface: Surface) -> dict[int, float]:
    """Return the mean logarithm of the plane's loss at each path's points over its own, by replica."""
    on_grid = RegularGridInterpolator((surface.y, surface.x), np.log(surface.loss))
    own = np.log(surface.table["train_loss"].to_numpy(float))
    ratio, replicas = on_grid(surface.coordinates[:, ::-1]) - own, surface.table["replica"].to_numpy(int)
    return {int(replica): float(ratio[replicas == replica].mean()) for replica in np.unique(replicas)}


def explained_variance(spec: ExplainedVariance, inputs: Inputs) -> Measurement:
    """Share of the variance of so many paths along their first two principal axes, mean over all sets of so many."""
    gram, size = _gram(spec, inputs), spec.traversals
    paths = gram.table[gram.table["source"] == "levelset"]
    rows = {int(path["replica"].iloc[0]): path.index.to_numpy() for _, path in paths.groupby("replica", sort=True)}
    if len(rows) < size:
        return nothing(f"only {len(rows)} traversals", len(rows))
    if comb(len(rows), size) > MOST_SETS:
        return nothing(f"{comb(len(rows), size)} sets of {size} traversals are too many", len(rows))

    def share(replicas: Sequence[int]) -> float:
        return float(principal_axes(gram, np.concatenate([rows[r] for r in replicas]), 2).explained.sum())

    shares = {chosen: share(chosen) for chosen in combinations(rows, size)}
    if len(shares) > 1:
        others = [float(np.mean([s for chosen, s in shares.items() if r not in chosen])) for r in rows]
    else:  # the one set there is varies about as the sets without one of its paths do
        others = [share([other for other in rows if other != r]) for r in rows] if size > 1 else []
    value = float(np.mean(list(shares.values())))
    interval = of_mean(list(shares.values())) if size == 1 else around(value, others)
    detail = f"{len(shares)} sets of {size}, {min(shares.values()):.4f} to {max(shares.values()):.4f}"
    first = next(iter(shares))
    return Measurement(value, interval, len(rows), f"{detail}; of paths {_named(first)} {shares[first]:.4f}", UNIT)


def _named(replicas: Sequence[int]) -> str:
    return ", ".join(str(replica) for replica in replicas)
