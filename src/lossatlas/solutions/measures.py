"""Measures that compare sets of trained weight vectors: their losses, and how far their weights are spread.

The unit is the initialisation. Where two sets have the same ones, which the optimisers start from, they are compared in
pairs; sets of the best of many have others each, and count as independent.
"""

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.clouds.files import Gram
from lossatlas.solutions.numbers import pooled
from lossatlas.solutions.spec import BestRate, HighestLoss, Sharper, SolutionLosses, WeightSpread
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import LEAST_ORDERED, Interval, of_ratio, of_superiority, superiority

UNIT = "initialisations"


def _ratio(first: pd.Series, second: pd.Series, names: tuple[str, str]) -> Measurement:
    """Return the ratio of two means over runs; the series have their values by replica."""
    means = float(first.mean()), float(second.mean())
    said = f"{names[0]} {means[0]:.4g} (n {len(first)}), {names[1]} {means[1]:.4g} (n {len(second)})"
    n = min(len(first), len(second))
    if min(means) <= 0:
        return nothing(f"a mean is 0, below the resolution it was computed with; {said}", n)
    a, b, paired = _matched(first, second)
    interval = of_ratio(a, b, paired)
    return Measurement(means[0] / means[1], interval, n, said, UNIT, (a / b).tolist() if paired else None)


def _matched(first: pd.Series, second: pd.Series) -> tuple[Array, Array, bool]:
    """Return the values of two series, in the order of their replicas, and whether these are the same."""
    a, b = first.sort_index(), second.sort_index()
    return a.to_numpy(float), b.to_numpy(float), a.index.equals(b.index) and a.index.is_unique


def _by_replica(table: pd.DataFrame, quantity: str) -> pd.Series:
    return table.set_index("replica")[quantity]


def solution_losses(spec: SolutionLosses, inputs: Inputs) -> Measurement:
    """Mean loss of the first set over that of the second."""
    first, second = (_by_replica(inputs.given(side)[0].table, spec.quantity) for side in (spec.first, spec.second))
    return _ratio(first, second, ("first", "second"))


def best_rate(spec: BestRate, inputs: Inputs) -> Measurement:
    """Mean loss of the first set over that of a scan at its best learning rate; rates with a diverged run are out.

    That the rate is the best of several is not in the interval: it favours the scan.
    """
    quantity = spec.quantity
    scan = inputs.given(spec.scan)[0].table
    runs = scan.groupby("value").size()
    means = scan[scan["value"].isin(runs[runs == runs.max()].index)].groupby("value")[quantity].mean()
    best = float(means.idxmin())
    theirs = _by_replica(scan[scan["value"] == best], quantity)
    found = _ratio(_by_replica(inputs.given(spec.first)[0].table, quantity), theirs, ("first", f"SGD at lr {best:g}"))
    listed = ", ".join(f"lr {value:g} {mean:.4g}" for value, mean in means.items())
    return Measurement(found.value, found.interval, found.n, f"{found.detail}; {listed}", UNIT, found.each)


def weight_spread(spec: WeightSpread, inputs: Inputs) -> Measurement:
    """Standard deviation of all weights of a set, or mean length of its vectors, of the first over the second set.

    The square of the former is the mean over vectors of their mean square about the mean of all weights, so that its
    ratio is one of means, too. The mean distance within a set is one of pairs that share vectors: its interval is the
    jackknife's over vectors, whose pseudovalues have that mean.
    """
    first, second = (inputs.given(side)[0] for side in (spec.first, spec.second))
    if spec.quantity == "distance":
        if min(first.n, second.n) < 3:
            return nothing("a set of fewer than three vectors", min(first.n, second.n))
        return _ratio(_mutual(first), _mutual(second), ("first", "second"))
    if spec.quantity == "norm":
        lengths, others = (pd.Series(gram.norms(), index=gram.table["replica"]) for gram in (first, second))
        return _ratio(lengths, others, ("first", "second"))
    (mean, std), (other_mean, other_std) = pooled(first.table), pooled(second.table)
    found = _ratio(_squares(first.table), _squares(second.table), ("first", "second"))
    interval = found.interval
    if interval is not None:
        interval = Interval(float(np.sqrt(interval.low)), float(np.sqrt(interval.high)), interval.method)
    detail = f"first {mean:.4g} +- {std:.4g} (n {first.n}), second {other_mean:.4g} +- {other_std:.4g} (n {second.n})"
    return Measurement(std / other_std, interval, found.n, detail, UNIT)


def _mutual(gram: Gram) -> pd.Series:
    """Return the jackknife's pseudovalues of the mean distance within a set, one a vector, by replica.

    That is n m - (n - 1) m_i, with m the mean over all pairs and m_i that without vector i; their mean is m.
    """
    sums = np.sqrt(np.maximum(gram.squared_distances(), 0.0)).sum(1)
    n, total = gram.n, float(sums.sum())
    without = (total - 2 * sums) / ((n - 1) * (n - 2))
    return pd.Series(total / (n - 1) - (n - 1) * without, index=gram.table["replica"])


def _squares(table: pd.DataFrame) -> pd.Series:
    """Return the mean square of each vector's components about the mean of all vectors' components."""
    rows = table.set_index("replica")
    return rows["weight_std"] ** 2 + (rows["weight_mean"] - rows["weight_mean"].mean()) ** 2


def sharper(spec: Sharper, inputs: Inputs) -> Measurement:
    """How often the curvature at a point of the first set is higher than at one of the second: 1/2 = no difference.

    Points whose largest eigenvalue was not found within the tolerance count as missing, and there is no measurement.
    """
    tables = [pd.concat(inputs.given(side), ignore_index=True) for side in (spec.first, spec.second)]
    count, scale = min(map(len, tables)), spec.quantity.split("_")[0]
    open_ends = sum(int((table[f"{scale}_converged"] == 0).sum()) for table in tables)
    if spec.quantity.endswith("_max") and open_ends:
        return nothing(f"{open_ends} largest eigenvalues were not found; raise `products` of the probes", count)
    first, second = (table[spec.quantity].to_numpy(float) for table in tables)
    losses = [float(table["loss"].median()) for table in tables]
    detail = (
        f"median {spec.quantity} {np.median(first):.3g} and {np.median(second):.3g} at median training losses "
        f"{losses[0]:.3g} and {losses[1]:.3g}"
    )
    interval = of_superiority(first, second) if count >= LEAST_ORDERED else None
    return Measurement(superiority(first, second), interval, count, detail, "initialisations a set")


def highest_loss(spec: HighestLoss, inputs: Inputs) -> Measurement:
    """Highest training loss of any solution of the sets."""
    losses = np.concatenate([gram.table["train_loss"].to_numpy(float) for gram in inputs.given(spec.trained)])
    return Measurement(
        float(losses.max()), None, len(losses), f"lowest {losses.min():.3g}", "solutions", losses.tolist()
    )
