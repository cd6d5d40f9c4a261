"""Path probes as jobs: pairs, kill and resume, grain, true numbers, figures and claims of a tiny study, one-line errors."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import combinations, islice

import numpy as np
import pandas as pd
import pytest
import torch
from harness import committed, draw, evaluate, inputs_of, make, make_all
from harness import study as planned

from lossatlas.barriers.jobs.path import draw_pairs
from lossatlas.barriers.spec import PATHS
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.train.networks import member

torch.set_num_threads(1)


def study(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return planned("tiny_paths", **overrides)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make every artefact of the tiny study once; the two wells with fewer steps."""
    folder, plan = tmp_path_factory.mktemp("made"), study(probes={"wells": {"path": {"steps": 40}}})
    make_all(plan, folder)
    return folder, plan


def contents(path):
    """Return the table and the profiles of a path file."""
    with open_hdf5(path, "path") as file:
        return read_table(path, "path"), {name: file[name][...] for name in ("train_losses", "test_losses")}


def test_pairs_are_all_pairs_in_random_matchings(rng, fresh_seed):
    count = int(rng.integers(4, 12))
    drawn = list(draw_pairs(count, fresh_seed))
    assert sorted(drawn) == list(combinations(range(count), 2))
    first = [point for pair in drawn[: count // 2] for point in pair]
    assert len(set(first)) == len(first)
    assert list(islice(draw_pairs(count, fresh_seed), 3)) == drawn[:3]


def test_every_pair_is_as_likely_as_any_other(fresh_seed):
    counts = dict.fromkeys(combinations(range(5), 2), 0)
    for k in range(2000):
        for pair in islice(draw_pairs(5, fresh_seed + k), 3):
            counts[pair] += 1
    expected = 2000 * 3 / 10
    chi2 = sum((n - expected) ** 2 / expected for n in counts.values())
    assert chi2 < 40  # nine degrees of freedom: exceeded with probability 8e-6


def test_recorded_heights_are_true_of_the_networks(made):
    """The straight path's losses by another route; the optimised one is lower, its ends are the cloud's points."""
    folder, plan = made
    for part in plan.get("paths", "adam", ""):
        table, profiles = contents(folder / part.path)
        with open_hdf5(folder / part.inputs["cloud"][0].path, "points") as file:
            theta, kept = file["theta"][...].astype(float), read_table(folder / part.inputs["cloud"][0].path)
        network = member(part.spec, part.spec["seeds"], folder / part.inputs["data"][0].path)
        for i, row in table[table["step"] == 0].iterrows():
            ends = [theta[row["first"]], theta[row["second"]]]
            for name, landscape in (("train", network.train), ("test", network.test)):
                layers = [landscape.layout.unflatten(torch.from_numpy(e).float()) for e in ends]
                losses = []
                for t in np.linspace(0, 1, 11):
                    w = {key: (1 - t) * layers[0][key] + t * layers[1][key] for key in layers[0]}
                    hidden = torch.nn.functional.softplus(landscape.x @ w["linear1.weight"].T)
                    outputs = (hidden @ w["linear2.weight"].T).double()
                    losses.append(float(torch.nn.functional.cross_entropy(outputs, landscape.y)))
                np.testing.assert_allclose(profiles[f"{name}_losses"][i], losses, rtol=1e-5)
                assert row[f"{name}_height"] == pytest.approx(max(losses), rel=1e-5)
                assert row[f"{name}_argmax"] == pytest.approx(np.argmax(losses) / 10)
                assert row[f"{name}_end"] == pytest.approx(max(losses[0], losses[-1]), rel=1e-5)
            assert row["length"] == pytest.approx(np.linalg.norm(ends[0] - ends[1]), rel=1e-9)
            assert kept["train_loss"][row["first"]] == pytest.approx(profiles["train_losses"][i][0], rel=1e-4)
        values = table.set_index(["step", "pair"])["value"]
        assert (values.loc[20] < values.loc[0]).all()
        ends = table.groupby("pair")["train_end"]
        assert (ends.max() - ends.min() < 1e-12).all()


CODE = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from lossatlas.barriers.jobs import path
from lossatlas.files import clock
from lossatlas.specs.registry import Job
clock.COMMIT_SECONDS = 0.02
spec, cloud, data, output, state = json.loads(sys.argv[1]), *map(Path, sys.argv[2:])
path.path(Job(spec, {"cloud": (cloud,), "data": (data,)}, output, state))
"""


def start_job(spec, cloud, data, output, state):
    """Start a job in a process of its own, committing often."""
    arguments = [json.dumps(spec), *map(str, (cloud, data, output, state))]
    return subprocess.Popen([sys.executable, "-c", CODE, *arguments], stderr=subprocess.DEVNULL)


def progress_of(state):
    """Return how far the last commit of a job is: (pair of the job, step), or None."""
    kept = committed(state)
    return kept and (kept["unit"], kept["steps"])


def same(a, b):
    """Assert that two path files hold the same bits."""
    (first, ours), (second, theirs) = contents(a), contents(b)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    for name in ours:
        np.testing.assert_array_equal(ours[name].view(np.uint64), theirs[name].view(np.uint64))


def test_killed_in_the_middle_and_resumed_gives_the_same_bits(made, tmp_path, rng):
    folder, plan = made
    part = plan.get("paths", "adam", "")[0]
    spec = json.loads(json.dumps(part.spec))
    spec["settings"]["steps"], spec["record"] = 600, [0, 100, 333, 600]
    files = [folder / part.inputs[role][0].path for role in ("cloud", "data")]
    with start_job(spec, *files, tmp_path / "whole.h5", tmp_path / "whole") as process:
        assert process.wait() == 0
    seen, kills = set(), 0
    for _ in range(3):
        with start_job(spec, *files, tmp_path / "killed.h5", tmp_path / "state") as process:
            before = progress_of(tmp_path / "state")
            while process.poll() is None and progress_of(tmp_path / "state") == before:
                time.sleep(0.005)
            time.sleep(float(rng.uniform(0, 0.2)))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
            seen.add(progress_of(tmp_path / "state"))
    with start_job(spec, *files, tmp_path / "killed.h5", tmp_path / "state") as process:
        assert process.wait() == 0
    assert kills >= 1
    assert any(step > 0 for _, step in filter(None, seen)), "no commit was made inside a path"
    same(tmp_path / "whole.h5", tmp_path / "killed.h5")
    assert not (tmp_path / "state").exists()


def test_grain_changes_no_bit(made):
    folder, plan = made
    other = study(probes={"adam": {"path": {"grain": 1}}})
    one, many = plan.get("paths", "adam", ""), other.get("paths", "adam", "")
    assert len(many) > len(one)
    tables = [[contents(make(part, folder))[0] for part in parts] for parts in (one, many)]
    pd.testing.assert_frame_equal(*(pd.concat(t, ignore_index=True) for t in tables), check_exact=True)


def test_more_pairs_keep_those_there_are():
    """Pairs are numbered as they are drawn: a larger study computes only what is new."""
    few, many = (study(probes={"adam": {"path": {"pairs": n}}}).get("paths", "adam", "") for n in (4, 6))
    assert [part.id for part in few] == [part.id for part in many[:2]]


def test_a_path_may_be_fitted_on_the_test_landscape(made):
    folder, _ = made
    plan = study(probes={"adam": {"path": {"fit": "test", "minibatch": None, "steps": 60}}})
    (part, *_) = plan.get("paths", "adam", "")
    table, _ = contents(make(part, folder))
    assert table[table["step"] == 60]["test_height"].mean() < table[table["step"] == 0]["test_height"].mean()


AUTHORS = {"lr": 0.3, "steps": 12, "record": [0], "minibatch": None, "keep": "best", "decay": 0.5, "dense": 3}


def test_coefficients_give_the_recorded_path_again(made):
    """The best iterate on a fine grid, from ends and coefficients alone; it is the lowest of all of its optimisation."""
    folder, _ = made
    plan = study(probes={"adam": {"path": {**AUTHORS, "coefficients": True}}})
    part = plan.get("paths", "adam", "")[0]
    table, profiles = contents(make(part, folder))
    with open_hdf5(folder / part.inputs["cloud"][0].path, "points") as file:
        theta = torch.from_numpy(file["theta"][...].astype(float))
    with open_hdf5(folder / part.path, "path") as file:
        coefficients = torch.from_numpy(file["coefficients"][...].astype(float))
    network = member(part.spec, part.spec["seeds"], folder / part.inputs["data"][0].path)
    last = table[table["step"] == 12]
    assert len(coefficients) == len(last) == len(part.spec["members"])
    assert profiles["train_losses"].shape == (len(table), 31)
    for b, (i, row) in zip(coefficients, last.iterrows(), strict=True):
        for m in (0, 7, 15, 30):
            t = m / 30
            sines = torch.tensor([np.sin((n + 1) * np.pi * t) for n in range(3)])
            point = (1 - t) * theta[row["first"]] + t * theta[row["second"]] + sines @ b
            assert profiles["train_losses"][i][m] == pytest.approx(float(network.train.loss(point)), rel=1e-4)
        assert row["train_height"] == profiles["train_losses"][i].max()
        assert row["train_coarse"] == profiles["train_losses"][i][::3].max()
        assert 0 <= row["best_step"] <= 12
    sums = {s: p[::3].sum() for s, p in zip(table["step"], profiles["train_losses"], strict=True)}
    assert sums[12] <= sums[0]


def test_aligned_ends_are_the_same_networks_and_nearer(made):
    folder, _ = made
    raw, aligned = (
        contents(
            make(study(probes={"adam": {"path": {**AUTHORS, "align": align}}}).get("paths", "adam", "")[0], folder)
        )
        for align in (False, True)
    )
    starts = [table[table["step"] == 0].set_index("pair") for table, _ in (raw, aligned)]
    assert (starts[1]["length"] < starts[0]["length"]).all()
    np.testing.assert_allclose(starts[1]["train_end"], starts[0]["train_end"], rtol=1e-5)


def test_figures_and_claims(made, tmp_path):
    folder, plan = made

    numbers = {}
    for name, product in plan.figures.items():
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv")}
        draw(product.spec, inputs_of(product, folder), outputs)
        numbers[name] = pd.read_csv(tmp_path / f"{name}.csv")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    fig3 = numbers["fig3"]
    assert list(fig3.columns[:3]) == ["objective", "lambda", "height"]
    assert sorted(zip(fig3["objective"], fig3["lambda"], strict=True))[-1] == ("straight", np.inf)
    for _, row in fig3.iterrows():
        assert row["height"] == row[[f"f_{m}" for m in range(1, 101)]].max()
        assert (row["x_1"], row["y_1"], row["x_100"], row["y_100"]) == (-0.62, -0.54, 0.49, -0.02)
    assert len(numbers["heights"]) == 6
    assert set(numbers["test"]["step"]) == {5}
    assert (numbers["heights"]["excess"] >= 0).all()
    assert set(numbers["convergence"]["quantity"]) == {"height", "excess", "superiority"}
    assert len(numbers["shells"]) == 8
    assert set(numbers["kernels"]["variant"]) == {"trained", "equal_norms", "random_directions", "gaussian"}

    given = inputs_of(plan.claims, folder)
    table = evaluate(plan.claims.spec["claims"], given, "tiny_paths", "quick").set_index("id")
    assert table.loc["straight", "verdict"] == "holds"
    assert table.loc["straight", "interval"] == "exact"
    heights = {name: t[t["step"] == 20].sort_values("pair") for name, t in numbers["heights"].groupby("set")}
    a, b = (heights[name]["height"].to_numpy()[:2] for name in ("adam", "sgd"))  # the first two of 3 pairs of 4 minima
    assert table.loc["barriers", "ours"] == pytest.approx(np.mean(a[:, None] > b) + np.mean(a[:, None] == b) / 2)
    assert table.loc["barriers", "reason"].startswith("not trained: highest_loss is ")
    few = {"excess": "2 disjoint pairs a set", "rbf": "4 vectors a set", "others": "4 vectors a set"}
    for name, units in {**few, "nested": "4 minima a set"}.items():
        assert table.loc[name, "verdict"] == "not judged"
        assert table.loc[name, "reason"] == f"{units}: too few for an interval"
    assert (table.loc[["centroids", "chance"], "n"] == 4).all()
    for name in ("centroids", "chance"):
        assert table.loc[name, "low"] < table.loc[name, "ours"] < table.loc[name, "high"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probes": {"adam": {"path": {"record": [21]}}}}, "probes.adam.path.record: step 21 is beyond the last, 20"),
        ({"probes": {"adam": {"path": {"function": "two_wells"}}}}, "give either cloud or function"),
        (
            {"probes": {"wells": {"path": {"function": "three"}}}},
            "probes.wells.path.function: 'three' is not allowed; valid: two_wells",
        ),
        ({"probes": {"wells": {"path": {"ends": None}}}}, "probes.wells.path.ends: missing"),
        ({"probes": {"wells": {"path": {"align": True}}}}, "probes.wells.path.align: a function has no units"),
        ({"probes": {"adam": {"path": {"keep": "best"}}}}, "probes.adam.path.keep: the best of sums"),
        ({"probes": {"adam": {"path": {"cloud": "adm"}}}}, "'adm' is not one of the study's clouds"),
        ({"probes": {"kernels": {"kernels": {"sets": ["adam", "sdg"]}}}}, "'sdg' is not a set of 'both'"),
        ({"runs": {"adam": {"resample": {"kind": "split"}}}}, "its own training set"),
        (
            {"probes": {"wells": {"path": {"ends": [[0, 0], [1]]}}}},
            "probes.wells.path.ends[1]: 1 entries; give at least 2",
        ),
        ({"figures": {"shells": {"labels": ["Adam"]}}}, "figures.shells.labels: 1 entries; give at least 2"),
    ],
)
def test_mistakes_are_one_line(changes, message):
    with pytest.raises(LossatlasError, match=re.escape(message)) as caught:
        study(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_more_pairs_than_there_are_is_one_line(made, tmp_path):
    folder, _ = made
    parts = study(probes={"adam": {"path": {"pairs": 9}}}).get("paths", "adam", "")
    with pytest.raises(LossatlasError, match="4 points have 6 pairs, pair 7 is asked for"):
        make(parts[3], folder)


def test_divergence_is_one_line(made, tmp_path):
    folder, _ = made
    parts = study(probes={"adam": {"path": {"lr": 1e200}}}).get("paths", "adam", "")
    with pytest.raises(LossatlasError, match=r"diverged at step .*; lower `lr`"):
        make(parts[0], folder)


def test_work_is_counted(made):
    _, plan = made
    part = plan.get("paths", "adam", "")[0]
    work = PATHS.work(part)
    forward = 2 * (4 * 8 + 8 * 3)
    assert work.steps == 2 * 20 * 11
    assert work.rows == 2 * 3 * 11
    assert work.flops == forward * (3 * 2 * 20 * 11 * 16 + 2 * 3 * 11 * (work.train + work.test))
