"""Precision: what is named is in force, whatever was before; what a machine lacks, and what hangs on it, is refused."""

import pytest
import torch
from harness import ROOT, job, make, study
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.jobs.train import train
from lossatlas.train.loop import Examples, Training
from lossatlas.train.networks import trained
from lossatlas.train.precision import GIVEN, device_for, put_in_force
from lossatlas.train.spec import Recipe, RecipeChange, runs

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BACKENDS = torch.backends
ON_GPU = (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn)
ON_CPU = (BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn)


@pytest.fixture(autouse=True)
def _ieee_afterwards():
    before = BACKENDS.fp32_precision
    yield
    BACKENDS.fp32_precision = before
    put_in_force("float32", CPU)
    torch.use_deterministic_algorithms(False)
    BACKENDS.cudnn.deterministic = BACKENDS.cudnn.benchmark = False


@pytest.fixture
def ampere(monkeypatch):
    """Make torch believe that its GPU is of compute capability 8.0."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)


def loosen():
    """Let every library round the factors of its products, as a job before this one in the process might have."""
    BACKENDS.fp32_precision = "tf32"
    for operation in ON_GPU:
        operation.fp32_precision = "tf32"
    for operation in ON_CPU:
        operation.fp32_precision = "bf16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("device", [CPU, GPU])
def test_products_are_ieee_unless_tf32_is_named(precision, device, ampere):
    loosen()
    put_in_force(precision, device)
    assert {operation.fp32_precision for operation in (*ON_GPU, *ON_CPU)} == {"ieee"}
    assert torch.get_float32_matmul_precision() == "highest"
    assert not BACKENDS.cuda.matmul.allow_tf32
    assert not BACKENDS.cudnn.allow_tf32
    with BACKENDS.cudnn.flags(enabled=False, allow_tf32=False):  # as torch's own code asks; raises where they disagree
        pass


def test_tf32_is_in_force_where_it_is_named_and_no_longer(ampere):
    put_in_force("tf32", GPU)
    assert [operation.fp32_precision for operation in ON_GPU] == ["tf32"] * 3
    assert BACKENDS.cuda.matmul.allow_tf32
    assert BACKENDS.cudnn.allow_tf32
    assert [operation.fp32_precision for operation in ON_CPU] == ["ieee"] * 3
    put_in_force("float32", GPU)
    assert [operation.fp32_precision for operation in ON_GPU] == ["ieee"] * 3


def test_tf32_is_refused_where_there_is_none(ampere, monkeypatch):
    with pytest.raises(LossatlasError, match=r"recipe.precision: tf32 .* this job runs on cpu without it; write float"):
        put_in_force("tf32", CPU)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    with pytest.raises(LossatlasError, match="runs on cuda without it"):
        put_in_force("tf32", GPU)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(LossatlasError, match="since Ampere"):
        put_in_force("tf32", GPU)


def test_a_gpu_is_told_to_compute_the_same_bits_again(ampere):
    put_in_force("float32", CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    BACKENDS.cudnn.benchmark = True
    put_in_force("float32", GPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert (BACKENDS.cudnn.deterministic, BACKENDS.cudnn.benchmark) == (True, False)


@pytest.mark.parametrize("name", GIVEN)
def test_a_gpu_that_slurm_gave_must_be_there(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for other in GIVEN:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device_for("float32") == CPU
    monkeypatch.setenv(name, "1")
    with pytest.raises(LossatlasError, match=r"SLURM gave this job a GPU, and torch .* finds none .* CUDA_VISIBLE_DEV"):
        device_for("float32")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_for("float32") == CPU


@pytest.mark.parametrize("what", [Recipe, RecipeChange])
def test_auto_is_refused_and_says_what_to_write(what):
    with pytest.raises(LossatlasError) as error:
        read(what, {"precision": "auto"}, "runs.a.recipe")
    assert str(error.value).startswith("runs.a.recipe.precision: 'auto' would be another arithmetic on another machine")
    assert "write float32 (the default), or bfloat16" in str(error.value)


def trained_in(precision, seed):
    """Return the weights after one epoch of a small convolutional network on noise, whose forward passes are watched."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(40, 3, 8, 8, generator=generator), torch.randint(3, (40,), generator=generator)
    dtype = torch.float64 if precision == "float64" else torch.float32
    examples = Examples(x, y, x[:10], y[:10], lambda raw: raw, dtype)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).to(dtype)
    seen = []
    for layer in (model[0], model[3]):
        layer.register_forward_hook(lambda layer, inputs, outputs: seen.append(outputs.dtype))
    recipe = read(Recipe, {"lr": 0.1, "batch": 10, "precision": precision}, "recipe").hashed()
    device_for(precision)
    training = Training(model, examples, recipe, seed, "test")
    training.epoch(0)
    losses = training.metrics()
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach(), set(seen), losses


def test_each_precision_is_what_products_are_computed_in(fresh_seed):
    torch.use_deterministic_algorithms(True)
    try:
        weights, types, losses = zip(
            *(trained_in(p, fresh_seed) for p in ("float32", "bfloat16", "float64")), strict=True
        )
        again = trained_in("float32", fresh_seed)[0]
    finally:
        torch.use_deterministic_algorithms(False)
    assert types == ({torch.float32}, {torch.bfloat16}, {torch.float64})
    single, half, double = (w.double() for w in weights)
    torch.testing.assert_close(single, again.double(), rtol=0, atol=0)
    torch.testing.assert_close(single, double, rtol=0, atol=1e-5)
    off = float((half - double).abs().max())
    assert 1e-5 < off < 1e-1, "bfloat16 has 8 bits, float32 24"
    assert losses[0]["train_loss"] != losses[1]["train_loss"]


@pytest.mark.parametrize("preset", ["quick", "laptop", "paper"])
def test_every_training_of_the_studies_is_float32(preset):
    found = Plan(load({**read_yaml(ROOT / "config/config.yaml"), "preset": preset}, ROOT)).artefacts.values()
    trainings = [made for made in found if "recipe" in made.spec]
    assert {made.kind for made in trainings} >= {"runs", "sweeps"}
    assert {made.spec["recipe"]["precision"] for made in trainings} == {"float32"}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_probe_is_ieee_whatever_ran_before_it(precision, tmp_path):
    run = runs(study("tiny"), "good", "")[0]
    data, points = make(run.inputs["data"][0], tmp_path), make(run, tmp_path)
    spec = {**run.spec, "criterion": "cross_entropy", "precision": precision, "batch": 100, "examples": 20}
    loosen()
    there = trained({**spec, "parts": ["train"], "batch_norm": "stored"}, data, points)
    assert {operation.fp32_precision for operation in (*ON_GPU, *ON_CPU)} == {"ieee"}
    assert str(there.parts["train"].dtype) == f"torch.{precision}"


def test_a_training_is_ieee_whatever_ran_before_it(tmp_path):
    run = runs(study("tiny"), "good", "")[0]
    data = make(run.inputs["data"][0], tmp_path)
    loosen()
    train(job({**run.spec, "recipe": {**run.spec["recipe"], "epochs": 1}}, tmp_path / "a.h5", data=data))
    assert {operation.fp32_precision for operation in (*ON_GPU, *ON_CPU)} == {"ieee"}
