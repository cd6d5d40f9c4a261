"""One's own network: from models, checkpoints and criteria as people have them to its loss."""

import inspect
import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout
from lossatlas.models.checkpoints import sha256


class SmallCNN(nn.Module):
    """Batch norm and dropout, as most people's first network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3 * 16, 4)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.bn(self.conv(x))).flatten(1)))


def trained(rng, dtype=torch.float32):
    """Return a network whose statistics are not those of its start."""
    torch.manual_seed(int(rng.integers(2**32)))
    model = SmallCNN().to(dtype)
    for _ in range(5):
        model(3 * torch.randn(20, 1, 6, 6, dtype=dtype) + 1)
    return model


def images(rng, n=30):
    return torch.from_numpy(rng.normal(size=(n, 1, 6, 6)).astype(np.float32)), torch.from_numpy(rng.integers(4, size=n))


def own_loss(model, x, y):
    """Return the loss as the user computes it."""
    mode = model.training
    with torch.no_grad():
        loss = F.cross_entropy(model.eval().double()(x.double()), y).item()
    model.float().train(mode)
    return loss


@pytest.fixture
def files(rng, tmp_path):
    """Return two networks, data and the files of both."""
    a, b = trained(rng), trained(rng)
    for name, model in (("a", a), ("b", b)):
        torch.save(model.state_dict(), tmp_path / f"{name}.pt")
    return a, b, images(rng), tmp_path


def test_five_lines(files):
    a, b, (x, y), folder = files
    net = la.load(SmallCNN(), folder / "a.pt", data=(x, y))
    assert net.loss == pytest.approx(own_loss(a, x, y), rel=1e-6)
    other = net.at(folder / "b.pt")
    assert other.loss == pytest.approx(own_loss(b, x, y), rel=1e-6)
    assert net.loss == pytest.approx(own_loss(a, x, y), rel=1e-6), "at() changed the network it was called on"
    assert (net.label, other.label, net.criterion, net.examples) == ("a", "b", "cross_entropy", 30)
    assert (net.source.sha256, other.source.sha256) == (sha256(folder / "a.pt"), sha256(folder / "b.pt"))
    assert net.digest != other.digest
    assert torch.equal(net.theta, Layout.of(a).flatten(a))
    assert torch.equal(net.landscape.theta(), net.theta)
    said = repr(net)
    assert "cross_entropy" in said
    assert "drop and the like are off" in said


def model_of(kind, monkeypatch, tmp_path):
    if kind == "module:name":
        (tmp_path / "mynet_of_a_test.py").write_text(
            "import torch\nfrom torch import nn\n"
            + inspect.getsource(SmallCNN)
            + "\ndef build():\n    return SmallCNN()\n"
        )
        monkeypatch.chdir(tmp_path)
        return "mynet_of_a_test:build"
    plain = SmallCNN()
    return {
        "module": plain,
        "class": SmallCNN,
        "function": lambda: SmallCNN(),
        "parallel": nn.DataParallel(plain),
        "compiled": torch.compile(plain),
    }[kind]


@pytest.mark.parametrize("kind", ["module", "class", "function", "module:name", "parallel", "compiled"])
def test_a_model_is_a_module_or_what_makes_one(kind, files, monkeypatch):
    a, _, (x, y), folder = files
    net = la.load(model_of(kind, monkeypatch, folder), folder / "a.pt", data=(x, y))
    assert net.loss == pytest.approx(own_loss(a, x, y), rel=1e-6)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_the_callers_model_is_never_touched(checkpoint, files):
    a, b, data, folder = files
    a.head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in a.state_dict().items()}
    net = la.load(a, folder / "b.pt" if checkpoint else None, data=data)
    assert net.loss == pytest.approx(own_loss(b if checkpoint else a, *data), rel=1e-6)
    net.with_statistics("recompute").landscape.loss(net.theta)
    net.landscape.hvp(net.theta, net.theta)
    loss = net.loss
    assert a.training
    assert not a.head.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in a.state_dict().items())
    with torch.no_grad():
        a.conv.weight.zero_()
        a.bn.running_mean.zero_()
    assert float(net.landscape.loss(net.theta)) == loss


@pytest.mark.parametrize("kind", ["state", "module", "wrapped", "safetensors", "weights"])
def test_checkpoints_in_every_form_bring_their_own_statistics(kind, files):
    a, b, (x, y), folder = files
    net = la.load(a, data=(x, y), label="start")
    assert net.label == "start"
    if kind == "wrapped":
        state = {f"module.{name}": value for name, value in b.state_dict().items()}
        torch.save({"model": state, "epoch": 3, "optimizer": {"lr": 0.1}}, folder / "w.pth")
        given = folder / "w.pth"
    elif kind == "safetensors":
        from safetensors.torch import save_file

        save_file(b.state_dict(), folder / "b.safetensors")
        given = folder / "b.safetensors"
    else:
        given = {"state": b.state_dict(), "module": b, "weights": Layout.of(b).flatten(b)}[kind]
    other = net.at(given)
    if kind != "weights":
        assert other.loss == pytest.approx(own_loss(b, x, y), rel=1e-6)
        assert other.batch_norm == "stored"
    else:
        assert other.batch_norm == "recompute"


def test_weights_without_statistics_are_never_taken_with_those_of_another(files, caplog):
    """The trap: b's weights with a's statistics are a network that nobody trained."""
    a, b, (x, y), _ = files
    bare = {name: value for name, value in b.state_dict().items() if not name.startswith("bn.running")}
    for found in (la.load(a, data=(x, y)).at(bare), la.load(a, bare, data=(x, y))):
        assert "batch-norm statistics are computed anew at every point" in caplog.text
        reference = SmallCNN()
        reference.load_state_dict({**b.state_dict()})
        reference.bn.reset_running_stats()
        reference.bn.momentum = None  # a cumulative mean, of one batch
        reference.bn.train()
        reference.conv.eval()
        with torch.no_grad():
            reference.drop.p = 0.0
            reference(x)
        assert found.loss == pytest.approx(own_loss(reference, x, y), rel=1e-5)
        assert any("computed anew" in note for note in found.notes)
        with pytest.raises(LossatlasError, match="came without statistics"):
            found.with_statistics("stored")
    whole = la.load(a, data=(x, y)).at(bare).at(b.state_dict())
    assert not any("computed anew" in note for note in whole.notes)


def test_two_networks_meet_on_recomputed_statistics(files, rng):
    a, b, data, _folder = files
    first = la.load(a, data=data)
    second = first.at(b.state_dict())
    both = first.together(second)
    assert both.batch_norm == "recompute"
    for net in (first, second):
        assert float(both.loss(net.theta)) == pytest.approx(net.with_statistics("recompute").loss, rel=1e-12)
    plain = la.load(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), data=data)
    assert plain.together(plain).batch_norm == "stored"
    with pytest.raises(LossatlasError, match="not of one model"):
        first.together(plain)
    with pytest.raises(LossatlasError, match="have other examples"):
        first.together(la.load(a, data=images(rng)))


def test_a_folder_of_one_training_is_its_last_checkpoint_and_lists_all(files):
    a, b, data, folder = files
    (folder / "run").mkdir()
    for epoch, model in ((2, a), (10, b), (9, a)):
        torch.save(model.state_dict(), folder / "run" / f"epoch_{epoch}.pt")
    net = la.load(SmallCNN, folder / "run", data=data)
    assert [file.name for file in net.checkpoints] == ["epoch_2.pt", "epoch_9.pt", "epoch_10.pt"]
    assert net.label == "epoch_10"
    assert net.loss == pytest.approx(own_loss(b, *data), rel=1e-6)
    assert net.at(net.checkpoints[0]).loss == pytest.approx(own_loss(a, *data), rel=1e-6)


def test_settings_have_their_effect(files, caplog):
    a, _, (x, y), _ = files
    assert la.load(a, data=(x, y), examples=7).examples == 7
    assert la.load(a, data=(x, y), batch=4).landscape.batch_size == 4
    assert la.load(a, data=(x, y), precision="float64").theta.dtype == torch.float64
    assert (
        la.load(a, data=(x, y), batch_norm="recompute").loss
        == la.load(a, data=(x, y)).with_statistics("recompute").loss
    )
    assert la.load(a, data=(x, y), batch_norm="batch").loss != la.load(a, data=(x, y)).loss
    net = la.load(a, data=(x, y))
    some, again, other = net.subset(9), net.subset(9), net.subset(9, seed=1)
    assert some.examples == 9
    assert some.loss == again.loss != other.loss
    with pytest.raises(LossatlasError, match="got 31; expected 1 to 30"):
        net.subset(31)


def test_dropout_is_switched_off_with_a_word(files, caplog):
    a, _, data, _ = files
    with caplog.at_level(logging.WARNING):
        la.load(a.train(), data=data)
        assert "the model was in train mode; drop and the like are off here" in caplog.text
        caplog.clear()
        la.load(a.eval(), data=data)
        assert not caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_unless_told(dtype, rng, tmp_path, caplog):
    model = trained(rng).to(dtype)
    x, y = images(rng)
    torch.save(model.state_dict(), tmp_path / "half.pt")
    for net in (la.load(model, data=(x, y)), la.load(model, tmp_path / "half.pt", data=(x, y))):
        assert net.theta.dtype == torch.float32
        assert "everything is computed in float32" in caplog.text
        assert net.loss == pytest.approx(own_loss(model.float(), x, y), rel=1e-5)
        model.to(dtype)
    told = la.load(model, data=(x, y), precision=str(dtype).removeprefix("torch."))
    assert told.theta.dtype == dtype
    assert told.loss == pytest.approx(own_loss(model.float(), x, y), rel=0.05)


def test_lazy_layers_get_their_shapes_from_the_data(rng, tmp_path):
    x, y = images(rng)
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(4))
    state = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 4)).state_dict()
    net = la.load(lazy, state, data=(x, y))
    assert net.landscape.dim == 36 * 5 + 5 + 5 * 4 + 4
    assert torch.equal(net.layout.unflatten(net.theta)["1.weight"], state["1.weight"])
    assert nn.parameter.is_lazy(lazy[1].weight), "the caller's model was changed"


# ---------------------------------------------------------------------------------------------------------------------
# criteria and outputs


def linear(rng, inputs=3, outputs=4):
    torch.manual_seed(int(rng.integers(2**32)))
    return nn.Linear(inputs, outputs).double()


def numbers(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape))


def labels(rng, high, *shape):
    return torch.from_numpy(rng.integers(high, size=shape))


DEFAULTS = {
    "classes": (lambda r: (linear(r), numbers(r, 20, 3), labels(r, 4, 20)), "cross_entropy", F.cross_entropy),
    "numbers": (lambda r: (linear(r), numbers(r, 20, 3), numbers(r, 20, 4)), "mse", F.mse_loss),
    "one number": (lambda r: (linear(r, outputs=1), numbers(r, 20, 3), numbers(r, 20)), "mse", F.mse_loss),
    "yes and no": (
        lambda r: (linear(r, outputs=1), numbers(r, 20, 3), labels(r, 2, 20)),
        "binary_cross_entropy",
        lambda o, y: F.binary_cross_entropy_with_logits(o, y.double()),
    ),
    "tokens": (
        lambda r: (linear(r), numbers(r, 20, 5, 3), labels(r, 4, 20, 5)),
        "token_cross_entropy",
        lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten()),
    ),
    "pixels": (
        lambda r: (nn.Conv2d(2, 4, 1).double(), numbers(r, 6, 2, 3, 3), labels(r, 4, 6, 3, 3)),
        "cross_entropy",
        F.cross_entropy,
    ),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_criterion_follows_from_the_targets(name, rng):
    make, expected, reference = DEFAULTS[name]
    model, x, y = make(rng)
    net = la.load(model, data=(x, y), batch=3)
    outputs = model(x).detach()
    assert net.criterion == expected
    if outputs.shape == (len(y), 1):
        outputs = outputs[:, 0]
    assert net.loss == pytest.approx(reference(outputs, y).item(), rel=1e-10)
    assert any(note.startswith(f"criterion {expected}: the targets are") for note in net.notes)


CRITERIA = {
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), 4),
    "weights and smoothing": (nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), label_smoothing=0.1), 4),
    "ignored": (nn.CrossEntropyLoss(ignore_index=2), 4),
    "the function": (F.cross_entropy, 4),
    "a mean of one's own": (lambda outputs, y: F.cross_entropy(outputs, y), 4),
    "one loss an example": (lambda outputs, y: F.cross_entropy(outputs, y, reduction="none"), 4),
    "MSELoss": (nn.MSELoss(), 0),
    "smooth_l1_loss": (F.smooth_l1_loss, 0),
    "HuberLoss": (nn.HuberLoss(delta=0.3), 0),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]).double()), 1),
    "a loss an element": (lambda outputs, y: (outputs - y) ** 4, 0),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_criteria_of_torch_and_ones_own_are_the_users(name, rng):
    """The loss over chunks of 3 is what the user's criterion says of all 20 at once."""
    criterion, classes = CRITERIA[name]
    model, x = linear(rng), numbers(rng, 20, 3)
    y = labels(rng, 4, 20) if classes == 4 else numbers(rng, 20, 4)
    if classes == 1:
        y = (y > 0).double()
    net = la.load(model, data=(x, y), criterion=criterion, batch=3)
    theta = net.theta.clone().requires_grad_()
    outputs = torch.func.functional_call(model, net.layout.unflatten(theta), (x,))
    expected = criterion(outputs, y).mean()
    loss, gradient = net.landscape.loss_and_grad(net.theta)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-10)
    np.testing.assert_allclose(gradient, torch.autograd.grad(expected, theta)[0], rtol=1e-8, atol=1e-12)


BAD_CRITERIA = {
    "a sum": (lambda o, y: F.cross_entropy(o, y, reduction="sum"), "not their mean"),
    "unknown": ("mae", "expected one of"),
    "raises": (lambda o, y: 1 / 0, r"raised ZeroDivisionError"),
    "a number": (lambda o, y: 1.0, "returned float; expected a tensor"),
    "another shape": (lambda o, y: o.sum(0), r"returned shape \(4,\) for 8 examples"),
    "broadcasts": (nn.MSELoss(), "expected equal shapes"),
    "no criterion": (3, "got int; expected a name"),
}


@pytest.mark.parametrize("name", BAD_CRITERIA)
def test_criteria_that_are_none_are_refused(name, rng):
    criterion, message = BAD_CRITERIA[name]
    y = labels(rng, 4, 20) if name != "broadcasts" else numbers(rng, 20)
    with pytest.raises(LossatlasError, match=message):
        la.load(linear(rng), data=(numbers(rng, 20, 3), y), criterion=criterion)


@dataclass
class Output:
    logits: torch.Tensor
    loss: torch.Tensor | None = None


class Language(nn.Module):
    """As transformers libraries write them: keywords in, an object out, a loss where there are labels."""

    def __init__(self, shift=True):
        super().__init__()
        self.embedding, self.head, self.shift = nn.Embedding(9, 5), nn.Linear(5, 9), shift

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.head(self.embedding(input_ids) * attention_mask[..., None])
        if labels is None:
            return Output(logits)
        told, asked = (logits[:, :-1], labels[:, 1:]) if self.shift else (logits, labels)
        return Output(logits, F.cross_entropy(told.flatten(0, 1), asked.flatten()))


@pytest.mark.parametrize("shift", [True, False])
def test_a_networks_own_loss_is_taken_over_all_its_tokens(shift, rng):
    torch.manual_seed(int(rng.integers(2**32)))
    model = Language(shift).double()
    ids = labels(rng, 9, 20, 6)
    lengths = torch.from_numpy(rng.integers(2, 7, size=20))
    lengths[:2] = torch.tensor([2, 6])
    mask = (torch.arange(6) < lengths[:, None]).long()
    batch = {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": ids.masked_fill(mask == 0, -100),
        "row": torch.arange(20),
    }
    net = la.load(model, data=batch, batch=3)
    expected = model(ids, mask, batch["labels"]).loss
    assert net.criterion == "model"
    assert net.loss == pytest.approx(expected.item(), rel=1e-10)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(expected, list(model.parameters()))])
    np.testing.assert_allclose(net.landscape.grad(net.theta), gradient, rtol=1e-8, atol=1e-12)
    assert any(note.startswith("row of the batches are left out") for note in net.notes)
    asked = {**batch, "labels": batch["labels"].roll(-1, 1).index_fill(1, torch.tensor([5]), -100)} if shift else batch
    named = la.load(model, data=asked, criterion="token_cross_entropy", batch=3)
    assert named.loss == pytest.approx(expected.item(), rel=1e-10)
    assert "the network's outputs are its .logits" in named.notes


@pytest.mark.parametrize(
    "wrap", [Output, lambda o: {"logits": o, "hidden": o}, lambda o: (o, None), lambda o: {"only": o}]
)
def test_outputs_that_are_objects_are_unpacked(wrap, rng):
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return wrap(self.inner(x))

    model, x, y = linear(rng), numbers(rng, 20, 3), labels(rng, 4, 20)
    assert la.load(Wrapped(model), data=(x, y)).loss == pytest.approx(la.load(model, data=(x, y)).loss, rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# mistakes


class Raises(nn.Linear):
    def forward(self, x):
        raise ValueError("one thing\nand another")


def broken():
    raise RuntimeError("no such layer")


def nan_weights():
    model = nn.Linear(3, 4)
    nn.init.constant_(model.weight, float("nan"))
    return model


def overflows():
    model = nn.Linear(3, 4)
    nn.init.constant_(model.weight, 3e38)
    return model


MISTAKES = {
    "no data": ({"data": None}, "got no data"),
    "builder raises": ({"model": broken}, "broken raised RuntimeError: no such layer"),
    "builder needs arguments": ({"model": nn.Linear}, "Linear raised TypeError.*write lambda"),
    "no module": ({"model": lambda: 3}, "returned int; expected a torch.nn.Module"),
    "a number": ({"model": 3}, "got int; expected a torch.nn.Module"),
    "no such module": ({"model": "no_such_module_here:build"}, "cannot be imported.*ModuleNotFoundError"),
    "no such name": ({"model": "math:no_such_name"}, "has no 'no_such_name'"),
    "no colon": ({"model": "mynet"}, "expected package.module:name"),
    "forward raises": ({"model": Raises(3, 4)}, "Raises on inputs float32.* raised ValueError: one thing and another"),
    "wrong input": ({"model": nn.Linear(5, 4)}, r"on inputs float32\(2, 3\) raised RuntimeError"),
    "too few outputs": ({"model": nn.Linear(3, 2)}, "raised IndexError: Target . is out of bounds"),
    "a class too many": ({"data": (torch.zeros(20, 3), torch.arange(20) // 4)}, "targets from 0 to 4.* has 4 outputs"),
    "no row an example": ({"model": nn.Sequential(nn.Linear(3, 4), nn.Flatten(0))}, r"returned \(8,\) for 2 examples"),
    "NaN": ({"model": nan_weights}, "weight .1 of 2 tensors. has NaN or infinite weights"),
    "overflow": ({"model": overflows}, "the loss is (nan|inf)"),
    "no parameters": ({"model": nn.Flatten()}, "has no parameters"),
    "another network": (
        {"checkpoint": nn.Linear(7, 4).state_dict()},
        "weight .4, 7. in the file, .4, 3. in the network",
    ),
    "not a state": ({"checkpoint": {"a": 3}}, "'a' is int; expected name -> tensor"),
    "no checkpoint": ({"checkpoint": 3}, "got int; expected a path"),
    "no file": ({"checkpoint": "no/such/file.pt"}, "no such file"),
    "precision": ({"precision": "float8"}, "expected one of float32"),
    "policy": ({"batch_norm": "frozen"}, "expected one of"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_in_one_line(name, rng):
    changed, message = MISTAKES[name]
    x, y = numbers(rng, 20, 3).float(), labels(rng, 4, 20)
    y[:4] = torch.arange(4)
    keywords = {"model": nn.Linear(3, 4), "data": (x, y), **changed}
    with pytest.raises(LossatlasError, match=message) as caught:
        la.load(keywords.pop("model"), **keywords)
    assert "\n" not in str(caught.value)


def test_one_tensor_of_the_model_that_is_two_in_the_file_is_refused(rng):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    model, data = Tied(), (numbers(rng, 9, 3).float(), labels(rng, 3, 9))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert la.load(model, state, data=data).landscape.dim == 9
    state["b.weight"] += 1
    with pytest.raises(LossatlasError, match=r"a\.weight and b\.weight differ, which are one tensor in Tied"):
        la.load(model, state, data=data)
