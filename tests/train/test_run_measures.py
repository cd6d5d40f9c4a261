"""Measures on the last recorded epoch of runs, and the table that sets it beside the paper's."""

import numpy as np
import pandas as pd
import pytest
from harness import evaluate, inputs, measure
from specimens import claim, save_points

from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Reference, references
from lossatlas.study.read import read_product
from lossatlas.train.numbers import last_epoch


def run(**values):
    return pd.Series(values)


def test_run_measures():
    better = [run(test_accuracy=0.95), run(test_accuracy=0.93), run(test_accuracy=np.nan)]
    worse = [run(test_accuracy=0.85), run(test_accuracy=0.87)]
    found = measure("accuracy_gap", {"better": better, "worse": worse})
    assert (found.value, found.n) == (pytest.approx(0.08), 2)
    assert found.interval is None, "two finite replicas on a side"
    more = measure(
        "accuracy_gap", {"better": [*better, run(test_accuracy=0.94)], "worse": [*worse, run(test_accuracy=0.86)]}
    )
    assert more.interval.low < more.value < more.interval.high
    assert measure("accuracy_gap", {"better": better[2:], "worse": worse}).value is None
    losses = [run(train_loss=0.1), run(train_loss=0.3)]
    assert measure("max_train_loss", {"runs": losses}).value == pytest.approx(0.3)
    diverged = measure("max_train_loss", {"runs": [*losses, run(train_loss=np.nan)]})
    assert diverged.value == np.inf
    assert "1 of 3 not finite" in diverged.detail
    assert measure("min_accuracy", {"runs": worse}).value == pytest.approx(0.85)


def test_a_diverged_run_fails_a_claim_of_zero_loss(tmp_path):
    paths = [
        save_points(tmp_path / f"{i}.h5", seed=[-1, -1], epoch=[1.0, 2.0], train_loss=[1.0, loss])
        for i, loss in enumerate((0.001, np.nan))
    ]
    holds = {"op": "<", "value": 0.1, "of": "every"}
    entry = claim(id="T4", measure="max_train_loss", inputs={"runs": {"runs": "good"}}, holds=holds)
    assert evaluate([entry], {"runs": {"good": paths}}).iloc[0]["verdict"] == "fails"
    entry = claim(id="T4", measure="max_train_loss", inputs={"runs": {"run": "good"}}, holds=holds)
    assert evaluate([entry], {"run": {"good": paths[0]}}).iloc[0]["verdict"] == "undecided"


def test_table_of_runs(tmp_path):
    def path(i, loss, accuracy):
        columns = {
            "train_loss": [2.0, 1.0, loss],
            "train_accuracy": [0.1, 0.5, 1.0],
            "test_accuracy": [0.1, 0.2, accuracy],
        }
        return save_points(tmp_path / f"{i}.h5", seed=[-1] * 3, epoch=[0.0, 10.0, 5.0 + 20 * (i < 9)], **columns)

    entry = {
        "kind": "runs",
        "rows": [{"run": "good", "title": "Good", "paper": {"test_accuracy": 0.95}}, {"run": "bad"}],
    }
    found = {"good": [path(0, 0.1, 0.9), path(1, np.nan, 0.7)], "bad": [path(2, 0.2, 0.5)]}
    write_table(read_product(entry), inputs({"runs": found}), tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["row", "quantity", "paper", "ours", "ours_std", "replicas", "note"]
    assert len(table) == 8
    good = table[table["row"] == "Good"].set_index("quantity")
    assert good.loc["test_accuracy", "paper"] == 0.95
    assert good.loc["test_accuracy", "ours"] == pytest.approx(0.8)
    assert good.loc["test_accuracy", "ours_std"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert good.loc["train_loss", "ours"] == pytest.approx(0.1)
    assert good.loc["train_loss", "replicas"] == 1
    assert good.loc["train_loss", "note"] == "epoch 25; 1 of 2 replicas without a finite value left out"
    assert np.isnan(table[table["row"] == "bad"]["ours_std"]).all()
    assert np.isnan(good.loc["test_loss", "ours"])
    early = last_epoch(path(9, 0.3, 0.3))
    assert early["epoch"] == 10.0, "the last epoch, not the last row"


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"run": "r", "paper": {"accuracy": 1}}], r"rows\[0\].paper.accuracy: .*; did you mean"),
        ([{"run": "r"}, {"run": "r"}], "two rows have one title"),
    ],
)
def test_mistakes_of_the_table_are_named(rows, message):
    with pytest.raises(LossatlasError, match=message):
        read_product({"kind": "runs", "rows": rows})


def test_rows_name_all_replicas_of_a_run():
    spec = read_product({"kind": "runs", "rows": [{"run": "r", "title": "R"}]})
    assert list(references(spec)) == [Reference("runs", ("r",), "rows[0].run")]
