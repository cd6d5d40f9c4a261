"""What two files hold, compared value by value."""

import math

import h5py
import numpy as np

from lossatlas.audit.values import differences
from lossatlas.files import checksum


def write(path, attributes=(), **items):
    with h5py.File(path, "w") as file:
        for key, value in items.items():
            file[key] = value
        file.attrs.update(dict(attributes))


def test_largest_difference_over_blocks(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(checksum, "BLOCK_BYTES", 100)
    a = rng.standard_normal((30, 7))
    gaps = np.where(rng.random(a.shape) < 0.1, rng.standard_normal(a.shape), 0.0)
    gaps[1, 1] = 0.5
    a[0, 0] = np.nan  # NaN in both is no difference
    for name, values in (("a.h5", a), ("b.h5", a + gaps)):
        write(tmp_path / name, x=values, word=np.array(["one", "two"], dtype=object))
    (found,) = differences(tmp_path / "a.h5", tmp_path / "b.h5")
    with np.errstate(invalid="ignore"):
        expected = np.abs((a + gaps) - a)
    assert (found.name, found.count, found.size) == ("x", int(np.nansum(expected > 0)), a.size)
    assert found.largest == np.nanmax(expected)
    assert math.isclose(found.relative, np.nanmax(expected) / np.nanmax(np.abs(a)))
    assert found.inexact


def test_differences_that_are_not_numbers(tmp_path):
    write(tmp_path / "a.h5", x=[1.0, 2.0], y=[1.0], t=np.array(["a", "b"], dtype=object), n=[1, 2], only=1.0)
    write(tmp_path / "b.h5", x=[1.0, np.nan], y=[1.0, 2.0], t=np.array(["a", "c"], dtype=object), n=[1, 3])
    found = list(differences(tmp_path / "a.h5", tmp_path / "b.h5"))
    said = {str(difference) for difference in found}
    assert "only (in one of them only) differs" in said
    assert "y: float64 (1,) and float64 (2,) differs" in said
    assert any(text.startswith("x: 1 of 2 values differ, by at most inf") for text in said)
    assert any(text.startswith("t: 1 of 2 values differ") for text in said)
    assert {difference.name for difference in found if difference.inexact} == {"x"}
    (tmp_path / "a.csv").write_text("n,v\nx,1.5\ny,\n")
    (tmp_path / "b.csv").write_text("n,v\nx,1.25\ny,\n")
    (tmp_path / "c.csv").write_text("n\nx\n")
    assert str(next(differences(tmp_path / "a.csv", tmp_path / "b.csv"))).startswith(
        "v: 1 of 2 values differ, by at most 0.25"
    )
    assert "rows and columns" in str(next(differences(tmp_path / "a.csv", tmp_path / "c.csv")))
    assert list(differences(tmp_path / "a.csv", tmp_path / "a.csv")) == []


def test_attributes_are_compared_by_their_numbers(tmp_path):
    """Numbers, arrays and numbers inside JSON by how much; other text and another shape as such."""
    first = {"norm": 2.0, "some": [1.0, 4.0], "method": '{"name": "pca", "explained": [0.5, 0.25]}', "layout": "[1]"}
    second = {"norm": 2.5, "some": [1.0, 5.0], "method": '{"name": "pca", "explained": [0.5, 0.2]}', "layout": "[2]"}
    write(tmp_path / "a.h5", first)
    write(tmp_path / "b.h5", second)
    found = {one.name.removeprefix("attribute "): one for one in differences(tmp_path / "a.h5", tmp_path / "b.h5")}
    assert set(found) == set(first)
    assert (found["norm"].largest, found["norm"].relative, found["norm"].inexact) == (0.5, 0.25, True)
    assert (found["some"].count, found["some"].relative) == (1, 0.25)
    assert math.isclose(found["method"].largest, 0.05)
    assert found["method"].inexact
    assert not found["layout"].inexact
    write(tmp_path / "c.h5", {**first, "some": [1.0], "method": '{"name": "tsne", "explained": [0.5, 0.25]}'})
    assert {str(one) for one in differences(tmp_path / "a.h5", tmp_path / "c.h5")} == {
        "attribute some differs",
        "attribute method differs",
    }
