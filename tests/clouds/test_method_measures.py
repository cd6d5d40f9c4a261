"""The measure on scores of embedding methods, and how its scores are loaded."""

import numpy as np
import pandas as pd
import pytest
from harness import evaluate, measure
from scipy import stats
from specimens import claim

from lossatlas.clouds.numbers import Scores


def scores_of(name, select=(), **methods):
    """Scores of methods on a cloud: method -> values, one a seed."""
    rows = [
        {"method": m, "metric": "euclidean", "setting": "{}", "seed": i, "demap": value}
        for m, values in methods.items()
        for i, value in enumerate(values)
    ]
    table = pd.DataFrame(rows).assign(continuity=np.nan, trustworthiness=0.5, wholeness=1.0)
    return Scores(name, table, select)


def test_best_method_is_against_the_best_other():
    first = scores_of("a", exact=[1.0], phate=[0.6, 0.8], tsne=[0.5, 0.5], pca=[0.4])
    found = measure("best_method", {"scores": first})
    assert (found.value, found.n, found.unit) == (pytest.approx(0.2), 1, "clouds")
    assert found.interval is None, "seeds of an embedding are no units"
    assert found.detail == "best on 1 of 1 clouds; a: phate 0.700, tsne 0.500, pca 0.400"
    second = scores_of("b", phate=[0.2, 0.2], tsne=[0.5, 0.5], pca=[0.8])
    found = measure("best_method", {"scores": [first, second]})
    assert (found.value, found.n) == (pytest.approx((0.2 - 0.6) / 2), 2)
    assert found.each == pytest.approx([0.2, -0.6])
    assert found.detail.startswith("best on 1 of 2 clouds")
    assert measure("best_method", {"scores": second}, method="pca").value == pytest.approx(0.3)


def test_the_interval_of_the_best_method_is_over_clouds(rng):
    gaps = rng.uniform(0.1, 0.2, 3)
    clouds = [scores_of(f"c{i}", phate=[0.5 + gap, 0.5 + gap], tsne=[0.5]) for i, gap in enumerate(gaps)]
    found = measure("best_method", {"scores": clouds})
    expected = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert (found.interval.low, found.interval.high) == pytest.approx(expected)


def test_best_method_after_the_sweep_needs_another_cloud():
    first = scores_of("a", phate=[0.6], tsne=[0.5])
    found = measure("best_method", {"scores": first}, settings="selected")
    assert found.value is None
    assert "no cloud to select settings on" in found.detail
    chosen = Scores("a", first.report, [first.report])
    assert measure("best_method", {"scores": chosen}, settings="selected").value == pytest.approx(0.1)
    assert measure("best_method", {"scores": first}, score="continuity").value is None


def test_scores_are_loaded_with_what_settings_are_chosen_on(tmp_path):
    path = tmp_path / "tree" / "scores.csv"
    path.parent.mkdir()
    scores_of("tree", phate=[0.6], tsne=[0.5]).report.to_csv(path, index=False)
    entry = claim(id="T1", measure="best_method", inputs={"scores": {"scores": "tree"}}, holds={"op": ">", "value": 0})
    entry["parameters"] = {"settings": "selected"}
    row = evaluate([entry], {"scores": {"tree": [path, path]}}).iloc[0]
    assert (row["verdict"], row["ours"]) == ("not judged", pytest.approx(0.1))
    assert row["reason"] == "1 cloud: too few for an interval"
    entry["inputs"] = {"scores": [{"scores": "tree"}, {"scores": "tree"}]}
    row = evaluate([entry], {"scores": {"tree": [path, path]}}).iloc[0]
    assert row["n"] == 2
