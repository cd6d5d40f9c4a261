"""The ready study of a user's own network: it plans, all of it is made and drawn, and its tables say what is so."""

import time

import numpy as np
import pandas as pd
import pytest
import torch
from harness import ROOT, inputs_of, make_all
from torch import nn

from lossatlas.draw.draw import draw, write_table
from lossatlas.errors import LossatlasError
from lossatlas.planes.numbers import barrier
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.study.read import read_product
from lossatlas.study.template import write

NETWORK = """
from torch import nn


def build(outputs):
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs))
"""


@pytest.fixture
def here(tmp_path, monkeypatch, fresh_seed):
    """A user's folder with a network, tensors, two checkpoints and a training's history."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{module}.py").write_text(NETWORK)
    torch.manual_seed(fresh_seed)
    x = torch.randn(60, 4)
    y = (x @ torch.randn(4, 3)).argmax(1)
    torch.save({"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}, "data.pt")
    (tmp_path / "history").mkdir()
    for name, epochs in (("a", 30), ("b", 30), ("history", 4)):
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        optimizer = torch.optim.Adam(model.parameters(), 0.05)
        for epoch in range(epochs):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[:40]), y[:40]).backward()
            optimizer.step()
            if name == "history":
                torch.save(model.state_dict(), f"history/epoch_{epoch + 1}.pt")
        torch.save(model.state_dict(), f"{name}.pt")
    return tmp_path, f"{module}:build", x, y


def test_a_ready_study_is_made_and_drawn_in_a_minute(here):
    folder, builder, x, y = here
    began = time.process_time()
    file = write("mine.yaml", model=builder, data="data.pt", checkpoints=["a.pt", "b.pt", "history"])
    assert "&id" not in file.read_text()
    raw = {"preset": "quick", "studies": [str(file)], "seed": 0, "formats": ["png"]}
    study = Plan(load(raw, ROOT)).studies["mine"]
    assert set(study.figures) == {"surface", "relief", "petals", "basins", "curves", "path", "lines"}
    make_all(study, folder)
    tables = {}
    for name, product in study.tables.items():
        write_table(read_product(product.spec), inputs_of(product, folder), folder / f"{name}.csv")
        tables[name] = pd.read_csv(folder / f"{name}.csv")
    for name, product in study.figures.items():
        kinds = ("png", "html", "vtp", "csv") if name == "relief" else ("png", "csv")
        draw(read_product(product.spec), inputs_of(product, folder), {k: folder / f"{name}.{k}" for k in kinds}, {})
        assert (folder / f"{name}.png").stat().st_size > 5000, name
    assert time.process_time() - began < 60
    _check_hessian(tables["hessian"], "a.pt", x[:40], y[:40])
    _check_barrier(tables["barriers"].iloc[0], x[:40], y[:40])


def state(file):
    """Return the flat weights of a checkpoint, float64."""
    return torch.cat([value.flatten() for value in torch.load(file).values()]).double()


def loss_of(theta, x, y):
    """Return the loss of the network written out, for flat weights in float64."""
    w1, b1, w2, b2 = theta.split([24, 6, 18, 3])
    hidden = torch.tanh(x.double() @ w1.view(6, 4).T + b1)
    return nn.functional.cross_entropy(hidden @ w2.view(3, 6).T + b2, y)


def _check_hessian(table, file, x, y):
    """Compare the table with the dense Hessian by torch's own double differentiation."""
    hessian = torch.autograd.functional.hessian(lambda theta: loss_of(theta, x, y), state(file))
    values = torch.linalg.eigvalsh(hessian)
    row = table.iloc[0]
    assert row["lambda_max"] == pytest.approx(float(values[-1]), rel=1e-2)
    assert row["lambda_min"] == pytest.approx(float(values[0]), abs=1e-2 * float(values[-1]))
    assert abs(row["trace"] - float(values.sum())) < 6 * row["trace_error"]


def _check_barrier(row, x, y):
    """Compare with the loss along the segment, evaluated here."""
    first, second = state("a.pt"), state("b.pt")
    steps = np.linspace(0, 1, 21)
    losses = np.array([float(loss_of(first + float(s) * (second - first), x, y)) for s in steps])
    assert row["part"] == "train"
    expected = np.max(losses - ((1 - steps) * losses[0] + steps * losses[-1]))
    assert row["barrier"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert row["highest"] == pytest.approx(losses.max(), rel=1e-5)


def test_a_barrier_in_closed_form():
    x = np.linspace(-1, 2, 31)
    found = barrier(x, 1 + x + 4 * x * (1 - x))
    assert found["barrier"] == pytest.approx(1.0)
    assert (found["first"], found["second"]) == (pytest.approx(1.0), pytest.approx(2.0))
    assert found["above_higher"] == pytest.approx((1 + x + 4 * x * (1 - x))[(x >= 0) & (x <= 1)].max() - 2)
    with pytest.raises(LossatlasError, match="limits"):
        barrier(np.linspace(0.2, 1, 5), np.ones(5))


def test_without_checkpoints_it_trains_and_mistakes_are_told_before_it_is_written(here):
    folder, builder, *_ = here
    file = write("trained.yaml", model=builder, data={"name": "iris"}, recipe={"epochs": 2})
    assert "record:" in file.read_text()
    load({"preset": "quick", "studies": [str(file)], "seed": 0, "formats": ["png"]}, ROOT)
    for expected, call in (
        ("is there already", {"path": "trained.yaml", "data": "iris"}),
        ("letters, digits and underscores", {"path": "my-study.yaml", "data": "iris"}),
        ("absent.pt: no such file", {"path": "x.yaml", "data": "iris", "checkpoints": ["absent.pt"]}),
        ("'irsi' is not a data set; did you mean 'iris'", {"path": "x.yaml", "data": "irsi"}),
        ("momentum", {"path": "x.yaml", "data": "iris", "recipe": {"momentum": 2}}),
    ):
        with pytest.raises(LossatlasError, match=expected):
            write(call.pop("path"), model=builder, **call)
    assert not (folder / "x.yaml").exists()
