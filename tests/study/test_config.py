"""Configuration mistakes: one clear line each, naming file, key and the nearest valid one."""

from pathlib import Path

import pytest
import yaml
from harness import ROOT, TINY

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Spec
from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

RAW = {"preset": "quick", "studies": [str(TINY)], "seed": 0, "formats": ["png"]}


def change(tmp_path: Path, changes: dict) -> dict:
    """Return a raw configuration whose study is the tiny one with changes merged in."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(merge(read_yaml(TINY), changes)))
    return {**RAW, "studies": [str(path)]}


def test_yaml_reads_exponents_as_numbers(tmp_path):
    (tmp_path / "x.yaml").write_text("[1e-4, 1E3, .5, 7, -2, 1.e2, text, 1e]")
    assert read_yaml(tmp_path / "x.yaml") == [1e-4, 1000.0, 0.5, 7, -2, 100.0, "text", "1e"]
    assert isinstance(read_yaml(tmp_path / "x.yaml")[3], int)


def test_merge_replaces_lists_and_merges_mappings():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merge(base, {"a": {"c": [3]}, "e": 5}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": 5}
    assert base["a"] == {"b": 1, "c": [1, 2]}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"runs": {"good": {"recipe": {"ephocs": 3}}}}, r"tiny.yaml \(preset quick\): runs.good.recipe.ephocs: unknown key; did you mean 'epochs'"),
        ({"runs": {"good": {"recipe": {"epochs": "three"}}}}, r"runs.good.recipe.epochs: 'three' is of type str, expected an integer"),
        ({"figuers": {}}, r"figuers: unknown key; did you mean 'figures'"),
        ({"runs": {"good": {"labels": "randon"}}}, r"runs.good.labels: 'randon' is not allowed; did you mean 'random'"),
    ],
)  # fmt: skip
def test_wrong_keys_and_types(tmp_path, changes, message):
    with pytest.raises(LossatlasError, match=message):
        load(change(tmp_path, changes), ROOT)


def test_all_mistakes_are_reported_at_once(tmp_path):
    with pytest.raises(LossatlasError) as caught:
        load(change(tmp_path, {"figuers": {}, "runs": {"good": {"recipe": {"lr": -1}}}}), ROOT)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"defaults": {"data": {"name": "cifar11"}}}, r"tiny.yaml \(preset quick\): defaults.data.name: .*'cifar11'.*cifar10"),
        ({"defaults": {"model": {"name": "wnr"}}}, r"defaults.model.*'wnr'.*wrn"),
        ({"defaults": {"recipe": {"optimizer": "sgdm"}}}, r"defaults.recipe.optimizer: 'sgdm' is not an optimiser; did you mean 'sgd'"),
        ({"defaults": {"model": {"depth": 11}}}, r"defaults.model.*depth.*6n \+ 4"),
        ({"clouds": {"good": {"jump": {"run": "goood"}}}}, r"clouds.good.jump.run: 'goood' is not one of the study's runs; did you mean 'good'"),
        ({"clouds": {"good": {"jump": {"replica": 7}}}}, r"run 'good' has no replica 7"),
        ({"embeddings": {"pca": {"method": "pac"}}}, r"embeddings.pca.method: 'pac' .*'pca'"),
        ({"embeddings": {"phate": {"kn": 5}}}, r"embeddings.phate.kn: .*knn"),
        ({"figures": {"fig1": {"kind": "embeding"}}}, r"figures.fig1.kind: .*embeding.*embedding"),
        ({"figures": {"fig1": {"pannels": []}}}, r"figures.fig1.pannels: .*panels"),
    ],
)  # fmt: skip
def test_wrong_names(tmp_path, changes, message):
    with pytest.raises(LossatlasError, match=message):
        Plan(load(change(tmp_path, changes), ROOT))


@pytest.mark.parametrize(
    "raw, message",
    [
        ({"preset": "quik"}, r"preset: 'quik' is not a preset; did you mean 'quick'"),
        ({"studies": ["trajectorys"]}, r"studies: 'trajectorys' is not a study; did you mean 'trajectories'"),
        ({"sed": 1}, r"sed: unknown key; did you mean 'seed'"),
        ({"formats": ["jpg"]}, r"formats\[0\]: 'jpg' is not allowed"),
        ({"studies": ["nowhere.yaml"]}, r"nowhere.yaml: no such file"),
    ],
)
def test_wrong_config(raw, message):
    with pytest.raises(LossatlasError, match=message):
        load({**RAW, **raw}, ROOT)


@pytest.mark.parametrize("preset", ["quick", "laptop", "paper"])
def test_every_study_is_valid_at_every_preset(preset):
    studies = [path.stem for path in (ROOT / "config" / "studies").glob("*.yaml")]
    plan = Plan(load({**RAW, "studies": studies, "preset": preset}, ROOT))
    assert plan.artefacts


@pytest.mark.parametrize(
    ("study", "at_laptop", "whole"),
    [
        (
            "levelsets",
            [("sweeps", "cifar_cnv"), ("sweeps", "cifar_cnv_decay"), ("probes", "cifar_cnv")],
            [
                (section, f"{task}{more}")
                for task in ("mnist_cnv", "mnist_ff", "iris", "iris_random", "mpg", "mpg_random")
                for section, more in (("sweeps", ""), ("sweeps", "_decay"), ("probes", ""))
            ],
        ),
        (
            "generalization",
            [
                *[("runs", name) for name in ("linear", "network", "vgg_adam", "vgg_lbfgs", "image_bad")],
                *[("sweeps", "image_betas"), ("probes", "image_basins"), ("probes", "image_planes")],
            ],
            [
                *[("runs", "rings_pinched"), ("sweeps", "betas"), ("sweeps", "nearest")],
                *[("probes", name) for name in ("basins", "basins_pinched", "basins_settled", "masses_good")],
            ],
        ),
    ],
)
def test_what_two_cores_do_of_preset_paper_has_the_names_it_says(study, at_laptop, whole):
    """Images are those of preset laptop; the rest is that of preset paper."""
    two_cores = {**RAW, **yaml.safe_load((ROOT / "config/paper-on-two-cores.yaml").read_text())}
    preset = {name: {**RAW, "studies": [study], "preset": name} for name in ("laptop", "paper")}
    found, laptop, paper = (Plan(load(raw, ROOT)).studies[study] for raw in (two_cores, *preset.values()))

    def paths(plan, section, name):
        return {made.path for made in plan.made(section, name, Spec, "")}

    for model, entries in ((laptop, at_laptop), (paper, whole)):
        for section, name in entries:
            assert paths(found, section, name) == paths(model, section, name), (section, name)


def test_overrides_given_as_text_are_typed(tmp_path):
    """Snakemake hands values nested in ``--config`` over as text."""
    recipe = {"lr": "1e-2", "epochs": "4", "nesterov": "true", "clip": "null", "augment": ["crop"]}
    raw = {**change(tmp_path, {}), "overrides": {"tiny": {"runs": {"good": {"recipe": recipe}}}}}
    found = load(raw, ROOT).studies["tiny"].sections["runs"]["good"][1].recipe.hashed()
    assert {key: found[key] for key in recipe} == {
        "lr": 0.01, "epochs": 4, "nesterov": True, "clip": None, "augment": ["crop"]
    }  # fmt: skip
    claim = {"id": "x", "sentence": "y", "measure": "max_train_loss", "inputs": {"runs": {"runs": "good"}}}
    loaded = load({**raw, "overrides": {"tiny": {"claims": [{**claim, "holds": {"op": ">", "value": "0.5"}}]}}}, ROOT)
    assert loaded.studies["tiny"].claims[0].claim.holds.hashed() == {"op": ">", "value": 0.5, "of": "value"}
