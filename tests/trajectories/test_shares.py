"""Shares left of the jump and of theta_o, and the measures on them, against closed forms and a real optimiser."""

import numpy as np
import pandas as pd
import pytest
import torch
from harness import draw, measure, study
from specimens import cloud

from lossatlas.clouds.files import Gram
from lossatlas.clouds.jobs.embed import without_minimum
from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout
from lossatlas.trajectories.jobs.shares import filter_angles, left_by_decay, of_cloud

RECIPE = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "epochs": 50,
    "milestones": [],
    "gamma": 0.1,
}


def test_decay_leaves_what_sgd_leaves_where_no_gradient_acts():
    weights = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.SGD([weights], lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(50 * 391):
        weights.grad = torch.zeros_like(weights)
        optimizer.step()
    (predicted,) = left_by_decay(RECIPE, 391, np.array([50.0]))
    assert predicted == pytest.approx(np.exp(-1.955))
    assert weights[0].item() == pytest.approx(predicted, rel=0.01)


def test_decay_follows_the_schedule_and_is_known_for_sgd_alone():
    slower = {**RECIPE, "milestones": [0.5]}
    half, whole = left_by_decay(slower, 391, np.array([25.0, 50.0]))
    assert whole == pytest.approx(half**1.1)
    assert left_by_decay({**RECIPE, "weight_decay": 0.0}, 391, np.array([0.0, 50.0])).tolist() == [1.0, 1.0]
    with pytest.raises(LossatlasError, match="for sgd alone"):
        left_by_decay({**RECIPE, "optimizer": "adam"}, 391, np.array([1.0]))


def test_angles_of_filters_ignore_lengths_and_biases(rng):
    layout = Layout(("a.weight", "a.bias"), ((2, 3), (2,)), ("weight", "bias"))
    first, second = np.array([1.0, 0, 0]), np.array([0.0, 2, 0])
    turned = np.array([np.cos(0.3), np.sin(0.3), 0])
    theta = np.array(
        [
            [*first, *second, 1, 1],
            [*(7 * first), *(0.1 * second), 5, -5],
            [*(2 * turned), *second, 1, 1],
            [*first, 0, 0, 0, 1, 1],
        ],
        dtype=np.float32,
    )
    found = filter_angles(theta, layout)
    np.testing.assert_allclose(found, [0, 0, 0.3 / np.sqrt(2), 0], atol=1e-6)
    small = np.array([[1.0, 0, 0, 1, 0, 0, 0, 0], [1.0, 1e-5, 0, 1, 1e-5, 0, 0, 0]])
    assert filter_angles(small, layout)[1] == pytest.approx(1e-5, rel=1e-6), "no digits lost at small angles"


def shares_of(end, centre=1.0, seeds=(0, 1), steps=(1.0,), angle=0.5):
    """Shares of a cloud whose retrainings end at ``end`` of the jump, theta_o of norm 3 ``centre``."""
    gram = cloud(lambda seed, step: [(step, 0.0), (step * end, 0.0)], seeds=seeds, steps=steps)
    table = gram.table
    angles = np.where(table["epoch"] == 0, angle, angle * end)
    return of_cloud(gram, angles, RECIPE, 391)


def test_shares_of_a_cloud():
    table = shares_of(0.25)
    ends = table[table["epoch"] > 0]
    np.testing.assert_allclose(ends["jump_left"], 0.25)
    assert (table[table["epoch"] == 0]["predicted"] == 1.0).all()
    assert (table["step"] > 0).all(), "theta_o is no retraining"


def test_theta_left_is_the_component_along_theta_o():
    centre = np.array([3.0, 0.0, 0.0, 4.0])
    theta = np.array([centre, [3, 1, 0, 4], [1.5, 0.5, 0, 2]])
    table = pd.DataFrame({"run": "a", "seed": [-1, 0, 0], "step": [0.0, 1, 1], "epoch": [0.0, 0, 1]})
    found = of_cloud(Gram.from_rows(theta, table), np.zeros(3), RECIPE, 391)
    assert found["theta_left"].tolist() == pytest.approx([1.0, 0.5])
    assert found["jump_left"].tolist() == pytest.approx([1.0, 0.5])
    assert found["radius"].tolist() == pytest.approx([0.2, np.hypot(2.5, 0.5) / 5])


def test_step_zero_has_no_jump_to_be_left():
    theta = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 5.0]])
    table = pd.DataFrame({"run": "a", "seed": [-1, 0, 0], "step": 0.0, "epoch": [0.0, 0, 1]})
    found = of_cloud(Gram.from_rows(theta, table), np.zeros(3), RECIPE, 391)
    assert found["jump_left"].isna().all()
    assert found["radius"].tolist() == pytest.approx([0.0, 0.2])


def test_decay_share_is_the_largest_miss_of_a_cloud_by_initialisation():
    short = left_by_decay(RECIPE, 391, np.array([1.0]))[0]
    clouds = [shares_of(short), shares_of(short - 0.1), shares_of(short + 0.3)]
    found = measure("decay_share", {"cloud": clouds}, initialisations=[0, 1, 1])  # one reference stands for three
    assert (found.value, found.n, found.unit) == (pytest.approx((0 + 0.2) / 2, abs=1e-6), 2, "initialisations")


def test_angle_ratio_is_of_the_common_jumps_and_pairs_clouds():
    first = [shares_of(0.5), shares_of(0.3)]
    found = measure("angle_ratio", {"cloud": first}, at="last")
    assert (found.value, found.n) == (pytest.approx(0.4), 2)
    assert measure("angle_ratio", {"cloud": first}).value == pytest.approx(1.0)
    apart = measure("angle_ratio", {"cloud": first, "second": [shares_of(0.1), shares_of(0.1)]}, at="last")
    assert apart.value == pytest.approx(0.3)
    assert apart.each == pytest.approx([0.4, 0.2])
    lost = measure("angle_ratio", {"cloud": [shares_of(0.5), shares_of(0.5, seeds=(7,))]})
    assert lost.value is None


def test_null_distance_is_that_of_step_zero_over_that_of_a_jump():
    null = shares_of(0.5).assign(step=0.0, radius=0.06)
    found = measure(
        "null_distance", {"cloud": [shares_of(0.5).assign(radius=0.2)], "step_zero": [null]}, quantity="radius"
    )
    assert found.value == pytest.approx(0.3)
    assert measure("null_distance", {"cloud": [shares_of(0.5)], "step_zero": [shares_of(0.5)]}).value is None


def test_cosine_on_the_way_back_is_not_that_of_the_end():
    def bent(seed, step):
        return [(step, 0.0), (0.8 * step, 0.0), (0.4 * step, 0.3 * step), (0.0, 0.01 * step)]

    given = {"cloud": cloud(bent)}
    assert measure("direction_kept", given, quantity="half").value == pytest.approx(0.8)
    assert measure("direction_kept", given).value == pytest.approx(0.0, abs=1e-9)
    away = cloud(lambda seed, step: [(step, 0.0), (2 * step, 0.0)])
    assert measure("direction_kept", {"cloud": away}, quantity="half").value is None, "none is on its way back"


def test_a_cloud_without_its_minimum_has_the_same_geometry(rng):
    whole = cloud(lambda seed, step: [(step, 0.0), (0.5 * step, 0.1)])
    left = without_minimum(whole)
    moving = np.flatnonzero(whole.table["seed"] >= 0)
    assert left.n == whole.n - 1
    for metric in ("euclidean", "cosine"):
        np.testing.assert_allclose(left.distances(metric), whole.distances(metric)[np.ix_(moving, moving)], atol=1e-12)
    with pytest.raises(LossatlasError, match="jump-and-retrain"):
        without_minimum(
            left.of_rows(np.arange(2)).__class__.from_rows(rng.standard_normal((3, 2)), left.table[:3].assign(seed=-1))
        )


def test_shares_are_planned_with_the_recipe_of_the_retraining():
    found = study("tiny", clouds={"good": {"jump": {"retrain": {"epochs": 7, "lr": 0.02}}}})
    (made,) = found.get("shares", "good", "test")
    assert (made.spec["recipe"]["lr"], made.spec["recipe"]["epochs"]) == (0.02, 7)
    data = made.inputs["cloud"][0].inputs["run"][0].inputs["data"][0]
    assert made.spec["steps"] == -(-data.spec["train"] // made.spec["recipe"]["batch"])


def test_jumps_name_shared_orders_only_where_they_are_shared():
    own = study("tiny", clouds={"good": {"jump": {}}}).get("cloud", "good", "test")[0].inputs["points"][0]
    shared = study("tiny", clouds={"good": {"jump": {"orders": "shared"}}}).get("cloud", "good", "test")[0]
    assert "orders" not in own.spec
    assert shared.inputs["points"][0].spec["orders"] == "shared"


def test_figure_of_shares(tmp_path):
    spec = {
        "kind": "shares",
        "title": "t",
        "points": [{"cloud": "a", "group": "good"}, {"cloud": "null", "group": "from itself"}],
    }
    files = {}
    for name, table in (("a", shares_of(0.25)), ("null", shares_of(0.5).assign(step=0.0, jump_left=np.nan))):
        files[name] = [tmp_path / f"{name}.csv"]
        table.to_csv(files[name][0], index=False)
    outputs = {"png": tmp_path / "f.png", "csv": tmp_path / "f.csv"}
    draw(spec, {"shares": files}, outputs)
    numbers = pd.read_csv(outputs["csv"])
    assert numbers["group"].tolist() == ["good", "good", "from itself", "from itself"]
    assert numbers["jump_left"][:2].tolist() == pytest.approx([0.25, 0.25])
    assert (numbers["jump_angle"] == 0.5).all()
