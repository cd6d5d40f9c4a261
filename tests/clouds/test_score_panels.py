"""Figures of kind ``score_panels``: what is drawn is what the scores are."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from harness import inputs
from specimens import legend_of, panels_of

from lossatlas.clouds.figures import score_panels
from lossatlas.clouds.numbers import Scores
from lossatlas.errors import LossatlasError
from lossatlas.study.read import read_product

ENTRY = {
    "kind": "score_panels",
    "rows": [{"scores": "one", "title": "first"}, {"scores": "two"}],
    "show": ["demap", "wholeness"],
    "least": {"demap": 0.8},
}


def scored(rng, exact):
    """Scores of three methods and of R^D; PCA takes no cosine distance."""
    rows = [("exact", "euclidean", "{}", 0, exact, 1.0)]
    settings = [("phate", "euclidean"), ("phate", "cosine"), ("tsne", "euclidean"), ("tsne", "cosine"), ("pca", "none")]
    for method, metric in settings:
        for setting in ["{}"] if method == "pca" else ["{}", '{"k": 3}', '{"k": 9}']:
            rows += [(method, metric, setting, seed, *rng.uniform(0.1, 0.9, 2)) for seed in (0, 1)]
    columns = ["method", "metric", "setting", "seed", "demap", "wholeness"]
    return pd.DataFrame(rows, columns=columns).assign(continuity=0.5, trustworthiness=0.5)


@pytest.fixture
def given(rng, tmp_path):
    tables = {name: scored(rng, exact) for name, exact in (("one", 0.9), ("two", 0.4))}
    paths = {}
    for name, table in tables.items():
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "scores.csv", index=False)
        paths[name] = tmp_path / name / "scores.csv"
    return {"scores": {"one": [paths["one"], paths["two"]], "two": [paths["two"], paths["one"]]}}


def composed(entry, given):
    with mpl.rc_context():
        return score_panels.compose(read_product(entry), inputs(given))


def test_numbers_are_the_scores_by_cloud_metric_and_setting(given):
    numbers = composed(ENTRY, given).numbers
    assert list(numbers.columns) == score_panels.NUMBERS
    one = Scores.load(given["scores"]["one"])
    for row in numbers[numbers["cloud"] == "first"].itertuples():
        metric = {"pca": "none", "exact": "euclidean"}.get(row.method, row.metric)
        values = one.values(row.method, metric, row.score, row.settings)
        assert (row.mean, row.low, row.high, row.seeds) == pytest.approx(
            (values.mean(), values.min(), values.max(), len(values))
        )
    # each of two scores and two metrics: R^D, PCA, two methods at their defaults and as chosen on the other cloud
    assert numbers.groupby(["cloud", "score", "metric"]).size().tolist() == [6] * 8
    assert not numbers[numbers["method"].isin(["pca", "exact"])]["settings"].eq("selected").any()


def test_panels_show_them_and_clouds_that_rank_nothing_are_faint(given):
    drawn = composed(ENTRY, given)
    panels = panels_of(drawn.figure)
    assert [axes.get_ylabel() for axes in panels] == ["DEMaP"] * 2 + ["wholeness"] * 2
    for axes, (metric, score) in zip(
        panels, [(m, s) for s in ("demap", "wholeness") for m in ("euclidean", "cosine")], strict=True
    ):
        wanted = drawn.numbers[(drawn.numbers["metric"] == metric) & (drawn.numbers["score"] == score)]
        marks = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        np.testing.assert_allclose(sorted(np.concatenate([m.get_ydata() for m in marks])), sorted(wanted["mean"]))
        faint = {line.get_alpha() for line in marks if line.get_marker() == score_panels.MARKERS[1]}
        assert faint == {score_panels.FAINT if score == "demap" else 1.0}
        assert {line.get_alpha() for line in marks if line.get_marker() == score_panels.MARKERS[0]} == {1.0}
    assert "0.8 (DEMaP)" in legend_of(drawn.figure)
    without = composed({**ENTRY, "least": {}}, given)
    assert without.numbers["counts"].all()
    assert "Faint" not in legend_of(without.figure)


def test_a_metric_that_nothing_was_scored_under_has_no_panel(given):
    numbers = composed({**ENTRY, "metrics": ["cosine"], "show": ["wholeness"], "least": {}}, given).numbers
    assert set(numbers["metric"]) == {"cosine"}
    assert len(panels_of(composed({**ENTRY, "metrics": ["euclidean"]}, given).figure)) == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"show": ["demap", "demap"]}, "show: .*once"),
        ({"show": ["wholeness"]}, "least.demap: no panel shows it; valid: wholeness"),
        ({"rows": [{"scores": "one"}, {"scores": "one"}]}, "rows: two rows have one title"),
        ({"metrics": ["manhattan"]}, "metrics"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        read_product({**ENTRY, **changes})
