"""Sweeps, traversals, surfaces and averages as jobs: kill and resume, grain, exact numbers, one-line errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import study_tools
import torch
from study_tools import assert_made_by_the_rules, make, make_all
from workflow_tools import ALL, counts, plan

from lossatlas.claims.evaluate import evaluate
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.draw.draw import draw, write_table
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.landscape import analytic
from lossatlas.landscape.analytic import quadratic
from lossatlas.legacy.interests import FUNCTIONS, PATH_FUNCTIONS
from lossatlas.levelsets.jobs.levelset import traverse
from lossatlas.levelsets.numbers import best
from lossatlas.planes.plane import Plane, surface
from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.train.jobs.sweep import sweep
from lossatlas.train.loop import Recorder
from lossatlas.train.networks import member

TINY = study_tools.tiny("tiny_levelsets")
torch.set_num_threads(1)


def study(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return study_tools.study("tiny_levelsets", **overrides)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make every artefact of the tiny study once."""
    folder, plan = tmp_path_factory.mktemp("made"), study()
    make_all(plan, folder)
    return folder, plan


def contents(path):
    """Return theta and table of a points file."""
    with open_hdf5(path, "points") as file:
        return file["theta"][:], read_table(path)


def same(a, b):
    """Assert that two points files hold the same bits."""
    np.testing.assert_array_equal(contents(a)[0].view(np.uint32), contents(b)[0].view(np.uint32))
    pd.testing.assert_frame_equal(contents(a)[1], contents(b)[1], check_exact=True)


CODE = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from lossatlas.train import loop
loop.COMMIT_SECONDS = 0.05
job, spec, data, start, output, state = sys.argv[1], json.loads(sys.argv[2]), *map(Path, sys.argv[3:])
print("ready", flush=True)
if job == "sweep":
    from lossatlas.train.jobs.sweep import sweep
    sweep(spec, data, output, state, {})
else:
    from lossatlas.levelsets.jobs.levelset import traverse
    traverse(spec, data, [start], output, state, {})
"""


def start_job(job, spec, data, begin, output, state):
    """Start a job in a process of its own, committing often."""
    arguments = [job, json.dumps(spec), *map(str, (data, begin, output, state))]
    return subprocess.Popen([sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def progress_of(state):
    """Return how far the last commit of a job is: (unit, epoch), or None."""
    try:
        kept = torch.load(state / "state.pt", map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError):
        return None
    return kept["unit"], kept["epoch"]


@pytest.mark.parametrize("job", ["sweep", "predictor", "conjugate", "walk"])
def test_killed_in_the_middle_and_resumed_gives_the_same_bits(job, made, tmp_path, rng):
    folder, plan = made
    part = plan.cloud("iris", "").inputs["points"]
    chosen = next(p for p in part if p.kind == ("sweeps" if job == "sweep" else "levelsets"))
    spec = json.loads(json.dumps(chosen.spec))
    begin = Path("-")
    if job == "sweep":
        spec["recipe"]["epochs"] = 60
    else:
        begin = folder / chosen.inputs["starts"][0].path
        spec["settings"] |= {"steps": 1500, "traversal": "conjugate" if job == "conjugate" else "predictor"}
        spec["interest"] = {"kind": "walk", "seed": 1, "master": 0} if job == "walk" else spec["interest"]
        spec["settings"] |= {"steps": 250} if job == "conjugate" else {}
    data = folder / chosen.inputs["data"][0].path
    with start_job(job, spec, data, begin, tmp_path / "whole.h5", tmp_path / "whole") as process:
        assert process.wait() == 0
    seen, kills = set(), 0
    for _ in range(3):
        with start_job(job, spec, data, begin, tmp_path / "killed.h5", tmp_path / "state") as process:
            before = progress_of(tmp_path / "state")
            while process.poll() is None and progress_of(tmp_path / "state") == before:
                time.sleep(0.01)
            time.sleep(float(rng.uniform(0, 0.1)))
            if process.poll() is None:
                seen.add(progress_of(tmp_path / "state"))
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
    with start_job(job, spec, data, begin, tmp_path / "killed.h5", tmp_path / "state") as process:
        assert process.wait() == 0
    assert kills >= 1
    assert any(epoch > 0 for _, epoch in filter(None, seen)), "no commit was made inside a training or a path"
    same(tmp_path / "whole.h5", tmp_path / "killed.h5")
    assert not (tmp_path / "state").exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a killed process does not close its files either
def test_path_killed_at_its_end_counts_no_gradient_twice(made, tmp_path, monkeypatch):
    """The last step of conjugate gradients evaluates trials and finds no way on; a kill there must not repeat them."""
    folder, plan = made
    chosen = next(p for p in plan.cloud("iris", "").inputs["points"] if p.kind == "levelsets")
    spec = json.loads(json.dumps(chosen.spec))
    spec["settings"] |= {"steps": 400, "traversal": "conjugate"}
    spec["members"] = spec["members"][:1]
    data, start = (folder / chosen.inputs[name][0].path for name in ("data", "starts"))
    commits, commit = [], Recorder.commit

    def walk(name, killed_at):
        def committed(recorder):
            commit(recorder)
            commits.append(recorder.state.epoch)
            if len(commits) == killed_at:
                raise KeyboardInterrupt

        commits.clear()
        monkeypatch.setattr(Recorder, "commit", committed)
        traverse(spec, data, [start], tmp_path / name, tmp_path / f"{name}.state", {})

    monkeypatch.setattr(Recorder, "due", lambda recorder: True)
    walk("whole.h5", None)
    assert contents(tmp_path / "whole.h5")[1]["stopped"].iloc[-1] == "stationary", "the path must end by itself"
    last = len(commits) - 2  # the end of the path and the end of the job commit too
    for number in (last - 1, last):
        with pytest.raises(KeyboardInterrupt):
            walk("killed.h5", number)
        walk("killed.h5", None)
        same(tmp_path / "whole.h5", tmp_path / "killed.h5")
        (tmp_path / "killed.h5").unlink()


def test_grain_changes_no_bit(made, tmp_path):
    folder, plan = made
    for name, changes in (("iris", {"probes": {"iris": {"levelset": {"grain": 1}}}}), ("decay", None)):
        if changes is None:
            changes = {"sweeps": {"decay": {"grain": 1}}, "probes": {"iris": {"levelset": {"start": "iris"}}}}
        other = study(**changes)
        kind = "levelsets" if name == "iris" else "sweeps"
        one = [p for p in plan.cloud("iris", "").inputs["points"] if p.kind == kind]
        many = [p for p in other.cloud("iris", "").inputs["points"] if p.kind == kind]
        assert len(many) > len(one)
        files = [make(p, folder) for p in many]
        whole = np.concatenate([contents(folder / p.path)[0] for p in one])
        np.testing.assert_array_equal(np.concatenate([contents(f)[0] for f in files]), whole)


def test_recorded_rows_are_true_of_the_recorded_points(made):
    """Loss, norm, angle and metrics of the table follow from the recorded weights, by another route."""
    folder, plan = made
    part = next(p for p in plan.cloud("iris", "").inputs["points"] if p.kind == "levelsets")
    theta, table = contents(folder / part.path)
    about = part.spec["members"][0]
    network = member(part.spec, about["seeds"], folder / part.inputs["data"][0].path)
    for i in np.flatnonzero(table["replica"] == about["replica"]):
        point, row = torch.from_numpy(theta[i]).double().requires_grad_(), table.iloc[i]
        layers = network.train.layout.unflatten(point)
        x, y = network.train.x, network.train.y
        hidden = torch.tanh(x @ layers["linear1.weight"].T + layers["linear1.bias"])
        loss = torch.nn.functional.cross_entropy(hidden @ layers["linear2.weight"].T + layers["linear2.bias"], y)
        (gradient,) = torch.autograd.grad(loss, point)
        cosine = torch.nn.functional.cosine_similarity(gradient, 2 * point.detach(), dim=0)
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert row["norm2"] == pytest.approx(float(point.detach() @ point.detach()), rel=1e-5)
        assert row["angle"] == pytest.approx(np.degrees(np.arccos(cosine.item())), abs=0.05)
        assert row["implied_decay"] == pytest.approx(float(gradient.norm() / (2 * point.detach().norm())), rel=1e-3)
        assert abs(row["deviation"]) <= row["worst_deviation"] <= row["tolerance"]
    assert table.groupby("replica")["steps"].max().tolist() == [200, 200]
    assert (table["example_gradients"] == 120 * table["gradients"]).all()
    assert (table["start_gradients"] == 20 * 120).all()


def test_towards_a_point_comes_nearer_and_a_function_of_two_variables_is_walked(made):
    folder, plan = made
    back = plan.cloud("back", "").inputs["points"][0]
    _, table = contents(folder / back.path)
    for _, path in table.groupby("replica"):
        assert path["objective"].is_monotonic_decreasing
    theta, table = contents(folder / plan.cloud("circle", "").inputs["points"][0].path)
    np.testing.assert_allclose((theta.astype(np.float64) ** 2).sum(1), 1.0, atol=1e-5)
    for _, path in table.groupby("replica"):
        assert path["objective"].iloc[-1] < path["objective"].iloc[0]


def test_held_out_members_never_see_the_test_set(made):
    folder, plan = made
    parts = [p for p in plan.cloud("iris", "").inputs["points"] if p.kind == "sweeps"]
    table = pd.concat([contents(folder / p.path)[1] for p in parts], ignore_index=True)
    held = table[table["held_out"] == 1]
    assert len(held) == 4
    assert held[["test_loss", "test_accuracy"]].isna().to_numpy().all()
    assert held["validation_loss"].notna().all()
    assert (held["example_gradients"] == 20 * 90).all()
    assert table.loc[table["held_out"] == 0, "validation_loss"].isna().all()
    history = read_table(folder / plan.gram("iris", "").path, "gram", "history")
    assert sorted(history["epoch"].unique()) == [5, 10, 15, 20]
    assert len(history) == 4 * len(table)


def test_more_decay_gives_smaller_weights_and_the_penalty_has_the_factor_of_two(made):
    folder, plan = made
    parts = [p for p in plan.cloud("iris", "").inputs["points"] if p.kind == "sweeps"]
    assert parts[0].spec["factor"] == 2
    theta = np.concatenate([contents(folder / p.path)[0] for p in parts])
    table = pd.concat([contents(folder / p.path)[1] for p in parts], ignore_index=True)
    norms = pd.Series(np.linalg.norm(theta, axis=1)).groupby(table["value"]).mean()
    assert norms[1e-2] < norms[1e-4]


def test_a_diverging_member_is_a_row_without_losses_and_the_others_go_on(made, tmp_path):
    folder, plan = made
    part = next(p for p in plan.cloud("iris", "").inputs["points"] if p.kind == "sweeps")
    spec = json.loads(json.dumps(part.spec))
    spec["recipe"] |= {"optimizer": "sgd", "epochs": 4}
    spec |= {"parameter": "lr", "factor": 1.0}
    for entry, value in zip(spec["members"], (3e38, 0.1, 0.1, 3e38), strict=True):
        entry["value"] = value
    sweep(spec, folder / part.inputs["data"][0].path, tmp_path / "a.h5", tmp_path / "state", {})
    theta, table = contents(tmp_path / "a.h5")
    assert table["train_loss"].isna().tolist() == [True, False, False, True]
    assert np.isfinite(theta).all()
    assert table["epoch"].tolist()[1:3] == [4, 4]


def test_named_functions_are_those_of_the_catalogue():
    assert tuple(analytic.NAMED) == FUNCTIONS + PATH_FUNCTIONS


def test_splits_differ_between_replicas_and_subsets_have_the_size_asked_for(made):
    folder, plan = made
    part = plan.cloud("split", "").inputs["points"][0]
    data = folder / part.inputs["data"][0].path
    spec = {**part.spec, "members": None}
    one, other = (member(spec, m["seeds"], data) for m in plan_members(plan, "split")[:2])
    assert len(one.train.x) == 120
    assert len(one.test.x) == 30
    assert not torch.equal(one.test.x, other.test.x)
    for network in (one, other):
        torch.testing.assert_close(network.train.x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(network.train.x.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    subset = member(
        {**spec, "resample": {"kind": "subset", "train": 17}}, plan_members(plan, "split")[0]["seeds"], data
    )
    assert (len(subset.train.x), len(subset.test.x)) == (17, 30)
    with pytest.raises(LossatlasError, match=r"resample\.train is 500, but only 120"):
        member({**spec, "resample": {"kind": "subset", "train": 500}}, plan_members(plan, "split")[0]["seeds"], data)


def plan_members(plan, cloud):
    """Return the replicas of a cloud's traversals."""
    return [m for p in plan.cloud(cloud, "").inputs["points"] if p.kind == "levelsets" for m in p.spec["members"]]


def test_surface_equals_a_naive_loop_and_survives_interruption(rng, tmp_path):
    root = rng.standard_normal((5, 5))
    landscape = quadratic(torch.from_numpy(root @ root.T + (root @ root.T).T), torch.from_numpy(rng.standard_normal(5)))
    plane = Plane(*(torch.from_numpy(rng.standard_normal(shape)) for shape in (5, (2, 5))))
    x, y = np.linspace(-1, 2, 4), np.linspace(0, 1, 3)
    found = surface(landscape, plane, x, y)
    for i in range(3):
        for j in range(4):
            point = plane.origin + x[j] * plane.directions[0] + y[i] * plane.directions[1]
            assert found[i, j] == pytest.approx(float(landscape.loss(point)), rel=1e-12)
    np.savez(tmp_path / "rows.npz", loss=found[:2] + 1.0)  # what an interrupted job left: taken, not computed again
    rest = surface(landscape, plane, x, y, tmp_path)
    np.testing.assert_array_equal(rest[:2], found[:2] + 1.0)
    np.testing.assert_array_equal(rest[2], found[2])


def test_surface_of_a_cloud_is_the_loss_in_its_principal_plane(made):
    """The same plane by a dense PCA of the weights; losses by the network itself."""
    folder, plan = made
    artefact = plan.surface("plane", "")
    cloud = plan.cloud("iris", "")
    with open_hdf5(folder / cloud.path, "points") as file:
        theta = file["theta"][:].astype(np.float64)
    table = read_table(folder / cloud.path)
    rows = np.flatnonzero((table["source"] == "levelset") & table["replica"].isin([0, 1]))
    mean = theta[rows].mean(0)
    _, singular, axes = np.linalg.svd(theta[rows] - mean, full_matrices=False)
    with open_hdf5(folder / artefact.path, "surface") as file:
        x, y, loss, coordinates = (file[name][:] for name in ("x", "y", "loss", "coordinates"))
        explained = file.attrs["explained"]
    np.testing.assert_allclose(explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-6)
    projected = (theta[rows] - mean) @ axes[:2].T
    signs = np.sign((projected * coordinates).sum(0))
    np.testing.assert_allclose(projected * signs, coordinates, atol=1e-5 * np.abs(coordinates).max())
    members = plan_members(plan, "iris")
    network = member(artefact.spec, members[0]["seeds"], folder / artefact.inputs["data"][0].path).train
    for i, j in ((0, 0), (3, 5), (6, 6)):
        point = mean + x[j] * signs[0] * axes[0] + y[i] * signs[1] * axes[1]
        assert loss[i, j] == pytest.approx(float(network.loss(torch.from_numpy(point))), rel=1e-4)


def test_principal_axes_of_some_rows_against_a_dense_decomposition(rng):
    theta = rng.standard_normal((20, 50)) + 100 * rng.standard_normal(50)
    rows = np.sort(rng.choice(20, 9, replace=False))
    axes = principal_axes(Gram.from_rows(theta), rows, 3)
    mean = theta[rows].mean(0)
    _, singular, vectors = np.linalg.svd(theta[rows] - mean, full_matrices=False)
    found = axes.weights.T @ theta[rows]
    np.testing.assert_allclose(np.abs((found * vectors[:3]).sum(1)), 1.0, atol=1e-8)
    np.testing.assert_allclose(np.abs(axes.coordinates), np.abs((theta - mean) @ vectors[:3].T), atol=1e-6)
    np.testing.assert_allclose(axes.explained, (singular**2 / (singular**2).sum())[:3], rtol=1e-8)
    residual = ((theta - mean) ** 2).sum(1) - (((theta - mean) @ vectors[:3].T) ** 2).sum(1)
    np.testing.assert_allclose(axes.residual2, residual, atol=1e-6 * residual.max())
    with pytest.raises(LossatlasError, match="span fewer than 3 dimensions"):
        principal_axes(Gram.from_rows(theta), rows[:3], 3)


def test_average_is_the_loss_at_the_mean_of_the_end_points(made):
    folder, plan = made
    artefact = plan.average("ends", "")
    table = read_table(folder / artefact.path, "average")
    theta, points = contents(folder / plan.cloud("iris", "").path)
    ends = points[points["source"] == "levelset"].groupby("replica")["steps"].idxmax()
    mean = theta[ends.to_numpy()].astype(np.float64).mean(0)
    members = plan_members(plan, "iris")
    for row, about in zip(table.itertuples(), members, strict=True):
        network = member(artefact.spec, about["seeds"], folder / artefact.inputs["data"][0].path)
        assert row.mean_train_loss == pytest.approx(float(network.train.loss(torch.from_numpy(mean))), rel=1e-10)
        assert row.mean_test_loss == pytest.approx(float(network.test.loss(torch.from_numpy(mean))), rel=1e-10)
        assert row.end_train_loss == pytest.approx(points["train_loss"][ends[row.replica]], rel=1e-5)


def test_figures_table_and_claims_of_the_tiny_study(made, tmp_path, monkeypatch):
    folder, plan = made
    monkeypatch.chdir(folder)
    for name, product in plan.figures.items():
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv")}
        draw(product.spec, product.paths(), outputs, {})
        assert outputs["png"].stat().st_size > 10_000
        assert len(pd.read_csv(outputs["csv"])) > 3
    product = plan.tables["table1"]
    write_table(product.spec, product.paths(), tmp_path / "table.csv", {})
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    cloud = read_table(folder / plan.cloud("iris", "").path)
    ends = cloud[(cloud["source"] == "levelset") & (cloud["steps"] == 200)]
    assert row["traversal"] == pytest.approx(ends["test_accuracy"].mean())
    decayed = cloud[(cloud["parameter"] == "weight_decay") & (cloud["held_out"] == 0)]
    assert row["decay_test"] == pytest.approx(decayed.groupby("value")["test_accuracy"].mean().max())
    found = evaluate(plan.claims.spec["claims"], plan.claims.paths(), "tiny", "quick").set_index("id")
    assert np.isfinite(found["ours"].astype(float)).all(), found[["ours", "detail"]]
    assert found.loc["kept", "ours"] == cloud.loc[cloud["source"] == "levelset", "worst_deviation"].max() or (
        found.loc["kept", "ours"] <= 1e-5
    )
    assert found.loc["norm", "ours"] < 1
    means = [theta_mean(folder, plan, cloud, which) for which in ("ends", "decay")]
    apart = np.linalg.norm(means[0] - means[1])
    assert f"{apart:.3g} in R^D" in found.loc["means", "detail"]
    assert found.loc["whole", "ours"] == pytest.approx(apart / np.linalg.norm(means[0]), rel=1e-5)
    theta, _ = contents(folder / plan.cloud("iris", "").path)
    paths = theta[np.flatnonzero(cloud["source"] == "levelset")].astype(np.float64)
    axes = np.linalg.svd(paths - paths.mean(0), full_matrices=False)[2][:6]
    gaps = [np.linalg.norm(axes @ (means[0] - other)) for other in (means[1], 0.0)]
    assert found.loc["origin", "ours"] == pytest.approx(gaps[0] / gaps[1], rel=1e-4)


def theta_mean(folder, plan, table, which):
    """Return the mean of the end points, or of the networks with the best decay."""
    theta, _ = contents(folder / plan.cloud("iris", "").path)
    if which == "ends":
        rows = (table["source"] == "levelset") & (table["steps"] == 200)
    else:
        rows = (table["parameter"] == "weight_decay") & (table["held_out"] == 0)
        rows &= table["value"] == best(table, "validation")
    return theta[np.flatnonzero(rows)].astype(np.float64).mean(0)


def test_best_value_is_chosen_on_the_part_asked_for_and_without_diverged_ones():
    rows = []
    for value, validation, test, held_loss in ((1e-4, 0.8, 0.95, 0.5), (1e-2, 0.9, 0.90, 0.4), (1.0, 0.9, 0.2, np.nan)):
        common = {"source": "sweep", "parameter": "weight_decay", "value": value}
        rows.append({**common, "held_out": 1, "validation_accuracy": validation, "validation_loss": held_loss})
        rows.append({**common, "held_out": 0, "test_accuracy": test, "test_loss": 1.0})
    table = pd.DataFrame(rows)
    assert best(table, "validation") == 1e-2
    assert best(table, "test") == 1e-4
    assert best(table.assign(parameter="lr"), "test") is None
    assert best(table[["source"]], "test") is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"probes": {"iris": {"levelset": {"strat": "iris"}}}}, r"probes\.iris\.levelset\.strat: unknown key; did you"),
        ({"probes": {"iris": {"levelset": {"start": "irs"}}}}, "'irs' is not one of the study's sweeps; did you mean"),
        ({"probes": {"iris": {"levelset": {"start": None}}}}, "give either start .a sweep. or function"),
        ({"probes": {"iris": {"levelset": {"replicas": [7]}}}}, "sweep 'iris' has no replica 7"),
        ({"probes": {"back": {"levelset": {"interest": {"replica": 9}}}}}, "sweep 'iris' has no replica 9"),
        ({"probes": {"iris": {"levelset": {"interest": {"kind": "norm"}}}}}, "'norm' is not a direction of interest"),
        ({"probes": {"circle": {"levelset": {"level": None}}}}, "level: missing"),
        ({"probes": {"circle": {"levelset": {"function": "circel"}}}}, "'circel' is not a function; did you mean"),
        ({"probes": {"plane": {"surface": {"cloud": "irs"}}}}, "'irs' is not one of the study's clouds"),
        ({"figures": {"plane": {"panels": [{"surface": "iris"}]}}}, "of kind 'levelset', expected 'surface'"),
        ({"sweeps": {"decay": {"parameter": "decay"}}}, "'decay' is not a key of a recipe"),
        ({"sweeps": {"decay": {"run": "iriss"}}}, "'iriss' is not one of the study's runs; did you mean 'iris'"),
        ({"runs": {"split": {"resample": {"kind": "subset"}}}}, "`train` goes with kind `subset`"),
        ({"runs": {"iris": {"scale": "unit"}}}, "`unit` is for images; iris has none"),
        ({"figures": {"budget": {"choose": "tset"}}}, "'tset' is not allowed; did you mean 'test'"),
        ({"tables": {"table1": {"rows": [{"cloud": "iris", "paper": {"decy": 1.0}}]}}}, r"paper\.decy: unknown key"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    whole = merge(read_yaml(TINY), change)
    with pytest.raises(LossatlasError, match=message) as caught:
        study(**whole)
    assert len(str(caught.value).splitlines()) == 1


def test_a_changed_setting_changes_its_paths_and_what_follows_only():
    before, after = study(), study(probes={"iris": {"levelset": {"steps": 250}}})
    assert before.cloud("iris", "").hash != after.cloud("iris", "").hash
    assert before.cloud("split", "").hash == after.cloud("split", "").hash
    starts = [{p.hash for p in s.cloud("iris", "").inputs["points"] if p.kind == "sweeps"} for s in (before, after)]
    assert starts[0] == starts[1]


STUDY = (f"studies=[{TINY}]",)


def test_rules_plan_every_job_of_a_level_set_study_once(tmp_path):
    jobs = counts(plan(tmp_path, ALL, config=STUDY))
    expected = {"data": 1, "sweep": 6, "levelset": 9, "surface": 2, "average": 1, "gather": 5, "gram": 4}
    assert {rule: jobs[rule] for rule in expected} == expected


def test_a_figure_is_made_by_the_rules(tmp_path):
    assert_made_by_the_rules(tmp_path, "tiny_levelsets", "circle")
