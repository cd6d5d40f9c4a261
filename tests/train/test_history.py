"""The history of a training: its table without its weights, which figures and claims read in its stead."""

from pathlib import Path

import h5py
import pandas as pd
import pytest
from harness import ROOT
from specimens import save_points

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.specs.registry import Job
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.jobs.history import history
from lossatlas.train.numbers import last_epoch
from lossatlas.train.spec import RUNS
from lossatlas.workflow import cost
from lossatlas.workflow.dvc_stages import SMALL, stages


def made(tmp_path: Path, points: Path) -> Path:
    output = tmp_path / "history.h5"
    history(Job({}, {"run": (points,)}, output, tmp_path / "state", {"kind": "histories"}))
    return output


def test_the_table_is_kept_and_the_weights_are_not(tmp_path, rng):
    columns = {"seed": [-1] * 3, "epoch": [0.0, 2.0, 1.0], "train_loss": list(rng.random(3))}
    points = save_points(tmp_path / "points.h5", **columns)
    found = made(tmp_path, points)
    pd.testing.assert_frame_equal(read_table(found, "history"), read_table(points, "points"))
    pd.testing.assert_series_equal(last_epoch(found), last_epoch(points))
    with h5py.File(found) as file:
        assert set(file) == {"table"}


def test_a_history_is_made_of_a_run_only(tmp_path):
    points = save_points(tmp_path / "points.h5", seed=[-1], epoch=[1.0], train_loss=[0.5])
    once = made(tmp_path, points)
    with pytest.raises(LossatlasError, match="history"):
        made(tmp_path / "again", once)


def test_figures_and_claims_read_histories_of_runs():
    config = load({**read_yaml(ROOT / "config/config.yaml"), "studies": ["generalization"]}, ROOT)
    (study,) = Plan(config).studies.values()
    products = [*study.figures.values(), *study.tables.values(), study.claims]
    named = [found for one in products for what in ("run", "runs") for found in one.inputs.get(what, {}).values()]
    read = {made.kind for found in named for made in found}
    assert read == {"histories"}


def test_the_store_keeps_weights_of_small_networks_only():
    plan = Plan(load({**read_yaml(ROOT / "config/config.yaml"), "studies": ["generalization"]}, ROOT))
    written = stages(plan, {"generalization": "generalization"})["stages"].values()
    paths = [Path(path) for stage in written for out in stage.get("outs", ()) for path in out]
    kept = {path.name for path in paths if path.parts[1] == RUNS.kind}
    sizes = {Path(made.path).parent.name: cost.work(made) for made in plan.of_kind(RUNS.kind)}
    small = {name for name, work in sizes.items() if 4 * work.parameters * work.rows <= SMALL}
    assert kept == small
    assert set(sizes) - small, "some network of the study is large"
