"""The frame of claims: rows, presets, premises, statements, columns and messages."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from harness import Loaded, evaluate
from specimens import claim, cloud, out_and_back, save_gram

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS, write, write_metrics
from lossatlas.claims.evaluate import evaluate as evaluate_claims
from lossatlas.claims.spec import resolve
from lossatlas.errors import LossatlasError
from lossatlas.study import subjects


@pytest.fixture
def given(tmp_path):
    return {"gram": {"bad": save_gram(tmp_path / "gram.h5", cloud(out_and_back))}}


def test_the_row_of_a_claim(given):
    row = evaluate([claim(holds={"op": ">", "value": 1.05})], given, "trajectories").iloc[0]
    assert row["threshold"] == "> 1.05"
    assert row["ours"] == pytest.approx(1.6)
    assert (row["study"], row["statement"], row["part"], row["paper"]) == ("trajectories", row["id"], "main", "> 1")
    assert row["verdict"] == "not judged", "three directions of one minimum are one unit"
    assert row["reason"] == "1 initialisation: too few for an interval"


def basins(rng):
    """Return inputs: volumes of ten initialisations, of good minima and of bad ones some 50 orders smaller."""
    gaps = rng.normal(50, 5, 10)
    rows = [
        {"cutoff": 0.1, "value": value, "replica": i, "log10_volume": -100.0 - (gap if value else 0.0)}
        for i, gap in enumerate(gaps)
        for value in (0.0, 0.2)
    ]
    fixed = {"test_accuracy": 0.9, "train_loss": 0.01, "effective_directions": 5.0}
    fixed |= {"log10_volume_first_half": 0.0, "log10_volume_second_half": 0.0}
    return Loaded({"basins": [SimpleNamespace(table=pd.DataFrame(rows).assign(**fixed))]})


GAP = {
    "measure": "volume_gap",
    "inputs": {"first": {"volume": "basins"}, "second": {"volume": "basins"}},
    "parameters": {"first_value": 0.0, "second_value": 0.2},
}


@pytest.mark.parametrize(("threshold", "verdict"), [(10.0, "holds"), (50.0, "undecided"), (90.0, "fails")])
def test_the_interval_decides(rng, threshold, verdict):
    given = basins(rng)
    entry = claim(**GAP, holds={"op": ">=", "value": threshold})
    row = evaluate([entry], given).iloc[0]
    if verdict != "undecided" or row["low"] < threshold < row["high"]:  # one sample in twenty misses its own mean
        assert row["verdict"] == verdict
    assert row["low"] < row["ours"] < row["high"]
    assert (row["n"], row["unit"], row["interval"]) == (10, "initialisations", "Student's t")


def test_a_preset_that_judges_nothing_shows_everything(rng):
    given = basins(rng)
    entry = claim(**GAP, holds={"op": ">=", "value": 0.0})
    row = evaluate([entry], given, "s", "quick", judges=False).iloc[0]
    assert (row["verdict"], row["reason"]) == ("not judged", "preset quick is shown, not judged")
    assert row["ours"] == pytest.approx(50, abs=10)
    assert row["low"] < row["high"]


def test_too_small_a_preset(given):
    for_paper = claim(min_preset="laptop")
    row = evaluate([for_paper], given, "s", "quick").iloc[0]
    assert row["verdict"] == "not judged"
    assert np.isnan(row["ours"])
    assert row["reason"] == "needs preset laptop or larger; this is quick"
    for preset in ("laptop", "paper", "my-own"):
        assert not np.isnan(evaluate([for_paper], given, "s", preset).iloc[0]["ours"])
    row = evaluate([claim(parameters={"steps": [0.25]})], given).iloc[0]
    assert row["verdict"] == "not judged"
    assert "no retraining" in row["reason"]


def test_a_premise_must_be_met(rng):
    given = basins(rng)
    given.loaded["bad"] = [pd.Series({"test_accuracy": 0.4})]
    learnt = {"measure": "min_accuracy", "holds": {"op": ">", "value": 0.5}, "reason": "the network has not learnt"}
    entry = claim(**GAP, holds={"op": ">=", "value": 0.0}, measurable_if=learnt)
    entry["inputs"] = {**GAP["inputs"], "runs": {"runs": "bad"}}
    row = evaluate([entry], given).iloc[0]
    assert row["verdict"] == "not judged"
    assert row["reason"].startswith("the network has not learnt: min_accuracy is 0.4, needed > 0.5")
    assert row["ours"] == pytest.approx(50, abs=10), "measured all the same"
    met = {**learnt, "holds": {"op": ">", "value": 0.3}}
    assert evaluate([{**entry, "measurable_if": met}], given).iloc[0]["verdict"] == "holds"
    assert evaluate([{**entry, "measurable_if": [met, learnt]}], given).iloc[0]["verdict"] == "not judged"
    with pytest.raises(LossatlasError, match=r"measurable_if\[1\].measure: 'min_acuracy' is not a measure"):
        resolve({**entry, "measurable_if": [met, {**met, "measure": "min_acuracy"}]}, subjects.measures())


def test_statements_of_a_study(tmp_path, rng):
    given = basins(rng)
    claims = [
        claim(**GAP, id="large", holds={"op": ">=", "value": 0.0}),
        claim(**GAP, id="huge", holds={"op": ">=", "value": 1000.0}),
    ]
    told = [{"id": "S", "sentence": "They are large.", "where": "section 5", "main": ["large"], "checks": ["huge"]}]
    rows, statements = evaluate_claims(claims, subjects.measures(), given, "s", "laptop", told)
    (row,) = statements.to_dict("records")
    assert (row["verdict"], row["reason"], row["main"], row["checks"]) == ("holds, but", "huge fails", "large", "huge")
    assert list(rows["statement"]) == ["S", "S"]
    assert list(rows["part"]) == ["main", "check"]
    assert list(statements) == STATEMENT_COLUMNS
    _, alone = evaluate_claims(claims, subjects.measures(), given)
    assert list(alone["id"]) == ["large", "huge"]
    assert list(alone["verdict"]) == ["holds", "fails"]
    assert list(alone["sentence"]) == [one["sentence"] for one in claims]
    write_metrics(rows, statements, tmp_path / "metrics.json")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["statements"] == {"S": "holds, but"}
    assert metrics["claims"]["huge"]["verdict"] == "fails"


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
            {"parameters": {"statistic": "maen"}},
            "parameters.statistic: 'maen' is not allowed; did you mean 'mean'?",
        ),
        ({"inputs": {"cloud": {"gram": "bad"}, "clouds": {"gram": "bad"}}}, "inputs.clouds: unknown key.* 'cloud'"),
        ({"inputs": {"clouds": {"gram": "bad"}}}, r"inputs.cloud: missing; write \{gram: name\}"),
        ({"inputs": {"cloud": {"runs": "bad"}}}, r"inputs.cloud: .* write \{gram: name\}"),
        ({"parameters": {"cloud": {"gram": "bad"}}}, "parameters.cloud: an input; write it under `inputs`"),
        ({"measure": "weight_norm"}, "parameters.first: missing"),
        ({"measure": "best_method"}, r"inputs.scores: missing; write \{scores: name\}"),
        ({"measure": "best_method", "parameters": {"score": "demapp"}}, "score: 'demapp' .* did you mean 'demap'?"),
        ({"holds": {"op": "=", "value": 1}}, "holds.op: '=' is not allowed; did you mean '>='"),
        ({"holds": {"op": ">", "value": "1"}}, "holds.value: '1' is of type str"),
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
    }
    assert resolve(claim(), known).premises == ()
    condition = {"measure": "outwardness", "holds": {"op": ">", "value": 1}}
    for entry in (claim(), claim(measurable_if=condition), claim(measurable_if=[condition, condition])):
        judged = resolve(entry, known)
        assert resolve(judged.claim.hashed(), known) == judged


def test_missing_artefact_is_an_error_not_a_verdict(tmp_path):
    with pytest.raises(LossatlasError, match="no such gram file"):
        evaluate([claim()], {"gram": {"bad": tmp_path / "absent.h5"}})
    with pytest.raises(LossatlasError, match="no file of gram 'bad' was given"):
        evaluate([claim()], {})
