"""Early-stopped sweeps, sets of the best members, planes through them, imported vectors, their figures and claims."""

import hashlib
import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from harness import contents, evaluate, inputs_of, job, make, measure
from harness import draw as drawn
from harness import study as planned
from PIL import Image
from scipy.spatial.distance import pdist
from torch.nn import functional as F

from lossatlas.clouds.files import Gram
from lossatlas.clouds.jobs.gather import best
from lossatlas.clouds.jobs.import_points import found_file, read_vectors
from lossatlas.data.dataset import load as load_data
from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.models import build, from_vector
from lossatlas.planes import plane
from lossatlas.solutions.numbers import pooled
from lossatlas.solutions.spec import SOLUTION_SETS
from lossatlas.specs.study import only
from lossatlas.study.read import read_product
from lossatlas.train.jobs.sweep import sweep

torch.set_num_threads(1)
SETS = {"title": "FCP", **{name: name for name in SOLUTION_SETS}}


def study(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return planned("tiny_solutions", **overrides)


@pytest.fixture(scope="module")
def made(made_study):
    """Return folder and plan of the tiny study."""
    return made_study("tiny_solutions")


def sweep_parts(plan, name):
    """Return the parts of a sweep."""
    return plan.get("sweep", name, "")


def cloud_of(plan, name):
    """Return a cloud."""
    return only(plan.get("cloud", name, ""))


def train(spec, data, output, state):
    """Train the members of a job of a sweep."""
    sweep(job(spec, output, state, data=data))


def table_of(product, folder, path):
    """Return a table as its CSV file has it."""
    write_table(read_product(product.spec), inputs_of(product, folder), path)
    return pd.read_csv(path)


# ---------------------------------------------------------------------------------------------------------------------
# early stopping


def test_early_point_is_the_lowest_test_loss_of_the_history(made):
    folder, plan = made
    for part in sweep_parts(plan, "lbfgs") + sweep_parts(plan, "rates"):
        theta, table = contents(make(part, folder))
        history = read_table(folder / part.path, "points", "history")
        assert list(table["stop"]) == ["last", "early"] * len(part.spec["members"])
        for i in range(0, len(table), 2):
            last, early = table.iloc[i], table.iloc[i + 1]
            mine = history[(history["replica"] == last["replica"]) & (history["value"] == last["value"])]
            assert last["epoch"] == part.spec["recipe"]["epochs"] == mine["epoch"].max()
            assert early["test_loss"] == mine["test_loss"].min()
            assert early["epoch"] == mine.loc[mine["test_loss"].idxmin(), "epoch"]
            for row in (i, i + 1):
                assert table["weight_mean"].iloc[row] == pytest.approx(theta[row].mean(dtype=np.float64))
                assert table["weight_std"].iloc[row] == pytest.approx(theta[row].std(dtype=np.float64))
        assert set(table["train_examples"]) == {200}
        assert set(table["test_examples"]) == {100}


def test_points_of_the_training_curve_are_those_of_the_history(made, rng):
    """The lowest training loss and the first at a level, also where none reaches it; which members are best by them."""
    folder, _ = made
    level = float(np.exp(rng.uniform(np.log(0.05), np.log(1.5))))
    plan = study(
        sweeps={"rates": {"lowest": True, "level": level}},
        clouds={
            "low": {"best": {"sweeps": ["rates"], "count": 3, "stop": "lowest"}},
            "equal": {"best": {"sweeps": ["rates"], "stop": "level"}},
        },
    )
    (part,) = sweep_parts(plan, "rates")
    _, table = contents(make(part, folder))
    history = read_table(folder / part.path, "points", "history")
    assert list(table["stop"]) == ["last", "early", "lowest", "level"] * 4
    for key, mine in table.groupby(["replica", "value"]):
        curve = history[(history["replica"] == key[0]) & (history["value"] == key[1])].sort_values("epoch")
        at = mine.set_index("stop")
        lowest, first = curve.loc[curve["train_loss"].idxmin()], curve[curve["train_loss"] <= level]
        assert at.loc["lowest", "epoch"] == lowest["epoch"]
        assert at.loc["level", "epoch"] == (lowest if first.empty else first.iloc[0])["epoch"]
    rows = [table[table["stop"] == stop]["train_loss"].to_numpy() for stop in ("lowest", "last")]
    assert (rows[0] <= rows[1]).all()
    _, low = contents(make(cloud_of(plan, "low"), folder))
    np.testing.assert_array_equal(low["train_loss"], np.sort(rows[0])[:3])
    _, equal = contents(make(cloud_of(plan, "equal"), folder))
    assert set(equal["stop"]) == {"level"}


def test_rows_tell_what_their_weights_do(made):
    """Losses of both points of a member from its weights alone, by torch."""
    folder, plan = made
    (part,) = sweep_parts(plan, "lbfgs")
    theta, table = contents(folder / part.path)
    data = load_data(folder / part.inputs["data"][0].path)
    model = build(part.spec["model"], tuple(data.x_test.shape[1:]), 10, 0)
    for vector, (_, row) in zip(theta, table.iterrows(), strict=True):
        with torch.no_grad():
            outputs = from_vector(model, torch.from_numpy(vector))(data.x_test.float() / 255)
        loss = F.cross_entropy(outputs.double(), data.y_test).item()
        assert row["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_equal_replicas_start_from_equal_weights(made):
    _, plan = made
    (lbfgs,), (first, _) = sweep_parts(plan, "lbfgs"), sweep_parts(plan, "sgd")
    for ours, theirs in zip(lbfgs.spec["members"][:2], first.spec["members"], strict=True):
        assert ours["seeds"] == theirs["seeds"]


CODE = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from lossatlas.files import clock
clock.COMMIT_SECONDS = 0.02
from lossatlas.specs.registry import Job
from lossatlas.train.jobs.sweep import sweep
spec, data, output, state = json.loads(sys.argv[1]), *map(Path, sys.argv[2:])
print("ready", flush=True)
sweep(Job(spec, {"data": (data,)}, output, state))
"""


def test_killed_at_random_moments_and_rerun_gives_the_same_bits(made, tmp_path, rng, some_of):
    for name in some_of(["lbfgs", "sgd"], 1):
        (tmp_path / name).mkdir()
        killed_and_rerun(made, tmp_path / name, rng, name)


def killed_and_rerun(made, tmp_path, rng, name):
    """Assert that a sweep that was killed again and again ends with the bits of one that was not."""
    folder, plan = made
    part = sweep_parts(plan, name)[0]
    spec = {**part.spec, "recipe": {**part.spec["recipe"], "epochs": 60}}
    data = folder / part.inputs["data"][0].path
    begun = time.perf_counter()
    train(spec, data, tmp_path / "whole.h5", tmp_path / "whole-state")
    whole = time.perf_counter() - begun
    kills = 0
    arguments = [json.dumps(spec), str(data), str(tmp_path / "killed.h5"), str(tmp_path / "state")]
    for attempt in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            process.stdout.readline()
            if attempt < 11:
                time.sleep(float(rng.uniform(0.1, 0.5)) * whole)
                process.kill()
            kills += process.wait() != 0
        if (tmp_path / "killed.h5").exists():
            break
    assert kills >= 1, "the job must really have been interrupted"
    for ours, theirs in zip(contents(tmp_path / "killed.h5"), contents(tmp_path / "whole.h5"), strict=True):
        if isinstance(ours, pd.DataFrame):
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        else:
            np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
    histories = [read_table(tmp_path / f"{name}.h5", "points", "history") for name in ("killed", "whole")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_diverged_members_keep_their_best_point_and_are_not_chosen(made, tmp_path):
    folder, plan = made
    part = sweep_parts(plan, "rates")[0]
    recipe = {**part.spec["recipe"], "weight_decay": 1.0}  # each step multiplies the weights by -1e12
    members = [{**member, "value": 1e12} for member in part.spec["members"][:1]]
    spec = {**part.spec, "recipe": recipe, "members": members}
    output = tmp_path / "a.h5"
    train(spec, folder / part.inputs["data"][0].path, output, tmp_path / "s")
    table = read_table(output)
    assert np.isnan(table.loc[table["stop"] == "last", "train_loss"]).all()
    with pytest.raises(LossatlasError, match="0 trainings of its sweep ended with a finite loss, 1 are asked for"):
        best([output], 1, "last")


# ---------------------------------------------------------------------------------------------------------------------
# clouds


def test_best_members_by_training_loss_whatever_is_taken_of_them(made):
    folder, plan = made
    parts = [contents(folder / part.path) for part in sweep_parts(plan, "sgd")]
    theta = np.concatenate([theta for theta, _ in parts])
    table = pd.concat([table for _, table in parts], ignore_index=True)
    ends = table[table["stop"] == "last"].sort_values("train_loss").head(2)
    for name, shift in (("sgd_train", 0), ("sgd_test", 1)):
        cloud = cloud_of(plan, name)
        found, rows = contents(make(cloud, folder))
        np.testing.assert_array_equal(found, theta[ends.index + shift])
        assert list(rows["replica"]) == list(ends["replica"])
        assert set(rows["stop"]) == {("last", "early")[shift]}
        history = read_table(folder / cloud.path, "points", "history")
        if shift:
            assert history.empty
        else:
            counts = history.groupby("replica").size()
            assert list(counts[ends["replica"]]) == [12, 12]


def test_union_names_its_clouds_and_keeps_their_order(made):
    folder, plan = made
    theta, table = contents(make(cloud_of(plan, "both"), folder))
    single = [contents(make(cloud_of(plan, name), folder))[0] for name in ("lbfgs_train", "sgd_test")]
    np.testing.assert_array_equal(theta, np.concatenate(single))
    assert list(table["cloud"]) == ["lbfgs_train"] * 2 + ["sgd_test"] * 2
    gram = Gram.load(make(only(plan.get("gram", "both", "")), folder))
    np.testing.assert_allclose(gram.norms(), np.linalg.norm(theta.astype(float), axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"clouds": {"sgd_train": {"best": {"count": 4}}}}, r"clouds.sgd_train.best.count: 4 of 3 trainings"),
        (
            {"sweeps": {"sgd": {"early": False}}},
            r"best.sweeps: these keep no early-stopped points; write `early: true`",
        ),
        (
            {"clouds": {"both": {"union": {"clouds": ["both2", "sgd_test"]}}}},
            r"'both2' is not one of the study's clouds",
        ),
        ({"probes": {"plane": {"triangle": {"cloud": "sgd_test"}}}}, r"triangle.corners: 2: 'sgd_test' has 2 points"),
        (
            {"tables": {"table1": {"rows": [{**SETS, "paper": {"sgd_tran": 1}}]}}},
            r"tables.table1.rows\[0\].paper.sgd_tran: unknown key; did you mean 'sgd_train'",
        ),
        ({"runs": {"sgd": {"labels": "inputs"}}}, r"recipe.criterion: `labels: inputs` makes targets of numbers"),
        (
            {"runs": {"lbfgs": {"recipe": {"options": {"hstory": 3}}}}},
            r"recipe.options.hstory: .* did you mean 'history'",
        ),
    ],
)
def test_mistakes_name_their_key(overrides, message):
    with pytest.raises(LossatlasError, match=message):
        cloud_of(study(**overrides), "both")


# ---------------------------------------------------------------------------------------------------------------------
# planes


def test_plane_goes_through_its_three_points(rng):
    corners = rng.normal(size=(3, 20))
    origin, directions, coordinates = plane.through(corners)
    np.testing.assert_allclose(directions @ directions.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(origin + coordinates @ directions, corners, atol=1e-12)
    assert coordinates[0, 1] == pytest.approx(0, abs=1e-12) == coordinates[1, 1]
    assert coordinates[2, 1] > 0
    corners[2] = 0.3 * corners[0] + 0.7 * corners[1]
    with pytest.raises(ValueError, match="three points on one line"):
        plane.through(corners)


def test_losses_on_the_plane_are_those_of_its_points(made, rng):
    folder, plan = made
    part = only(plan.get("triangle", "plane", ""))
    with open_hdf5(make(part, folder), "triangle") as file:
        x, y, loss, coordinates = (file[name][...] for name in ("x", "y", "test", "coordinates"))
        images, labels = file["images"][...], file["labels"][...]
    theta, table = contents(folder / part.inputs["cloud"][0].path)
    corners = theta[[1, 2, 0]].astype(float)
    origin, directions, expected = plane.through(corners)
    np.testing.assert_allclose(coordinates, expected)
    data = load_data(folder / part.inputs["data"][0].path)
    model = build(part.spec["model"], tuple(data.x_test.shape[1:]), 10, 0)
    for i, j in rng.integers(0, 7, (4, 2)):
        point = origin + x[j] * directions[0] + y[i] * directions[1]
        with torch.no_grad():
            outputs = from_vector(model, torch.from_numpy(point))(data.x_test.float() / 255)
        assert loss[i, j] == pytest.approx(F.cross_entropy(outputs.double(), data.y_test).item(), rel=1e-5)
    assert list(labels) == list(range(10))
    assert images.shape == (10, 8, 8)
    assert len(table) == 3


# ---------------------------------------------------------------------------------------------------------------------
# imported vectors


def imported(tmp_path, vectors, **changes):
    """Return the plan of the tiny study with a cloud imported from a file."""
    path = tmp_path / "vectors.npy"
    np.save(path, vectors)
    entry = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "run": "lstm", **changes}
    return cloud_of(study(clouds={"elsewhere": {"imported": entry}}), "elsewhere")


def test_flat_vectors_from_elsewhere_enter_unchanged(made, tmp_path, rng):
    """Vectors of torch's own LSTM with a head, flattened by torch, have the losses of that network."""
    folder, _ = made
    torch.manual_seed(int(rng.integers(2**31)))
    vectors, networks = [], []
    for _ in range(3):
        lstm, head = torch.nn.LSTM(8, 4, batch_first=True), torch.nn.Linear(4, 10, bias=False)
        networks.append((lstm, head))
        parameters = [*lstm.parameters(), *head.parameters()]
        vectors.append(torch.nn.utils.parameters_to_vector(parameters).detach().numpy())
    cloud = imported(tmp_path, np.stack(vectors))
    theta, table = contents(make(cloud, folder))
    np.testing.assert_array_equal(theta, np.stack(vectors))
    data = load_data(folder / cloud.inputs["data"][0].path)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1234))
    for (lstm, head), (_, row) in zip(networks, table.iterrows(), strict=True):
        pixels = (data.x_test.float() / 255).flatten(1)[:, order].reshape(-1, 8, 8)
        with torch.no_grad():
            outputs = head(lstm(pixels)[0][:, -1])
        assert row["test_loss"] == pytest.approx(F.cross_entropy(outputs, data.y_test).item(), rel=1e-5)
        assert row["test_accuracy"] == pytest.approx((outputs.argmax(1) == data.y_test).double().mean().item())


def test_vectors_from_elsewhere_go_where_clouds_go(made, tmp_path, monkeypatch):
    """From a folder of LOSSATLAS_DATA into a union with a sweep's, its Gram matrix, kernels, a path probe, a claim."""
    folder, plan = made
    theta, _ = contents(make(cloud_of(plan, "sgd_all"), folder))
    np.save(tmp_path / "theirs.npy", theta[::-1] * 1.5)
    monkeypatch.setenv("LOSSATLAS_DATA", str(tmp_path))
    digest = hashlib.sha256((tmp_path / "theirs.npy").read_bytes()).hexdigest()
    whole = study(
        clouds={
            "theirs": {"imported": {"file": "theirs.npy", "sha256": digest, "run": "sgd"}},
            "mixed": {"union": {"clouds": ["sgd_test", "theirs"]}},
        },
        probes={
            "kernels": {"kernels": {"cloud": "mixed", "sets": ["theirs", "sgd_test"], "permutations": 20}},
            "low": {"path": {"cloud": "theirs", "pairs": 1, "points": 5, "terms": 2, "steps": 2}},
        },
    )
    rows, table = contents(make(cloud_of(whole, "mixed"), folder))
    np.testing.assert_array_equal(rows[2:], theta[::-1] * np.float32(1.5))
    assert list(table["cloud"]) == ["sgd_test"] * 2 + ["theirs"] * 3
    np.testing.assert_allclose(table["weight_std"], rows.std(1, dtype=np.float64), rtol=1e-6)
    assert list(table["train_examples"]) == [200] * 5
    gram = Gram.load(make(only(whole.get("gram", "mixed", "")), folder))
    np.testing.assert_allclose(gram.norms(), np.linalg.norm(rows.astype(float), axis=1), rtol=1e-6)
    make(only(whole.get("kernels", "kernels", "")), folder)
    (low,) = whole.get("paths", "low", "")
    found = read_table(make(low, folder), "path")
    ends = [2 + found.loc[0, side] for side in ("first", "second")]
    assert found["train_end"].iloc[0] == pytest.approx(table["train_loss"][ends].max(), rel=1e-5)
    grams = [Gram.load(make(only(whole.get("gram", name, "")), folder)) for name in ("theirs", "sgd_all")]
    spread = measure("weight_spread", {"first": grams[0], "second": grams[1]})
    assert spread.value == pytest.approx(1.5, rel=1e-6)


def test_imported_files_that_do_not_fit_are_refused(made, tmp_path):
    folder, _ = made
    with pytest.raises(LossatlasError, match=r"vectors of 7 numbers, but the network of lstm-digits has \d+ weights"):
        make(imported(tmp_path, np.zeros((2, 7))), folder)
    path = tmp_path / "vectors.npy"
    with pytest.raises(LossatlasError, match=r"its SHA-256 is [0-9a-f]{64}, the study says 0000"):
        read_vectors(path, "0" * 64)
    with pytest.raises(LossatlasError, match="no such file"):
        found_file("none.npy")
    for content, message in ((b"nothing", "not a readable .npy file"), (None, r"holds float64 \(3,\)")):
        np.save(path, np.zeros(3)) if content is None else path.write_bytes(content)
        with pytest.raises(LossatlasError, match=message):
            read_vectors(path, hashlib.sha256(path.read_bytes()).hexdigest())


# ---------------------------------------------------------------------------------------------------------------------
# figures, tables, claims


@pytest.mark.parametrize("name", ["fig1", "fig2"])
def test_figures_draw_what_their_numbers_say(made, tmp_path, name):
    folder, plan = made
    product = plan.figures[name]
    outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv")}
    drawn(product.spec, inputs_of(product, folder), outputs)
    numbers = pd.read_csv(outputs["csv"])
    with Image.open(outputs["png"]) as image:
        assert min(image.size) > 500
    if name == "fig1":
        assert (numbers["what"] == "plane").sum() == 49
        minima = numbers[numbers["what"] == "minimum"]
        table = read_table(folder / cloud_of(plan, "sgd_all").path)
        np.testing.assert_allclose(minima["loss"], table["test_loss"].iloc[[1, 2, 0]])
    else:
        assert set(numbers["optimizer"]) == {"lbfgs", "sgd"}
        np.testing.assert_allclose(numbers["passes"], numbers["epoch"] * np.where(numbers["optimizer"] == "sgd", 3, 9))
        assert numbers.groupby("optimizer")["replica"].nunique().to_dict() == {"lbfgs": 2, "sgd": 2}
        assert numbers[numbers["representative"] == 1].groupby("optimizer")["replica"].nunique().max() == 1


def test_table_of_losses(made, tmp_path):
    folder, plan = made
    (row,) = table_of(plan.tables["table1"], folder, tmp_path / "t.csv").to_dict("records")
    for name in ("lbfgs", "sgd"):
        end, early = (read_table(folder / cloud_of(plan, f"{name}_{part}").path) for part in ("train", "test"))
        assert row[f"{name}_train"] == pytest.approx(end["train_loss"].mean())
        assert row[f"{name}_test"] == pytest.approx(early["test_loss"].mean())
        assert row[f"{name}_test_at_end"] == pytest.approx(end["test_loss"].mean())
    assert (row["parameters"], row["train_images"], row["test_images"], row["runs"]) == (64 * 8 + 80, 200, 100, 2)
    assert (row["paper_sgd_train"], row["paper_parameters"]) == (0.5, 3)


def test_table_of_weights_is_that_of_all_components_together(made, tmp_path):
    folder, plan = made
    table = table_of(plan.tables["tableS1"], folder, tmp_path / "t.csv").set_index("set")
    for name in ("sgd_train", "lbfgs_train", "sgd_test", "lbfgs_test"):
        theta, _ = contents(folder / cloud_of(plan, name).path)
        theta = theta.astype(np.float64)
        assert table.loc[name, "mean"] == pytest.approx(theta.mean(), abs=1e-9)
        assert table.loc[name, "std"] == pytest.approx(theta.std(), rel=1e-6)
        assert table.loc[name, "norm"] == pytest.approx(np.linalg.norm(theta, axis=1).mean(), rel=1e-6)
    assert table.loc["sgd_train", "paper_std"] == 0.1


def test_table_of_rates(made, tmp_path):
    folder, plan = made
    table = table_of(plan.tables["rates"], folder, tmp_path / "t.csv")
    assert list(table["optimizer"]) == ["SGD", "SGD", "L-BFGS-GSS"]
    assert list(table["lr"][:2]) == [0.1, 1.0]
    assert list(table["runs"]) == [2, 2, 2]
    early = read_table(folder / cloud_of(plan, "rates_test").path)
    expected = early.loc[early["value"] == 1.0, "test_loss"].mean()
    assert table["test_loss_at_stop"][1] == pytest.approx(expected)
    assert table["misfit"].isna().all()
    assert not table["best_fit"].any()


def test_the_rate_that_fits_the_paper_best_is_marked(made, tmp_path):
    """What is fitted is ten times the losses of the second rate: its misfit is sqrt(2 / 4), and it is the least."""
    folder, plan = made
    table = table_of(plan.tables["rates"], folder, tmp_path / "a.csv")
    second = table.iloc[1]
    paper = {"train_loss": 10 * second["train_loss"], "test_loss": second["test_loss_at_stop"] / 10}
    paper |= {name: second[name] for name in ("train_std", "test_std")}
    theta, rows = contents(folder / cloud_of(plan, "rates_train").path)
    pooled_std = theta[rows["value"] == 1.0].std(dtype=np.float64)
    assert second["train_std"] == pytest.approx(pooled_std, rel=1e-6)
    row = {**plan.tables["rates"].spec["rows"][0], "paper": {name: float(value) for name, value in paper.items()}}
    fitted = table_of(study(tables={"rates": {"rows": [row]}}).tables["rates"], folder, tmp_path / "b.csv")
    assert fitted["misfit"][1] == pytest.approx(0.5**0.5)
    assert list(fitted["best_fit"]) == [
        int(fitted["misfit"][0] < fitted["misfit"][1]),
        int(fitted["misfit"][0] > fitted["misfit"][1]),
        0,
    ]
    assert np.isnan(fitted["misfit"][2])


def test_claims(made):
    folder, plan = made
    given = inputs_of(plan.claims, folder)
    table = evaluate(plan.claims.spec["claims"], given, "tiny", "quick").set_index("id")
    tables_of = {
        name: read_table(folder / cloud_of(plan, name).path) for name in plan.study.sections["clouds"] if name != "both"
    }
    ratio = tables_of["lbfgs_train"]["train_loss"].mean() / tables_of["sgd_train"]["train_loss"].mean()
    assert table.loc["train", "ours"] == pytest.approx(ratio)
    assert (table["n"] == 2).all()
    assert (table["unit"] == "initialisations").all()
    assert (table["verdict"] == "not judged").all()  # of two runs there are no intervals
    scan = tables_of["rates_test"].groupby("value")["test_loss"].mean()
    assert table.loc["rate", "ours"] == pytest.approx(tables_of["lbfgs_test"]["test_loss"].mean() / scan.min())
    sigma = [pooled(tables_of[name])[1] for name in ("lbfgs_train", "sgd_train")]
    assert table.loc["sigma", "ours"] == pytest.approx(sigma[0] / sigma[1])


def runs(rng, replicas, **columns):
    """Return a cloud of one solution a replica."""
    table = pd.DataFrame({"replica": replicas, "weight_mean": 0.0, "weight_std": 1.0, "train_loss": 0.1, **columns})
    return Gram.from_rows(rng.standard_normal((len(table), 30)), table)


def test_equal_replicas_are_compared_in_pairs(rng):
    """A ratio that every initialisation has is seen in pairs though the losses differ by more than it."""
    start, ratio = np.exp(rng.normal(0, 1, 10)), rng.normal(0.8, 0.01, 10)
    first = runs(rng, np.arange(10), train_loss=start * ratio)
    shuffled = rng.permutation(10)
    pairs = measure("solution_losses", {"first": first, "second": runs(rng, shuffled, train_loss=start[shuffled])})
    others = measure("solution_losses", {"first": first, "second": runs(rng, 5 + np.arange(10), train_loss=start)})
    assert [pairs.value, others.value] == pytest.approx([(start * ratio).sum() / start.sum()] * 2)
    assert 0.7 < pairs.interval.low < pairs.value < pairs.interval.high < 0.9
    np.testing.assert_allclose(pairs.each, ratio)
    assert others.interval.high > 1
    assert others.each is None
    none = runs(rng, np.arange(10), train_loss=0.0)
    assert measure("solution_losses", {"first": none, "second": first}).value is None
    assert measure("highest_loss", {"trained": [none, first]}).value == (start * ratio).max()


def test_spread_of_all_components_is_a_ratio_of_means(rng):
    """Of vectors of different means and deviations: the pooled deviation, and an interval that covers the true ratio."""
    covered = 0
    for _ in range(200):
        sets = [
            deviation * np.exp(rng.normal(0, 0.1, (12, 1))) * rng.standard_normal((12, 400)) for deviation in (2, 1)
        ]
        clouds = [
            runs(rng, 100 * k + np.arange(12), weight_mean=rows.mean(1), weight_std=rows.std(1))
            for k, rows in enumerate(sets)
        ]
        found = measure("weight_spread", {"first": clouds[0], "second": clouds[1]})
        covered += found.interval.low <= 2 <= found.interval.high
    assert found.value == pytest.approx(sets[0].std() / sets[1].std())
    assert covered >= 180


def test_the_best_rate_is_that_of_the_lowest_mean_of_whole_scans(rng):
    scan = runs(
        rng, [0, 1, 2, 0, 1, 2, 0, 1], value=[0.1] * 3 + [1.0] * 3 + [10.0] * 2, test_loss=[3, 4, 5, 1, 2, 3, 0, 0]
    )
    first = runs(rng, np.arange(3), test_loss=[2.0, 3.0, 4.0])
    found = measure("best_rate", {"first": first, "scan": scan})
    assert found.value == 1.5
    assert "SGD at lr 1 " in found.detail
    assert found.interval.low < 1.5 < found.interval.high


def test_mutual_distances_are_means_of_pairs_with_an_interval_over_vectors(rng):
    """The ratio by scipy; its interval covers the truth about as often as it says, though pairs share vectors."""
    covered = 0
    for k in range(150):
        grams, expected = [], []
        for width, n in ((1.2, 10), (1.0, 12)):
            scales = width * np.exp(0.3 * rng.standard_normal(n))  # vectors of unlike lengths, nearly orthogonal
            rows = rng.standard_normal((n, 400)) * scales[:, None]
            grams.append(Gram.from_rows(rows, pd.DataFrame({"replica": np.arange(n)})))
            expected.append(pdist(rows).mean())
        found = measure("weight_spread", {"first": grams[0], "second": grams[1]}, quantity="distance")
        if k == 0:
            assert found.value == pytest.approx(expected[0] / expected[1], rel=1e-6)
        covered += found.interval.low <= 1.2 <= found.interval.high
    assert covered >= 133  # of 150 at 95%: fewer with probability 1e-3
