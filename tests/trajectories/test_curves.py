"""Figures of kind ``curves``: centres, bands, groups and what is left out."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from harness import draw, inputs
from specimens import PROVENANCE, panels_of, save_gram, save_points

from lossatlas.clouds.files import Gram
from lossatlas.draw.ticks import mend
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Reference, references
from lossatlas.study.read import read_product
from lossatlas.trajectories.figures import curves as curves_kind


def test_curves_of_the_weights_norm(tmp_path):
    theta = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 5.0], [5.0, 12.0]])
    table = pd.DataFrame(
        {"run": ["a", "a", "a", "a"], "replica": [0, 0, 1, 1], "seed": -1, "step": 0.0, "epoch": [0.0, 1.0] * 2}
    )
    given = {"gram": {"c": save_gram(tmp_path / "gram.h5", Gram.from_rows(theta, table))}}
    entry = {
        "kind": "curves",
        "series": [{"cloud": "c", "label": "all"}],
        "y": "norm",
        "group": "run",
        "labels": {"a": "SGD"},
    }
    out = {"png": tmp_path / "f.png", "csv": tmp_path / "f.csv"}
    assert draw(entry, given, out, PROVENANCE) == ()
    numbers = pd.read_csv(out["csv"])
    assert list(numbers.columns) == ["y", "label", "epoch", "centre", "low", "high", "replicas"]
    np.testing.assert_allclose(numbers[["centre", "low", "high"]], [[5.0, 5.0, 5.0], [11.5, 10.0, 13.0]])
    assert list(numbers["label"]) == ["SGD", "SGD"]
    assert list(numbers["replicas"]) == [2, 2]
    with mpl.rc_context():
        figure = curves_kind.compose(read_product(entry), inputs(given)).figure
    np.testing.assert_allclose(panels_of(figure)[0].lines[0].get_ydata(), numbers["centre"])
    draw({**entry, "y": "distance"}, given, out, PROVENANCE)  # each training's from its own start
    far = np.hypot(5, 7)
    expected = [[0.0, 0.0, 0.0], [(5 + far) / 2, 5.0, far]]
    np.testing.assert_allclose(pd.read_csv(out["csv"])[["centre", "low", "high"]], expected, atol=1e-12)


def test_curves_of_columns_with_bands_and_gaps(tmp_path):
    losses = ([2.0, 1.0, np.nan], [4.0, 3.0, 2.0])
    paths = [
        save_points(tmp_path / f"{i}.h5", seed=[-1] * 3, epoch=[0.0, 1.0, 2.0], train_loss=v)
        for i, v in enumerate(losses)
    ]
    given = {"runs": {"r": paths}}
    entry = {"kind": "curves", "series": [{"run": "r", "label": "r"}], "y": ["train_loss"], "log": "y", "band": "std"}
    notes = draw(entry, given, {"png": tmp_path / "f.png", "csv": tmp_path / "f.csv"})
    assert notes == ("1 value without a finite number left out.",)
    numbers = pd.read_csv(tmp_path / "f.csv")
    np.testing.assert_allclose(numbers["centre"], [3.0, 2.0, 2.0])
    np.testing.assert_allclose(numbers["high"], [3 + np.sqrt(2), 2 + np.sqrt(2), 2.0])
    assert list(numbers["replicas"]) == [2, 2, 1]
    with pytest.raises(LossatlasError, match="no column 'train_los'; did you mean 'train_loss'"):
        draw({**entry, "y": "train_los"}, given, {"png": tmp_path / "f.png"})


def test_axes_have_names_and_limits_and_tell_what_is_cut(tmp_path):
    losses = [2.0e4, 1.0, 0.5]
    path = save_points(tmp_path / "r.h5", seed=[-1] * 3, epoch=[0.0, 1.0, 2.0], train_loss=losses)
    entry = {"kind": "curves", "series": [{"run": "r", "label": "r"}], "y": "train_loss", "log": "y"}
    entry["names"] = {"epoch": "pass", "train_loss": "L"}
    composed = {}
    for name, limits in (("free", {}), ("cut", {"train_loss": [None, 10]}), ("both", {"train_loss": [0.6, 1e6]})):
        with mpl.rc_context():
            drawn = curves_kind.compose(read_product({**entry, "limits": limits}), inputs({"runs": {"r": [path]}}))
        composed[name] = drawn
        axes = panels_of(drawn.figure)[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("pass", "L")
        np.testing.assert_array_equal(drawn.numbers["centre"], losses)
        assert axes.lines[0].get_marker() == "o", "few values are shown as points"
    assert composed["free"].notes == ()
    assert panels_of(composed["free"].figure)[0].get_ylim()[1] > 2e4
    cut = panels_of(composed["cut"].figure)[0]
    assert composed["cut"].notes == ("Panel a ends at 10; values go up to 20,000.",)
    assert cut.get_ylim()[1] == 10
    mend(composed["cut"].figure)
    assert {"1", "10"} <= {label.get_text() for label in cut.get_yticklabels()}, "plain numbers over two decades"
    assert composed["both"].notes == ("Panel a begins at 0.6; values go down to 0.5.",)
    assert panels_of(composed["both"].figure)[0].get_ylim() == (0.6, 1e6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"series": [{"label": "a"}], "y": "norm"}, r"series\[0\]: give either run or cloud"),
        ({"series": [{"run": "r", "cloud": "c", "label": "a"}]}, r"series\[0\]: give either run or cloud"),
        ({"series": [{"run": "r", "label": "a"}], "y": "norm"}, "y: .* needs clouds"),
        ({"y": []}, "y: empty; name a column"),
        ({"log": "z"}, "log: 'z' is not allowed; valid: none, x, y, both"),
        ({"names": {"epoc": "time"}}, "names.epoc: no axis shows it; did you mean 'epoch'"),
        ({"limits": {"norm": [0, 1]}}, "limits.norm: no panel shows it; valid: train_loss"),
        ({"limits": {"train_loss": [2, 1]}}, r"limits.train_loss: \[2.*, 1.*\] is not \[low, high\]"),
        ({"limits": {"train_loss": [None, None]}}, "limits.train_loss: .* one of which may be null"),
        ({"limits": {"train_loss": [0, 1]}, "log": "y"}, "limits.train_loss: 0 is not positive"),
    ],
)
def test_mistakes_are_named(changes, message):
    entry = {"kind": "curves", "series": [{"cloud": "c", "label": "a"}], "y": "train_loss"}
    with pytest.raises(LossatlasError, match=message):
        read_product({**entry, **changes})


def test_series_name_runs_and_clouds_and_labels_may_be_numbers():
    series = [{"cloud": "c", "label": "a"}, {"run": "r", "label": "b"}]
    spec = read_product({"kind": "curves", "series": series, "y": "train_loss", "labels": {0.25: 4, "b": "c"}})
    assert list(references(spec)) == [
        Reference("gram", ("c",), "series[0].cloud"),
        Reference("runs", ("r",), "series[1].run"),
    ]
    assert spec.labels == {"0.25": "4", "b": "c"}
    assert read_product(spec.hashed()) == spec
