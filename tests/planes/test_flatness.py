"""Sharpness, convexity and correlations of losses on lines and planes, on functions whose answers are known."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from harness import Loaded, measure
from scipy import stats
from scipy.stats import spearmanr

from lossatlas.clouds.files import Gram
from lossatlas.planes import numbers as flatness
from lossatlas.planes.files import Grid
from lossatlas.planes.jobs.descent import walk_angles
from lossatlas.planes.numbers import bends, on_plane, ratio, sharpness
from lossatlas.specs.registry import resolve
from lossatlas.statistics import rank_correlation, spearman
from lossatlas.study import subjects


def grid_of(loss, x=None, y=None, directions=(), accuracy=0.5, **measured):
    """Return a grid with these losses."""
    loss = np.atleast_2d(np.asarray(loss, dtype=float))
    x = np.linspace(-1, 1, loss.shape[1]) if x is None else x
    y = np.linspace(-1, 1, loss.shape[0]) if y is None else y
    minimum = pd.Series({"run": "net", "test_accuracy": accuracy, "train_loss": 0.0})
    kept = {name: np.asarray(values, dtype=float) for name, values in measured.items()}
    about = {"directions": list(directions)}
    return Grid(x, y, {"train_loss": loss, **kept}, about, minimum, pd.DataFrame(), pd.DataFrame(), np.full(2, np.nan))


def measured(name, role, entries, **keys):
    """Return what a measure finds on an input with several entries, each of them the grids of some replicas."""
    kind = subjects.measures()[name]
    loaded = {str(i): list(grids) for i, grids in enumerate(entries)}
    spec = kind.model_validate({role: [{kind.roles()[role]: entry} for entry in loaded], **keys})
    return resolve(spec.run)(spec, Loaded(loaded))


def ends(found):
    """Both ends of the interval of a measurement."""
    return found.interval.low, found.interval.high


def t_of_mean(values):
    """The 95% interval of a mean, by scipy."""
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def test_measures_of_a_parabola_are_its_own(rng):
    a, c = rng.uniform(0.5, 3), rng.uniform(0, 2)
    x = np.linspace(-1, 1, 21)
    loss = c + a * x**2
    assert flatness.rise(x, loss, 0.5) == pytest.approx(a / 4)
    assert flatness.worst(x, loss, 0.5) == pytest.approx(a / 4 / (1 + c))
    assert flatness.curvature(x, loss) == pytest.approx(2 * a)


def test_lines_that_overflow_are_infinitely_sharp_and_others_are_told_apart():
    x = np.linspace(-1, 1, 5)
    entries = [
        {"normalise": how, "number": i, "seed": i, "scale": 1.0} for i, how in enumerate(("filter", "none", "filter"))
    ]
    grid = grid_of([x**2, 9 * x**2, np.where(np.abs(x) > 0.4, np.nan, 0.0)], x=x, directions=entries)
    np.testing.assert_allclose(sharpness(grid, "filter", "rise", 0.5), [0.25, np.inf])
    np.testing.assert_allclose(sharpness(grid, "none", "rise", 0.5), [2.25])
    assert len(sharpness(grid, "layer", "rise")) == 0


def test_convexity_of_known_surfaces(rng):
    x, y = np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)
    u, v = np.meshgrid(x, y)
    root = rng.standard_normal((2, 2))
    form = root @ root.T + 0.1 * np.eye(2)
    bowl = form[0, 0] * u**2 + 2 * form[0, 1] * u * v + form[1, 1] * v**2
    assert not bends(grid_of(bowl, x, y)).any()
    assert bends(grid_of(-bowl, x, y)).all()
    assert bends(grid_of(u * v, x, y)).all()  # a saddle, seen by the mixed difference alone
    cubic = grid_of(u**3 + v**2, x, y)
    np.testing.assert_array_equal(bends(cubic), np.broadcast_to(x[1:-1] < -1e-9, (5, 7)))
    hole = bowl.copy()
    hole[3, 4] = np.inf
    assert bends(grid_of(hole, x, y)).sum() == 9
    assert on_plane(grid_of(u**2 + v**2 + 3.0, x, y), 0.1) == pytest.approx(0.0)


def test_what_points_at_the_centre(rng):
    """A convex function does everywhere, saturated or not; a ring, an island and noise do as their shapes say."""
    x, y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 31)
    u, v = np.meshgrid(x, y)
    form = np.eye(2) + np.outer(*[rng.uniform(0, 1, 2)] * 2)
    bowl = form[0, 0] * u**2 + 2 * form[0, 1] * u * v + form[1, 1] * v**2
    saturated = np.log1p(1e4 * bowl)  # nowhere convex but near the middle: curved the other way, and no chaos
    for loss in (bowl, saturated):
        found = flatness.towards(grid_of(loss, x, y))
        assert np.isnan(found[14, 9])
        assert np.nanmin(found) == 1
    assert bends(grid_of(saturated, x, y)).mean() > 0.9
    assert np.nanmax(flatness.towards(grid_of(-bowl, x, y))) == 0
    ring = flatness.towards(grid_of((np.hypot(u, v / 2) - 0.5) ** 2, x, y))
    inner = np.hypot(u, v / 2)[1:-1, 1:-1]
    assert np.nanmean(ring[inner < 0.35]) == 0
    assert np.nanmean(ring[inner > 0.65]) == 1
    shares = [np.nanmean(flatness.towards(grid_of(rng.standard_normal((31, 21)), x, y))) for _ in range(40)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    hole = bowl.copy()
    hole[3, 4] = np.nan
    assert np.nansum(flatness.towards(grid_of(hole, x, y)) == 0) == 4, "the four points that take their slope from it"


def test_regions_are_those_joined_to_the_centre():
    x = np.linspace(-1, 1, 201)
    u, v = np.meshgrid(x, x)
    radius = np.hypot(u, v)
    assert flatness.region(grid_of(radius**2, x, x), 0.25) == pytest.approx(np.pi * 0.25 / 4, rel=0.02)
    apart = np.where(radius > 0.8, 0.0, radius**2)  # as low again, behind a wall
    assert flatness.region(grid_of(apart, x, x), 0.25) == pytest.approx(np.pi * 0.25 / 4, rel=0.02)
    assert flatness.region(grid_of(radius + 1, x, x), 1.0) == 0
    island = grid_of(np.where(radius < 0.5, radius, 10.5 - radius), x, x)  # leads to the centre inside, away outside
    assert flatness.contrast(island, 1.0) == pytest.approx(1.0, abs=0.02)
    found = measure("partition", {"first": [island] * 3}, level=1.0)
    assert (found.n, found.value) == (3, pytest.approx(1.0, abs=0.02))
    assert measure("partition", {"first": grid_of(radius, x, x)}, level=5.0).value is None
    assert flatness.region(grid_of(np.where(radius < 0.5, 0.0, np.nan), x, x), 1.0) == pytest.approx(0.196, rel=0.03)


def test_chaos_is_compared_by_network(rng):
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)

    def plane(share, loss=1.0):
        """Return a plane of which a share of the columns leads away from the centre."""
        away = u >= np.quantile(u, 1 - share)
        grid = grid_of(np.where(away, 5 - u**2 - v**2, u**2 + v**2), x, x)
        grid.minimum["train_loss"] = loss
        return grid

    calm, wild = (
        [[plane(s) for s in shares] for shares in sides]
        for sides in (((0, 0, 0.1), (0.1, 0, 0)), ((0.5, 0.6, 0.4), (0.6, 0.5, 0.7)))
    )
    spec = subjects.measures()["towards_centre"]
    given = {"a": calm[0], "b": calm[1], "c": wild[0], "d": wild[1], "few": wild[0][:2]}
    names = {"first": [{"grids": "c"}, {"grids": "d"}], "second": [{"grids": "a"}, {"grids": "b"}]}
    found = resolve(spec.run)(spec.model_validate(names), Loaded(given))
    shares = {k: np.array([np.nanmean(flatness.towards(g)) for g in v]) for k, v in given.items()}
    each = (shares["c"] + shares["d"]) / 2 - (shares["a"] + shares["b"]) / 2
    assert (found.n, found.unit) == (3, "networks")
    assert found.each == pytest.approx(each)
    assert ends(found) == pytest.approx(t_of_mean(each))
    alone = resolve(spec.run)(spec.model_validate({"first": {"grids": "a"}}), Loaded(given))
    assert alone.each == pytest.approx(shares["a"])
    uneven = spec.model_validate({"first": [{"grids": "c"}, {"grids": "few"}]})
    assert "planes of 3 and 2 networks" in resolve(spec.run)(uneven, Loaded(given)).detail
    grids = [plane(0, loss) for loss in (0.5, 0.4, 0.8)]
    assert measure("loss_spread", {"networks": grids}).value == pytest.approx(2.0)
    assert measure("region_size", {"first": grids}, level=10.0).each == [1.0] * 3


def test_ratio_counts_negative_eigenvalues_only():
    grid = grid_of(np.zeros((1, 4)), lambda_min=[[-1.0, 0.5, -3.0, np.nan]], lambda_max=[[4.0, 2.0, 2.0, np.nan]])
    np.testing.assert_allclose(ratio(grid), [[0.25, 0.0, 1.5, np.nan]])


def test_spearman_is_scipys_and_ranks_infinity_highest(rng):
    a, b = rng.standard_normal(20), rng.integers(0, 5, 20)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman([1, 2, 3], [1.0, 5.0, np.inf]) == pytest.approx(1.0)
    assert np.isnan(spearman([1, 2, 3], [1, 1, 1]))


def networks(sharpnesses, errors):
    """Return grids of lines: sharpness under each normalisation and the test error of each network."""
    x = np.linspace(-1, 1, 5)
    found = []
    for values, error in zip(sharpnesses, errors, strict=True):
        entries = [{"normalise": how, "number": 0, "seed": 0, "scale": 1.0} for how in values]
        losses = [4 * value * x**2 for value in values.values()]
        found.append(grid_of(losses, x=x, y=np.arange(len(values)), directions=entries, accuracy=1 - error))
    return found


def test_rank_of_sharpness(rng):
    errors = np.linspace(0.1, 0.5, 9)
    noise = rng.permutation(9) + 1.0
    grids = networks([{"filter": e, "layer": n, "none": 2.0 - e} for e, n in zip(errors, noise, strict=True)], errors)
    found = measure("sharpness_rank", {"lines": grids}, against=["layer", "none"])
    assert found.value == pytest.approx(1.0 - max(spearmanr(noise, errors).statistic, -1.0))
    assert (found.n, found.unit, found.interval) == (1, "recipes", None)
    assert found.detail.startswith("Spearman's correlations of 9 networks with the test error: filter 1.000")
    assert measure("sharpness_rank", {"lines": grids}).value == pytest.approx(1.0)
    assert measure("sharpness_rank", {"lines": grids[:7]}).value is None


def test_networks_trained_alike_are_kept_together(rng):
    """Eighteen networks of six recipes: what their sharpness is by chance is shared by the three of a recipe."""
    errors = np.repeat([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 3) + rng.uniform(0, 0.01, 18)
    sharp = np.repeat([1.0, 3.0, 2.0, 4.0, 6.0, 5.0], 3) + rng.uniform(0, 0.01, 18)
    grids = networks([{"filter": v} for v in sharp], errors)
    found = measured("sharpness_rank", "lines", [grids[i : i + 3] for i in range(0, 18, 3)])
    assert (found.n, found.unit) == (6, "recipes")
    assert found.value == pytest.approx(spearmanr(sharp, errors).statistic)
    alone = measured("sharpness_rank", "lines", [[grid] for grid in grids])
    assert (alone.n, alone.value) == (18, pytest.approx(found.value))
    assert found.interval.low < alone.interval.low
    few = measured("sharpness_rank", "lines", [grids[i : i + 3] for i in range(0, 12, 3)])
    assert (few.n, few.interval) == (4, None), "four recipes are in perfect order by chance too often"


def test_ranks_of_unrelated_sharpness_exclude_zero_in_at_most_5_percent(rng):
    """Some 3% at each end, of which 1,500 draws leave two to chance (four standard errors)."""
    missed = np.zeros(2)
    for _ in range(1500):
        errors, sharp = (np.repeat(rng.normal(size=5), 2) + 0.2 * rng.normal(size=10) for _ in range(2))
        grids = networks([{"filter": v} for v in np.exp(sharp)], errors)
        found = measured("sharpness_rank", "lines", [grids[i : i + 2] for i in range(0, 10, 2)])
        if found.interval is not None:
            missed += (found.interval.low > 0, found.interval.high < 0)
    assert (missed / 1500 < 0.05).all(), missed


def test_ranks_between_and_within_recipes_and_at_one_training_loss(rng):
    """Recipes that differ in one sense, networks of one recipe in the other, and a loss behind both."""
    base = np.repeat(np.arange(6.0), 4)
    within = np.tile([0.0, 0.1, 0.2, 0.3], 6)
    errors, sharp = (base + within) / 10, base + 1 - within
    grids = networks([{"filter": v} for v in sharp], errors)
    losses = rng.uniform(0.1, 1, 24)
    for grid, loss in zip(grids, losses, strict=True):
        grid.minimum["train_loss"] = loss
    entries = [grids[i : i + 4] for i in range(0, 24, 4)]
    found = {level: measured("sharpness_rank", "lines", entries, level=level).value for level in ("between", "within")}
    assert found == pytest.approx({"between": 1.0, "within": -1.0})
    fixed = measured("sharpness_rank", "lines", entries, holding="train_loss")
    ranks = np.array([stats.rankdata(values) for values in (sharp, errors, losses)])
    design = np.column_stack([np.ones(24), ranks[2]])
    rest = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    assert fixed.value == pytest.approx(np.corrcoef(*rest)[0, 1])
    assert "train_loss held fixed" in fixed.detail


def test_every_normalisation_has_the_reach_that_suits_it(rng):
    """What saturates near its centre ranks networks at short reaches alone: so both are tried at all of them."""
    x = np.linspace(-1, 1, 21)
    errors = np.linspace(0.1, 0.6, 9)
    entries = [{"normalise": how, "number": 0, "seed": 0, "scale": 1.0} for how in ("filter", "none")]
    shuffled = rng.permutation(errors)
    while abs(spearmanr(shuffled, errors).statistic) > 0.5:
        shuffled = rng.permutation(errors)
    grids = []
    for e, noise in zip(errors, shuffled, strict=True):
        near, far = e * x**2, np.where(np.abs(x) > 0.3, noise, e * x**2)
        grids.append(grid_of([near, far], x=x, y=np.arange(2), directions=entries, accuracy=1 - e))
    one = measure("sharpness_rank", {"lines": grids}, against=["none"])
    assert one.value == pytest.approx(1 - max(spearmanr(shuffled, errors).statistic, -1))
    both = measure("sharpness_rank", {"lines": grids}, against=["none"], reaches=[0.1, 0.5])
    assert both.value == pytest.approx(0.0)


def test_ratio_of_sharpness_is_over_networks(rng):
    own, change = rng.uniform(1, 2, 4), rng.uniform(1.5, 1.6, 4)
    first, second = (networks([{"filter": v} for v in values], np.full(4, 0.1)) for values in (own * change, own))
    found = measure("sharpness_ratio", {"first": first, "second": second})
    assert found.value == pytest.approx((own * change).mean() / own.mean())
    assert (found.n, found.unit) == (4, "networks")
    assert found.each == pytest.approx(list(change))
    assert 1 < found.interval.low < found.value < found.interval.high
    one = measure("sharpness_ratio", {"first": first[:1], "second": second[:1]})
    assert (one.n, one.interval) == (1, None), "directions of one network are no units"
    assert measure("sharpness_ratio", {"first": first[:3], "second": second}).interval.method.startswith("Welch")
    flat = networks([{"filter": 0.0}], [0.1])
    assert measure("sharpness_ratio", {"first": first[:1], "second": flat}).value is None


def test_shares_of_maps_and_planes(rng):
    first = grid_of(np.zeros((1, 4)), lambda_min=[[-1.0, 0.5, -3.0, np.nan]], lambda_max=[[4.0, 2.0, 2.0, np.nan]])
    second = grid_of(np.zeros((1, 4)), lambda_min=[[-0.1, 0.5, 0.0, -0.2]], lambda_max=[[4.0, 2.0, 2.0, 4.0]])
    found = measure("negative_curvature", {"first": [first], "second": [second]}, above=0.1)
    assert (found.value, found.n, found.interval) == (pytest.approx(2 / 3), 1, None)
    assert "1 points without a spectrum" in found.detail
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)
    saddle, bowl = grid_of(u * v, x, x), grid_of(u**2 + v**2, x, x)
    half = grid_of(np.where(u < 0, u * v, u**2 + v**2), x, x)
    assert measure("bent", {"first": [saddle], "second": [bowl]}).value == pytest.approx(1.0)
    found = measure("bent", {"first": [saddle, half, saddle], "second": [bowl, bowl, half]})
    assert found.interval.method == "paired t"
    assert ends(found) == pytest.approx(t_of_mean(found.each))


def test_flattening_is_over_replicas(rng):
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)

    def planes(scales):
        return [grid_of(scale * (u**2 + v**2), x, x) for scale in scales]

    one = [[grid] for grid in planes((8.0, 4.0, 2.0, 1.0))]
    found = measured("flattening", "planes", one)
    assert (found.value, found.n, found.interval) == (pytest.approx(-1.0), 1, None)
    steep = planes((8.0,))[0]
    steep.measured["train_loss"][np.hypot(u, v) > 0.01] = np.inf
    assert measured("flattening", "planes", [[steep], *one[1:]]).value == pytest.approx(-1.0)
    scales = np.array([[8.0, 4, 2, 1], [8, 2, 4, 1], [4, 8, 2, 1], [8, 4, 1, 2]]) * rng.uniform(1, 1.1, (4, 4))
    found = measured("flattening", "planes", [planes(column) for column in scales.T])
    assert (found.n, found.unit) == (4, "initialisations")
    rows = [{"replica": i, "place": j, "rise": scales[i, j]} for i in range(4) for j in range(4)]
    expected = rank_correlation(pd.DataFrame(rows), "place", "rise")
    assert (found.value, found.interval) == (pytest.approx(expected.value), expected.interval)
    assert found.interval is not None
    assert "at least 3 are needed" in measured("flattening", "planes", one[:2]).detail


def test_convex_looking_points_are_taken_apart_by_network():
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)

    def maps(*lowest):
        loss, high = u**3 + v**2, np.full_like(u, 10.0)
        return [grid_of(loss, x, x, lambda_min=np.where(u < 0, -3.0, low), lambda_max=high) for low in lowest]

    assert measure("convex_ratio", {"maps": maps(-0.2)}).value == pytest.approx(0.02)
    found = measure("convex_ratio", {"maps": maps(-0.2)}, relative_to="other")
    assert (found.value, found.n, found.interval) == (pytest.approx(-0.28), 1, None), "points are no units"
    found = measure("convex_ratio", {"maps": maps(-0.2, -0.4, -0.9)})
    assert (found.value, found.n, found.unit) == (pytest.approx(0.05), 3, "networks")
    assert ends(found) == pytest.approx(t_of_mean([0.02, 0.04, 0.09]))
    nowhere = grid_of(-(u**2) - v**2, x, x, lambda_min=np.full_like(u, -2.0), lambda_max=np.ones_like(u))
    found = measure("convex_ratio", {"maps": [*maps(-0.2), nowhere]})
    assert (found.value, found.n) == (pytest.approx(0.02), 1)
    assert found.detail.endswith("1 networks without such points left out")
    assert measure("convex_ratio", {"maps": [nowhere]}).value is None


def test_accuracy_of_networks_is_the_smallest():
    grids = networks([{"filter": 1.0}] * 3, [0.1, 0.3, 0.2])
    found = measure("network_accuracy", {"networks": grids}, quantity="test_accuracy")
    assert (found.value, found.n) == (pytest.approx(0.7), 3)
    assert measure("network_accuracy", {"networks": grids}).value == 0, "no training accuracy was recorded"


def test_angles_of_a_descent_are_averaged_by_thirds():
    tables = [
        pd.DataFrame({"plane_angle": [0.0, 10, 40, 50, 80, 90], "angle": [1.0] * 6}),
        pd.DataFrame({"plane_angle": [20.0, 20, 40, 50, 60, np.nan], "angle": [1.0] * 6}),
    ]
    values = {
        when: measure("descent_angle", {"descents": tables}, when=when).value for when in ("early", "late", "change")
    }
    assert values == pytest.approx({"early": 12.5, "late": 72.5, "change": 60.0})
    assert measure("descent_angle", {"descents": tables}, when="change", space="full").value == 0
    assert measure("descent_angle", {"descents": tables}, when="late", about=90).value == pytest.approx(17.5)
    found = measure("descent_angle", {"descents": [*tables, tables[0]]}, when="late", until=0.5)
    assert found.value == pytest.approx(40.0), "the last third of the first half"
    assert found.interval is None, "three equal values say nothing of their spread"
    found = measure("descent_angle", {"descents": [*tables, tables[0]]})
    assert (found.n, found.unit, found.each) == (3, "paths", [5, 20, 5])
    assert ends(found) == pytest.approx(t_of_mean([5, 20, 5]))


def steps_of(rng, phases, **columns):
    """Return the table of a descent: a step a phase, with columns of its own."""
    count = len(phases)
    table = {"phase": phases, "plane_angle": rng.uniform(0, 180, count), "turn": rng.uniform(0, 180, count)}
    return pd.DataFrame({**table, **columns})


def test_windows_follow_the_learning_rate(rng):
    phases = [0] * 9 + [1] * 4
    angles = np.array([10.0, 20, 30, 40, 50, 60, 70, 80, 150, 5, 6, 7, 8])
    tables = [steps_of(rng, phases, plane_angle=angles + shift) for shift in (0.0, 1.0, 3.0)]
    found = {
        when: measure("descent_angle", {"descents": tables}, when=when, until=None).each[0]
        for when in ("early", "late", "after", "change")
    }
    assert found == pytest.approx({"early": 20, "late": 100, "after": 6, "change": 80})
    level = measure("descent_angle", {"descents": tables}, when="late", until=None, about=90, uphill=False)
    assert level.each[0] == pytest.approx(15.0), "150 degrees is uphill and no nearer to the contour than 30"
    assert measure("uphill_share", {"descents": tables}, until=None).each == pytest.approx([1 / 3] * 3)
    assert measure("uphill_share", {"descents": tables}, until=None, when="early").value == 0
    other = [steps_of(rng, phases, plane_angle=angles) for _ in range(3)]
    apart = measure("descent_angle", {"descents": tables, "second": other}, when="late", until=None)
    assert (apart.each, apart.unit, apart.interval.method) == (pytest.approx([0, 1, 3]), "paths", "paired t")


def test_a_random_walk_has_no_kink_and_its_share_is_known(rng):
    """Steps in a dimension that is high enough: the closed forms, as many drawn walks have them."""
    lengths = np.concatenate([rng.uniform(1, 2, 30), rng.uniform(0.05, 0.1, 15)])
    drawn = rng.standard_normal((45, 4_000)) / np.sqrt(4_000) * lengths[:, None]
    walk = np.vstack([np.zeros(4_000), drawn.cumsum(axis=0)])
    gram = Gram.from_rows(walk, pd.DataFrame({"run": ["walk"] * 46}))
    own = np.linalg.norm(drawn, axis=1)
    np.testing.assert_allclose(flatness.step_lengths(gram), own, rtol=1e-9)
    singular = np.linalg.svd(walk - walk.mean(0), compute_uv=False)
    assert flatness.walk_share(own) == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum(), abs=0.04)
    assert flatness.walk_share(np.ones(300)) == pytest.approx(6 / np.pi**2 * 1.25, abs=5e-3)
    found = measure("path_share", {"paths": [gram] * 3}, less="walk", statistic="mean")
    assert abs(found.value) < 0.04
    straight = Gram.from_rows(np.outer(np.arange(20.0), rng.standard_normal(50)) + rng.standard_normal((20, 50)))
    straight.table["run"] = "straight"
    assert measure("path_share", {"paths": straight}, less="walk").value > 0.1
    ways = walk[-1] - walk[:-1]
    angles = np.degrees(np.arccos((drawn * ways).sum(1) / own / np.linalg.norm(ways, axis=1)))
    expected = walk_angles(own)
    np.testing.assert_allclose(angles[:-1], expected[:-1], atol=8.0)
    table = pd.DataFrame({"phase": [0] * 30 + [1] * 15, "end_angle": angles, "walk_angle": expected})
    kink = measure("path_kink", {"descents": [table]}, until=None)
    assert abs(kink.value) < 5
    turned = table.assign(end_angle=np.where(table["phase"] == 0, 90.0, 20.0))
    expected_kink = 70 - (expected[20:30].mean() - expected[30])
    assert measure("path_kink", {"descents": [turned]}, until=None).value == pytest.approx(expected_kink)


def test_noise_is_compared_with_the_gradient(rng):
    signal = np.array([4.0] * 3 + [1.0] * 3 + [0.01] * 3 + [-1.0])
    tables = [steps_of(rng, [0] * 9 + [1], noise=np.full(10, value), signal=signal) for value in (1.0, 2.0, 7.0)]
    found = measure("gradient_noise", {"descents": tables}, until=None)
    assert found.each == pytest.approx([np.log10(400)] * 3)
    hidden = [steps_of(rng, [0] * 9, noise=np.ones(9), signal=np.full(9, -1.0))]
    assert measure("gradient_noise", {"descents": hidden}, until=None).value is None


def test_ends_of_a_segment_and_norms_of_paths_are_compared(rng):
    x = np.linspace(-0.5, 1.5, 81)
    sharper = rng.uniform(1, 4, 3)
    grids = [grid_of(np.minimum(x**2, 1) * (x < 0.5) + c * (x - 1) ** 2 * (x >= 0.5), x=x) for c in sharper]
    found = measure("segment_sharpness", {"lines": grids})
    assert found.each == pytest.approx(sharper, rel=1e-6)
    assert found.value == pytest.approx(np.exp(np.log(sharper).mean()))
    assert np.log(ends(found)) == pytest.approx(t_of_mean(np.log(sharper)))
    short = grid_of(x[20:61] ** 2, x=x[20:61])
    assert measure("segment_sharpness", {"lines": short}).value is None, "it does not go beyond its ends"
    grown, kept = (
        [Gram.from_rows(np.linspace(1, f, 5)[:, None] * rng.standard_normal(40)) for f in factors]
        for factors in ((2.0, 3.0, 4.0), (1.0 + 1e-9, 1.5, 1.2))
    )
    found = measure("norm_growth", {"first": grown, "second": kept})
    assert found.value == pytest.approx(3.0 / (3.7 / 3), rel=1e-6)
    assert found.each == pytest.approx([2.0, 2.0, 4 / 1.2], rel=1e-6)


def test_copies_of_a_network_are_told_apart(rng):
    x = np.linspace(-1, 1, 5)
    entries = [{"normalise": how, "number": 0, "seed": 0, "scale": 1.0} for how in ("filter", "none")]
    first = [grid_of([c * x**2, c * x**2], x=x, y=np.arange(2), directions=entries) for c in (1.0, 2.0, 3.0)]
    copies = [grid_of([c * x**2, 5 * c * x**2], x=x, y=np.arange(2), directions=entries) for c in (1.0, 2.0, 3.0)]
    kind = subjects.measures()["rescaling_gap"]
    loaded = {"first": first, "copies": copies}
    for how, expected in (("filter", 0.0), ("none", 4.0)):
        spec = kind.model_validate({"original": {"grids": "first"}, "copies": {"grids": "copies"}, "normalise": how})
        found = resolve(spec.run)(spec, Loaded(loaded))
        assert (found.value, found.n, found.exact) == (pytest.approx(expected), 3, True)
    spec = kind.model_validate({"original": {"grids": "first"}, "copies": {"grids": "few"}})
    assert resolve(spec.run)(spec, Loaded({"first": first, "few": copies[:2]})).value is None


def test_no_torch_is_needed_to_read_grids():
    code = "import sys, lossatlas.planes.numbers, lossatlas.planes.measures; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
