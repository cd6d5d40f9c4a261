"""Measures on retrainings and on whole trainings against trajectories with closed-form answers."""

import numpy as np
import pandas as pd
import pytest
from harness import measure, study
from scipy import stats
from specimens import DIM, claim, cloud, out_and_back, straight

from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read
from lossatlas.trajectories.measures import ratio_of_sizes
from lossatlas.trajectories.spec import Resemblance


def around(number, path, **settings):
    """Retrainings around a minimum of its own."""
    return cloud(path, centre=np.linspace(-3, 5, DIM) + 0.1 * number, **settings)


def back_to(ends, slope=0.0):
    """A cloud a minimum, whose retrainings end at so much of the jump, more by ``slope`` a direction."""

    def path(end):
        return lambda seed, step: [(step, 0.0), (step * (end + slope * seed), 0.0)]

    return [around(number, path(end)) for number, end in enumerate(ends)]


def t_of_mean(values):
    """The 95% interval of a mean, by scipy."""
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def ends(found):
    """Both ends of the interval of a measurement."""
    return found.interval.low, found.interval.high


def circle(seed, step):
    """A quarter of a circle about theta_o."""
    return [(step * np.cos(a), step * np.sin(a)) for a in np.linspace(0, np.pi / 2, 33)]


@pytest.mark.parametrize(
    "path, expected",
    [
        (straight, {"outwardness": 1.0, "return_fraction": 0.25, "direction_kept": 1.0, "left": 0.25, "lateral": 0.0}),
        (
            out_and_back,
            {"outwardness": 1.6, "return_fraction": 0.8, "direction_kept": 1.0, "left": 0.8, "lateral": 0.0},
        ),
        (circle, {"outwardness": 1.0, "return_fraction": 1.0, "direction_kept": 0.0, "left": 0.0, "lateral": 0.5}),
    ],
)
def test_measures_have_their_closed_form(path, expected):
    given = {"cloud": cloud(path, steps=(0.5, 1.0))}
    for name, value in expected.items():
        keys = {"quantity": "left"} if name == "left" else {}
        found = measure("direction_kept" if name == "left" else name, given, **keys)
        assert found.value == pytest.approx(value, abs=1e-9), name
        assert (found.n, found.unit, found.interval) == (1, "initialisations", None)


def test_lateral_of_a_circle_is_all_of_its_motion_relative_to_the_radius():
    given = {"cloud": cloud(circle)}
    assert measure("lateral", given, relative_to="radius").value == pytest.approx(1.0, abs=1e-9)
    assert measure("lateral", given, relative_to="radius", over="displacement").value == pytest.approx(1.0)
    assert measure("lateral", given, over="displacement").value == pytest.approx(0.5)
    assert measure("lateral", {"cloud": cloud(straight)}, relative_to="radius").value == pytest.approx(0, abs=1e-9)


def test_lateral_through_the_centre_is_radial():
    found = measure("lateral", {"cloud": cloud(lambda *_: [(1.0, 0.0), (-1.0, 0.0)])}, relative_to="radius")
    assert found.value == pytest.approx(0.0, abs=1e-12)


def test_directions_of_one_minimum_are_one_unit():
    # Direction s ends at (s + 1) / 4 of the jump for step 1 and at its half for step 0.5: means 3/16, 3/8, 9/16.
    def path(seed, step):
        end = (seed + 1) / 4 * (1.0 if step == 1.0 else 0.5)
        return [(step, 0.0), (step * end, 0.0)]

    given = {"cloud": cloud(path, steps=(0.5, 1.0))}
    found = measure("return_fraction", given)
    assert (found.value, found.n, found.interval) == (pytest.approx(3 / 8), 1, None)
    assert found.detail == "0.25 at step 0.5, 0.5 at step 1; by direction 0.1875 to 0.5625 (3)"
    assert measure("return_fraction", given, steps=[1]).value == pytest.approx(0.5)
    assert measure("return_fraction", given, statistic="max").value == pytest.approx(0.75)
    again = measure("return_fraction", {"cloud": [given["cloud"]] * 3})
    assert (again.value, again.n) == (pytest.approx(3 / 8), 1), "three clouds around one minimum are one unit"


def test_the_interval_is_over_initialisations(rng):
    values = rng.uniform(0.2, 0.8, 4)
    found = measure("return_fraction", {"cloud": back_to(values, slope=0.01)})
    assert (found.value, found.n) == (pytest.approx(values.mean() + 0.01), 4)
    assert found.each == pytest.approx(list(values + 0.01))
    assert ends(found) == pytest.approx(t_of_mean(values + 0.01))


def test_clouds_are_compared_on_the_jumps_they_share():
    def path(seed, step):
        return [(step, 0.0), (step * (0.5 if step < 1 else 0.1) + 0.2 * seed * step, 0.0)]

    small, large = around(0, path, seeds=(0, 1), steps=(1.0,)), around(1, path, steps=(0.5, 1.0))
    found = measure("return_fraction", {"cloud": [small, large]})
    assert (found.value, found.n, found.each) == (pytest.approx(0.2), 2, pytest.approx([0.2, 0.2]))
    assert found.detail.endswith("2 directions, 1 steps (1) in all 2 clouds, 4 of 6 jumps not in all and left out")
    apart = measure("return_fraction", {"cloud": [small, around(1, path, seeds=(2,))]})
    assert apart.value is None
    assert apart.detail.startswith("nothing to compare: 0 directions")


def test_contrast_between_clouds_and_between_steps():
    good, bad = cloud(straight), cloud(out_and_back)
    found = measure("contrast", {"first": bad, "second": good})
    assert (found.value, found.n, found.interval) == (pytest.approx(0.6), 1, None)
    assert measure("contrast", {"first": bad, "second": good}, contrast="ratio").value == pytest.approx(1.6)
    less = cloud(straight, seeds=(1, 2, 5), steps=(0.5, 1.0))
    found = measure("contrast", {"first": bad, "second": less})
    assert "2 directions, 1 steps (1) in all 2 clouds" in found.detail

    def by_step(seed, step):
        return [(step, 0.0), (step * (2.0 + 0.1 * seed if step < 0.5 else 1.0 + 0.1 * seed), 0.0)]

    both = cloud(by_step, steps=(0.25, 1.0))
    found = measure("contrast", {"first": both, "second": both}, first_steps=[0.25], second_steps=[1.0])
    assert (found.value, found.n) == (pytest.approx(1.0), 1)


def test_contrast_pairs_initialisations_by_their_places(rng):
    own, effect = rng.uniform(0.2, 0.8, 4), rng.uniform(0.1, 0.2, 4)
    given = {"first": back_to(own + effect), "second": back_to(own)}
    found = measure("contrast", given, of="return_fraction")
    assert (found.value, found.n) == (pytest.approx(effect.mean()), 4)
    assert ends(found) == pytest.approx(t_of_mean(effect)), "the initialisation's own part cancels"
    found = measure("contrast", {**given, "second": given["second"][:3]}, of="return_fraction")
    assert (found.n, found.interval.method) == (3, "Welch's t")


def test_resemblance_is_the_nearer_of_two_profiles_by_step(rng):
    """Retrainings that end at a share of the jump of their own by step size: distances of these by hand."""
    shares = rng.uniform(0.1, 0.9, (3, 2, 2))  # first, like, unlike; initialisation; step
    steps = (0.5, 1.0)

    def path(side, number):
        return lambda seed, step: [(step, 0.0), (step * shares[side, number, steps.index(step)], 0.0)]

    sides = [[around(10 * side + n, path(side, n), steps=steps) for n in (0, 1)] for side in (0, 1, 2)]
    given = dict(zip(("first", "like", "unlike"), sides, strict=True))
    near, far = (np.sqrt(((shares[0] - shares[side]) ** 2).mean(axis=1)) for side in (1, 2))
    found = measure("resemblance", given, of="return_fraction")
    assert found.each == pytest.approx(list(near - far), abs=1e-9)
    assert (found.value, found.n) == (pytest.approx(np.mean(near - far), abs=1e-9), 2)
    swapped = measure("resemblance", {**given, "like": sides[2], "unlike": sides[1]}, of="return_fraction")
    assert swapped.value == pytest.approx(-found.value, abs=1e-9)
    assert measure("resemblance", {**given, "unlike": sides[1]}, of="return_fraction").value == 0
    one = measure("resemblance", given, of="return_fraction", steps=[1.0])
    assert one.value == pytest.approx(np.mean(np.abs(shares[0] - shares[1]) - np.abs(shares[0] - shares[2]), axis=0)[1])
    counts = {"first": [{"gram": "a"}] * 2, "like": [{"gram": "b"}] * 2, "unlike": [{"gram": "c"}]}
    with pytest.raises(LossatlasError, match="first 2, like 2, unlike 1 clouds; give the same number"):
        read(Resemblance, counts)


def test_nothing_to_measure_says_why():
    found = measure("outwardness", {"cloud": cloud(straight)}, steps=[0.25])
    assert found == Measurement(None, None, 0, "no retraining with its jump and a later point among steps [0.25]")
    back = cloud(lambda *_: [(1.0, 0.0), (0.0, 0.0)])
    assert measure("direction_kept", {"cloud": back}).detail == "undefined for all 3 trajectories"
    partly = cloud(lambda seed, _: [(1.0, 0.0), (0.0 if seed == 0 else 0.5, 0.0)])
    found = measure("direction_kept", {"cloud": partly})
    assert (found.value, found.n) == (pytest.approx(1.0), 1)
    assert found.detail.endswith("1 of 3 trajectories undefined and left out")


def trainings(**runs):
    """A cloud of whole trainings: run -> replica -> points in the plane, far from the origin of R^D."""
    rows, theta = [], []
    for name, replicas in runs.items():
        for replica, points in enumerate(replicas):
            for epoch, (a, b) in enumerate(points):
                rows.append({"run": name, "replica": replica, "seed": -1, "step": 0.0, "epoch": epoch / 2})
                rows[-1]["train_accuracy"] = epoch / len(points) - 0.1 * replica
                theta.append([3.0 + a, 4.0 + b, 0.0])
    order = np.random.default_rng(3).permutation(len(rows))
    return Gram.from_rows(np.array(theta)[order], pd.DataFrame(rows).iloc[order].reset_index(drop=True))


def test_path_measures_have_their_closed_form():
    line = [(0, 0), (1.5, 2), (3, 4)]
    corner = [(0, 0), (3, 0), (3, 4)]
    half = [(0, 0), (1.5, 0), (1.5, 2)]
    given = {"cloud": trainings(straight=[line, line], bent=[corner, half])}
    between = {"first": "bent", "second": "straight"}
    expected = {  # of replica 0, of replica 1: 5 = |(3, 4)| is the norm of the initialisation
        "weight_norm": (10 / 10, 7.5 / 10),
        "distance_from_init": (1.0, 0.5),
        "path_length": (7 / 5, 3.5 / 5),
        "straightness": (7 / 5, 7 / 5),
    }
    for name, (first, second) in expected.items():
        found = measure(name, given, **between)
        assert found.value == pytest.approx((first + second) / 2), name
        assert found.each == pytest.approx([first, second]), "paired by replica"
        assert (found.n, found.unit, found.interval) == (2, "initialisations", None)
    found = measure("straightness", given, **between, contrast="difference")
    assert found.value == pytest.approx(0.4)
    assert found.detail == "bent: 1.4 (n 2); straight: 1 (n 2)"


def test_path_measures_have_an_interval_over_initialisations(rng):
    first, second = rng.uniform(1, 2, 5), rng.uniform(3, 4, 5)
    given = trainings(**{name: [[(0, 0), (x, 0)] for x in side] for name, side in (("a", first), ("b", second))})
    between = {"first": "a", "second": "b", "contrast": "difference"}
    found = measure("path_length", {"cloud": [given, given]}, **between)
    assert found.n == 5, "a training in two clouds counts once"
    assert ends(found) == pytest.approx(t_of_mean(first - second))
    found = measure("path_length", {"cloud": given}, first="a", second="b")
    assert found.value == pytest.approx(first.mean() / second.mean())
    assert found.interval.low < found.value < found.interval.high


def test_path_accuracy_is_the_smallest_of_the_trainings():
    line = [(0, 0), (1, 0), (2, 0), (3, 0)]
    given = trainings(long=[line, line], short=[line[:2]])
    found = measure("path_accuracy", {"cloud": given}, runs=["long"])
    assert (found.value, found.n) == (pytest.approx(0.65), 2)
    assert measure("path_accuracy", {"cloud": given}, runs=["long", "short"]).value == pytest.approx(0.5)
    given.table.loc[given.table["run"] == "short", "train_accuracy"] = np.nan
    assert measure("path_accuracy", {"cloud": given}, runs=["short"]).value == 0
    found = measure("path_accuracy", {"cloud": given}, runs=["other"])
    assert found.value is None
    assert found.detail.endswith("for run 'other'; the cloud has long, short")


def test_ratio_of_sizes_excludes_one_in_at_most_5_percent_where_both_effects_are_equal(rng):
    """Each end of a 95% interval may miss the truth in 2.5%; 2,000 draws leave 3.5% to chance."""
    for n, mean in ((3, 1.0), (3, 0.2), (5, 0.5)):
        missed = np.zeros(2)
        for _ in range(2000):
            a, b = rng.normal(mean, 0.3, n), rng.normal(mean, 0.3, n) * rng.choice([-1, 1])
            with np.errstate(over="ignore"):
                found = ratio_of_sizes(a, b)
            missed += (found.low > 1, found.high < 1)
        assert (missed / 2000 < 0.05).all(), (n, mean, missed)


def test_a_ratio_to_an_effect_that_may_vanish_has_no_upper_end():
    found = ratio_of_sizes(np.array([1.0, 1.1, 0.9]), np.array([-0.1, 0.0, 0.2]))
    assert found.high == np.inf
    assert 0 < found.low < 30
    assert ratio_of_sizes(np.array([-0.1, 0.0, 0.2]), np.array([1.0, 1.1, 0.9])).low == 0
    assert ratio_of_sizes(np.ones(2), np.arange(2.0)) is None


def test_path_measures_need_the_initialisation_and_a_motion():
    given = trainings(moving=[[(0, 0), (1, 0)]], still=[[(0, 0), (0, 0)]])
    found = measure("straightness", {"cloud": given}, first="still", second="moving")
    assert found.value is None
    assert found.detail.startswith("first: undefined: the weights did not move for run 'still'")
    given.table["epoch"] += 1
    found = measure("weight_norm", {"cloud": given}, first="still", second="moving")
    assert "no training recorded from epoch 0 on for run 'still'; the cloud has moving, still" in found.detail


@pytest.mark.parametrize(
    "first, cloud, message",
    [
        ("path", "paths", None),
        ("pathh", "paths", "claims.T2.parameters.first: 'pathh' is not a run of its cloud; did you mean 'path'"),
        ("path", "good", "claims.T2.parameters.first: 'path' is not a run of its cloud"),
    ],
)
def test_runs_of_path_measures_are_those_of_the_cloud(first, cloud, message):
    inputs, runs = {"cloud": {"gram": cloud}}, {"first": first, "second": "path"}
    entry = claim(measure="weight_norm", inputs=inputs, parameters=runs)
    if message is None:
        assert list(study("tiny", claims=[entry]).claims.inputs) == ["gram"]
    else:
        with pytest.raises(LossatlasError, match=message):
            study("tiny", claims=[entry])


def test_accuracies_of_paths_are_of_runs_of_the_cloud():
    premise = {"measure": "path_accuracy", "parameters": {"runs": ["pathh"]}, "holds": {"op": ">", "value": 0.9}}
    runs = {"first": "path", "second": "path"}
    entry = claim(measure="weight_norm", inputs={"cloud": {"gram": "paths"}}, parameters=runs, measurable_if=premise)
    with pytest.raises(LossatlasError, match=r"runs\[0\]: 'pathh' is not a run of its cloud; did you mean 'path'"):
        study("tiny", claims=[entry])


def test_trainings_of_one_initialisation_are_compared_with_those_of_different_ones():
    first = [[(0, 0), (3, 0)], [(10, 0), (10, 4)]]
    second = [[(0, 0), (6, 0)], [(10, 0), (10, 7)]]
    given = {"cloud": trainings(a=first, b=second)}
    found = measure("path_pairs", given, first="a", second="b")
    assert (found.value, found.n) == (pytest.approx(1.0), 2), "parallel from one start, orthogonal from two"
    assert measure("path_pairs", given, first="a", second="b", of="cosine").value == pytest.approx(1.0)
    ends = measure("path_pairs", given, first="a", second="b", of="ends")
    others = [np.hypot(7, 7), np.hypot(4, 4)]
    assert ends.each == pytest.approx([3 / others[0], 3 / others[1]])
    alone = measure("path_pairs", {"cloud": trainings(a=first[:1], b=second[:1])}, first="a", second="b")
    assert alone.value is None


def test_spread_of_ends_and_smoothness_have_their_closed_form():
    given = {"cloud": trainings(far=[[(0, 0), (0, 8)], [(0, 0), (6, 0)]], near=[[(0, 0), (0, 1)], [(0, 0), (0, 3)]])}
    found = measure("end_spread", given, first="far", second="near")
    assert (found.value, found.n) == (pytest.approx(10 / 2), 2)
    # Points of whole epochs are every second one.
    line = [(0, 0), (9, 9), (1, 0), (9, 9), (2, 0)]
    corner = [(0, 0), (0, 0), (1, 0), (1, 0), (1, 1)]
    back = [(0, 0), (5, 5), (1, 0), (5, 5), (0, 0)]
    paths = {"cloud": trainings(line=[line], corner=[corner], back=[back])}
    for name, value in (("corner", 0.0), ("back", -1.0)):
        found = measure("smoothness", paths, first=name, second="line", contrast="difference")
        assert found.value == pytest.approx(value - 1.0)
