"""Training and jump-and-retrain: resume to the same bits, independence of the grain, errors that name the remedy."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from harness import job, study

from lossatlas.data.jobs import prepare
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.files.points import read_point
from lossatlas.specs.base import read
from lossatlas.train.examples import build_model, make_examples
from lossatlas.train.jobs.train import train
from lossatlas.train.loop import Training
from lossatlas.train.spec import Recipe, learning_rate, runs
from lossatlas.trajectories.jobs.retrain import retrain

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Prepare digits and train the tiny run once; return its specs and files."""
    folder = tmp_path_factory.mktemp("made")
    found = study("tiny")
    run, path = (runs(found, name, "")[0] for name in ("good", "path"))
    prepare(job(run.inputs["data"][0].spec, folder / "data.h5"))
    train(job(run.spec, folder / "run.h5", data=folder / "data.h5"))
    part = found.get("cloud", "good", "")[0].inputs["points"][0]
    inputs = {"data": folder / "data.h5", "run": folder / "run.h5"}
    return {"inputs": inputs, "run": run.spec, "retrain": part.spec, "path": path.spec}


def resolve(recipe):
    """Return a recipe with its defaults, as a job has it."""
    return read(Recipe, recipe, "recipe").hashed()


def contents(path):
    """Return theta, buffers and table of a points file."""
    with open_hdf5(path, "points") as file:
        return file["theta"][:], file["buffers"][:], read_table(path)


def same(a, b):
    """Assert that two points files hold the same bits."""
    for one, other in zip(contents(a)[:2], contents(b)[:2], strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
    pd.testing.assert_frame_equal(contents(a)[2], contents(b)[2], check_exact=True)
    early = [read_table(file, "points", "fingerprint") for file in (a, b)]
    assert len(early[0])
    pd.testing.assert_frame_equal(*early, check_exact=True)


CODE = """
import json, sys
from pathlib import Path
import torch
from lossatlas.specs.registry import Job, resolve
torch.set_num_threads(1)
run, given, output, state, *files = sys.argv[1:]
step = resolve(run)
print("ready", flush=True)
step(Job(json.loads(given), dict(zip(("data", "run"), ((Path(file),) for file in files))), Path(output), Path(state)))
"""


def start(run, spec, folder, inputs):
    """Start a job in a process of its own, as the workflow does."""
    arguments = [run, json.dumps(spec), folder / "killed.h5", folder / "state", *inputs.values()]
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("step", [train, retrain])
def test_killed_at_random_moments_and_rerun_gives_the_same_bits(made, tmp_path, rng, step):
    inputs = made["inputs"] if step is retrain else {"data": made["inputs"]["data"]}
    spec = json.loads(json.dumps(made["retrain"] if step is retrain else made["path"]))
    spec["recipe"]["epochs"] = 8
    run = f"{step.__module__}:{step.__name__}"
    begun = time.perf_counter()
    step(job(spec, tmp_path / "whole.h5", tmp_path / "whole-state", **inputs))
    whole = time.perf_counter() - begun
    kills = 0
    for _ in range(12):
        with start(run, spec, tmp_path, inputs) as process:
            process.stdout.readline()
            time.sleep(float(rng.uniform(0.02, 0.2)) * whole)
            process.kill()
            kills += process.wait() != 0
        if (tmp_path / "killed.h5").exists():
            break
    if not (tmp_path / "killed.h5").exists():
        with start(run, spec, tmp_path, inputs) as process:
            assert process.wait() == 0
    assert kills >= 2, "the job must really have been interrupted"
    same(tmp_path / "whole.h5", tmp_path / "killed.h5")
    assert not (tmp_path / "state").exists()


def test_grain_changes_no_bit(made, tmp_path):
    spec = made["retrain"]
    retrain(job(spec, tmp_path / "all.h5", **made["inputs"]))
    alone = {**spec, "jumps": [spec["jumps"][2]]}
    retrain(job(alone, tmp_path / "one.h5", **made["inputs"]))
    points = spec["recipe"]["epochs"] + 1
    theta, buffers, table = contents(tmp_path / "all.h5")
    rows = slice(2 * points, 3 * points)
    one = contents(tmp_path / "one.h5")
    np.testing.assert_array_equal(theta[rows], one[0])
    np.testing.assert_array_equal(buffers[rows], one[1])
    pd.testing.assert_frame_equal(table[rows].reset_index(drop=True), one[2])


def test_steps_of_a_direction_share_their_minibatches_where_told(made, tmp_path):
    apart = {}
    for orders in ("own", "shared"):
        # From the minimum itself and from next to nothing beside it: what differs after an epoch is the minibatches.
        spec = {**made["retrain"], "orders": orders, "jumps": [[0, 0.0], [0, 1e-6], [1, 0.0]]}
        retrain(job(spec, tmp_path / f"{orders}.h5", **made["inputs"]))
        theta = contents(tmp_path / f"{orders}.h5")[0]
        points = spec["recipe"]["epochs"] + 1
        ends = theta[points - 1 :: points].astype(np.float64)
        apart[orders] = [np.linalg.norm(ends[0] - ends[i]) / np.linalg.norm(ends[0] - theta[0]) for i in (1, 2)]
        np.testing.assert_array_equal(theta[0], theta[2 * points], "step 0 starts at the minimum")
    assert apart["own"][0] > 0.1
    assert apart["shared"][0] < 0.1 * apart["own"][0]
    assert apart["shared"][1] > 0.1, "another direction has another order"


def test_jumps_lie_on_straight_lines_of_the_filter_norm(made, tmp_path):
    retrain(job(made["retrain"], tmp_path / "all.h5", **made["inputs"]))
    minimum, _ = read_point(made["inputs"]["run"])
    theta, _, table = contents(tmp_path / "all.h5")
    jumps = table.index[table["epoch"] == 0]
    offsets = theta[jumps].astype(np.float64) - minimum
    lengths = np.linalg.norm(offsets, axis=1)
    steps = table["step"].to_numpy()[jumps]
    np.testing.assert_allclose(lengths / steps, (lengths / steps)[0], rtol=1e-5)
    cosines = (offsets / lengths[:, None]) @ (offsets / lengths[:, None]).T
    seeds = table["seed"].to_numpy()[jumps]
    np.testing.assert_allclose(cosines[seeds[:, None] == seeds[None]], 1, atol=1e-5)
    assert np.abs(cosines[seeds[:, None] != seeds[None]]).max() < 0.05


def test_table_tells_what_the_weights_do(made):
    """The recorded losses equal the loss of the recorded weights and statistics, by another route."""
    examples, outputs = make_examples(made["inputs"]["data"], "given", 0, "float32", torch.device("cpu"))
    model = build_model(made["run"]["model"], examples, outputs, 0)
    theta, buffers = read_point(made["inputs"]["run"])
    torch.nn.utils.vector_to_parameters(torch.from_numpy(theta), model.parameters())
    stats = [b for b in model.buffers() if b.is_floating_point()]
    torch.nn.utils.vector_to_parameters(torch.from_numpy(buffers), stats)
    model.double().eval()
    with torch.no_grad():
        outputs = model(examples.normalise(examples.x).double())
    row = read_table(made["inputs"]["run"]).iloc[-1]
    assert row["train_loss"] == pytest.approx(torch.nn.functional.cross_entropy(outputs, examples.y).item(), rel=1e-5)
    assert row["train_accuracy"] == pytest.approx((outputs.argmax(1) == examples.y).double().mean().item())


def test_training_learns_and_memorises(made, tmp_path):
    data = made["inputs"]["data"]
    spec = json.loads(json.dumps(made["run"]))
    spec["recipe"]["epochs"] = 12
    train(job(spec, tmp_path / "a.h5", data=data))
    assert read_table(tmp_path / "a.h5").iloc[-1]["test_accuracy"] > 0.5
    spec["labels"] = "random"
    spec["recipe"].update(epochs=60, augment=[], weight_decay=0.0)
    train(job(spec, tmp_path / "b.h5", data=data))
    last = read_table(tmp_path / "b.h5").iloc[-1]
    assert last["train_accuracy"] > 0.95
    assert last["test_accuracy"] < 0.4


def test_fine_recording(made, tmp_path):
    train(job(made["path"], tmp_path / "a.h5", data=made["inputs"]["data"]))
    theta, _, table = contents(tmp_path / "a.h5")
    assert table["epoch"].tolist() == [0.0, 0.4, 1.0, 2.0] or table["epoch"].tolist() == [0.0, 0.6, 1.0, 2.0]
    assert len(np.unique(theta, axis=0)) == 4


def test_momentum_step_against_the_formula(made):
    """Two full-batch steps of SGD with momentum and decay equal v <- m v + (g + wd theta), theta <- theta - lr v."""
    examples, outputs = make_examples(made["inputs"]["data"], "given", 0, "float64", torch.device("cpu"))
    recipe = resolve(
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "batch": 100, "epochs": 2, "precision": "float64"}
    )
    model = build_model(
        {"name": "mlp", "widths": [5], "activation": "tanh", "bias": True, "init": "default"}, examples, outputs, 3
    )
    reference = [p.detach().clone().requires_grad_() for p in model.parameters()]
    velocity = [torch.zeros_like(p) for p in reference]
    names = [name for name, _ in model.named_parameters()]
    for _ in range(2):
        out = torch.func.functional_call(model, dict(zip(names, reference, strict=True)), examples.inputs(examples.x))
        grads = torch.autograd.grad(torch.nn.functional.cross_entropy(out, examples.y), reference)
        for i, (p, g) in enumerate(zip(reference, grads, strict=True)):
            velocity[i] = 0.9 * velocity[i] + g + 0.01 * p.detach()
            reference[i] = (p.detach() - 0.1 * velocity[i]).requires_grad_()
    training = Training(model, examples, recipe, 0, "test")
    training.epoch(0)
    training.epoch(1)
    for p, q in zip(model.parameters(), reference, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_milestones():
    recipe = resolve({"lr": 0.1, "milestones": [0.5, 0.75], "epochs": 8})
    rates = [learning_rate(recipe, epoch) for epoch in range(8)]
    np.testing.assert_allclose(rates, [0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_a_run_of_no_epochs_is_its_initialisation(made, tmp_path):
    spec = json.loads(json.dumps(made["run"]))
    spec["recipe"]["epochs"] = 0
    train(job(spec, tmp_path / "a.h5", data=made["inputs"]["data"]))
    examples, outputs = make_examples(made["inputs"]["data"], "given", 0, "float32", torch.device("cpu"))
    model = build_model(spec["model"], examples, outputs, spec["seeds"]["init"])
    theta, _, table = contents(tmp_path / "a.h5")
    assert table["epoch"].tolist() == [0.0]
    expected = torch.nn.utils.parameters_to_vector([p.contiguous() for p in model.parameters()])
    np.testing.assert_array_equal(theta[0], expected.detach().numpy())


def test_diverging_loss_is_one_clear_error(made, tmp_path):
    spec = json.loads(json.dumps(made["run"]))
    spec["recipe"].update(lr=1e20, epochs=3)
    with pytest.raises(LossatlasError, match=r"training loss became (nan|inf) in epoch \d, step \d+ .*lower recipe.lr"):
        train(job(spec, tmp_path / "a.h5", data=made["inputs"]["data"]))
    assert not (tmp_path / "a.h5").exists()


def test_run_of_another_network_is_refused(made, tmp_path):
    spec = json.loads(json.dumps(made["retrain"]))
    spec["model"]["width"] = 2
    with pytest.raises(LossatlasError, match=r"run.h5: holds 77\d+ weights, the network of .* has \d+"):
        retrain(job(spec, tmp_path / "a.h5", **made["inputs"]))


def test_defaults_are_a_whole_recipe():
    assert resolve({}) == {
        "optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "epochs": 1,
        "batch": 128, "milestones": [], "gamma": 0.1, "clip": None, "augment": [], "criterion": "cross_entropy",
        "precision": "float32",
    }  # fmt: skip
