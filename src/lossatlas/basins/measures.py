"""Measures on basins, poisoned minima and decision boundaries (study generalization)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.basins.files import Volumes
from lossatlas.basins.numbers import at_cutoff, field, joined, of_value, separation
from lossatlas.basins.spec import (
    BasinRank,
    CircleFound,
    EffectiveDirections,
    LeastAccuracy,
    LeastGap,
    Poisoned,
    Proximity,
    VolumeGap,
)
from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import Interval, of_mean, of_median, rank_correlation


def basin_rank(spec: BasinRank, inputs: Inputs) -> Measurement:
    """Spearman's rank correlation over minima, times ``sign``; of several cutoffs the worst for the claim."""
    table = joined(inputs.given(spec.volume))
    table = table.assign(gap=table["train_accuracy"] - table["test_accuracy"])
    cutoffs = sorted(set(table["cutoff"])) if spec.cutoff is None else [spec.cutoff]
    found, detail = [], []
    for cutoff in cutoffs:
        rank = rank_correlation(at_cutoff(table, cutoff), spec.x, spec.y)
        if np.isfinite(rank.value):
            found.append(rank)
        detail.append(f"cutoff {cutoff:g}: {rank}")
    if not found:
        return nothing("; ".join(detail))
    worst = min(found, key=lambda rank: spec.sign * rank.value)
    interval = worst.interval
    if interval is not None and spec.sign < 0:
        interval = Interval(-interval.high, -interval.low, interval.method)
    value = float(spec.sign) * worst.value
    return Measurement(value, interval, worst.replicas, "; ".join(detail), "initialisations")


def _side(volumes: Sequence[Volumes], cutoff: float, value: float | None) -> pd.DataFrame:
    return of_value(at_cutoff(joined(volumes), cutoff), value)


def volume_gap(spec: VolumeGap, inputs: Inputs) -> Measurement:
    """Log10 volume of the minima ``first`` less that of ``second``, mean over replicas (paired: one initialisation)."""
    first = _side(inputs.given(spec.first), spec.cutoff, spec.first_value)
    second = _side(inputs.given(spec.second), spec.cutoff, spec.second_value)
    pairs = first.merge(second, on="replica", suffixes=("", "_second"))
    column = spec.column
    gaps = (pairs[column] - pairs[f"{column}_second"]).to_numpy(float)
    finite = gaps[np.isfinite(gaps)]
    if not len(finite):
        return nothing("no pair of replicas has a volume on both sides")
    halves = pd.concat([first, second])
    apart = (halves["log10_volume_first_half"] - halves["log10_volume_second_half"]).abs()
    detail = (
        f"log10 V {first[column].mean():.0f} and {second[column].mean():.0f}; test accuracy "
        f"{first['test_accuracy'].mean():.3f} and {second['test_accuracy'].mean():.3f}; training loss "
        f"{first['train_loss'].mean():.3g} and {second['train_loss'].mean():.3g}; halves of the directions differ by "
        f"{apart.median():.0f} (median), {halves['effective_directions'].median():.2g} effective directions"
    )
    lost = len(gaps) - len(finite)
    detail += f"; {lost} without a volume left out" if lost else ""
    each = tuple(map(float, finite))
    return Measurement(float(finite.mean()), of_mean(finite), len(finite), detail, "initialisations", each)


def effective_directions(spec: EffectiveDirections, inputs: Inputs) -> Measurement:
    """Median over initialisations of the effective number of directions behind the volume, at one cutoff.

    An initialisation counts by the median over its minima.
    """
    rows = at_cutoff(joined(inputs.given(spec.volume)), spec.cutoff)
    rows = rows[np.isfinite(rows["effective_directions"])]
    if rows.empty:
        return nothing("no minimum has a volume")
    values = rows.groupby("replica")["effective_directions"].median().to_numpy(float)
    width = (rows["log10_volume_high"] - rows["log10_volume_low"]).median()
    apart = (rows["log10_volume_first_half"] - rows["log10_volume_second_half"]).abs().median()
    detail = (
        f"of {int(rows['directions'].iloc[0])}; {values.min():.3g} to {values.max():.3g}; bootstrap interval "
        f"{width:.0f} and halves {apart:.0f} orders of magnitude apart (medians)"
    )
    each = tuple(map(float, values))
    return Measurement(float(np.median(values)), of_median(values), len(values), detail, "initialisations", each)


def least_accuracy(spec: LeastAccuracy, inputs: Inputs) -> Measurement:
    """Smallest accuracy among minima whose swept value is at most ``up_to``."""
    table = joined(inputs.given(spec.volume)).drop_duplicates(["replica", "value"])
    rows = table[table["value"] <= spec.up_to + 1e-12]
    each = tuple(map(float, rows.groupby("replica")[spec.quantity].min()))
    by_value = rows.groupby("value")[spec.quantity].min()
    detail = "smallest at each value: " + ", ".join(f"{value:g}: {least:.3f}" for value, least in by_value.items())
    return Measurement(min(each), None, len(each), detail, "initialisations", each)


def poisoned(spec: Poisoned, inputs: Inputs) -> Measurement:
    """Of the poisoned minima: least train accuracy or largest test accuracy; or the test accuracy where SGD ends.

    All starts lie on one path of SGD and share its initialisation and data: the unit is the path.
    """
    (gram,) = inputs.given(spec.cloud)
    found, table = field(gram), gram.table.reset_index(drop=True)
    bad = table.iloc[found.bad]
    last = table.iloc[found.path[-1]]
    values = {
        "train_accuracy": bad["train_accuracy"].min(),
        "test_accuracy": bad["test_accuracy"].max(),
        "sgd_test_accuracy": last["test_accuracy"],
    }
    detail = (
        f"{len(bad)} starts; train {bad['train_accuracy'].min():.3f} to {bad['train_accuracy'].max():.3f}, test "
        f"{bad['test_accuracy'].min():.3f} to {bad['test_accuracy'].max():.3f}; SGD ends at "
        f"{last['train_accuracy']:.3f} and {last['test_accuracy']:.3f}"
    )
    value = float(values[spec.quantity])
    return Measurement(value, None, 1, detail, "paths of SGD", each=(value,))


def proximity(spec: Proximity, inputs: Inputs) -> Measurement:
    """Median distance from a poisoned minimum to the iterate it started from, over the distance that SGD covers.

    One path of SGD is one unit, however many starts lie on it.
    """
    (gram,) = inputs.given(spec.cloud)
    found = field(gram)
    ratios = found.to_start / found.displacement
    value = float(np.median(ratios))
    detail = (
        f"{len(ratios)} starts, {ratios.min():.3g} to {ratios.max():.3g}; distance to the start: median "
        f"{np.median(found.to_start):.3g}, {found.to_start.min():.3g} to {found.to_start.max():.3g}; to the "
        f"nearest iterate: median {np.median(found.to_path):.3g}; SGD from first to "
        f"last iterate {found.displacement:.3g}, along its path {found.length:.3g}"
    )
    return Measurement(value, None, 1, detail, "paths of SGD", each=(value,))


def circle_found(spec: CircleFound, inputs: Inputs) -> Measurement:
    """Mean share right on the blue ring and on the inner red ring (1/2: they are not told apart), or train accuracy."""
    files = inputs.given(spec.boundaries)
    shares = np.concatenate([separation(rings) for rings in files])
    train = np.concatenate([rings.minima["train_accuracy"].to_numpy(float) for rings in files])
    values = shares if spec.quantity == "separation" else train
    value = float({"mean": values.mean(), "min": values.min(), "max": values.max()}[spec.statistic])
    detail = (
        f"separation {', '.join(f'{s:.3f}' for s in shares)}; train accuracy {train.min():.3f} to {train.max():.3f}"
    )
    interval = of_mean(values) if spec.statistic == "mean" else None
    return Measurement(value, interval, len(values), detail, "initialisations", tuple(map(float, values)))


def least_gap(spec: LeastGap, inputs: Inputs) -> Measurement:
    """Test accuracy of the worst of the runs ``better`` less the mean of those ``worse``."""
    better, worse = ([float(row["test_accuracy"]) for row in inputs.given(side)] for side in (spec.better, spec.worse))
    detail = f"better {min(better):.3f} to {max(better):.3f}, worse {np.mean(worse):.3f}"
    gaps = tuple(value - float(np.mean(worse)) for value in better)
    return Measurement(min(gaps), None, len(gaps), detail, "optimisers", gaps)
