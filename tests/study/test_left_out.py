"""Clouds that a preset leaves out, and what goes with them."""

import pytest
from harness import ROOT

from lossatlas.errors import LossatlasError
from lossatlas.study.config import load
from lossatlas.study.left_out import without_left_out

KNOWN = ("a", "a_1", "b", "b_1")


def study(**clouds):
    """A raw study of three clouds around two initialisations, two of which are null unless told otherwise."""
    return {
        "clouds": {"a": {"jump": {}}, "a_1": None, "b": {"jump": {}}, "b_1": None, **clouds},
        "figures": {"f": {"columns": 2, "panels": [{"cloud": "a"}, {"cloud": "a_1"}, {"cloud": "b"}]}},
        "tables": {"t": {"rows": [{"cloud": "b_1", "title": "x"}, {"cloud": "b"}], "paper": {"a_1": 1}}},
        "claims": [
            {
                "id": "pairs",
                "inputs": {
                    "first": [{"gram": "a"}, {"gram": "a_1"}],
                    "second": [{"gram": "b"}, {"shares": "b_1"}],
                    "runs": [{"runs": "a_1"}, {"runs": "b"}],
                },
                "parameters": {"initialisations": [0, 1], "seeds": [0, 1]},
                "measurable_if": [
                    {"inputs": {"cloud": [{"gram": "b_1"}, {"gram": "b"}, {"gram": "a"}]}},
                    {"reason": "x"},
                ],
            },
            {"id": "one", "inputs": {"cloud": {"gram": "a"}}, "measurable_if": {"inputs": {"of": [{"cloud": "a"}]}}},
        ],
    }


def test_what_names_a_cloud_that_is_left_out_goes_with_it():
    found = without_left_out(study(), KNOWN, "s")
    assert list(found["clouds"]) == ["a", "b"]
    assert found["figures"]["f"] == {"columns": 2, "panels": [{"cloud": "a"}, {"cloud": "b"}]}
    assert found["tables"]["t"] == {"rows": [{"cloud": "b"}], "paper": {"a_1": 1}}
    pairs, one = found["claims"]
    assert pairs["inputs"]["first"] == [{"gram": "a"}]
    assert pairs["inputs"]["second"] == [{"gram": "b"}]
    assert pairs["inputs"]["runs"] == [{"runs": "a_1"}, {"runs": "b"}], "runs are no clouds, whatever their names"
    assert pairs["parameters"] == {"initialisations": [0], "seeds": [0, 1]}
    assert pairs["measurable_if"] == [{"inputs": {"cloud": [{"gram": "b"}, {"gram": "a"}]}}, {"reason": "x"}]
    assert one == study()["claims"][1]


def test_partners_go_together():
    """Without b_1 alone, a_1 has no partner in the claim, though its panel stays."""
    found = without_left_out(study(a_1={"jump": {}}), KNOWN, "s")
    assert found["claims"][0]["inputs"]["first"] == [{"gram": "a"}]
    assert {"cloud": "a_1"} in found["figures"]["f"]["panels"]


def test_a_study_that_leaves_out_nothing_is_as_it_was():
    whole = study(a_1={"jump": {}}, b_1={"jump": {}})
    assert without_left_out(whole, KNOWN, "s") == whole
    for raw in (None, [], {"clouds": None}, {"clouds": [None]}):
        assert without_left_out(raw, KNOWN, "s") == raw


def test_nothing_left_is_a_mistake():
    with pytest.raises(LossatlasError) as error:
        without_left_out(study(a=None, b=None), KNOWN, "s")
    assert str(error.value).splitlines() == [
        "s: figures.f.panels: all of its clouds are left out; keep one",
        "s: tables.t.rows: all of its clouds are left out; keep one",
        "s: claims.pairs.inputs.first: all of its clouds are left out; keep one",
        "s: claims.pairs.inputs.second: all of its clouds are left out; keep one",
        "s: claims.pairs.measurable_if[0].inputs.cloud: all of its clouds are left out; keep one",
        "s: claims.one.measurable_if.inputs.of: all of its clouds are left out; keep one",
    ]


def test_presets_and_overrides_leave_out_and_unknown_names_are_still_told():
    raw = {"preset": "quick", "studies": ["trajectories"], "seed": 0, "formats": ["png"]}
    quick = load(raw, ROOT).studies["trajectories"]
    whole = load({**raw, "preset": "laptop"}, ROOT).studies["trajectories"]
    gone = set(whole.sections["clouds"]) - set(quick.sections["clouds"])
    assert "good_1_null" in gone
    assert list(quick.figures) == list(whole.figures)
    assert [one.claim.id for one in quick.claims] == [one.claim.id for one in whole.claims]
    overrides = {"trajectories": {"clouds": {"good_code": None}}}
    fewer = load({**raw, "overrides": overrides}, ROOT).studies["trajectories"]
    assert len(fewer.tables["rates"].rows) == len(quick.tables["rates"].rows) - 1
    message = r"clouds.good_decoy: null leaves out a cloud that the study does not have; did you mean 'good_decay'\?"
    with pytest.raises(LossatlasError, match=message):
        load({**raw, "overrides": {"trajectories": {"clouds": {"good_decoy": None}}}}, ROOT)
