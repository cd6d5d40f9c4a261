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
from lossatlas.claims.measurement import Measurement
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import bootstrap, rank_correlation


def basin_rank(spec: BasinRank, inputs: Inputs) -> Measurement:
    """Spearman's rank correlation over minima, times ``sign``; of several cutoffs the worst for the claim."""
    table = joined(inputs.given(spec.volume))
    table = table.assign(gap=table["train_accuracy"] - table["test_accuracy"])
    cutoffs = sorted(set(table["cutoff"])) if spec.cutoff is None else [spec.cutoff]
    sign, found, detail = float(spec.sign), [], []
    for cutoff in cutoffs:
        rank, low, high, n = rank_correlation(at_cutoff(table, cutoff), spec.x, spec.y)
        if np.isfinite(rank):
            ends = sorted((sign * low, sign * high))
            found.append((sign * rank, (ends[0], ends[1]), n))
        detail.append(f"cutoff {cutoff:g}: {rank:.3f} [{low:.3f}, {high:.3f}] over {n} minima")
    if not found:
        return Measurement(None, None, 0, "; ".join(detail))
    value, spread, n = min(found, key=lambda entry: entry[0])
    return Measurement(value, spread if np.isfinite(spread).all() else None, n, "; ".join(detail))


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
        return Measurement(None, None, 0, "no pair of replicas has a volume on both sides")
    spread = bootstrap([finite], lambda g: g.mean(axis=-1)) if len(finite) > 1 else None
    halves = pd.concat([first, second])
    apart = (halves["log10_volume_first_half"] - halves["log10_volume_second_half"]).abs()
    detail = (
        f"log10 V {first[column].mean():.0f} and {second[column].mean():.0f}; test accuracy "
        f"{first['test_accuracy'].mean():.3f} and {second['test_accuracy'].mean():.3f}; training loss "
        f"{first['train_loss'].mean():.3g} and {second['train_loss'].mean():.3g}; halves of the directions differ by "
        f"{apart.median():.0f} (median), {halves['effective_directions'].median():.2g} effective directions"
    )
    lost = len(gaps) - len(finite)
    return Measurement(
        float(finite.mean()), spread, len(finite), detail + (f"; {lost} without a volume left out" if lost else "")
    )


def effective_directions(spec: EffectiveDirections, inputs: Inputs) -> Measurement:
    """Median over minima of the effective number of directions behind the volume, at one cutoff."""
    rows = at_cutoff(joined(inputs.given(spec.volume)), spec.cutoff)
    values = rows["effective_directions"].to_numpy(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Measurement(None, None, 0, "no minimum has a volume")
    count = int(rows["directions"].iloc[0])
    width = (rows["log10_volume_high"] - rows["log10_volume_low"]).median()
    apart = (rows["log10_volume_first_half"] - rows["log10_volume_second_half"]).abs().median()
    detail = f"of {count}; bootstrap interval {width:.0f} and halves {apart:.0f} orders of magnitude apart (medians)"
    return Measurement(float(np.median(values)), (float(values.min()), float(values.max())), len(values), detail)


def least_accuracy(spec: LeastAccuracy, inputs: Inputs) -> Measurement:
    """Smallest accuracy among minima whose swept value is at most ``up_to``."""
    table = joined(inputs.given(spec.volume)).drop_duplicates(["replica", "value"])
    rows = table[table["value"] <= spec.up_to + 1e-12]
    values = rows[spec.quantity].to_numpy(float)
    by_value = rows.groupby("value")[spec.quantity].min()
    detail = ", ".join(f"{value:g}: {least:.3f}" for value, least in by_value.items())
    return Measurement(float(values.min()), None, len(values), f"smallest at each value: {detail}")


def poisoned(spec: Poisoned, inputs: Inputs) -> Measurement:
    """Of the poisoned minima: least train accuracy or largest test accuracy; or the test accuracy where SGD ends."""
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
    return Measurement(float(values[spec.quantity]), None, len(bad), detail)


def proximity(spec: Proximity, inputs: Inputs) -> Measurement:
    """Median distance from a poisoned minimum to the iterate it started from, over the distance that SGD covers."""
    (gram,) = inputs.given(spec.cloud)
    found = field(gram)
    ratios = found.to_start / found.displacement
    spread = (float(ratios.min()), float(ratios.max()))
    detail = (
        f"distance to the start: median {np.median(found.to_start):.3g}, {found.to_start.min():.3g} to "
        f"{found.to_start.max():.3g}; to the nearest iterate: median {np.median(found.to_path):.3g}; SGD from first to "
        f"last iterate {found.displacement:.3g}, along its path {found.length:.3g}"
    )
    return Measurement(float(np.median(ratios)), spread, len(ratios), detail)


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
    return Measurement(value, (float(values.min()), float(values.max())), len(values), detail)


def least_gap(spec: LeastGap, inputs: Inputs) -> Measurement:
    """Test accuracy of the worst of the runs ``better`` less the mean of those ``worse``."""
    better, worse = ([float(row["test_accuracy"]) for row in inputs.given(side)] for side in (spec.better, spec.worse))
    detail = f"better {min(better):.3f} to {max(better):.3f}, worse {np.mean(worse):.3f}"
    return Measurement(min(better) - float(np.mean(worse)), None, len(better), detail)
