"""A user's builder that is wrong is one line in a job, which says what it did and where."""

import pytest
import torch
import yaml
from harness import ROOT, make
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.models import check_outputs
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.spec import run

MODULE = """
import torch
from torch import nn


def raises(outputs):
    width = {}["width"]
    return nn.Linear(width, outputs)


def nothing(outputs):
    return None


def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12))


def features(outputs):
    return nn.Linear(64, outputs)


def images(outputs):
    return nn.Conv2d(3, outputs, 3)


def lazy(outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))


def half(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)).half()


class Two(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Linear(64, outputs)

    def forward(self, x):
        return self.linear(x.flatten(1)), x


def two(outputs):
    return Two(outputs)


class Broken(Two):
    def forward(self, x):
        return self.linaer(x)


def broken(outputs):
    return Broken(outputs)


def good(outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of builders in a folder of its own; returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"builders_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


def training(builder, folder, recipe):
    """Return the artefact of a run with a builder."""
    entry = {"data": {"name": "digits", "train": 40, "test": 20}, "model": {"builder": builder}, "recipe": recipe}
    (folder / "own.yaml").write_text(yaml.safe_dump({"title": "t", "reference": "none", "runs": {"a": entry}}))
    plan = Plan(load({"preset": "quick", "studies": ["own.yaml"], "seed": 0, "formats": ["png"]}, ROOT))
    return run(plan.studies["own"], "a", None, "")


@pytest.mark.parametrize(
    "function, expected",
    [
        ("raises", r"raised KeyError: 'width' \(builders_.*\.py, line 7\); correct it"),
        ("nothing", "returned NoneType; expected a torch.nn.Module"),
        ("narrow", r"returns float32 \(2, 7\) for float32 inputs \(2, 1, 8, 8\); expected \(2, 10\), a logit a class"),
        ("wide", r"returns float32 \(2, 12\) for .* expected \(2, 10\)"),
        ("features", r"given float32 inputs \(2, 1, 8, 8\), raised RuntimeError: mat1 and mat2 shapes cannot"),
        ("images", r"given float32 inputs \(2, 1, 8, 8\), raised RuntimeError: .*to have 3 channels"),
        ("lazy", r"parameter '1.weight' has no shape yet \(a lazy layer\); give the layer its sizes"),
        ("half", "parameter '1.weight' is float16, expected float32; return model.float()"),
        ("two", "returns tuple, expected one tensor; return its logits alone"),
        ("broken", r"raised AttributeError: .*no attribute 'linaer' \(builders_.*\.py, line \d+\)"),
    ],
)
def test_a_wrong_builder_is_one_line(module, tmp_path, function, expected):
    made = training(f"{module}:{function}", tmp_path, {"epochs": 1})
    with pytest.raises(LossatlasError, match=expected) as caught:
        make(made, tmp_path)
    assert "\n" not in str(caught.value)
    assert f"'{module}:{function}'" in str(caught.value)
    if function == "broken":
        line = MODULE.splitlines().index("        return self.linaer(x)") + 1
        assert f".py, line {line})" in str(caught.value)


def test_trying_a_network_changes_nothing_of_it(module, tmp_path, fresh_seed):
    """It is tried in eval mode, without a random number: what a training starts from is what the builder made."""
    torch.manual_seed(fresh_seed)
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 10)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check_outputs(model, "m:f", torch.randn(2, 1, 8, 8, generator=torch.Generator()), torch.tensor([1, 2]), 10)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_epochs_leave_the_initialisation(module, tmp_path):
    made = training(f"{module}:good", tmp_path, {"epochs": 0})
    file = make(made, tmp_path)
    torch.manual_seed(made.spec["seeds"]["init"])
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    table = read_table(file)
    assert len(table) == 1
    assert table["epoch"][0] == 0
    with open_hdf5(file, "points") as points:
        expected = torch.cat([fresh[1].weight.flatten(), fresh[1].bias]).detach()
        assert torch.equal(torch.from_numpy(points["theta"][0]), expected)
