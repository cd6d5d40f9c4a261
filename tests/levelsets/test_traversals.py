"""Traversals, surfaces and averages as jobs: kill and resume, grain, exact numbers, one-line errors."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from harness import (
    ALL,
    assert_made_by_the_rules,
    committed,
    contents,
    counts,
    draw,
    evaluate,
    inputs_of,
    job,
    make,
    study,
)
from harness import plan as planned
from harness import tiny as file_of

from lossatlas.barriers.spec import PATH_FUNCTIONS
from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.landscape import analytic
from lossatlas.levelsets.jobs.levelset import levelset
from lossatlas.levelsets.numbers import best
from lossatlas.levelsets.spec import FUNCTIONS
from lossatlas.specs.study import only
from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.study.read import read_product
from lossatlas.train.loop import Recorder
from lossatlas.train.networks import member

torch.set_num_threads(1)


def tiny(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return study("tiny_levelsets", **overrides)


@pytest.fixture(scope="module")
def made(made_study):
    """Return folder and plan of the tiny study."""
    return made_study("tiny_levelsets")


def cloud(plan, name):
    """Return a cloud of the tiny study."""
    return only(plan.get("cloud", name, ""))


def same(a, b):
    """Assert that two points files hold the same bits."""
    np.testing.assert_array_equal(contents(a)[0].view(np.uint32), contents(b)[0].view(np.uint32))
    pd.testing.assert_frame_equal(contents(a)[1], contents(b)[1], check_exact=True)


CODE = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from lossatlas.files import clock
from lossatlas.specs.registry import Job, resolve
clock.COMMIT_SECONDS = 0.05
run, spec, inputs, output, state = sys.argv[1], *map(json.loads, sys.argv[2:4]), *map(Path, sys.argv[4:])
found = resolve(run)
print("ready", flush=True)
found(Job(spec, {role: tuple(map(Path, paths)) for role, paths in inputs.items()}, output, state))
"""


def start_job(run, spec, inputs, output, state):
    """Start a job in a process of its own, committing often."""
    arguments = [run, json.dumps(spec), json.dumps(inputs), str(output), str(state)]
    return subprocess.Popen([sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def files_of(made, folder):
    """Return role -> files of an artefact's inputs."""
    return {role: [str(folder / part.path) for part in parts] for role, parts in made.inputs.items()}


def progress_of(state):
    """Return how far the last commit of a job is: (unit, epoch), or None."""
    kept = committed(state)
    return kept and (kept["unit"], kept["epoch"])


def test_killed_in_the_middle_and_resumed_gives_the_same_bits(made, tmp_path, rng, some_of):
    for kind in some_of(["sweep", "predictor", "conjugate", "walk"], 2):
        (tmp_path / kind).mkdir()
        killed_and_resumed(kind, made, tmp_path / kind, rng)


def killed_and_resumed(kind, made, tmp_path, rng):
    """Assert that a job of a kind that was killed ends with the bits of one that was not."""
    folder, plan = made
    part = cloud(plan, "iris").inputs["points"]
    chosen = next(p for p in part if p.kind == ("sweeps" if kind == "sweep" else "levelsets"))
    spec, given = json.loads(json.dumps(chosen.spec)), files_of(chosen, folder)
    if kind == "sweep":
        spec["recipe"]["epochs"] = 60
    else:
        spec["settings"] |= {"steps": 1500, "traversal": "conjugate" if kind == "conjugate" else "predictor"}
        spec["interest"] = {"kind": "walk", "seed": 1, "master": 0} if kind == "walk" else spec["interest"]
        spec["settings"] |= {"steps": 250} if kind == "conjugate" else {}
    with start_job(chosen.run, spec, given, tmp_path / "whole.h5", tmp_path / "whole") as process:
        assert process.wait() == 0
    seen, kills = set(), 0
    for _ in range(3):
        with start_job(chosen.run, spec, given, tmp_path / "killed.h5", tmp_path / "state") as process:
            before = progress_of(tmp_path / "state")
            while process.poll() is None and progress_of(tmp_path / "state") == before:
                time.sleep(0.01)
            time.sleep(float(rng.uniform(0, 0.1)))
            if process.poll() is None:
                seen.add(progress_of(tmp_path / "state"))
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.wait()
    with start_job(chosen.run, spec, given, tmp_path / "killed.h5", tmp_path / "state") as process:
        assert process.wait() == 0
    assert kills >= 1
    assert any(epoch > 0 for _, epoch in filter(None, seen)), "no commit was made inside a training or a path"
    same(tmp_path / "whole.h5", tmp_path / "killed.h5")
    assert not (tmp_path / "state").exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a killed process does not close its files either
def test_path_killed_at_its_end_counts_no_gradient_twice(made, tmp_path, monkeypatch):
    """The last step of conjugate gradients evaluates trials and finds no way on; a kill there must not repeat them."""
    folder, plan = made
    chosen = next(p for p in cloud(plan, "iris").inputs["points"] if p.kind == "levelsets")
    spec = json.loads(json.dumps(chosen.spec))
    spec["settings"] |= {"steps": 400, "traversal": "conjugate"}
    spec["members"] = spec["members"][:1]
    given = {role: [folder / part.path for part in parts] for role, parts in chosen.inputs.items()}
    commits, commit = [], Recorder.commit

    def walk(name, killed_at):
        def committed(recorder):
            commit(recorder)
            commits.append(recorder.state.epoch)
            if len(commits) == killed_at:
                raise KeyboardInterrupt

        commits.clear()
        monkeypatch.setattr(Recorder, "commit", committed)
        levelset(job(spec, tmp_path / name, tmp_path / f"{name}.state", **given))

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
        other = tiny(**changes)
        kind = "levelsets" if name == "iris" else "sweeps"
        one = [p for p in cloud(plan, "iris").inputs["points"] if p.kind == kind]
        many = [p for p in cloud(other, "iris").inputs["points"] if p.kind == kind]
        assert len(many) > len(one)
        files = [make(p, folder) for p in many]
        whole = np.concatenate([contents(folder / p.path)[0] for p in one])
        np.testing.assert_array_equal(np.concatenate([contents(f)[0] for f in files]), whole)


def test_recorded_rows_are_true_of_the_recorded_points(made):
    """Loss, norm, angle and metrics of the table follow from the recorded weights, by another route."""
    folder, plan = made
    part = next(p for p in cloud(plan, "iris").inputs["points"] if p.kind == "levelsets")
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
    back = cloud(plan, "back").inputs["points"][0]
    _, table = contents(folder / back.path)
    for _, path in table.groupby("replica"):
        assert path["objective"].is_monotonic_decreasing
    theta, table = contents(folder / cloud(plan, "circle").inputs["points"][0].path)
    np.testing.assert_allclose((theta.astype(np.float64) ** 2).sum(1), 1.0, atol=1e-5)
    for _, path in table.groupby("replica"):
        assert path["objective"].iloc[-1] < path["objective"].iloc[0]


def test_named_functions_are_those_of_the_catalogue():
    assert tuple(analytic.NAMED) == FUNCTIONS + PATH_FUNCTIONS


def members_of(plan, name):
    """Return the replicas of a cloud's traversals."""
    made = cloud(plan, name)
    own = len(made.inputs["points"]) - sum(part["files"] for part in made.spec.get("others", []))
    return [m for p in made.inputs["points"][:own] if p.kind == "levelsets" for m in p.spec["members"]]


def test_surface_of_a_cloud_is_the_loss_in_its_principal_plane(made):
    """The same plane by a dense PCA of the weights; losses by the network itself."""
    folder, plan = made
    artefact = only(plan.get("surface", "plane", ""))
    theta, table = contents(folder / cloud(plan, "iris").path)
    theta = theta.astype(np.float64)
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
    members = members_of(plan, "iris")
    network = member(artefact.spec, members[0]["seeds"], folder / artefact.inputs["data"][0].path).train
    for i, j in ((0, 0), (3, 5), (6, 6)):
        point = mean + x[j] * signs[0] * axes[0] + y[i] * signs[1] * axes[1]
        assert loss[i, j] == pytest.approx(float(network.loss(torch.from_numpy(point))), rel=1e-4)


def test_average_is_the_loss_at_the_mean_of_the_end_points(made):
    folder, plan = made
    artefact = only(plan.get("average", "ends", ""))
    table = read_table(folder / artefact.path, "average")
    theta, points = contents(folder / cloud(plan, "iris").path)
    ends = points[points["source"] == "levelset"].groupby("replica")["steps"].idxmax()
    mean = theta[ends.to_numpy()].astype(np.float64).mean(0)
    members = members_of(plan, "iris")
    for row, about in zip(table.itertuples(), members, strict=True):
        network = member(artefact.spec, about["seeds"], folder / artefact.inputs["data"][0].path)
        assert row.mean_train_loss == pytest.approx(float(network.train.loss(torch.from_numpy(mean))), rel=1e-10)
        assert row.mean_test_loss == pytest.approx(float(network.test.loss(torch.from_numpy(mean))), rel=1e-10)
        assert row.end_train_loss == pytest.approx(points["train_loss"][ends[row.replica]], rel=1e-5)


def test_the_residual_on_the_circle_is_that_of_its_own_interest(made):
    """Of unit vectors at an angle a, |g + u| is 2 cos(a / 2): zero where they are anti-parallel, 2 where parallel."""
    folder, plan = made
    table = read_table(folder / cloud(plan, "circle").path)
    expected = 2 * np.cos(np.radians(table["angle"]) / 2)
    np.testing.assert_allclose(table["lagrange_residual"], expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3  # so it is no constant


def test_controls_are_as_long_as_the_paths_of_their_replicas(made):
    folder, plan = made
    table = read_table(folder / cloud(plan, "iris").path)
    last = table[table["source"] != "sweep"].groupby(["source", "replica"]).last()
    for source in ("larger", "straight"):
        for replica in (0, 1, 2):
            length, wanted = last.loc[(source, replica), "length"], last.loc[("levelset", replica), "length"]
            assert wanted <= length < 1.02 * wanted
            assert last.loc[(source, replica), "stopped"] == "length"
        first = table[table["source"] == source].groupby("replica").first()
        starts = table[table["source"] == "levelset"].groupby("replica").first()
        np.testing.assert_array_equal(first["test_loss"], starts["test_loss"])
    assert (table[table["source"] == "larger"].groupby("replica")["norm2"].agg(lambda n: n.iloc[-1] > n.iloc[0])).all()


def test_walks_at_a_fixed_loss_reach_the_other_end_and_a_matched_one_is_nearer(made):
    folder, plan = made
    _theta, table = contents(folder / cloud(plan, "towards").path)
    assert (np.abs(table["train_loss"] - 0.3) <= table["tolerance"]).all()
    first = table.groupby(["source", "replica"])["objective"].first()
    for replica in (0, 2):
        assert first["matched", replica] < first["levelset", replica]
    last = table.groupby(["source", "replica"])["objective"].last()
    assert (last < first).all()
    # Where the walk ends is where the other replica, moved onto the level, begins: half of the pairs are each other's.
    starts = read_table(folder / only(plan.get("sweep", "pair", "")).path)
    assert list(starts["replica"]) == [0, 1, 2, 3]


def test_an_aligned_cloud_holds_the_same_functions(made):
    folder, plan = made
    theta, table = contents(folder / cloud(plan, "iris").path)
    moved, same_table = contents(folder / cloud(plan, "aligned").path)
    pd.testing.assert_frame_equal(table, same_table)
    part = next(p for p in cloud(plan, "iris").inputs["points"] if p.kind == "levelsets")
    network = member(part.spec, members_of(plan, "iris")[0]["seeds"], folder / part.inputs["data"][0].path)
    for row in (0, len(theta) // 2, len(theta) - 1):
        losses = [float(network.train.loss(torch.from_numpy(points[row]))) for points in (theta, moved)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    rows = table[table["source"] == "levelset"].groupby("replica")["steps"].idxmax().to_numpy()
    reference = theta[rows[0]]
    np.testing.assert_array_equal(moved[rows[0]], reference)
    apart = [np.linalg.norm(points[rows[1:]] - reference, axis=1) for points in (theta, moved)]
    assert (apart[1] < apart[0]).all()
    steps = [np.linalg.norm(np.diff(points[table["replica"].eq(1) & (table["source"] == "levelset")], axis=0), axis=1)
             for points in (theta, moved)]  # fmt: skip
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-5)  # a path stays one


def test_figures_table_and_claims_of_the_tiny_study(made, tmp_path):
    folder, plan = made
    for name, product in plan.figures.items():
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv")}
        draw(product.spec, inputs_of(product, folder), outputs)
        assert outputs["png"].stat().st_size > 10_000
        assert len(pd.read_csv(outputs["csv"])) > 3
    product = plan.tables["table1"]
    write_table(read_product(product.spec), inputs_of(product, folder), tmp_path / "table.csv")
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    table = read_table(folder / cloud(plan, "iris").path)
    ends = table[(table["source"] == "levelset") & (table["steps"] == 200)]
    assert row["traversal"] == pytest.approx(ends["test_accuracy"].mean())
    decayed = table[(table["parameter"] == "weight_decay") & (table["held_out"] == 0) & (table["continued"] != 1)]
    assert row["decay_test"] == pytest.approx(decayed.groupby("value")["test_accuracy"].mean().max())
    found = evaluate(plan.claims.spec["claims"], inputs_of(plan.claims, folder), "tiny", "quick").set_index("id")
    assert np.isfinite(found["ours"].astype(float)).all(), found[["ours", "detail"]]
    assert found.loc["norm", "ours"] < 1
    means = [theta_mean(folder, plan, table, which) for which in ("ends", "decay")]
    apart = np.linalg.norm(means[0] - means[1])
    assert f"gap in R^D {apart:.3g}" in found.loc["means", "detail"]
    assert found.loc["whole", "ours"] == pytest.approx(apart / np.linalg.norm(means[0]), rel=1e-5)
    theta, _ = contents(folder / cloud(plan, "iris").path)
    paths = theta[np.flatnonzero(table["source"] == "levelset")].astype(np.float64)
    axes = np.linalg.svd(paths - paths.mean(0), full_matrices=False)[2][:6]
    gaps = [np.linalg.norm(axes @ (means[0] - other)) for other in (means[1], 0.0)]
    assert found.loc["origin", "ours"] == pytest.approx(gaps[0] / gaps[1], rel=1e-4)


def theta_mean(folder, plan, table, which):
    """Return the mean of the end points, or of the networks with the best decay."""
    theta, _ = contents(folder / cloud(plan, "iris").path)
    if which == "ends":
        rows = (table["source"] == "levelset") & (table["steps"] == 200)
    else:
        rows = (table["parameter"] == "weight_decay") & (table["held_out"] == 0) & (table["continued"] != 1)
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
        (
            {"probes": {"iris": {"levelset": {"interest": {"kind": "norm"}}}}},
            "interest.kind: 'norm' is not known; did you mean 'norm2'",
        ),
        ({"probes": {"circle": {"levelset": {"level": None}}}}, "level: missing"),
        (
            {"probes": {"circle": {"levelset": {"function": "circel"}}}},
            "'circel' is not allowed; did you mean 'circle'",
        ),
        ({"probes": {"plane": {"surface": {"cloud": "irs"}}}}, "'irs' is not one of the study's clouds"),
        (
            {"probes": {"plane": {"surface": {"replicas": [0, 9]}}}},
            "'iris' has no traversal of replica 9; there are 0, 1",
        ),
        ({"probes": {"ends": {"average": {"replicas": [8]}}}}, "cloud 'iris' has no traversal of replica 8"),
        ({"figures": {"plane": {"panels": [{"surface": "iris"}]}}}, "of kind 'levelset', expected 'surface'"),
        ({"figures": {"budget": {"choose": "tset"}}}, "'tset' is not allowed; did you mean 'test'"),
        ({"tables": {"table1": {"rows": [{"cloud": "iris", "paper": {"decy": 1.0}}]}}}, r"paper\.decy: unknown key"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    whole = merge(read_yaml(file_of("tiny_levelsets")), change)
    with pytest.raises(LossatlasError, match=message) as caught:
        tiny(**whole)
    assert len(str(caught.value).splitlines()) == 1


def test_a_changed_setting_changes_its_paths_and_what_follows_only():
    before, after = tiny(), tiny(probes={"iris": {"levelset": {"steps": 250}}})
    assert cloud(before, "iris").hash != cloud(after, "iris").hash
    assert cloud(before, "split").hash == cloud(after, "split").hash
    starts = [{p.hash for p in cloud(s, "iris").inputs["points"] if p.kind == "sweeps"} for s in (before, after)]
    assert starts[0] == starts[1]


def test_rules_plan_every_job_of_a_level_set_study_once(tmp_path):
    jobs = counts(planned(tmp_path, ALL, study=file_of("tiny_levelsets")))
    expected = {"data": 1, "sweep": 8, "levelset": 14, "surface": 2, "average": 2, "align": 1, "gather": 6, "gram": 5}
    assert {rule: jobs[rule] for rule in expected} == expected


def test_a_figure_is_made_by_the_rules(tmp_path):
    assert_made_by_the_rules(tmp_path, "tiny_levelsets", "circle")
