"""A user's own tensors and builders of data: exactly their numbers, named by their bytes, and one line where wrong."""

import importlib

import numpy as np
import pytest
import torch
import yaml
from harness import ROOT, make
from torch import nn

from lossatlas.data.dataset import load as load_data
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.landscape.layout import Layout
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.examples import make_examples
from lossatlas.train.networks import member
from lossatlas.train.spec import run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A user's folder, in which studies are planned and made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def planned(data, recipe=None, **more):
    """Return the artefact of a run on data, of no epochs."""
    own = {"epochs": 0, **(recipe or {})}
    entry = {"data": data, "model": {"name": "mlp", "widths": []}, "recipe": own, **more}
    with open("own.yaml", "w") as file:
        yaml.safe_dump({"title": "t", "reference": "none", "runs": {"a": entry}}, file)
    plan = Plan(load({"preset": "quick", "studies": ["own.yaml"], "seed": 0, "formats": ["png"]}, ROOT))
    return run(plan.studies["own"], "a", None, "")


def prepared(folder, data, **more):
    """Return prepared data."""
    return load_data(make(planned(data, **more).inputs["data"][0], folder))


def drawn(rng, n=12, shape=(3,), classes=4):
    """Return inputs and labels, of which every class has one."""
    x = rng.standard_normal((n, *shape)).astype(np.float32)
    return x, np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])


TENSORS = {"name": "tensors", "path": "d.pt"}


def as_xy(x, y, x2, y2):
    torch.save({"x": torch.tensor(x), "y": torch.tensor(y)}, "d.pt")
    return TENSORS


def as_pair(x, y, x2, y2):
    torch.save((torch.tensor(x), torch.tensor(y)), "d.pt")
    return TENSORS


def as_parts(x, y, x2, y2):
    torch.save({"x_train": torch.tensor(x), "y_train": torch.tensor(y), "x_test": x2, "y_test": y2}, "d.pt")
    return TENSORS


def as_nested(x, y, x2, y2):
    torch.save({"train": {"inputs": torch.tensor(x), "labels": torch.tensor(y)}, "test": (x2, y2)}, "d.pt")
    return TENSORS


def as_npz(x, y, x2, y2):
    np.savez("d.npz", train_x=x, train_y=y, test_x=x2, test_y=y2)
    return {"name": "tensors", "path": "d.npz"}


def as_named(x, y, x2, y2):
    np.savez("d.npz", a=x, b=y, c=x2, d=y2)
    return {"name": "tensors", "path": "d.npz", "options": {"keys": {"train": ["a", "b"], "test": ["c", "d"]}}}


@pytest.mark.parametrize("save", [as_xy, as_pair, as_parts, as_nested, as_npz, as_named])
def test_every_form_is_read_exactly(here, rng, save):
    x, y = drawn(rng)
    x2, y2 = (torch.tensor(part) for part in drawn(rng, 8))
    found = prepared(here, save(x, y, x2, y2))
    assert np.array_equal(found.x_train.numpy(), x)
    assert np.array_equal(found.y_train.numpy(), y)
    last = (x, y) if save in (as_xy, as_pair) else (x2.numpy(), y2.numpy())  # without a test part: the same again
    assert np.array_equal(found.x_test.numpy(), last[0])
    assert np.array_equal(found.y_test.numpy(), last[1])
    assert found.classes == ("0", "1", "2", "3")


def test_the_loss_is_that_of_the_users_own_numbers(here, rng):
    """Nothing is normalised unless asked for: the loss is what torch says of the tensors as they are."""
    x, y = drawn(rng, 40)
    made = planned(as_xy(5 * x + 3, y, None, None))
    table = read_table(make(made, here))
    torch.manual_seed(made.spec["seeds"]["init"])
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 4))
    expected = nn.functional.cross_entropy(model(torch.tensor(5 * x + 3)).double(), torch.tensor(y)).detach()
    assert table["train_loss"][0] == pytest.approx(float(expected), rel=1e-6)
    standard = planned(TENSORS, scale="standard")
    assert read_table(make(standard, here))["train_loss"][0] != pytest.approx(float(expected), rel=1e-3)


def test_parts_of_one_set_share_no_example(here, rng):
    x, y = drawn(rng, 40)
    found = prepared(here, {**as_xy(x, y, None, None), "train": 20, "test": 12})
    rows = [tuple(row) for row in torch.cat([found.x_train, found.x_test]).tolist()]
    assert len(set(rows)) == 32
    assert set(rows) <= {tuple(row) for row in x.tolist()}
    assert prepared(here, {**TENSORS, "train": 20}).x_test.shape == (20, 3)  # what is left


def test_the_files_bytes_name_it(here, rng):
    first = planned(as_xy(*drawn(rng), None, None))
    assert planned(TENSORS).hash == first.hash
    second = planned(as_xy(*drawn(rng), None, None))
    assert second.inputs["data"][0].hash != first.inputs["data"][0].hash
    with pytest.raises(LossatlasError, match="changed after planning"):
        make(first, here)


def test_images_numbers_and_tokens_keep_their_types(here, rng):
    tokens = rng.integers(0, 9, (10, 5))
    torch.save({"x": torch.tensor(tokens), "y": torch.tensor(np.roll(tokens, -1, 1))}, "d.pt")
    data = make(planned(TENSORS).inputs["data"][0], here)
    examples, outputs = make_examples(data, "given", 0, "float32", torch.device("cpu"), scale="raw")
    assert outputs == tokens.max() + 1
    assert torch.equal(examples.inputs(examples.x), torch.tensor(tokens))
    torch.save({"x": torch.tensor(tokens), "y": torch.randn(10, 2)}, "d.pt")
    assert prepared(here, TENSORS, recipe={"criterion": "mse"}).task == "regression"
    images = rng.integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    np.savez("d.npz", x=images, y=np.arange(10))
    found = prepared(here, {"name": "tensors", "path": "d.npz"}, scale="unit")
    assert found.x_train.dtype == torch.uint8
    floats = rng.standard_normal((10, 3, 4, 4)).astype(np.float32)
    np.savez("d.npz", x=floats, y=np.arange(10))
    found = prepared(here, {"name": "tensors", "path": "d.npz"}, scale="standard")
    normal = found.normalised(found.x_train)
    assert normal.mean((0, 2, 3)).abs().max() < 1e-6
    assert (normal.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


CODE = """
import torch


def draw(n, seed=0, classes=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=generator), torch.arange(n) % classes


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return torch.full((2,), float(i)), i % 2


def dataset():
    return Pairs(), Pairs()


def raises(n):
    raise ValueError("no such year")
"""


def test_a_builder_of_data_is_named_by_its_source(here):
    name = f"data_{here.name}".replace("-", "_")
    (here / f"{name}.py").write_text(CODE)
    asked = {"builder": f"{name}:draw", "n": 9}
    first = planned(asked)
    found = load_data(make(first.inputs["data"][0], here))
    assert torch.equal(found.x_train, torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    assert first.spec["scale"] == "raw"
    assert planned({**asked, "seed": 0}).hash == first.hash, "the key `seed` is the data set's own"
    assert planned({**asked, "n": 10}).hash != first.hash
    both = prepared(here, {"builder": f"{name}:dataset"})
    assert both.x_test.tolist() == [[float(i)] * 2 for i in range(6)]
    with pytest.raises(LossatlasError, match="raised ValueError: no such year"):
        prepared(here, {"builder": f"{name}:raises", "n": 3})
    with pytest.raises(LossatlasError, match=r"cannot be called with .*'m': 3"):
        prepared(here, {"builder": f"{name}:draw", "m": 3})
    (here / f"{name}_2.py").write_text(CODE)
    before = planned({**asked, "builder": f"{name}_2:draw"}).hash
    (here / f"{name}_2.py").write_text(CODE.replace("randn", "rand"))
    assert planned({**asked, "builder": f"{name}_2:draw"}).hash != before


X, Y = torch.ones(4, 2), torch.arange(4)


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"a": X}, "d.pt: holds a; expected x and y"),
        ({"x": X, "y": Y[:3]}, r"x is float32 \(4, 2\) and y int64 \(3,\); expected a row an example"),
        ({"x": X.where(Y[:, None] > 0, torch.nan), "y": Y}, "2 of the numbers in x are NaN"),
        ({"x": X, "y": Y - 1}, "y has a label -1; classes are counted from 0"),
        ({"x": torch.ones(4, 5, 5, dtype=torch.uint8), "y": Y}, r"images of bytes are \(n, C, H, W\)"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, "the parts differ in form"),
        ({"x": X.to(torch.complex64), "y": Y}, "numbers of type complex64"),
        (nn.Linear(2, 2), "not a file of tensors"),
    ],
)
def test_what_is_no_data_is_one_line(here, content, expected):
    torch.save(content, "d.pt")
    with pytest.raises(LossatlasError, match=expected) as caught:
        prepared(here, TENSORS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data, expected",
    [
        ({"name": "tensors"}, "needs a `path`"),
        ({"name": "tensors", "path": "absent.pt"}, "no file absent.pt"),
        ({"name": "tensors", "path": "a.csv"}, "neither .pt nor .npz"),
        ({"name": "mnist", "path": "a.pt"}, "path: is of the data sets tensors and folder"),
        ({"name": "mnist", "builder": "m:f"}, "builder: beside `name: mnist`"),
        ({"builder": "no_such_module_here:f"}, "there is no module 'no_such_module_here'"),
        ({"name": "tensors", "path": "d.pt", "trian": 3}, "trian: unknown key; did you mean 'train'"),
    ],
)
def test_mistakes_are_told_when_planning(here, data, expected):
    with pytest.raises(LossatlasError) as caught:
        planned(data)
    assert expected in str(caught.value)


GPT = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.embedding = nn.Embedding(outputs, 6)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(6, outputs)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.head(self.layer(self.embedding(tokens), src_mask=mask, is_causal=True))


def build(outputs):
    return Small(outputs)
"""


def test_tokens_of_a_transformer_are_trained_and_measured(here, rng):
    """Loss and accuracy are those over all tokens that count, as torch computes them of the stored weights."""
    name = f"gpt_{here.name}".replace("-", "_")
    (here / f"{name}.py").write_text(GPT)
    tokens = rng.integers(0, 5, (12, 7))
    targets = np.roll(tokens, -1, 1)
    targets[:, -1] = -100
    targets[:3, 2:] = -100  # sequences of different lengths
    torch.save({"x": torch.tensor(tokens), "y": torch.tensor(targets)}, "d.pt")
    recipe = {"criterion": "token_cross_entropy", "optimizer": "adam", "lr": 0.01, "batch": 4, "epochs": 2}
    made = planned(TENSORS, recipe=recipe, model={"builder": f"{name}:build"})
    file = make(made, here)
    module = importlib.import_module(name)
    model = module.build(5).eval()
    with open_hdf5(file, "points") as points:
        Layout.of(model).load_into(model, points["theta"][-1])
    y = torch.tensor(targets).flatten()
    with torch.no_grad():
        outputs = model(torch.tensor(tokens)).flatten(0, 1).double()
    table = read_table(file)
    expected = float(nn.functional.cross_entropy(outputs, y, ignore_index=-100))
    right = float((outputs.argmax(1) == y)[y >= 0].double().mean())
    assert table["train_loss"].iloc[-1] == pytest.approx(expected, rel=1e-6)
    assert table["train_accuracy"].iloc[-1] == pytest.approx(right)
    network = {**made.spec, "criterion": recipe["criterion"], "precision": "float32", "batch": 5}
    found = member(network, made.spec["seeds"], here / made.inputs["data"][0].path)
    measured = found.metrics(Layout.of(model).flatten(model))
    assert measured["train_loss"] == pytest.approx(expected, rel=1e-6)
    assert measured["test_accuracy"] == pytest.approx(right)
