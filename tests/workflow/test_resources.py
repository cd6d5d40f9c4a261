"""What jobs ask a cluster for: counted work against torch's own counts, and how requests follow from it."""

import json
import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import ROOT, environment
from torch.utils.flop_counter import FlopCounterMode

from lossatlas import models
from lossatlas.clouds import spec as clouds
from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network
from lossatlas.specs.artefact import digest
from lossatlas.study import subjects
from lossatlas.study.config import Cluster
from lossatlas.study.plan import Plan
from lossatlas.train.spec import sized
from lossatlas.workflow import cost, gpu_hours, resources, timeouts
from lossatlas.workflow.fit import fit
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
        work = cost.work(made)
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
        work, members = cost.work(made), len(made.spec["members"])
        assert work.steps == 2 * made.spec["settings"]["steps"] * members
        assert work.rows == made.spec["points"] * members
        evaluated = work.rows * (work.train + work.test)
        assert work.flops == pytest.approx(sized(made)[0].flops * (3 * work.steps * work.train + evaluated), rel=1e-12)
    for made in plan.of_kind("sweeps"):
        work = cost.work(made)
        at_once = len(made.spec["members"]) if made.spec.get("lockstep") else 1
        epochs = made.spec["recipe"]["epochs"] * len(made.spec["members"]) / at_once
        assert work.steps == epochs * np.ceil(work.train / made.spec["recipe"]["batch"])
    assert {clouds.rows(made) for made in plan.of_kind("grams")}


def test_work_of_tiles_is_counted_in_points_and_products():
    plan = gpu_hours.make_plan("paper", ["surfaces"], ROOT)
    whole = {}
    for made in plan.of_kind("tiles"):
        work, spec = cost.work(made), made.spec
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
        assert cost.work(made).steps == (5 + {128: 390, 8192: 6}[batch]) * 301


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


def test_requests_follow_the_work_and_stay_below_the_limit(plan):
    (made, *_) = plan.of_kind("runs")
    first = resources.request("runs", [made])
    assert 60 * first["runtime"] >= resources.SAFETY * resources.seconds(made) + 60 * resources.START_MINUTES
    again = resources.request("runs", [made], failures=2)
    assert again == {**first, "mem_mb": 3 * first["mem_mb"]}
    retrained = plan.of_kind("retrains")[0]  # 50 epochs of the same network for each jump, against 200
    start = cost.START_SECONDS + cost.NETWORK_SECONDS[cost.GPU]
    one = (resources.seconds(retrained) - start) / len(retrained.spec["jumps"])
    assert 1 / 5 < one / (resources.seconds(made) - start) < 1 / 2
    short = Cluster(max_runtime=0.5)
    assert resources.request("runs", [made], cluster=short)["runtime"] == 30 < first["runtime"]
    needed = math.ceil(resources.SAFETY * resources.seconds(made) / 1800)
    assert resources.restarts([made], short) == needed - 1
    assert resources.restarts([made], Cluster(max_runtime=1000)) == 0


SHARED = {"tiles": "rows", "retrains": "jumps", "sweeps": "members", "paths": "members", "hessians": "rows"}
"""What jobs of a kind share among them, ``grain`` each."""


def test_jobs_of_preset_paper_that_share_work_are_not_short():
    """None but the last is below five minutes by the model; levelsets keeps the grain its results were made with."""
    plan = gpu_hours.make_plan("paper", ["trajectories", "optimizers", "generalization", "surfaces"], ROOT)
    cluster, sharing = plan.config.cluster, defaultdict(list)
    for made in plan.artefacts.values():
        if made.kind in SHARED and resources.device(made, cluster) == cost.GPU:
            rest = {key: value for key, value in made.spec.items() if key != SHARED[made.kind]}
            sharing[made.kind, digest([rest, made.input_hashes()])].append(made)
    short = [
        (kind, group[0].label, seconds)
        for (kind, _), group in sharing.items()
        if len(seconds := sorted(resources.seconds(made, cluster) for made in group)) > 1
        and seconds[1] < gpu_hours.SHORT
    ]
    assert sum(len(group) > 1 for group in sharing.values()) > 50
    assert not short


def test_a_job_goes_where_it_costs_less(plan):
    made, worth = plan.of_kind("runs")[0], 16.0
    for every in (made, *gpu_hours.make_plan("quick", ["levelsets"], ROOT).of_kind("levelsets")):
        core, gpu = (cost.network_seconds(every, device) for device in (cost.CPU, cost.GPU))
        cheaper = core < worth * gpu and core <= resources.LONGEST_ON_CPU
        assert resources.device(every, Cluster(gpu_worth=worth)) == (cost.CPU if cheaper else cost.GPU)
        assert resources.device(every, Cluster(gpu_worth=0)) == cost.GPU
        assert resources.request(every.kind, [every])["gpu"] == (not cheaper)
    assert resources.device(made) == cost.GPU  # a wide network on 50,000 images


def test_a_request_is_worked_out_once(plan, monkeypatch):
    """Snakemake asks for the resources of every ready job whenever it schedules one."""
    asked = []
    answer = {"mem_mb": 1, "gpu": 1}
    monkeypatch.setattr(resources, "request", lambda *given: asked.append(given) or {**answer, "runtime": len(asked)})
    wiring = Wiring(plan, ROOT)
    jobs = [SimpleNamespace(id=made.id) for made in plan.of_kind("runs")]
    runtime = wiring.resources("runs")["runtime"]
    first = [runtime(job, attempt=attempt) for job in jobs for attempt in (1, 2)]
    assert len(set(first)) == len(asked) == 2 * len(jobs)
    assert [runtime(job, attempt=attempt) for job in jobs for attempt in (1, 2)] == first
    array = wiring.resources("retrains")["runtime"]
    assert len({array(SimpleNamespace(id=made.id)) for made in plan.of_kind("retrains")}) == 1


def test_a_timeout_asks_for_the_same_again_and_another_failure_for_more_memory(plan):
    job, other = (SimpleNamespace(id=made.id) for made in plan.of_kind("runs")[:2])
    asked = Wiring(plan, ROOT).resources("runs")

    def request(attempt):
        return [asked[name](job, attempt=attempt) for name in resources.NAMES]

    first = request(1)
    timeouts.note(
        [f"results/runs/{job.id}/points.h5"], "SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Reason: None."
    )
    assert request(2) == first
    timeouts.note([f"results/runs/{job.id}/points.h5"], "SLURM-job '8' failed, SLURM status is: 'OUT_OF_MEMORY'.")
    assert request(3) == [2 * first[0], *first[1:]]
    assert asked["mem_mb"](other, attempt=2) == 2 * asked["mem_mb"](other)


def test_partitions_and_the_kind_of_gpu_follow_the_device(plan):
    made = SimpleNamespace(id=plan.of_kind("runs")[0].id)
    assert set(Wiring(plan, ROOT).resources("runs")) == set(resources.NAMES)
    cluster = Cluster(cpu_partition="cores", gpu_partition="cards", gpu_model="a100")
    wiring = Wiring(Plan(replace(plan.config, cluster=cluster)), ROOT)

    def asked(kind):
        found = wiring.resources(kind)
        return [found[name](made if kind == "runs" else SimpleNamespace()) for name in ("slurm_partition", "gpu_model")]

    assert asked("runs") == ["cards", "a100"]
    assert asked("figures") == ["cores", ""]


def test_a_job_that_does_not_fill_a_gpu_asks_for_parts_of_one(plan):
    """As many as the share of its time in which the GPU computes; none where GPUs are whole, or it needs one whole."""
    cluster = Cluster(gpu_shards=8, gpu_model="a100", gpu_worth=0)
    every = gpu_hours.make_plan("paper", ["optimizers", "surfaces"], ROOT)
    wiring = Wiring(Plan(replace(every.config, cluster=cluster)), ROOT)
    seen = set()
    for kind in ("tiles", "paths", "sweeps", "runs"):
        asked = wiring.resources(kind)
        for made in every.of_kind(kind):
            counted, speed = cost.demand(made), cost.speeds(cost.speeds_file())[cost.GPU][""]
            busy = max(counted.flops / speed.flops, counted.bytes / speed.bytes)
            share = max(busy / max(busy, counted.calls * speed.call), 0.25)
            parts = math.ceil(8 * share)
            job = SimpleNamespace(id=made.id)
            found = [asked[name](job) for name in ("gpu", "gres", "gpu_model")]
            assert found == ([1, "", "a100"] if parts == 8 else [0, f"shard:{parts}", ""])
            seen.add(parts)
    assert {2, 8} < seen
    assert "gres" not in Wiring(every, ROOT).resources("runs")
    figure = Wiring(Plan(replace(plan.config, cluster=cluster)), ROOT).resources("figures")
    assert [figure[name](SimpleNamespace()) for name in ("gpu", "gres")] == [0, ""]


def test_only_rules_with_jobs_beyond_the_limit_are_sent_again_more_often(plan):
    limited = replace(plan.config, cluster=Cluster(max_runtime=0.25))
    rules = [SimpleNamespace(name=name, restart_times=None) for name in ("train", "embed", "figure")]
    Wiring(Plan(limited), ROOT).allow_restarts(rules)
    assert rules[0].restart_times > resources.RETRIES
    assert [rule.restart_times for rule in rules[1:]] == [None, None]


@pytest.mark.parametrize("study", ["trajectories", "levelsets", "optimizers", "generalization", "surfaces"])
def test_every_artefact_has_a_request(study):
    plan = gpu_hours.make_plan("paper", [study], ROOT)
    for made in plan.artefacts.values():
        asked = resources.request(made.kind, [made], cluster=Cluster(gpu_worth=0))
        assert asked["gpu"] == subjects.steps()[made.kind].gpu
        assert asked["mem_mb"] >= resources.BASE_MB
        assert 10 <= asked["runtime"] <= 24 * 60
    assert resources.request("figures", [], 1)["mem_mb"] == 2 * resources.request("figures", [])["mem_mb"]


def test_a_file_of_speeds_replaces_ours(plan, monkeypatch, tmp_path):
    (made, *_) = plan.of_kind("runs")
    file = tmp_path / "speeds.json"
    monkeypatch.setenv("LOSSATLAS_SPEEDS", str(file))
    one = {"flops": 1e9, "bytes": 1e20, "call": 1e-12}
    file.write_text(json.dumps({"cpu": {"": one}, "gpu": {"": one, "runs": {**one, "flops": 2e9}}}))
    start = cost.START_SECONDS + cost.NETWORK_SECONDS[cost.CPU]
    assert cost.network_seconds(made, "cpu") - start == pytest.approx(cost.work(made).flops / 1e9)
    factor = cost.PRECISION.get(cost.precision(made.spec), 1.0)
    start = cost.START_SECONDS + cost.NETWORK_SECONDS[cost.GPU]
    assert cost.network_seconds(made, "gpu") - start == pytest.approx(cost.work(made).flops / 2e9 / factor)
    wrong = {
        "fast": "expected speeds as",
        json.dumps({"cpu": {"": one}}): "expected speeds as",
        json.dumps(
            {"cpu": {"": one}, "gpu": {"": {**one, "call": 0}}}
        ): r"gpu\.\.call: got 0, expected a number above 0",
        json.dumps({"cpu": {"runs": one}, "gpu": {"": one}}): 'cpu: got no entry ""',
    }
    for i, (text, message) in enumerate(wrong.items()):
        bad = tmp_path / f"{i}.json"
        bad.write_text(text)
        monkeypatch.setenv("LOSSATLAS_SPEEDS", str(bad))
        with pytest.raises(LossatlasError, match=message):
            cost.network_seconds(made, "cpu")


def command(*arguments, folder=ROOT):
    """Run the command that sums the plan."""
    given = [sys.executable, "-m", "lossatlas.workflow.gpu_hours", *arguments]
    return subprocess.run(given, cwd=folder, env=environment(), capture_output=True, text=True)


def test_hours_are_sums_over_the_plan(plan):
    done = command("--json", "trajectories")
    assert done.returncode == 0, done.stderr
    (line, total) = json.loads(done.stdout)
    jobs = [made for made in plan.artefacts.values() if subjects.steps()[made.kind].gpu]
    on_gpu = [made for made in jobs if resources.device(made) == cost.GPU]
    assert int(line["jobs"]) == len(plan.artefacts)
    assert (int(line["on a GPU"]), int(line["on a core"])) == (len(on_gpu), len(jobs) - len(on_gpu))
    assert float(line["GPU hours"]) == pytest.approx(sum(map(resources.seconds, on_gpu)) / 3600, abs=0.051)
    assert {**total, "study": ""} == {**line, "study": ""}


def test_the_critical_path_is_the_longest_chain(plan):
    """Over random parts of the plan: against a search through all chains that end in a job."""
    cluster = Cluster()
    every = gpu_hours.jobs_of(plan, "trajectories")

    def longest(made):
        below = [source for parts in made.inputs.values() for source in parts]
        return resources.seconds(made, cluster) + max(map(longest, below), default=0.0)

    embedded = next(made for made in every if made.kind == "embeddings")
    chain = list(embedded.ancestry())
    assert gpu_hours.critical_path(chain, cluster) == pytest.approx(longest(embedded))
    assert gpu_hours.critical_path(every, cluster) >= gpu_hours.critical_path(chain, cluster)


def test_speeds_are_fitted_to_the_seconds_of_finished_jobs(built, monkeypatch):
    tiny = str(ROOT / "tests/studies/tiny.yaml")
    plan = gpu_hours.make_plan("quick", [tiny], ROOT)
    monkeypatch.setattr(gpu_hours, "LEAST", 0.0)
    # the jobs of the study may take less than a start is taken to
    monkeypatch.setitem(cost.NETWORK_SECONDS, cost.CPU, 0.0)
    content = gpu_hours.measured([plan], [built / "results"])
    assert set(content["cpu"]) >= {"", "runs", "retrains"}
    assert content["gpu"] == {kind: asdict(speed) for kind, speed in cost.speeds(cost.SPEEDS)["gpu"].items()}
    assert "fitted to" in content["about"]["cpu"]
    with pytest.raises(LossatlasError, match="no finished job"):
        gpu_hours.measured([plan], [built / "nowhere"])


def test_a_fit_finds_the_speeds_that_times_were_made_with(rng):
    """Jobs bound by each of the three parts, their times 20 % around the model; the prior is wrong by factors of two."""
    true = cost.Speed(3e10, 4e9, 5e-5)
    jobs = []
    for which in range(3):
        for _ in range(40):
            seconds = float(rng.uniform(10, 500))
            share = np.where(np.arange(3) == which, 1.0, rng.uniform(0.05, 0.6, 3)) * seconds
            demand = cost.Demand(share[0] * true.flops, share[1] * true.bytes, share[2] / true.call)
            assert true.seconds(demand) == pytest.approx(seconds)
            jobs.append((demand, seconds * float(np.exp(rng.normal(0, 0.2)))))
    found = fit(jobs, cost.Speed(1.5e10, 8e9, 1e-4))
    print(found)
    for name, value in asdict(true).items():
        assert getattr(found, name) == pytest.approx(value, rel=0.2)  # 0.2 / sqrt(40) = 3 %, and the prior's pull
    assert fit([], true) == true
