"""Measures on basins, poisoned minima and decision boundaries (study generalization)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lossatlas.basins.files import Volumes
from lossatlas.basins.numbers import (
    Search,
    at_cutoff,
    field,
    in_cone,
    joined,
    margin_table,
    masses_at,
    of_value,
    searches,
    separation,
)
from lossatlas.basins.spec import (
    BasinRank,
    CircleFound,
    EffectiveDirections,
    LeastAccuracy,
    LeastGap,
    MarginRank,
    MassAgreement,
    MassGap,
    MassRank,
    MinimaGap,
    Nearest,
    OpenCones,
    Poisoned,
    Proximity,
    RadiusSpread,
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
    rows = of_value(at_cutoff(joined(volumes), cutoff), value)
    if "dimension" in rows:
        rows = rows.assign(log10_volume_per_weight=rows["log10_volume"] / rows["dimension"])
    return rows


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


def minima_gap(spec: MinimaGap, inputs: Inputs) -> Measurement:
    """A column of minima ``first`` less that of ``second``, mean over replicas (paired: one initialisation)."""
    sides = []
    for files, value in ((inputs.given(spec.first), spec.first_value), (inputs.given(spec.second), spec.second_value)):
        sides.append(of_value(pd.concat([one.minima for one in files], ignore_index=True), value))
    first, second = sides
    pairs = first.merge(second, on="replica", suffixes=("", "_second"))
    gaps = (pairs[spec.column] - pairs[f"{spec.column}_second"]).to_numpy(float)
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return nothing("no pair of replicas has a number on both sides")
    detail = (
        f"{spec.column} {first[spec.column].mean():.3g} and {second[spec.column].mean():.3g}; train accuracy at least "
        f"{min(first['train_accuracy'].min(), second['train_accuracy'].min()):.3f}"
    )
    return Measurement(float(gaps.mean()), of_mean(gaps), len(gaps), detail, "initialisations", tuple(map(float, gaps)))


def radius_spread(spec: RadiusSpread, inputs: Inputs) -> Measurement:
    """Largest over median radius, median over initialisations."""
    rows = of_value(at_cutoff(joined(inputs.given(spec.volume)), spec.cutoff), spec.value)
    ratios = (rows["radius_largest"] / rows["radius_median"]).to_numpy(float)
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return nothing("no minimum has a radius")
    detail = f"{ratios.min():.3g} to {ratios.max():.3g} over {int(rows['directions'].iloc[0])} directions"
    each = tuple(map(float, ratios))
    return Measurement(float(np.median(ratios)), of_median(ratios), len(ratios), detail, "initialisations", each)


def mass_gap(spec: MassGap, inputs: Inputs) -> Measurement:
    """Log10 Gaussian mass of minima ``first`` less that of ``second``, mean over replicas (paired)."""
    first = of_value(masses_at(inputs.given(spec.first), spec.width), spec.first_value)
    second = of_value(masses_at(inputs.given(spec.second), spec.width), spec.second_value)
    pairs = first.merge(second, on="replica", suffixes=("", "_second"))
    gaps = (pairs["log10_mass"] - pairs["log10_mass_second"]).to_numpy(float)
    finite = gaps[np.isfinite(gaps)]
    if not len(finite):
        return nothing("no pair of replicas has a mass on both sides")
    width = 1 / np.log(10)
    detail = (
        f"log10 M {first['log10_mass'].mean():.3g} and {second['log10_mass'].mean():.3g} at width {spec.width:g}; "
        f"bounds [{first['log_low'].mean() * width:.3g}, {first['log_high'].mean() * width:.3g}] and "
        f"[{second['log_low'].mean() * width:.3g}, {second['log_high'].mean() * width:.3g}]; training loss "
        f"{first['train_loss'].mean():.2g} and {second['train_loss'].mean():.2g}; test accuracy "
        f"{first['test_accuracy'].mean():.3f} and {second['test_accuracy'].mean():.3f}; ladders out and back at most "
        f"{pd.concat([first, second])['apart'].max():.2g} nats apart"
    )
    each = tuple(map(float, finite))
    return Measurement(float(finite.mean()), of_mean(finite), len(finite), detail, "initialisations", each)


def mass_agreement(spec: MassAgreement, inputs: Inputs) -> Measurement:
    """Largest difference of the ladders out and back over the minima of each initialisation, nats; the worst of all."""
    rows = masses_at(inputs.given(spec.mass), spec.width)
    walked = rows[rows["beta"] > 0]  # counted among exact draws otherwise
    if walked.empty or walked["log_mass_back"].isna().all():
        return nothing("no ladder was walked back")
    each = tuple(map(float, walked.groupby("replica")["apart"].max()))
    detail = (
        f"of {len(walked)} ladders ({len(rows) - len(walked)} masses counted); overlap at least "
        f"{walked['overlap'].min():.2g}, split R-hat at most {walked['r_hat'].max():.3g}, standard errors at most "
        f"{walked['error'].max():.2g}, Bennett and integration at most "
        f"{(walked['log_mass'] - walked['log_mass_integrated']).abs().max():.2g} apart"
    )
    return Measurement(max(each), None, len(each), detail, "initialisations", each)


def mass_rank(spec: MassRank, inputs: Inputs) -> Measurement:
    """Spearman's rank correlation of test accuracy and log mass, or kept labels, intervals over initialisations."""
    rows = masses_at(inputs.given(spec.mass), spec.width)
    rank = rank_correlation(rows, "test_accuracy", spec.quantity)
    if not np.isfinite(rank.value):
        return nothing(f"{rank.rows} minima: too few, or all alike")
    detail = f"{rank}; training loss {rows['train_loss'].min():.2g} to {rows['train_loss'].max():.2g}"
    return Measurement(rank.value, rank.interval, rank.replicas, detail, "initialisations")


def open_cones(spec: OpenCones, inputs: Inputs) -> Measurement:
    """Share of minima from which an open cone stays below the cutoff; the unit is the initialisation."""
    parts = []
    for file in inputs.given(spec.mass):
        table = file.minima
        parts.append(table.assign(cone=in_cone(file), far=file.head[:, 0, -1], drawn=file.head[:, 1, -1]))
    rows = of_value(pd.concat(parts, ignore_index=True), spec.value)
    if rows.empty:
        return nothing(f"no minimum of value {spec.value}")
    each = tuple(map(float, rows.groupby("replica")["cone"].mean()))
    detail = (
        f"{int(rows['cone'].sum())} of {len(rows)} minima; loss a thousandfold out at most {rows['far'].max():.2g}, of "
        f"draws about the ray {rows['drawn'].max():.2g}"
    )
    return Measurement(float(np.mean(each)), None, len(each), detail, "initialisations", each)


def nearest(spec: Nearest, inputs: Inputs) -> Measurement:
    """A number of the searches from the iterates of several paths: one value a path, the unit."""
    (gram,) = inputs.given(spec.cloud)
    found = searches(gram)
    each = np.array([_of_search(one, spec.quantity) for one in found])
    finite = each[np.isfinite(each)]
    if not len(finite):
        return nothing("no path has a bad minimum")
    rows = pd.concat([one.nearest for one in found], ignore_index=True)
    hits = rows[rows["row"] >= 0]
    detail = (
        f"{len(hits)} of {len(rows)} starts have a bad minimum, at distance {hits['distance'].min():.3g} to "
        f"{hits['distance'].max():.3g}, train accuracy at least {hits['train_accuracy'].min():.3f}, test at most "
        f"{hits['test_accuracy'].max():.3f}; SGD covers {min(one.displacement for one in found):.3g} to "
        f"{max(one.displacement for one in found):.3g}; after training without poison test "
        f"{hits['settled_accuracy'].median():.3f} (median)"
    )
    values = tuple(map(float, finite))
    return Measurement(float(np.mean(finite)), of_mean(finite), len(finite), detail, "paths of SGD", values)


def _of_search(one: Search, quantity: str) -> float:
    rows = one.nearest
    if quantity == "found":
        return float((rows["row"] >= 0).mean())
    if quantity == "sgd_test_accuracy":
        return one.test_accuracy
    if quantity == "settled_accuracy":
        return float(rows["settled_accuracy"].median())
    if quantity == "against_clean":
        return _of_search(one, "distance") / _of_search(one, "clean")
    source = one.clean if quantity == "clean" else rows
    return float(source["distance"].median()) / one.displacement if len(source) else float("nan")


def margin_rank(spec: MarginRank, inputs: Inputs) -> Measurement:
    """Spearman's rank correlation of the generalization gap and a number of the boundaries, times ``sign``."""
    table = margin_table(inputs.given(spec.boundaries))
    rank = rank_correlation(table, "gap", spec.quantity)
    if not np.isfinite(rank.value):
        return nothing(f"{rank.rows} minima: too few, or all alike")
    interval = rank.interval
    if interval is not None and spec.sign < 0:
        interval = Interval(-interval.high, -interval.low, interval.method)
    means = table.groupby("value")[spec.quantity].mean()
    detail = f"{rank}; mean at each value: " + ", ".join(f"{value:g}: {mean:.3g}" for value, mean in means.items())
    return Measurement(float(spec.sign) * rank.value, interval, rank.replicas, detail, "initialisations")


def least_gap(spec: LeastGap, inputs: Inputs) -> Measurement:
    """Test accuracy of the worst of the runs ``better`` less the mean of those ``worse``."""
    better, worse = ([float(row["test_accuracy"]) for row in inputs.given(side)] for side in (spec.better, spec.worse))
    detail = f"better {min(better):.3f} to {max(better):.3f}, worse {np.mean(worse):.3f}"
    gaps = tuple(value - float(np.mean(worse)) for value in better)
    return Measurement(min(gaps), None, len(gaps), detail, "optimisers", gaps)
