"""Jump-and-retrain clouds as a study plans them; the retraining itself is tested with the other trainings."""

import pytest
from harness import study

from lossatlas.errors import LossatlasError


def cloud(**changes):
    """Return the artefact of a cloud around the run `good` of the tiny study."""
    found = study("tiny", clouds={"good": {"jump": changes}})
    return found.get("cloud", "good", "test")[0]


def test_jumps_are_spread_over_jobs_in_order():
    made = cloud(seeds=[0, 3], steps=[0.5, 1, 2], grain=4)
    jumps = [[list(jump) for jump in part.spec["jumps"]] for part in made.inputs["points"]]
    assert jumps == [[[0, 0.5], [0, 1], [0, 2], [3, 0.5]], [[3, 1], [3, 2]]]
    assert made.spec == {"rows": "last"}
    (run,) = made.inputs["run"]
    for part in made.inputs["points"]:
        assert part.inputs == {"data": run.inputs["data"], "run": (run,)}
        assert part.spec["seeds"] == run.spec["seeds"]
        assert "record" not in part.spec


def test_retraining_keeps_the_first_rate_and_the_decay_unless_told():
    made = cloud(retrain={"epochs": 7, "weight_decay": 0.0})
    (run,), part = made.inputs["run"], made.inputs["points"][0]
    assert run.spec["recipe"]["milestones"] == [0.75]
    assert part.spec["recipe"] == {**run.spec["recipe"], "milestones": [], "epochs": 7, "weight_decay": 0.0}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"run": "goood"}, "clouds.good.jump.run: 'goood' is not one of the study's runs; did you mean 'good'"),
        ({"replica": 7}, "clouds.good.jump.run: run 'good' has no replica 7; valid: 0, 1"),
        ({"seeds": [0, 0]}, "clouds.good.jump.seeds: 0 stands there twice; give each direction once"),
        ({"steps": [-1]}, r"clouds.good.jump.steps\[0\]: -1 is not allowed"),
        ({"steps": []}, "clouds.good.jump.steps: no entries; give at least 1"),
        ({"normalise": "fitler"}, "clouds.good.jump.normalise: 'fitler' is not allowed; did you mean 'filter'"),
        ({"retrain": {"epoch": 3}}, "clouds.good.jump.retrain.epoch: unknown key; did you mean 'epochs'"),
        ({"retrain": {"precision": "auto"}}, "clouds.good.jump.retrain.precision: 'auto' would be another arithmetic"),
        ({"retrain": {"poison": {}}}, "clouds.good.jump.retrain.poison: a retraining keeps the D_d of its run"),
        ({"retrain": {"optimizer": "adam", "momentum": 0.0}}, None),
        ({"retrain": {"optimizer": "adam"}}, "momentum: adam has none; remove it, or where it is inherited give"),
        ({"retrain": {"optimizer": "lbfgs_gss"}}, "clouds.good.jump.retrain: .*lbfgs_gss has none; remove it"),
    ],
)
def test_mistakes_are_named(changes, message):
    if message is None:
        assert cloud(**changes).inputs["points"][0].spec["recipe"]["optimizer"] == "adam"
        return
    with pytest.raises(LossatlasError, match=message):
        cloud(**changes)
