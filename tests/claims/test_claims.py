"""The frame of claims: verdicts, thresholds, presets, conditions, columns and messages."""

import numpy as np
import pandas as pd
import pytest
from harness import evaluate
from specimens import claim, cloud, out_and_back, save_gram, save_points

from lossatlas.claims.evaluate import COLUMNS, write
from lossatlas.claims.spec import resolve
from lossatlas.errors import LossatlasError
from lossatlas.study import subjects


@pytest.fixture
def given(tmp_path):
    return {"gram": {"bad": save_gram(tmp_path / "gram.h5", cloud(out_and_back))}}


@pytest.mark.parametrize(
    "op, value, verdict",
    [(">", 1.05, "holds"), (">", 1.7, "fails"), ("<", 1.7, "holds"), ("<=", 1.0, "fails"), (">=", 1.0, "holds")],
)
def test_verdict_follows_the_threshold(given, op, value, verdict):
    row = evaluate([claim(holds={"op": op, "value": value})], given, "trajectories").iloc[0]
    assert row["verdict"] == verdict
    assert row["threshold"] == f"{op} {value:g}"
    assert row["ours"] == pytest.approx(1.6)
    assert (row["study"], row["paper"], row["n"]) == ("trajectories", "> 1", 3)


def test_not_measurable_at_this_preset(given):
    for_paper = claim(min_preset="laptop")
    row = evaluate([for_paper], given, "s", "quick").iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert np.isnan(row["ours"])
    assert row["detail"] == "needs preset laptop or larger; this is quick"
    for preset in ("laptop", "paper", "my-own"):
        assert evaluate([for_paper], given, "s", preset).iloc[0]["verdict"] == "holds"
    row = evaluate([claim(parameters={"steps": [0.25]})], given).iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert "no retraining" in row["detail"]


def test_a_condition_must_hold_first(given, tmp_path):
    path = save_points(tmp_path / "points.h5", seed=[-1, -1], epoch=[0.0, 5.0], test_accuracy=[0.1, 0.4])
    given["runs"] = {"bad": [path]}
    condition = {"measure": "min_accuracy", "holds": {"op": ">", "value": 0.5}, "reason": "the network has not learnt"}
    entry = claim(inputs={"cloud": {"gram": "bad"}, "runs": {"runs": "bad"}}, measurable_if=condition)
    row = evaluate([entry], given).iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert row["detail"].startswith("the network has not learnt: min_accuracy is 0.4, needed > 0.5")
    condition["holds"]["value"] = 0.3
    assert evaluate([entry], given).iloc[0]["verdict"] == "holds"


def test_csv_round_trip(given, tmp_path):
    table = evaluate([claim(), claim(min_preset="paper")], given, "s", "quick")
    write(table, tmp_path / "claims.csv")
    back = pd.read_csv(tmp_path / "claims.csv")
    assert list(back.columns) == COLUMNS
    assert back["ours"].iloc[0] == table["ours"].iloc[0]
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert list(evaluate([], {}).columns) == COLUMNS


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mesure": 1}, "mesure: unknown key; did you mean 'measure'?"),
        ({"measure": "outwardnes"}, "measure: 'outwardnes' is not a measure; did you mean 'outwardness'?"),
        ({"parameters": {"step": [1]}}, "parameters.step: unknown key; did you mean 'steps'?"),
        ({"parameters": {"steps": 1}}, "parameters.steps: 1 is of type int, expected a list"),
        ({"parameters": {"steps": []}}, "parameters.steps: no entries; give at least 1"),
        (
            {"parameters": {"spread": "bootstap"}},
            "parameters.spread: 'bootstap' is not allowed; did you mean 'bootstrap'?",
        ),
        ({"inputs": {"cloud": {"gram": "bad"}, "clouds": {"gram": "bad"}}}, "inputs.clouds: unknown key.* 'cloud'"),
        ({"inputs": {"clouds": {"gram": "bad"}}}, r"inputs.cloud: missing; write \{gram: name\}"),
        ({"inputs": {"cloud": {"runs": "bad"}}}, r"inputs.cloud: .* write \{gram: name\}"),
        ({"parameters": {"cloud": {"gram": "bad"}}}, "parameters.cloud: an input; write it under `inputs`"),
        ({"measure": "weight_norm"}, "parameters.first: missing"),
        ({"measure": "best_method"}, r"inputs.scores: missing; write \{scores: name\}"),
        ({"measure": "best_method", "parameters": {"score": "demapp"}}, "score: 'demapp' .* did you mean 'demap'?"),
        ({"holds": {"op": "=", "value": 1}}, "holds.op: '=' is not allowed; did you mean '>='"),
        ({"holds": {"op": ">", "value": "1"}}, "holds.value: '1' is of type str, expected a number"),
        ({"holds": 1}, "holds: 1 is of type int, expected a mapping"),
        ({"min_preset": "labtop"}, "min_preset: 'labtop' is not allowed; did you mean 'laptop'?"),
        ({"measurable_if": {"measure": "outwardness"}}, "measurable_if.holds: missing"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        resolve(claim(**changes), subjects.measures())


def test_defaults_are_filled_in_and_a_resolved_claim_stays():
    known = subjects.measures()
    measure = resolve(claim(), known).measure.hashed()
    assert measure == {
        "cloud": [{"gram": "bad"}],
        "steps": None,
        "seeds": None,
        "statistic": "mean",
        "spread": "minmax",
    }
    assert resolve(claim(), known).condition is None
    condition = {"measure": "outwardness", "holds": {"op": ">", "value": 1}}
    for entry in (claim(), claim(measurable_if=condition)):
        judged = resolve(entry, known)
        assert resolve(judged.claim.hashed(), known) == judged


def test_missing_artefact_is_an_error_not_a_verdict(tmp_path):
    with pytest.raises(LossatlasError, match="no such gram file"):
        evaluate([claim()], {"gram": {"bad": tmp_path / "absent.h5"}})
    with pytest.raises(LossatlasError, match="no file of gram 'bad' was given"):
        evaluate([claim()], {})
