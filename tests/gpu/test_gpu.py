"""On a real GPU, in about five minutes: every kind of job, resumed to the same bits; float32; memory; throughput.

    python -m pytest -m gpu tests/gpu

Nothing of it runs where there is no GPU, as on the machines where this was written: ``docs/cluster.md`` says so.
"""

import logging
import os
import shutil
import time

import frozen_bits
import numpy as np
import pytest
import torch
from harness import job
from torch import nn

from lossatlas.files.clock import Clock
from lossatlas.files.hdf5 import read_table
from lossatlas.files.state import State
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import build
from lossatlas.numerics import CUBLAS
from lossatlas.specs.registry import resolve
from lossatlas.study import subjects
from lossatlas.train.loop import Examples, Training
from lossatlas.train.precision import device_for, put_in_force

os.environ.update(CUBLAS)  # before CUDA starts, as every job does

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]

ON_GPU = sorted(kind for kind, step in subjects.steps().items() if step.gpu)
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def artefacts():
    """Return name -> artefact of the study with every kind."""
    return frozen_bits.artefacts()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the working directory of the jobs."""
    here, made = os.getcwd(), tmp_path_factory.mktemp("gpu")
    shutil.copy(frozen_bits.FROZEN / "vectors.npy", made)
    os.chdir(made)
    yield made
    os.chdir(here)


class Interruption(BaseException):
    """A kill right after a commit."""


def make(made, folder):
    """Make an artefact and what it is made from; return its file."""
    output = folder / made.path
    if not output.exists():
        run(made, folder, output)
    return output


def run(made, folder, output, often=False, stop=0):
    """Make an artefact, or up to the so-manieth commit and then once more; return how many commits there were.

    ``often``: commit wherever that might be due.
    """
    inputs = {role: [make(part, folder) for part in parts] for role, parts in made.inputs.items()}
    this, function = job(made.spec, output, output.parent / "state", **inputs), resolve(made.run)
    commits, real = [], State.write

    def write(state, *given):
        real(state, *given)
        commits.append(given)
        if len(commits) == stop:
            raise Interruption

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "write", write)
        patch.setattr(Clock, "due", lambda clock: often)
        try:
            function(this)
        except Interruption:
            function(this)
    return len(commits)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", ON_GPU)
def test_every_kind_twice_and_resumed_has_the_same_bits(artefacts, folder, kind, rng):
    for name, made in artefacts.items():
        if made.kind == kind:
            first = make(made, folder)
            again, resumed = first.with_name("again.h5"), first.with_name("resumed.h5")
            commits = run(made, folder, again, often=True)
            assert frozen_bits.bits(again) == frozen_bits.bits(first), f"{name}, again"
            stop = int(rng.integers(1, commits + 1))
            assert run(made, folder, resumed, often=True, stop=stop) >= commits
            assert frozen_bits.bits(resumed) == frozen_bits.bits(first), f"{name}, resumed after {stop} of {commits}"


def test_recorded_losses_are_the_cpus_to_rounding(artefacts, folder, tmp_path, monkeypatch):
    """Of a short training: the loss of the initialisation to float32's rounding, later ones as training lets it grow."""
    made = artefacts["runs.resnet[0]"]
    there = read_table(make(made, folder), "points")
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        here = read_table(make(made, tmp_path), "points")
    np.testing.assert_allclose(there["train_loss"].iloc[0], here["train_loss"].iloc[0], rtol=1e-5)
    np.testing.assert_allclose(there["train_loss"], here["train_loss"], rtol=2e-2)


NETWORKS = {
    "resnet": ({"name": "resnet", "depth": 20, "width": 1.0}, (3, 32, 32)),
    "mlp": ({"name": "mlp", "widths": [64, 64], "activation": "softplus", "bias": True}, (1, 28, 28)),
    "lstm": ({"name": "lstm", "hidden": 32, "steps": 28}, (1, 28, 28)),
}


def landscape(name, device, dtype=torch.float32):
    """Return a network's landscape on random examples, the same on every device."""
    spec, shape = NETWORKS[name]
    torch.manual_seed(0)
    x, y = torch.randn(256, *shape), torch.randint(10, (256,))
    return NetworkLandscape(build(dict(spec), shape, 10, 0).eval(), x, y, device=device, dtype=dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradient_and_hessian_product_are_the_cpus(name):
    device_for("float32")
    exact, found = landscape(name, CPU, torch.float64), landscape(name, GPU)
    theta = exact.theta()
    v = torch.randn(len(theta), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (loss, gradient), product = exact.loss_and_grad(theta), exact.hvp(theta, v)
    assert float(found.loss(theta)) == pytest.approx(float(loss), rel=1e-5)
    for ours, true in ((found.grad(theta), gradient), (found.hvp(theta, v), product)):
        assert float((ours.cpu().double() - true).norm() / true.norm()) < 1e-4


@pytest.mark.parametrize(("precision", "low", "high"), [("float32", 0.0, 1e-6), ("tf32", 1e-5, 1e-2)])
def test_float32_is_ieees_and_tf32_is_not(precision, low, high):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no TF32")
    put_in_force(precision, GPU)
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double()
    errors = [((a.to(GPU) @ b.to(GPU)).cpu() - exact).norm() / exact.norm()]
    image, filters = a.reshape(16, 16, 32, 32), b[:16].reshape(32, 16, 4, 4)
    true = nn.functional.conv2d(image.double(), filters.double())
    errors.append((nn.functional.conv2d(image.to(GPU), filters.to(GPU)).cpu() - true).norm() / true.norm())
    put_in_force("float32", GPU)
    assert all(low <= float(error) < high for error in errors), errors


def test_a_chunk_that_memory_does_not_take_is_halved(caplog):
    device_for("float32")
    spec, shape = NETWORKS["resnet"]
    x, y = torch.randn(4096, *shape), torch.randint(10, (4096,))
    whole = NetworkLandscape(build(dict(spec), shape, 10, 0).eval(), x, y, batch_size=4096, device=GPU)
    theta = whole.theta()
    loss, gradient = whole.loss_and_grad(theta)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction((held + 600e6) / total)
    try:
        with caplog.at_level(logging.WARNING):
            other, slope = whole.loss_and_grad(theta)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert free > 2e9, "too little memory is free for this test"
    assert any("out of GPU memory" in record.message for record in caplog.records)
    assert float(other) == pytest.approx(float(loss), rel=1e-6)
    assert float((slope - gradient).norm() / gradient.norm()) < 1e-4


RECIPE = {
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "nesterov": False,
    "batch": 128,
    "augment": ["crop", "flip"],
    "criterion": "cross_entropy",
    "precision": "float32",
    "clip": None,
    "milestones": [],
    "gamma": 0.1,
    "epochs": 1,
}


def rate(device, count):
    """Return the images a second of a ResNet-20's training on CIFAR's shapes, the second epoch of it."""
    spec, shape = NETWORKS["resnet"]
    x = torch.randint(0, 256, (count, *shape), dtype=torch.uint8).to(device)
    y = torch.randint(10, (count,)).to(device)
    examples = Examples(x, y, x[:128], y[:128], lambda raw: raw.float() / 128 - 1)
    training = Training(build(dict(spec), shape, 10, 0).to(device), examples, RECIPE, 0, "throughput")
    seconds = []
    for epoch in range(2):
        begun = time.perf_counter()
        training.epoch(epoch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return count / seconds[-1]


def test_throughput(record_property, capsys):
    device_for("float32")
    on_gpu, on_cpu = rate(GPU, 50_000), rate(CPU, 1_000)
    record_property("images a second", on_gpu)
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}: ResNet-20, batch 128, float32: {on_gpu:,.0f} images a second")
    assert on_gpu > 2 * on_cpu
