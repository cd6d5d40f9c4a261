"""Runs whose weights come from files: the file's weights and statistics, its losses, and everything that reads a run."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from harness import ROOT, make
from torch import nn

from lossatlas.data.dataset import load as load_data
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.spec import run

NETWORK = """
from torch import nn


def build(outputs):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, outputs)
    )
"""

DATA = {"name": "digits", "train": 80, "test": 40}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A user's folder with a network of their own; studies are planned and made there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"net_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(NETWORK)
    return tmp_path, f"{name}:build"


def saved(path, seed):
    """Save a network with statistics of its own; return it in eval mode."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 10))
    for _ in range(3):
        model(torch.randn(20, 1, 8, 8) + 1)
    torch.save({"model_state_dict": model.state_dict(), "epoch": 3}, path)
    return model.eval()


def planned(here, runs, **sections):
    """Return the plan of a study of these runs."""
    folder, builder = here
    given = {"data": DATA, "model": {"builder": builder}, "recipe": {"lr": 0.05, "batch": 20}}
    raw = {"title": "t", "reference": "none", "defaults": given, "runs": runs, **sections}
    (folder / "own.yaml").write_text(yaml.safe_dump(raw))
    config = {"preset": "quick", "studies": ["own.yaml"], "seed": 0, "formats": ["png"]}
    return Plan(load(config, ROOT)).studies["own"]


def losses(model, file):
    """Return mean cross entropy and accuracy of both parts, in float64, by torch alone."""
    data, found = load_data(file), {}
    for part in ("train", "test"):
        x, y = data.normalised(getattr(data, f"x_{part}")), getattr(data, f"y_{part}")
        with torch.no_grad():
            outputs = model(x).double()
        found[f"{part}_loss"] = float(nn.functional.cross_entropy(outputs, y))
        found[f"{part}_accuracy"] = float((outputs.argmax(1) == y).double().mean())
    return found


def test_the_points_are_the_files_weights_with_their_own_losses(here, fresh_seed):
    folder, _ = here
    models = [saved(folder / f"epoch_{epoch}.pt", fresh_seed + epoch) for epoch in (2, 10)]
    study = planned(here, {"a": {"checkpoints": "epoch_*.pt"}})
    made = run(study, "a", None, "")
    points = make(made, folder)
    with open_hdf5(points, "points") as file:
        theta, buffers = file["theta"][:], file["buffers"][:]
    table = read_table(points)
    assert list(table["epoch"]) == [0.0, 1.0]
    for i, model in enumerate(models):
        flat = torch.cat([value.detach().flatten() for value in model.parameters()])
        assert np.array_equal(theta[i], flat.numpy())
        assert np.array_equal(buffers[i], torch.cat([model[1].running_mean, model[1].running_var]).numpy())
        for name, value in losses(model, folder / made.inputs["data"][0].path).items():
            assert table[name][i] == pytest.approx(value, rel=1e-5), name


def test_the_bytes_name_it_and_the_model_does_not_have_them(here, fresh_seed):
    folder, _ = here
    for name in "ab":
        saved(folder / f"{name}.pt", fresh_seed + ord(name))
    runs = {name: {"checkpoint": f"{name}.pt"} for name in "ab"}
    line = {"probes": {"between": {"line": {"run": "a", "to": "b", "grid": 3}}}}
    study = planned(here, runs, **line)
    first, second = (run(study, name, None, "") for name in "ab")
    assert first.hash != second.hash
    assert first.spec["model"] == second.spec["model"]
    (grid,) = study.get("grid", "between", "")  # two checkpoints of one builder are comparable
    assert [made.hash for made in grid.inputs["run"] + grid.inputs["to"]] == [first.hash, second.hash]
    shutil.copy(folder / "b.pt", folder / "a.pt")
    replaced = run(planned(here, runs), "a", None, "")
    assert replaced.hash != first.hash
    with pytest.raises(LossatlasError, match=r"a\.pt: its SHA-256 is .*, not .*correct `sha256`") as caught:
        planned(here, {"a": {"checkpoint": {"file": "a.pt", "sha256": first.spec["checkpoints"][0]["sha256"]}}})
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(LossatlasError, match=r"a\.pt: its SHA-256 is"):  # replaced between plan and job
        make(first, folder)


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({"checkpoint": "absent.pt"}, "absent.pt: no such file"),
        ({"checkpoint": "a.pt", "checkpoints": ["a.pt"]}, "give either"),
        ({"checkpoint": "a.pt", "replicas": [0, 1]}, "replicas: a run of `checkpoint` is one network"),
        ({"checkpoint": "a.pt", "record": {"epochs": "all"}}, "record: a run of `checkpoint` has one point"),
        ({"checkpoints": [{"file": "a.pt", "epoch": 3}, {"file": "b.pt", "epoch": 2}]}, "epoch 2 after epoch 3"),
        ({"checkpoints": [{"file": "*.pt", "epoch": 3}]}, "2 files; sha256 and epoch are of one file"),
        ({"checkpoint": {"fil": "a.pt"}}, "did you mean 'file'"),
    ],
)
def test_mistakes_are_told_when_planning(here, entry, expected):
    folder, _ = here
    for name in "ab":
        saved(folder / f"{name}.pt", ord(name))
    with pytest.raises(LossatlasError) as caught:
        planned(here, {"a": entry})
    assert expected in str(caught.value)


def test_weights_of_another_network_are_one_line_in_the_job(here):
    folder, _ = here
    torch.save(nn.Linear(3, 3).state_dict(), folder / "a.pt")
    made = run(planned(here, {"a": {"checkpoint": "a.pt"}}), "a", None, "")
    with pytest.raises(LossatlasError, match=r"a\.pt: not the weights of this Sequential: 8 missing"):
        make(made, folder)


EVERY = {
    "clouds": {
        "jumps": {"jump": {"run": "b", "seeds": [0], "steps": [0.5], "retrain": {"epochs": 1}}},
        "path": {"paths": {"runs": ["path"]}},
        "both": {"paths": {"runs": ["a", "b"]}},
    },
    "embeddings": {"pca": {"method": "pca"}},
    "probes": {
        "plane": {"plane": {"run": "a", "grid": 3}},
        "walk": {"plane": {"run": "path", "axes": "pca", "grid": 3}},
        "line": {"line": {"run": "a", "to": "b", "grid": 3}},
        "hessian": {"curvature": {"run": "a", "examples": 20}},
        "volume": {"volume": {"runs": ["a", "b"], "directions": 4}},
    },
}


def test_everything_that_reads_a_run_takes_one_from_files(here, fresh_seed):
    folder, _ = here
    for name in ("a", "b", "epoch_1", "epoch_2", "epoch_3"):
        saved(folder / f"{name}.pt", fresh_seed + len(name) + ord(name[-1]))
    runs = {name: {"checkpoint": f"{name}.pt"} for name in "ab"}
    runs["path"] = {"checkpoints": ["epoch_1.pt", "epoch_2.pt", {"file": "epoch_3.pt", "epoch": 5}]}
    study = planned(here, runs, **EVERY)
    for what, name in (
        ("run", "a"),
        ("runs", "path"),
        ("gram", "jumps"),
        ("gram", "path"),
        ("gram", "both"),
        ("embedding", ("jumps", "pca")),
        ("path_gram", "path"),
        ("grid", "plane"),
        ("grid", "walk"),
        ("descent", "walk"),
        ("grid", "line"),
        ("grid", "hessian"),
        ("volume", "volume"),
    ):
        for made in study.get(what, name, ""):
            make(made, folder)
