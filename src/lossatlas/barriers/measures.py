"""Measures of study optimizers on paths, kernel projections and shells of minima."""

from collections.abc import Sequence
from math import exp, log

import numpy as np
import pandas as pd

from lossatlas.barriers.dyads import Comparison, compare
from lossatlas.barriers.numbers import Shells, at_step, by_radius, measured, sample, shells
from lossatlas.barriers.separation import needed, subset
from lossatlas.barriers.spec import CentroidsApart, HigherBarriers, KernelSeparation, PlaneHeights, ShellOrder
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import LEAST_ORDERED, Interval, around, of_share, of_superiority, superiority

CLEAR = 0.9
"""Separation that counts as clear. Not higher: the interval of 48 vectors a set, the paper's, begins at 0.93 even
where a line separates all of them, and that of fewer than 36 below 0.9."""


LEAST_PAIRS = 20
"""Disjoint pairs of minima of each set without which nothing is said about barriers."""


def plane_heights(spec: PlaneHeights, inputs: Inputs) -> Measurement:
    """Largest distance of the heights of paths on a function's plane from the paper's."""
    table = pd.concat(inputs.given(spec.paths), ignore_index=True)
    rows = at_step(table, 0).iloc[:1] if spec.of == "straight" else at_step(table, None)
    if spec.of == "optimised":
        rows = rows[rows["objective"] == spec.objective].sort_values("penalty")
    if len(rows) != len(spec.paper):
        return nothing(f"{len(rows)} paths, {len(spec.paper)} heights in the paper", len(rows))
    heights = rows["train_height"].to_numpy(float)
    names = ["straight"] if spec.of == "straight" else [f"lambda {penalty:g}" for penalty in rows["penalty"]]
    told = zip(names, heights, spec.paper, strict=True)
    detail = ", ".join(f"{name}: {height:.4f} (paper {known:g})" for name, height, known in told)
    apart = np.abs(heights - np.array(spec.paper))
    return Measurement(float(apart.max()), None, len(rows), detail, "paths", apart.tolist(), exact=True)


def higher_barriers(spec: HigherBarriers, inputs: Inputs) -> Measurement:
    """How often a path of the first set is higher than one of the second: 1/2 = no difference.

    The unit is the pair of minima that shares none with the others; p is that of the permutation test on such pairs
    (:mod:`lossatlas.barriers.dyads`). Fewer than :data:`LEAST_PAIRS` have no interval: six could exclude 1/2, but
    so small a share of all pairs says little. The detail gives the value at every recorded step.
    """
    part, quantity = spec.part, spec.quantity
    given = (inputs.given(side) for side in (spec.first, spec.second))
    tables = [measured(pd.concat(found, ignore_index=True), part) for found in given]
    steps = sorted(set(tables[0]["step"]) & set(tables[1]["step"]))
    wanted = steps[-1] if spec.step is None else spec.step
    if wanted not in steps:
        return nothing(f"step {wanted} is not recorded, only {', '.join(map(str, steps))}")
    found = {step: _compared(tables, step, quantity) for step in steps}
    now = found[wanted]
    medians = [float(at_step(table, wanted)[quantity].median()) for table in tables]
    course = ", ".join(f"{step}: {result.superiority:.2f}" for step, result in found.items())
    detail = (
        f"{wanted} steps, median {quantity} {medians[0]:.3g} and {medians[1]:.3g}; p {now.p:.3g} on "
        f"{now.disjoint[0]} + {now.disjoint[1]} disjoint pairs (at least {now.least_p:.2g} with so few); "
        f"by steps {course}"
    )
    count = min(now.disjoint)
    interval = now.interval if count >= LEAST_PAIRS else None
    return Measurement(now.superiority, interval, count, detail, "disjoint pairs a set")


def _compared(tables: Sequence[pd.DataFrame], step: int, quantity: str) -> Comparison:
    first, second = (sample(at_step(table, step), quantity) for table in tables)
    return compare(first, second)


# ---------------------------------------------------------------------------------------------------------------------
# kernels


def kernel_separation(spec: KernelSeparation, inputs: Inputs) -> Measurement:
    """Area under the ROC curve in the plane of two kernel principal components; several kernels: the best of them.

    1/2 is no separation, 1 a perfect one. The interval is the exact one of as many independent comparisons as the
    smaller set has vectors. Where it would include :data:`CLEAR` even at 1 there is none: a verdict could only go one
    way. Where isotropic sets of the same widths would need more vectors for PC 1 of the RBF kernel to separate them
    (:func:`lossatlas.barriers.separation.critical_count`), that it does not says nothing: the interval is open above.
    Of equal norms there are no widths to tell apart, and the interval is closed.
    """
    ((table, points),) = inputs.given(spec.kernels)
    rows = table[(table["variant"] == spec.variant) & table["kernel"].isin(spec.best_of)]
    if rows.empty:
        return nothing(f"variant {spec.variant} was not made; give the probe its `sigmas`")
    radii = {kernel: by_radius(points, spec.variant, kernel) for kernel in rows["kernel"]}
    found = rows["kernel"].map(radii) if spec.score == "radius" else rows[spec.score]
    value, counts = float(found.max()), (int(rows["first"].iloc[0]), int(rows["second"].iloc[0]))
    detail = ", ".join(
        f"{row['kernel']}: {row['plane']:.3f} (p {row['plane_p']:.2g}, one in twenty random labellings reaches "
        f"{row['plane_chance']:.2f}), PC 1 {row['pc1']:.3f}, radius {radii[row['kernel']]:.3f}, silhouette "
        f"{row['silhouette']:.2f}"
        for _, row in rows.iterrows()
    )
    count = min(counts)
    said = f"{detail}; norms alone {float(rows['norm'].iloc[0]):.3f}; {counts[0]} + {counts[1]}"
    best = of_share(count, count)
    interval = of_share(value * count, count) if best is not None and best.low > CLEAR else None
    if "rbf" in spec.best_of and spec.score != "radius" and spec.variant != "equal_norms":
        a, b = (float(rows[f"deviation_{side}"].iloc[0]) for side in ("first", "second"))
        wanted, have = needed(a, b, counts)
        said += f"; isotropic sets of these widths need {wanted:.3g} vectors of the narrower, it has {have}"
        if interval is not None and have <= wanted:
            interval = Interval(interval.low, 1.0, f"{interval.method}, open above: too few vectors")
    return Measurement(value, interval, count, said, "vectors a set")


# ---------------------------------------------------------------------------------------------------------------------
# shells


def shell_order(spec: ShellOrder, inputs: Inputs) -> Measurement:
    """How often a point of the first set is further from the common origin than one of the second: 1 = nested."""
    (gram,) = inputs.given(spec.cloud)
    first, second = shells(gram, spec.sets, spec.centres).distances
    detail = (
        f"distances {first.mean():.3g} +- {first.std(ddof=1):.2g} and {second.mean():.3g} +- {second.std(ddof=1):.2g}"
    )
    count = min(len(first), len(second))
    interval = of_superiority(first, second) if count >= LEAST_ORDERED else None
    return Measurement(superiority(first, second), interval, count, detail, "minima a set")


def centroids_apart(spec: CentroidsApart, inputs: Inputs) -> Measurement:
    """Distance of the two centroids over the spread of the points' distances, or over chance.

    Chance is what sets of independent points about one centre would give: means of n vectors that are nearly orthogonal
    are near each other whatever the vectors are. The unit is the initialisation: the interval leaves out its minima in
    all sets at a time, and is about the value, since distances of means depend on how many vectors they are of.
    """
    (gram,) = inputs.given(spec.cloud)
    found = shells(gram, spec.sets, spec.centres)
    scales = _scales(found)
    detail = ", ".join(f"{name} {scale:.3g}" for name, scale in scales.items())
    value = found.centroid / scales[spec.relative_to]
    table = gram.table
    named = table["cloud"].isin([*spec.sets, *spec.centres])
    replicas = np.unique(table["replica"][named])
    interval = None
    if table["cloud"][named].value_counts().min() > 2:  # a set needs two points when one is left out
        others = []
        for replica in replicas:
            left = shells(subset(gram, np.flatnonzero(table["replica"] != replica)), spec.sets, spec.centres)
            others.append(left.centroid / _scales(left)[spec.relative_to])
        interval = around(value, others, log, exp)
    said = f"half the distance {found.centroid:.3g}; {detail}"
    return Measurement(value, interval, len(replicas), said, "initialisations")


def _scales(found: Shells) -> dict[str, float]:
    """Return what half the distance of the centroids is divided by."""
    return {
        "spread": min(float(values.std(ddof=1)) for values in found.distances) / 2,
        "chance": found.by_chance,
    }
