"""Measures of study optimizers on paths, kernel projections and shells of minima."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.barriers.dyads import Comparison, compare
from lossatlas.barriers.numbers import Shells, at_step, measured, sample, shells
from lossatlas.barriers.separation import areas
from lossatlas.barriers.spec import CentroidsApart, HigherBarriers, KernelSeparation, OnShells, PlaneHeights, ShellOrder
from lossatlas.claims.measurement import Measurement
from lossatlas.specs.registry import Inputs

CLEAR = 0.95
"""Separation that counts as clear; where labels drawn at random reach it, nothing can be said."""


def plane_heights(spec: PlaneHeights, inputs: Inputs) -> Measurement:
    """Heights of optimised paths on a function's plane against those of the paper.

    ``of``: ``straight`` (distance of the straight path's height from the paper's), ``optimised`` (largest distance over
    lambda) or ``lowest`` (the lowest height of any path and objective).
    """
    table = pd.concat(inputs.given(spec.paths), ignore_index=True)
    last = at_step(table, None)
    paper = np.array(spec.paper, dtype=np.float64)
    if spec.of == "straight":
        height = float(at_step(table, 0)["train_height"].iloc[0])
        return Measurement(abs(height - float(paper[0])), None, 1, f"{height:.4f}, paper {paper[0]:g}")
    if spec.of == "lowest":
        return Measurement(float(last["train_height"].min()), None, len(last), f"lowest of {len(last)} optimised paths")
    rows = last[last["objective"] == spec.objective].sort_values("penalty")
    if len(rows) != len(paper):
        return Measurement(None, None, len(rows), f"{len(rows)} paths, {len(paper)} heights in the paper")
    heights = rows["train_height"].to_numpy(float)
    detail = ", ".join(
        f"lambda {penalty:g}: {height:.4f} (paper {known:g})"
        for penalty, height, known in zip(rows["penalty"], heights, paper, strict=True)
    )
    return Measurement(float(np.abs(heights - paper).max()), None, len(rows), detail)


def higher_barriers(spec: HigherBarriers, inputs: Inputs) -> Measurement:
    """How often a path of the first set is higher than one of the second: 1/2 = no difference.

    The interval is over minima; p is that of the permutation test on disjoint pairs (:mod:`lossatlas.barriers.dyads`).
    The detail gives the value at every recorded step.
    """
    part, quantity = spec.part, spec.quantity
    given = (inputs.given(side) for side in (spec.first, spec.second))
    tables = [measured(pd.concat(found, ignore_index=True), part) for found in given]
    steps = sorted(set(tables[0]["step"]) & set(tables[1]["step"]))
    wanted = steps[-1] if spec.step is None else spec.step
    if wanted not in steps:
        return Measurement(None, None, 0, f"step {wanted} is not recorded, only {', '.join(map(str, steps))}")
    found = {step: _compared(tables, step, quantity) for step in steps}
    now = found[wanted]
    medians = [float(at_step(table, wanted)[quantity].median()) for table in tables]
    course = ", ".join(f"{step}: {result.superiority:.2f}" for step, result in found.items())
    detail = (
        f"{wanted} steps, median {quantity} {medians[0]:.3g} and {medians[1]:.3g}; p {now.p:.3g} on "
        f"{now.disjoint[0]} + {now.disjoint[1]} disjoint pairs (at least {now.least_p:.2g} with so few); "
        f"by steps {course}"
    )
    return Measurement(now.superiority, (now.low, now.high), min(now.disjoint), detail)


def _compared(tables: Sequence[pd.DataFrame], step: int, quantity: str) -> Comparison:
    first, second = (sample(at_step(table, step), quantity) for table in tables)
    return compare(first, second)


def kernel_separation(spec: KernelSeparation, inputs: Inputs) -> Measurement:
    """Area under the ROC curve along the best direction of the plane of two kernel principal components, or PC 1.

    Several kernels: the best of them. 1/2 is no separation, 1 a perfect one.
    """
    ((table, _),) = inputs.given(spec.kernels)
    score = spec.score
    rows = table[(table["variant"] == spec.variant) & table["kernel"].isin(spec.best_of)]
    if rows.empty:
        return Measurement(None, None, 0, f"variant {spec.variant} was not made; give the probe its `sigmas`")
    best = rows.loc[rows[score].idxmax()]
    detail = ", ".join(
        f"{row['kernel']}: {row['plane']:.3f} (p {row['plane_p']:.2g}), PC 1 {row['pc1']:.3f}, silhouette "
        f"{row['silhouette']:.2f}"
        for _, row in rows.iterrows()
    )
    counts = int(best["first"]), int(best["second"])
    if best[f"{score}_chance"] >= CLEAR:
        few = f"{counts[0]} + {counts[1]} vectors are too few: one in twenty random labellings reaches {CLEAR:g}"
        return Measurement(None, None, min(counts), f"{few}; {detail}")
    return Measurement(
        float(best[score]), None, min(counts), f"{detail}; norms alone {best['norm']:.3f}; {counts[0]} + {counts[1]}"
    )


def shell_order(spec: ShellOrder, inputs: Inputs) -> Measurement:
    """How often a point of the first set is further from the common origin than one of the second: 1 = nested."""
    found = _shells(spec, inputs)
    first, second = found.distances
    area = float(areas(np.concatenate([first, second])[None], np.arange(len(first) + len(second)) < len(first))[0])
    value = area if np.mean(first[:, None] > second[None, :]) >= 0.5 else 1 - area
    detail = (
        f"distances {first.mean():.3g} +- {first.std(ddof=1):.2g} and {second.mean():.3g} +- {second.std(ddof=1):.2g}"
    )
    return Measurement(value, None, min(len(first), len(second)), detail)


def centroids_apart(spec: CentroidsApart, inputs: Inputs) -> Measurement:
    """Distance of the two centroids from their middle, over the least distance of any point from it or over chance.

    Chance is what sets of independent points about one centre would give: means of n vectors that are nearly orthogonal
    are near each other whatever the vectors are.
    """
    found = _shells(spec, inputs)
    nearest = float(min(values.min() for values in found.distances))
    scale = nearest if spec.relative_to == "nearest" else found.by_chance
    detail = f"{found.centroid:.3g}; nearest point {nearest:.3g}, by chance {found.by_chance:.3g}"
    return Measurement(found.centroid / scale, None, min(found.counts), detail)


def _shells(spec: OnShells, inputs: Inputs) -> Shells:
    (gram,) = inputs.given(spec.cloud)
    return shells(gram, spec.sets, spec.centres)
