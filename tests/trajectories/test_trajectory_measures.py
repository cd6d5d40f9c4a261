"""Measures on retrainings and on whole trainings against trajectories with closed-form answers."""

import numpy as np
import pandas as pd
import pytest
from harness import measure, study
from specimens import claim, cloud, out_and_back, straight

from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError


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
        assert found.n == 3
        assert found.spread == pytest.approx((value, value), abs=1e-9)


def test_lateral_of_a_circle_is_all_of_its_motion_relative_to_the_radius():
    given = {"cloud": cloud(circle)}
    assert measure("lateral", given, relative_to="radius").value == pytest.approx(1.0, abs=1e-9)
    assert measure("lateral", given, relative_to="radius", over="displacement").value == pytest.approx(1.0)
    assert measure("lateral", given, over="displacement").value == pytest.approx(0.5)
    assert measure("lateral", {"cloud": cloud(straight)}, relative_to="radius").value == pytest.approx(0, abs=1e-9)


def test_lateral_through_the_centre_is_radial():
    found = measure("lateral", {"cloud": cloud(lambda *_: [(1.0, 0.0), (-1.0, 0.0)])}, relative_to="radius")
    assert found.value == pytest.approx(0.0, abs=1e-12)


def test_interval_is_over_directions_not_trajectories():
    # Direction s ends at (s + 1) / 4 of the jump for step 1 and at its half for step 0.5: means 3/16, 3/8, 9/16.
    def path(seed, step):
        end = (seed + 1) / 4 * (1.0 if step == 1.0 else 0.5)
        return [(step, 0.0), (step * end, 0.0)]

    given = {"cloud": cloud(path, steps=(0.5, 1.0))}
    found = measure("return_fraction", given)
    assert (found.value, found.n) == (pytest.approx(3 / 8), 3)
    assert found.spread == pytest.approx((3 / 16, 9 / 16))
    assert found.detail == "0.25 at step 0.5, 0.5 at step 1"
    assert measure("return_fraction", given, steps=[1]).value == pytest.approx(0.5)
    assert measure("return_fraction", given, seeds=[2]).spread is None
    assert measure("return_fraction", given, statistic="max").value == pytest.approx(0.75)
    low, high = measure("return_fraction", given, spread="bootstrap").spread
    assert 3 / 16 - 1e-9 <= low < 3 / 8 < high <= 9 / 16 + 1e-9
    assert measure("return_fraction", given, spread="bootstrap").spread == (low, high)


def test_equal_seeds_of_two_clouds_are_two_directions():
    found = measure("return_fraction", {"cloud": [cloud(straight), cloud(circle)]})
    assert (found.n, found.value) == (6, pytest.approx(0.625))


def test_contrast_between_clouds_and_between_steps():
    good, bad = cloud(straight), cloud(out_and_back)
    found = measure("contrast", {"first": bad, "second": good})
    assert found.value == pytest.approx(0.6)
    assert found.spread == pytest.approx((0.6, 0.6))
    assert measure("contrast", {"first": bad, "second": good}, contrast="ratio").value == pytest.approx(1.6)

    def by_step(seed, step):
        return [(step, 0.0), (step * (2.0 + 0.1 * seed if step < 0.5 else 1.0 + 0.1 * seed), 0.0)]

    both = cloud(by_step, steps=(0.25, 1.0))
    found = measure("contrast", {"first": both, "second": both}, first_steps=[0.25], second_steps=[1.0])
    assert found.value == pytest.approx(1.0)
    assert found.spread == pytest.approx((1.0, 1.0)), "paired by direction: the direction's own part cancels"


def test_nothing_to_measure_says_why():
    found = measure("outwardness", {"cloud": cloud(straight)}, steps=[0.25])
    assert found == Measurement(None, None, 0, "no retraining with its jump and a later point among steps [0.25]")
    back = cloud(lambda *_: [(1.0, 0.0), (0.0, 0.0)])
    assert measure("direction_kept", {"cloud": back}).detail == "undefined for all 3 trajectories"
    partly = cloud(lambda seed, _: [(1.0, 0.0), (0.0 if seed == 0 else 0.5, 0.0)])
    found = measure("direction_kept", {"cloud": partly})
    assert (found.value, found.n) == (pytest.approx(1.0), 2)
    assert found.detail.endswith("1 of 3 trajectories undefined and left out")


def trainings(**runs):
    """A cloud of whole trainings: run -> replica -> points in the plane, far from the origin of R^D."""
    rows, theta = [], []
    for name, replicas in runs.items():
        for replica, points in enumerate(replicas):
            for epoch, (a, b) in enumerate(points):
                rows.append({"run": name, "replica": replica, "seed": -1, "step": 0.0, "epoch": epoch / 2})
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
        assert found.spread == pytest.approx((min(first, second), max(first, second))), "paired by replica"
        assert found.n == 2
    found = measure("straightness", given, **between, contrast="difference")
    assert found.value == pytest.approx(0.4)
    assert found.detail == "bent: 1.4 (n 2); straight: 1 (n 2)"


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
