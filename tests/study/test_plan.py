"""Content addresses: what changes a hash, what does not, and what two studies share."""

from dataclasses import replace

import pytest
from harness import ROOT, TINY

from lossatlas.clouds import spec as clouds
from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import canonical, digest
from lossatlas.specs.yaml import merge
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.spec import runs


def plan(overrides: dict | None = None, **changes: object) -> Plan:
    """Return the plan of the tiny study with overrides."""
    raw = {
        "preset": "quick",
        "studies": [str(TINY)],
        "seed": 0,
        "formats": ["png"],
        "overrides": {"tiny": overrides or {}},
    }
    return Plan(load({**raw, **changes}, ROOT))


def one(study, what, name):
    """Return the one artefact behind a reference."""
    (made,) = study.get(what, name, "")
    return made


def ids(plan: Plan, kind: str) -> set[str]:
    """Return the folder names of one kind."""
    return {id for k, id in plan.artefacts if k == kind}


def test_numbers_have_one_canonical_form():
    assert digest({"a": 1.0, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})
    assert canonical({"a": True}) == {"a": True}


def test_plans_are_deterministic_and_defaults_hash_like_their_absence():
    assert set(plan().artefacts) == set(plan().artefacts)
    spelt_out = {"runs": {"good": {"recipe": {"momentum": 0.9, "clip": None}, "labels": "given"}}}
    assert set(plan(spelt_out).artefacts) == set(plan().artefacts)


def test_a_changed_number_changes_its_run_and_what_follows_only():
    before, after = plan(), plan({"runs": {"memorization": {"recipe": {"lr": 0.04}}}})
    assert len(ids(before, "runs") - ids(after, "runs")) == 1
    assert len(ids(before, "retrains") - ids(after, "retrains")) == 1
    assert ids(before, "data") == ids(after, "data")
    unchanged = one(before.studies["tiny"], "cloud", "good")
    assert unchanged.path == one(after.studies["tiny"], "cloud", "good").path


def test_retraining_epochs_leave_the_runs_alone():
    before, after = plan(), plan({"clouds": {"good": {"jump": {"retrain": {"epochs": 4}}}}})
    assert ids(before, "runs") == ids(after, "runs")
    assert len(ids(before, "retrains") & ids(after, "retrains")) == 1


def test_code_version_and_master_seed_enter_the_hash(monkeypatch):
    before = plan()
    assert not ids(before, "runs") & ids(plan(seed=1), "runs")
    found = clouds.GRAMS
    monkeypatch.setattr(clouds, "GRAMS", replace(found, version=99))
    after = plan()
    assert ids(before, "runs") == ids(after, "runs")
    assert not ids(before, "grams") & ids(after, "grams")
    assert not ids(before, "embeddings") & ids(after, "embeddings")


def test_names_a_study_gives_do_not_enter_the_hash():
    renamed = {
        "runs": {"another": merge({}, {"recipe": {"weight_decay": 1e-3, "augment": ["crop"]}, "replicas": [0, 1]})}
    }
    renamed["clouds"] = {"good": {"jump": {"run": "another"}}}
    assert ids(plan(), "retrains") == ids(plan(renamed), "retrains")


def test_replicas_share_nothing_but_data():
    first, second = runs(plan().studies["tiny"], "good", "")
    assert first.hash != second.hash
    assert first.spec["seeds"] != second.spec["seeds"]
    assert first.inputs["data"][0].hash == second.inputs["data"][0].hash


def test_recipes_of_one_replica_start_from_the_same_weights():
    study = plan().studies["tiny"]
    good, memorization = (runs(study, name, "")[0] for name in ("good", "memorization"))
    assert good.spec["seeds"]["init"] == memorization.spec["seeds"]["init"]


def test_an_ancestry_has_everything_once_and_in_order():
    made = one(plan().studies["tiny"], "gram", "good")
    parts = made.ancestry()
    assert len({part.path for part in parts}) == len(parts)
    assert parts[-1] is made
    place = {part.path: i for i, part in enumerate(parts)}
    for part in parts:
        assert all(place[other.path] < place[part.path] for inputs in part.inputs.values() for other in inputs)


def test_grain_spreads_the_jumps_over_jobs():
    parts = one(plan().studies["tiny"], "cloud", "good").inputs["points"]
    jumps = [tuple(jump) for part in parts for jump in part.spec["jumps"]]
    assert [len(part.spec["jumps"]) for part in parts] == [4, 2]
    assert jumps == [(seed, step) for seed in (0, 1, 2) for step in (0.5, 1.0)]


def test_two_specs_under_one_name_are_an_error(monkeypatch):
    """Ten of 64 digits name an artefact: where they meet by chance, the plan says so instead of mixing the two."""
    monkeypatch.setattr("lossatlas.specs.artefact.digest", lambda value: f"{0:010}{digest(value)[10:]}")
    with pytest.raises(LossatlasError, match="two artefacts of one name and different specs"):
        plan()


def test_unknown_artefacts_and_products_are_named():
    with pytest.raises(LossatlasError, match=r"results/runs/x-0123456789: no study of this configuration"):
        plan().artefact("runs", "x-0123456789")
    with pytest.raises(LossatlasError, match=r"'fgi1' is not one of its figures; did you mean 'fig1'"):
        plan().product("figures", "tiny", "fgi1")


SCORES = {
    "clouds": {
        "tree": {"tree": {"branches": 3, "points": 6, "dimension": 10, "noise": 0.5}},
        "clean": {"tree": {"branches": 3, "points": 6, "dimension": 10, "noise": 0}},
    },
    "scores": {
        "good": {"cloud": "good", "methods": {"phate": {"knn": [3, 5]}, "pca": {}}, "select_on": ["other"]},
        "other": {"cloud": "memorization", "methods": {"phate": {"knn": [3, 5]}, "pca": {}}, "select_on": ["good"]},
        "tree": {"cloud": "tree", "truth": "clean", "methods": {"phate": {}}},
    },
    "tables": {"scores": {"kind": "scores", "title": "t", "caption": "c", "rows": [{"scores": "good"}]}},
    "claims": [
        {
            "id": "T1",
            "sentence": "s",
            "measure": "best_method",
            "inputs": {"scores": [{"scores": "good"}, {"scores": "tree"}]},
            "holds": {"op": ">=", "value": 0},
        }
    ],
}


def test_an_artificial_cloud_is_made_not_gathered():
    study = plan(SCORES).studies["tiny"]
    tree = one(study, "cloud", "tree")
    assert tree.path == f"results/synthetic/tree-3x6-{tree.hash}/points.h5"
    assert tree.inputs == {}
    assert tree.spec["seed"] == one(study, "cloud", "clean").spec["seed"], "the same tree without noise"
    assert one(study, "gram", "tree").inputs["cloud"] == (tree,)
    assert one(study, "embedding", ("tree", "phate")).path.startswith("results/embeddings/phate-euclidean-")
    assert one(plan(SCORES, seed=1).studies["tiny"], "cloud", "tree").hash != tree.hash


def test_scores_of_one_cloud_are_one_artefact_wherever_they_are_chosen():
    made = plan(SCORES)
    study = made.studies["tiny"]
    good, other = study.get("scores", "good", ""), study.get("scores", "other", "")
    assert [one.hash for one in good] == [one.hash for one in reversed(other)], "each reports what the other selects on"
    assert good[0].path.endswith("/scores.csv")
    assert good[0].spec["seeds"] == [[0, one(study, "embedding", ("good", "phate")).spec["seed"]]]
    assert one(study, "scores", "tree").input_hashes()["truth"] == [one(study, "gram", "clean").hash]
    assert len(ids(made, "scores")) == 3
    paths = study.tables["scores"].paths()["scores"]["good"]
    assert paths == [good[0].path, other[0].path]
    assert study.claims.paths()["scores"]["good"] == paths


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cloud": "god"}, r"scores\.good\.cloud: 'god' is not one of the study's clouds; did you mean 'good'"),
        (
            {"select_on": ["othr"]},
            "scores.good.select_on: 'othr' is not one of the study's scores; did you mean 'other'",
        ),
        ({"select_on": ["good"]}, "'good' scores the same cloud; settings are chosen on another one"),
        ({"methods": {"phate": {"knn": [3, 7]}}}, "'other' has other methods or metrics"),
        (
            {"methods": {"phate": {"kn": [3, 7]}}},
            r"scores\.good\.methods\.phate\.kn: unknown parameter of phate; did you mean 'knn'",
        ),
        ({"methods": {"phate": {"knn": 3}}}, "3 is of type int, expected a list"),
        ({"demap_k": 0}, "demap_k: 0 is not allowed; give a value at least 1"),
    ],
)
def test_mistakes_in_scores_are_named(change, message):
    with pytest.raises(LossatlasError, match=message):
        plan(merge(SCORES, {"scores": {"good": change}}))


def test_runs_of_a_path_measure_are_checked():
    entry = {
        "id": "T5",
        "sentence": "s",
        "measure": "weight_norm",
        "inputs": {"cloud": {"gram": "paths"}},
        "parameters": {"first": "path", "second": "pth"},
        "holds": {"op": ">=", "value": 1},
    }
    with pytest.raises(
        LossatlasError, match=r"claims\.T5\.parameters\.second: 'pth' is not a run of its cloud; .*'path'"
    ):
        plan({"claims": [entry]})
    entry["parameters"]["second"] = "path"
    (path,) = plan({"claims": [entry]}).studies["tiny"].claims.paths()["gram"]["paths"]
    assert path.startswith("results/grams/paths-")


def test_a_cloud_of_paths_may_take_some_replicas():
    study = plan(
        {"clouds": {"both": {"paths": {"runs": ["good"]}}, "single": {"paths": {"runs": ["good"], "replicas": [1]}}}}
    )
    both, single = (one(study.studies["tiny"], "cloud", name) for name in ("both", "single"))
    assert [made.hash for made in single.inputs["points"]] == [both.inputs["points"][1].hash]
    assert both.spec["names"] == [["good", 0], ["good", 1]]
    assert single.spec["names"] == [["good", 1]]
    with pytest.raises(LossatlasError, match="run 'good' has no replica 7"):
        one(plan({"clouds": {"one": {"paths": {"runs": ["good"], "replicas": [7]}}}}).studies["tiny"], "cloud", "one")


def test_titles_name_the_data_that_a_preset_chose():
    def title(text: str, cloud: str = "good") -> str:
        panel = {"cloud": cloud, "embedding": "pca", "title": text}
        figure = {"kind": "embedding", "title": "t", "caption": "c", "panels": [panel]}
        made = plan({**SCORES, "figures": {"fig3": figure}}).studies["tiny"]
        return made.figures["fig3"].spec["panels"][0]["title"]

    assert title("{data}, good") == "8 x 8 digits, good"
    assert title("good") == "good"
    with pytest.raises(LossatlasError, match=r"fig3\.panels\[0\]\.title: \{data\}: there are 0"):
        title("{data}", "tree")
