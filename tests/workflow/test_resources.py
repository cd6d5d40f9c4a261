"""What jobs ask a cluster for: counted work against torch's own counts, and how requests follow from it."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import ROOT, environment
from torch.utils.flop_counter import FlopCounterMode

from lossatlas import models
from lossatlas.clouds import spec as clouds
from lossatlas.errors import LossatlasError
from lossatlas.files.record import read_provenance
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network
from lossatlas.study import subjects
from lossatlas.train.spec import sized
from lossatlas.workflow import gpu_hours, resources
from lossatlas.workflow.wiring import Wiring


def random_model(rng):
    """Return the spec of a random network, an input shape it takes, and a number of outputs."""
    outputs = int(rng.integers(1, 12))
    kind = rng.choice(["wrn", "resnet", "vgg", "densenet", "mlp", "cnn"])
    bias = bool(rng.integers(2))
    image = (int(rng.integers(1, 4)), *(int(n) for n in rng.integers(20, 40, 2)))
    if kind == "wrn":
        spec = {"depth": int(rng.choice([10, 16, 22])), "width": int(rng.integers(1, 4)), "shortcut": bias}
        return {"name": "wrn", **spec}, image, outputs
    if kind == "resnet":
        spec = {"depth": int(rng.choice([8, 14, 20])), "width": float(rng.choice([0.3, 1.0, 2.0])), "shortcut": bias}
        return {"name": "resnet", **spec}, image, outputs
    if kind == "vgg":
        return (
            {"name": "vgg", "depth": int(rng.choice([9, 13, 19])), "width": float(rng.uniform(0.01, 1))},
            image,
            outputs,
        )
    if kind == "densenet":
        blocks = [int(n) for n in rng.integers(1, 4, rng.integers(1, 4))]
        return {"name": "densenet", "growth": int(rng.integers(1, 9)), "blocks": blocks}, image, outputs
    if kind == "mlp":
        widths = [int(n) for n in rng.integers(1, 50, rng.integers(0, 4))]
        return {"name": "mlp", "widths": widths, "bias": bias}, (int(rng.integers(1, 30)),), outputs
    spec = {"channels": [int(n) for n in rng.integers(1, 9, 2)], "kernel": [5, 3], "padding": [int(rng.integers(3)), 1]}
    return {"name": "cnn", **spec, "pool": 2, "hidden": [int(rng.integers(1, 30))], "bias": bias}, image, outputs


@pytest.mark.parametrize("case", range(24))
def test_parameters_and_flops_are_those_torch_counts(rng, case):
    spec, shape, outputs = random_model(rng)
    print(spec, shape, outputs)
    resolved = catalogue.resolve(spec)
    found = network(resolved, shape, outputs)
    model = models.build(resolved, shape, outputs, seed=0).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *shape))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.flops == counter.get_total_flops()
    assert found.layers == sum(isinstance(part, torch.nn.Conv2d | torch.nn.Linear) for part in model.modules())


def test_every_network_has_a_cost():
    """What a preset costs is told before anything runs: a model without a count would stop every plan with it."""
    asked = {"depth": 20, "width": 1, "widths": [4, 4], "radius": 1.0, "slope": 1.0}
    sizes = {"wrn": {"depth": 16}, "vgg": {"depth": 9}}
    for name, model in catalogue.MODELS.items():
        fields = model.model_fields.items()
        required = {key: asked[key] for key, field in fields if field.is_required() and key != "name"}
        spec = catalogue.resolve({"name": name, **required, **sizes.get(name, {})})
        shape, outputs = ((2,), 2) if name in ("radial", "binary_mlp") else ((1, 28, 28), 10)
        built = models.build(spec, shape, outputs, seed=0)
        assert network(spec, shape, outputs).parameters == sum(p.numel() for p in built.parameters()), name


def test_the_papers_network():
    """WRN-28-2 on 32 x 32: 1,467,610 parameters (the authors' table rounds them to 1.5 M)."""
    found = network(catalogue.resolve({"name": "wrn", "depth": 28, "width": 2}), (3, 32, 32), 10)
    assert found.parameters == 1_467_610


@pytest.fixture
def plan():
    """Return the plan of the paper preset's study trajectories."""
    return gpu_hours.make_plan("paper", ["trajectories"], ROOT)


def test_work_of_a_run_is_epochs_times_examples(plan):
    for made in plan.of_kind("runs"):
        work = resources.work(made)
        assert (work.train, work.test) == (50_000, 10_000)
        assert work.steps == 200 * np.ceil(50_000 / 128)
        # every optimiser's path: the initialisation, 8 points in each of 2 epochs, one in each of 198
        assert work.rows == (1 if made.spec["record"]["epochs"] == "last" else 1 + 2 * 8 + 198)
        assert work.flops == pytest.approx(sized(made)[0].flops * (3 * 200 * 50_000 + 60_000 * work.rows), rel=1e-12)


def test_points_of_a_cloud_are_counted(plan):
    """The paper's 20 jumps of 51 points each (epochs 0 to 50), or others, and the minimum; paths of trainings; a tree."""
    jumps = [made for made in plan.of_kind("clouds") if "run" in made.inputs]
    paths = [made for made in plan.of_kind("clouds") if "run" not in made.inputs]
    assert 20 * 51 + 1 in {clouds.rows(made) for made in jumps}
    for made in jumps:
        parts = [(len(part.spec["jumps"]), part.spec["recipe"]["epochs"]) for part in made.inputs["points"]]
        assert clouds.rows(made) == 1 + sum(count * (epochs + 1) for count, epochs in parts)
    for made in paths:
        sources = [part for part in made.inputs["points"] if part.kind == "runs"]
        assert not sources or clouds.rows(made) == 215 * len(sources)
    assert any(part.kind == "runs" for made in paths for part in made.inputs["points"])
    ten, hundred = 1_467_610, 1_467_610 + 90 * 129  # 90 more classes: 128 weights and a bias each
    tree, arms = 100, 2_000
    assert {clouds.dimension(made) for made in plan.of_kind("grams")} == {ten, hundred, tree, arms}


def test_work_of_level_sets_and_sweeps_is_counted_in_gradients():
    plan = gpu_hours.make_plan("paper", ["levelsets"], ROOT)
    walked = [made for made in plan.of_kind("levelsets") if made.inputs.get("data")]
    assert walked
    for made in walked:
        work, members = resources.work(made), len(made.spec["members"])
        assert work.steps == 2 * made.spec["settings"]["steps"] * members
        assert work.rows == made.spec["points"] * members
        evaluated = work.rows * (work.train + work.test)
        assert work.flops == pytest.approx(sized(made)[0].flops * (3 * work.steps * work.train + evaluated), rel=1e-12)
    for made in plan.of_kind("sweeps"):
        work = resources.work(made)
        at_once = len(made.spec["members"]) if made.spec.get("lockstep") else 1
        epochs = made.spec["recipe"]["epochs"] * len(made.spec["members"]) / at_once
        assert work.steps == epochs * np.ceil(work.train / made.spec["recipe"]["batch"])
    assert {clouds.rows(made) for made in plan.of_kind("grams")}


def test_work_of_tiles_is_counted_in_points_and_products():
    plan = gpu_hours.make_plan("paper", ["surfaces"], ROOT)
    whole = {}
    for made in plan.of_kind("tiles"):
        work, spec = resources.work(made), made.spec
        points = (spec["rows"][1] - spec["rows"][0]) * spec["x"][2]
        assert work.rows == points
        seen = min(work.train, spec["examples"] or work.train)
        if spec["measure"]["kind"] == "losses":
            seen *= 2 if spec["batch_norm"] == "recompute" else 1
            seen += work.test if "test" in spec["parts"] else 0
            assert work.flops == pytest.approx(sized(made)[0].flops * points * seen, rel=1e-12)
        else:
            products = spec["measure"]["products"] * spec["measure"].get("starts", 1) + spec["measure"]["trace"]
            assert work.flops == pytest.approx(sized(made)[0].flops * 9 * points * products * seen, rel=1e-12)
        kind = (spec["label"], spec["measure"]["kind"])
        whole[kind] = whole.get(kind, 0) + points
    points = [whole["resnet-110-1-noshort-cifar10", kind] for kind in ("losses", "curvature")]
    assert points == [51 * 51, 31 * 31]
    for made in plan.of_kind("descents"):
        # a gradient and four losses at each of 301 recorded points, and a gradient a minibatch: 390 of 128, 6 of 8,192
        batch = made.spec["gradient"]["batch"]
        assert resources.work(made).steps == (5 + {128: 390, 8192: 6}[batch]) * 301


def test_a_hessian_product_costs_what_is_counted():
    """9 forward passes, by torch's own count; less what needs no derivative (that with respect to the images)."""
    spec = catalogue.resolve({"name": "resnet", "depth": 14, "width": 0.5})
    model = models.build(spec, (3, 16, 16), 10, seed=0).eval()
    landscape = NetworkLandscape(model, torch.randn(8, 3, 16, 16), torch.zeros(8, dtype=torch.long))
    with FlopCounterMode(display=False) as counter:
        landscape.hvp(landscape.theta(), torch.randn(landscape.dim))
    forward = network(spec, (3, 16, 16), 10).flops * 8
    print(counter.get_total_flops() / forward)
    assert 8.5 * forward < counter.get_total_flops() <= 9 * forward


def test_requests_grow_with_each_attempt_and_with_the_work(plan):
    (made, *_) = plan.of_kind("runs")
    for name in ("mem_mb", "runtime"):
        first = resources.size("runs", name, [made], 1)
        assert [resources.size("runs", name, [made], attempt) for attempt in (2, 3)] == [2 * first, 3 * first]
    asked = 60 * resources.size("runs", "runtime", [made], 1)
    assert asked >= resources.SAFETY * resources.gpu_seconds(made) + 60 * resources.START_MINUTES
    retrained = plan.of_kind("retrains")[0]  # 50 epochs of the same network, against 200
    assert 1 / 5 < resources.gpu_seconds(retrained) / resources.gpu_seconds(made) < 1 / 2


def test_a_request_is_worked_out_once(plan, monkeypatch):
    """Snakemake asks for the resources of every ready job whenever it schedules one."""
    asked = []
    monkeypatch.setattr(resources, "size", lambda *given: asked.append(given) or len(asked))
    wiring = Wiring(plan, ROOT)
    jobs = [SimpleNamespace(id=made.id) for made in plan.of_kind("runs")]
    runtime = wiring.resources("runs")["runtime"]
    first = [runtime(job, attempt=attempt) for job in jobs for attempt in (1, 2)]
    assert len(set(first)) == len(asked) == 2 * len(jobs)
    assert [runtime(job, attempt=attempt) for job in jobs for attempt in (1, 2)] == first
    array = wiring.resources("retrains")["runtime"]
    assert len({array(SimpleNamespace(id=made.id)) for made in plan.of_kind("retrains")}) == 1


@pytest.mark.parametrize("study", ["trajectories", "levelsets", "optimizers", "generalization", "surfaces"])
def test_every_artefact_has_a_request(study):
    plan = gpu_hours.make_plan("paper", [study], ROOT)
    for made in plan.artefacts.values():
        assert resources.size(made.kind, "gpu", [made], 1) == subjects.steps()[made.kind].gpu
        assert resources.size(made.kind, "mem_mb", [made], 1) >= resources.BASE_MB
        assert resources.size(made.kind, "runtime", [made], 1) >= 10
    assert resources.size("figures", "runtime", [], 2) == 2 * resources.size("figures", "runtime", [], 1)


def test_measured_speed_replaces_the_assumption(plan, monkeypatch):
    (made, *_) = plan.of_kind("runs")
    monkeypatch.setenv("LOSSATLAS_GPU_TFLOPS", "20")
    assert resources.gpu_seconds(made) == pytest.approx(resources.work(made).flops / 20e12)
    for wrong in ("fast", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("LOSSATLAS_GPU_TFLOPS", wrong)
        with pytest.raises(LossatlasError, match=r"LOSSATLAS_GPU_TFLOPS: got .* expected a number above 0"):
            resources.gpu_seconds(made)


def command(*arguments, folder=ROOT):
    """Run the command that sums the plan."""
    given = [sys.executable, "-m", "lossatlas.workflow.gpu_hours", *arguments]
    return subprocess.run(given, cwd=folder, env=environment(), capture_output=True, text=True)


def test_gpu_hours_are_the_sum_over_the_plan(plan):
    done = command("--json", "trajectories")
    assert done.returncode == 0, done.stderr
    (line, total) = json.loads(done.stdout)
    jobs = [made for kind, step in subjects.steps().items() if step.gpu for made in plan.of_kind(kind)]
    assert (int(line["runs"]), int(line["retrains"])) == (len(plan.of_kind("runs")), len(plan.of_kind("retrains")))
    assert float(line["GPU hours"]) == pytest.approx(sum(map(resources.gpu_seconds, jobs)) / 3600, abs=0.051)
    assert {**total, "study": ""} == {**line, "study": ""}


def test_measured_speed_is_work_over_the_seconds_of_finished_runs(built):
    tiny = str(ROOT / "tests/studies/tiny.yaml")
    plan = gpu_hours.make_plan("quick", [tiny], ROOT)
    found = gpu_hours.measured(built / "results", plan)
    assert len(found) == len(plan.of_kind("runs")) + len(plan.of_kind("retrains"))
    for made, (speed, _) in zip([*plan.of_kind("runs"), *plan.of_kind("retrains")], found, strict=True):
        seconds = read_provenance(built / made.path)["seconds"]
        assert speed * 1e12 * seconds == pytest.approx(resources.work(made).flops)
