"""Lines, planes and curvature maps as jobs: naive loops, resumption, tiles, batch-norm statistics, one-line errors."""

import json
from pathlib import Path
from types import SimpleNamespace

import harness
import numpy as np
import pandas as pd
import pytest
import torch
from harness import ALL, assert_made_by_the_rules, counts, draw, evaluate, inputs, job, leave_rows, make, make_all, plan

from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.files.points import read_point
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import NetworkLandscape, recompute_batch_norm
from lossatlas.landscape.layout import Layout
from lossatlas.own.point import Point
from lossatlas.planes.figures.relief import write_page
from lossatlas.planes.files import Grid, Trust
from lossatlas.planes.jobs.tile import tile
from lossatlas.planes.numbers import apart
from lossatlas.planes.trust import SliceTrust
from lossatlas.seeds import derive
from lossatlas.specs.study import only
from lossatlas.specs.yaml import merge
from lossatlas.study.read import read_product
from lossatlas.train.examples import build_model, make_examples

TINY = harness.tiny("tiny_surfaces")
torch.set_num_threads(1)


def study(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return harness.study("tiny_surfaces", **overrides)


def probe(plan, name, what="grid"):
    """Return what a probe measures."""
    return only(plan.get(what, name, "here"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder in which artefacts are made when they are asked for, and the plan of the tiny study."""
    return tmp_path_factory.mktemp("made"), study()


def grid_of(made, name):
    """Return a probe's grid and its artefact."""
    folder, plan = made
    artefact = probe(plan, name)
    return Grid.load(make(artefact, folder)), artefact


def parts_of(artefact, folder):
    """Return network, examples, theta and buffers of the run behind a tile, built without the probe's code."""
    spec = artefact.spec
    examples, outputs = make_examples(
        folder / artefact.inputs["data"][0].path, "given", 0, "float32", torch.device("cpu")
    )
    model = build_model(spec["model"], examples, outputs, 0).eval()
    theta, buffers = (torch.from_numpy(a) for a in read_point(folder / artefact.inputs["run"][0].path))
    return model, examples, theta, buffers


def naive(model, theta, buffers, x, y):
    """Return loss and accuracy of a network with these weights and statistics, in one batch."""
    Layout.of(model).load_into(model, theta.float())
    Layout.of_buffers(model).load_into(model, buffers.float())
    with torch.no_grad():
        outputs = model.eval()(x)
    loss = torch.nn.functional.cross_entropy(outputs.double(), y).item()
    return loss, (outputs.argmax(1) == y).double().mean().item()


def test_plane_equals_a_naive_loop(made):
    folder, _plan = made
    found, artefact = grid_of(made, "plane")
    first = artefact.inputs["tiles"][0]
    model, examples, theta, buffers = parts_of(first, folder)
    layout, theta = Layout.of(model), theta.double()
    directions = [
        normalise(gaussian(layout, entry["seed"], torch.float64), theta, layout, "filter")
        for entry in first.spec["slice"]["directions"]
    ]
    assert found.measured["train_loss"].shape == (5, 6)
    for part, images, targets in (("train", examples.x, examples.y), ("test", examples.test_x, examples.test_y)):
        x = examples.inputs(images)
        for i, b in enumerate(np.linspace(-1, 1, 5)):
            for j, a in enumerate(np.linspace(-1, 1, 6)):
                loss, accuracy = naive(model, theta + a * directions[0] + b * directions[1], buffers, x, targets)
                assert found.measured[f"{part}_loss"][i, j] == pytest.approx(loss, rel=1e-6)
                assert found.measured[f"{part}_accuracy"][i, j] == pytest.approx(accuracy, abs=1e-12)
    assert found.minimum["train_loss"] == pytest.approx(
        naive(model, theta, buffers, examples.inputs(examples.x), examples.y)[0], rel=1e-5
    )


def test_lines_take_every_normalisation_and_direction(made):
    folder, _plan = made
    found, artefact = grid_of(made, "lines")
    model, examples, theta, buffers = parts_of(artefact, folder)
    layout, theta = Layout.of(model), theta.double()
    entries = found.slice["directions"]
    assert [(e["normalise"], e["number"]) for e in entries] == [
        (h, s) for h in ("none", "layer", "filter") for s in (0, 1)
    ]
    x = examples.inputs(examples.x)
    for i, entry in enumerate(entries):
        direction = normalise(gaussian(layout, entry["seed"], torch.float64), theta, layout, entry["normalise"])
        direction = direction * {"none": 0.05}.get(entry["normalise"], 1.0)
        for j, a in enumerate(np.linspace(-1, 1, 5)):
            loss, _ = naive(model, theta + a * direction, buffers, x, examples.y)
            assert found.measured["train_loss"][i, j] == pytest.approx(loss, rel=1e-6)
    weights = np.concatenate(
        [theta[layout.slices[n]].numpy() for n, k in zip(layout.names, layout.kinds, strict=True) if k == "weight"]
    )
    inside = (weights >= found.histogram["low"].iloc[0]) & (weights <= found.histogram["high"].iloc[-1])
    assert found.histogram["count"].sum() == inside.sum() > 0.99 * len(weights)


def test_tiles_do_not_change_the_numbers_and_jobs_resume(made, tmp_path):
    folder, plan = made
    whole = probe(study(probes={"plane": {"plane": {"grain": None}}}), "plane")
    tiles = probe(plan, "plane")
    assert (whole.kind, tiles.kind, len(tiles.inputs["tiles"])) == ("tiles", "grids", 3)
    a, b = Grid.load(make(whole, folder)), grid_of(made, "plane")[0]
    np.testing.assert_array_equal(a.y, b.y)
    for name in a.measured:
        np.testing.assert_array_equal(a.measured[name], b.measured[name])
    # an interrupted job has left the points of three rows, marked here: they are taken, the rest is computed
    files = {role: folder / whole.inputs[role][0].path for role in ("data", "run")}
    state = tmp_path / "state"
    leave_rows(state, {name: (values[:3] + 7.0).ravel() for name, values in a.measured.items()})
    output = folder / "again.h5"
    tile(job(whole.spec, output, state, **files))
    again = Grid.load(output).measured["train_loss"]
    np.testing.assert_array_equal(again[:3], a.measured["train_loss"][:3] + 7.0)
    np.testing.assert_array_equal(again[3:], a.measured["train_loss"][3:])


def test_segment_mixes_weights_and_statistics_or_computes_these_anew(made):
    folder, _plan = made
    found, artefact = grid_of(made, "between")
    model, examples, theta, buffers = parts_of(artefact, folder)
    theta_end, buffers_end = (torch.from_numpy(a) for a in read_point(folder / artefact.inputs["to"][0].path))
    x = examples.inputs(examples.x)
    points = np.linspace(-0.5, 1.5, 5)
    for j, a in enumerate(points):
        weights = (1 - a) * theta.double() + a * theta_end.double()
        statistics = (1 - a) * buffers.double() + a * buffers_end.double()
        loss, _accuracy = naive(model, weights, statistics, x, examples.y)
        assert found.measured["train_loss"][0, j] == pytest.approx(loss, rel=1e-6, nan_ok=True)
    anew, _ = grid_of(made, "between_recomputed")
    for j, a in enumerate(points):
        Layout.of(model).load_into(model, ((1 - a) * theta.double() + a * theta_end.double()).float())
        recompute_batch_norm(model, x, 250)
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(model.eval()(x).double(), examples.y).item()
        assert anew.measured["train_loss"][0, j] == pytest.approx(loss, rel=1e-6)


def test_points_that_overflow_are_kept_and_counted(made):
    found, _ = grid_of(made, "far")
    assert found.lost("train_loss") > 0
    assert found.lost("train_loss") == int((~np.isfinite(found.measured["train_loss"])).sum())
    middle = found.measured["train_loss"][2, 2]
    assert np.isfinite(middle)
    assert np.isnan(found.measured["train_accuracy"][np.isnan(found.measured["train_loss"])]).all()


def test_planes_of_a_path_hold_its_points(made):
    folder, _plan = made
    for name in ("path", "path_random", "path_start"):
        found, artefact = grid_of(made, name)
        with open_hdf5(folder / artefact.inputs["run"][0].path, "points") as file:
            theta = file["theta"][...].astype(np.float64)
        assert len(found.path) == len(theta) == 4
        np.testing.assert_allclose(found.path[["x", "y"]].to_numpy()[-1], 0.0, atol=1e-6)
        assert found.x[0] < found.path["x"].min()
        assert found.x[-1] > found.path["x"].max()
        moved, variance = theta - theta[-1], theta.var(axis=0).sum()
        if name == "path":
            singular, axes = np.linalg.svd(theta - theta.mean(0), full_matrices=False)[1:]
            np.testing.assert_allclose(found.explained, (singular**2 / (singular**2).sum())[:2], rtol=1e-6)
            np.testing.assert_allclose(np.abs(found.path[["x", "y"]]), np.abs(moved @ axes[:2].T), atol=1e-5)
        else:
            np.testing.assert_allclose(
                found.explained, found.path[["x", "y"]].to_numpy().var(axis=0) / variance, rtol=1e-6
            )
        if name == "path_random":
            # Of directions drawn without regard to the path each holds 1 / D of its variance, whatever the network;
            # twenty times as much has probability exp(-20).
            assert found.explained.sum() < 20 * 2 / theta.shape[1]
        if name == "path_start":
            unit = moved[0] / np.linalg.norm(moved[0])
            np.testing.assert_allclose(found.path["x"], moved @ unit, atol=1e-5)
            np.testing.assert_allclose(found.path["y"].iloc[0], 0.0, atol=1e-5)


def test_curvature_maps_hold_the_extremes_of_the_dense_hessian(made, some_of):
    """At the minimum or at a corner of the plane, the network's Hessian column by column in float64."""
    folder, _plan = made
    found, artefact = grid_of(made, "map_plain")
    model, examples, theta, buffers = parts_of(artefact, folder)
    landscape = NetworkLandscape(
        model, examples.inputs(examples.x[:50]), examples.y[:50], buffers=buffers, dtype=torch.float64, batch_size=50
    )
    layout = Layout.of(model)
    directions = [
        normalise(gaussian(layout, e["seed"], torch.float64), theta.double(), layout, "filter")
        for e in artefact.spec["slice"]["directions"]
    ]
    for i, j in some_of([(1, 1), (0, 2)], 1):
        point = theta.double() + found.x[j] * directions[0] + found.y[i] * directions[1]
        exact = np.linalg.eigvalsh(
            torch.stack([landscape.hvp(point, unit) for unit in torch.eye(landscape.dim, dtype=torch.float64)]).numpy()
        )
        scale = np.abs(exact).max()
        values = {name: found.measured[name][i, j] for name in found.measured}
        print(exact[[0, -1]], values)
        assert values["converged"] == 1
        assert values["lambda_max"] == pytest.approx(exact[-1], abs=2e-2 * scale)
        assert values["lambda_min"] == pytest.approx(exact[0], abs=2e-2 * scale)
        assert values["residual_max"] <= 1e-2 * scale
    point, _ = grid_of(made, "point")
    assert point.measured["lambda_max"].shape == (1, 1)
    assert point.measured["density_nodes"].shape == (1, 1, 2, 12)
    assert np.isfinite(point.measured["trace"]).all()


def test_descent_measures_angles_in_full_and_in_the_plane(made):
    folder, plan = made
    artefact = probe(plan, "path", "descent")
    table = read_table(make(artefact, folder), "descent")
    run = folder / artefact.inputs["run"][0].path
    with open_hdf5(run, "points") as file:
        theta, buffers = file["theta"][...].astype(np.float64), file["buffers"][...]
    assert list(table["epoch"]) == [0, 1, 2]
    model, examples, _, _ = parts_of(artefact, folder)
    x = examples.inputs(examples.x)
    axes = principal_axes(Gram.load(folder / artefact.inputs["gram"][0].path), np.arange(4), 2)
    basis = axes.weights.T @ theta

    def gradient(point, statistics):
        Layout.of(model).load_into(model, torch.from_numpy(point).float())
        Layout.of_buffers(model).load_into(model, torch.from_numpy(statistics))
        model.zero_grad()
        torch.nn.functional.cross_entropy(model.eval()(x), examples.y).backward()
        return torch.cat([p.grad.reshape(-1) for p in model.parameters()]).double().numpy()

    def angle(a, b):
        return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

    for i, row in table.iterrows():
        step = theta[i + 1] - theta[i]
        assert row["step_norm"] == pytest.approx(np.linalg.norm(step), rel=1e-6)
        assert row["angle"] == pytest.approx(angle(step, -gradient(theta[i], buffers[i])), abs=0.05)
        on_plane = theta[-1] + (basis @ (theta[i] - theta[-1])) @ basis
        down = -basis @ gradient(on_plane, buffers[-1])
        assert row["plane_angle"] == pytest.approx(angle(basis @ step, down), abs=0.5)


def test_descents_of_what_is_descended(made):
    """Against a plain loop over minibatches in train mode: gradients through batch statistics, decay term apart."""
    folder, plan = made
    (artefact,) = plan.get("descents", "along", "here")
    table = read_table(make(artefact, folder), "descent")
    old = read_table(make(probe(plan, "path", "descent"), folder), "descent")
    pd.testing.assert_frame_equal(table[old.columns], old)
    about = artefact.spec["gradient"]
    assert (about["batch"], about["weight_decay"], about["examples"]) == (50, 5e-4, 150)
    run = folder / artefact.inputs["run"][0].path
    with open_hdf5(run, "points") as file:
        theta = file["theta"][...].astype(np.float64)
    model, examples, _, _ = parts_of(artefact, folder)
    layout = Layout.of(model)

    def angle(a, b):
        return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

    for i, row in table.iterrows():
        order = torch.Generator().manual_seed(derive(derive(about["seed"], "step", i), "order"))
        gradients = []
        for rows in torch.randperm(200, generator=order)[:150].split(50):
            layout.load_into(model, torch.from_numpy(theta[i]).float())
            model.zero_grad()
            outputs = model.train()(examples.inputs(examples.x[rows]))
            torch.nn.functional.cross_entropy(outputs.double(), examples.y[rows]).backward()
            gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).double().numpy())
        mean, step = np.mean(gradients, axis=0), theta[i + 1] - theta[i]
        noise = np.var(gradients, axis=0, ddof=1).sum()
        assert row["batch_gradient_norm"] == pytest.approx(np.linalg.norm(mean), rel=1e-4)
        assert row["noise"] == pytest.approx(noise, rel=1e-3)
        assert row["signal"] == pytest.approx(mean @ mean - noise / 3, rel=1e-3, abs=1e-3 * noise)
        assert row["batch_angle"] == pytest.approx(angle(step, -mean), abs=0.05)
        assert row["total_angle"] == pytest.approx(angle(step, -(mean + 5e-4 * theta[i])), abs=0.05)
        assert row["end_angle"] == pytest.approx(angle(step, theta[-1] - theta[i]), abs=0.05)
        if i:
            assert row["turn"] == pytest.approx(angle(theta[i] - theta[i - 1], step), abs=0.05)
    assert list(table["phase"]) == [0, 0, 1]
    lengths = table["step_norm"].to_numpy()
    cosines = [lengths[i] / np.sqrt((lengths[i:] ** 2).sum()) for i in range(3)]
    np.testing.assert_allclose(table["walk_angle"], np.degrees(np.arccos(np.clip(cosines, -1, 1))), atol=1e-5)


def test_rescaled_lines_are_of_the_same_function(made):
    found, artefact = grid_of(made, "lines_plain_rescaled")
    exact, _ = grid_of(made, "lines_plain_exact")
    assert artefact.spec["slice"]["rescaled"]["spread"] == 3
    assert artefact.id != probe(made[1], "lines_plain_exact").id
    with open_hdf5(made[0] / artefact.path, "grid") as file:
        assert 0 < file.attrs["moved"] < 1e-9
    np.testing.assert_allclose(apart(exact, found, "filter"), 0.0, atol=1e-9)
    assert (apart(exact, found, "none") > 1e-3).all()
    assert (apart(exact, found, "layer") > 1e-3).all()


def test_networks_are_met_at_one_training_loss(made):
    """A plane through the first recorded epoch whose loss is low enough, with the weights and statistics of then."""
    folder, _plan = made
    artefact = probe(made[1], "plane_early")
    run = folder / probe(made[1], "path").inputs["run"][0].path
    table = read_table(Path(make(probe(made[1], "path").inputs["run"][0], folder)))
    wanted = float(table["train_loss"].iloc[1]) * 1.0001
    change = {"plane_early": {"plane": {"at_loss": wanted}}}
    artefact = probe(study(probes=change), "plane_early")
    found = Grid.load(make(artefact, folder))
    row = int(np.flatnonzero(table["train_loss"] <= wanted)[0])
    assert found.minimum["epoch"] == table["epoch"].iloc[row]
    assert row < len(table) - 1
    theta, buffers = (torch.from_numpy(a) for a in read_point(run, row))
    model, examples, _, _ = parts_of(artefact, folder)
    loss, _ = naive(model, theta, buffers, examples.inputs(examples.x), examples.y)
    assert found.measured["train_loss"][1, 1] == pytest.approx(loss, rel=1e-6)
    never = probe(study(probes={"plane_early": {"plane": {"at_loss": 1e-9}}}), "plane_early")
    assert Grid.load(make(never, folder)).minimum["epoch"] == table["epoch"].iloc[-1]


def test_slices_are_asked_whether_they_are_right(made):
    """The checks of a picture of one's own network, with the same numbers as there."""
    folder, plan = made
    artefact = only(plan.get("trust", "right_plane", "here"))
    found = Trust.load(make(artefact, folder))
    names = ["directions", "variance", "batch norm", "examples", "grid", "range"]
    assert list(found.checks["name"]) == names
    _grid, tiles = grid_of(made, "plane")
    first = tiles.inputs["tiles"][0]
    model, examples, theta, buffers = parts_of(first, folder)
    landscape = NetworkLandscape(model, examples.inputs(examples.x), examples.y, buffers=buffers, batch_size=250)
    layout, theta = Layout.of(model), theta.double()
    shown = [
        normalise(gaussian(layout, e["seed"], torch.float64), theta, layout) for e in first.spec["slice"]["directions"]
    ]
    own = SliceTrust(Point(landscape, theta, layout), shown, 1.0, "filter", artefact.spec["seed"], 30, 0.4).verdict(
        others=2
    )
    for check, (_, row) in zip(own.checks, found.checks.iterrows(), strict=True):
        assert (check.outcome, check.sentence) == (row["outcome"], row["sentence"])
    assert found.outcome == own.outcome
    assert "of 2 other directions" in found.checks["sentence"][0]
    path = Trust.load(make(only(plan.get("trust", "right_path", "here")), folder))
    share = Grid.load(make(probe(plan, "path"), folder)).explained.sum()
    assert path.checks["number"][1] == pytest.approx(share)
    assert path.checks["outcome"][0] == "stated", "principal axes were chosen: no others are meant"
    lines = only(plan.get("trust", "right_lines", "here"))
    assert lines.spec["normalise"] == "none"
    assert Trust.load(make(lines, folder)).words().startswith("is it right? ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": "between"}, "'between' mixes batch-norm statistics; ask about one with `recompute`"),
        ({"of": "plane", "normalise": "layer"}, "'plane' has no lines under 'layer'"),
        ({"of": "lines_plain_rescaled"}, "'lines_plain_rescaled' goes through a rescaled network"),
        ({"of": "point"}, "probe 'point' is of kind 'curvature', expected"),
    ],
)
def test_what_cannot_be_asked_is_said(change, message):
    with pytest.raises(LossatlasError, match=message):
        study(probes={"right_plane": {"trust": change}}).get("trust", "right_plane", "here")


def test_what_is_no_other_network_of_the_same_function_is_refused(made):
    """A residual network passes shortcuts by its batch norms: units cannot be rescaled one after the other."""
    change = {"line": {"run": "small", "rescale": {"how": "units"}}}
    artefact = probe(study(probes={"lines_plain_rescaled": change}), "lines_plain_rescaled")
    with pytest.raises(LossatlasError, match="rescaling units moved the network's outputs by"):
        make(artefact, made[0])


@pytest.mark.parametrize(
    "name, change, message",
    [
        (
            "lines",
            {"line": {"run": "smal"}},
            r"probes\.lines\.line\.run: 'smal' is not one of the study's runs; did you",
        ),
        ("lines", {"line": {"nomalise": "filter"}}, r"probes\.lines\.line\.nomalise: unknown key; did you mean"),
        ("lines", {"line": {"batch_norm": "interpolate"}}, "`interpolate` goes with `to`"),
        ("between", {"line": {"to": "plain"}}, "'plain' has another network or data than 'small'"),
        ("path", {"plane": {"run": "large"}}, "'large' keeps no path; write `record: {epochs: all}` there"),
        ("path", {"plane": {"axes": "pac"}}, "'pac' is not allowed; did you mean 'pca'"),
        ("map", {"curvature": {"plane": "lines"}}, "probe 'lines' is of kind 'line', expected 'plane'"),
        ("map", {"curvature": {"run": "small"}}, "give either plane .a probe of that kind. or run"),
        ("lines", {"line": {"parts": ["test"]}}, r"probes\.lines\.line\.parts: \['test'\] lacks train"),
        ("lines", {"line": {"scale": {"filtre": 2.0}}}, "'filtre' is not allowed; did you mean 'filter'"),
        ("plane_plain", {"plane": {"at_loss": 0.5}}, "'plain' keeps its end alone; write `record: .epochs: all."),
        ("path", {"plane": {"at_loss": 0.5}}, "goes with random directions: a plane of a path goes through its end"),
        ("lines", {"line": {"rescale": {"how": "filters"}, "batch_norm": "recompute"}}, "goes with random lines and"),
        ("map", {"curvature": {"least": 90}}, r"probes\.map\.curvature\.least: 90 products, but `products` allows 60"),
        ("plane", {"plane": {"grid": [6, 5, 4]}}, r"probes\.plane\.plane\.grid: .*3 entries; give at most 2"),
    ],
)
def test_mistakes_are_named_in_one_line(name, change, message):
    with pytest.raises(LossatlasError, match=message) as caught:
        probe(study(**merge({}, {"probes": {name: change}})), name)
    assert len(str(caught.value).splitlines()) == 1


def test_planes_of_a_poisoned_run_leave_its_further_examples_out():
    poison = {"poison": {"source": "held_out", "points": 20}, "beta": 0.2}
    artefact = probe(study(runs={"large": {"recipe": poison}}), "lines_large").inputs["tiles"][0]
    assert artefact.spec["poison"] == only(artefact.inputs["run"]).spec["poison"]
    assert artefact.spec["seeds"]["poison"] == only(artefact.inputs["run"]).spec["seeds"]["poison"]


def test_descents_need_a_plane_of_a_path():
    with pytest.raises(LossatlasError, match="a descent needs a plane of its path"):
        probe(study(), "plane", "descent")


@pytest.fixture(scope="module")
def everything(made):
    """Make whatever the tiny study's figures, tables and claims read."""
    folder, plan = made
    make_all(plan, folder)
    return folder, plan


def test_figures_are_drawn_with_their_numbers(everything, tmp_path, monkeypatch):
    folder, plan = everything
    monkeypatch.chdir(folder)
    for name, product in plan.figures.items():
        more = ("html", "vtp") if name == "relief" else ()
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv", *more)}
        notes = draw(product.spec, product.paths(), outputs)
        assert outputs["png"].stat().st_size > 10_000
        assert len(pd.read_csv(outputs["csv"])) > 2
        if name in ("contours", "relief"):
            lost = Grid.load(probe(plan, "far").path).lost("train_loss")
            assert f"{lost} of 25 in 'far away'" in notes[0]
    assert plan.figures["contours"].spec["panels"][0]["title"] == "ResNet-8, width x0.125"


def test_page_is_self_contained_and_vtk_reads_the_relief(everything, tmp_path, monkeypatch):
    folder, plan = everything
    monkeypatch.chdir(folder)
    product = plan.figures["relief"]
    outputs = {kind: tmp_path / f"relief.{kind}" for kind in ("html", "vtp")}
    draw(product.spec, product.paths(), outputs)
    page = outputs["html"].read_text()
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page.replace(' charset="utf-8"', "")
    assert outputs["html"].stat().st_size < 8e6
    vtk_io = pytest.importorskip("vtkmodules.vtkIOXML")
    from vtkmodules.util.numpy_support import vtk_to_numpy

    reader = vtk_io.vtkXMLPolyDataReader()
    assert reader.CanReadFile(str(outputs["vtp"]))
    reader.SetFileName(str(outputs["vtp"]))
    reader.Update()
    assert reader.GetErrorCode() == 0
    data = reader.GetOutput()
    near, far = (Grid.load(probe(plan, name).path) for name in ("plane", "far"))
    assert data.GetNumberOfPoints() == near.measured["train_loss"].size + far.measured["train_loss"].size
    whole = np.isfinite(far.measured["train_loss"])
    cells = whole[1:, 1:] & whole[1:, :-1] & whole[:-1, 1:] & whole[:-1, :-1]
    assert data.GetNumberOfPolys() == 4 * 5 + cells.sum()
    loss = vtk_to_numpy(data.GetPointData().GetArray("loss"))
    np.testing.assert_array_equal(loss[:30], near.measured["train_loss"].ravel())
    points = vtk_to_numpy(data.GetPoints().GetData())
    np.testing.assert_allclose(points[:6, 0], near.x)
    assert np.isfinite(points).all()
    titles = data.GetFieldData().GetAbstractArray("titles")
    assert [titles.GetValue(i) for i in range(2)] == ["near & dear", "far away"]


def test_tables_and_claims_hold_the_numbers_of_their_grids(everything, tmp_path, monkeypatch):
    folder, plan = everything
    monkeypatch.chdir(folder)
    for name, product in plan.tables.items():
        write_table(read_product(product.spec), inputs(product.paths()), tmp_path / f"{name}.csv")
    table = pd.read_csv(tmp_path / "sharpness.csv")
    assert list(table["row"][:3]) == ["small", "large", "lines_plain"]
    lines = Grid.load(probe(plan, "lines").path)
    loss, x = lines.measured["train_loss"][4:], lines.x
    rises = [(row[1] + row[3]) / 2 - row[2] for row in loss]
    assert list(x) == [-1, -0.5, 0, 0.5, 1]
    assert table["filter_rise"][0] == pytest.approx(np.median(rises))
    assert table["test_error"][0] == pytest.approx(100 * (1 - lines.minimum["test_accuracy"]))
    assert np.isfinite(table["lambda_max"][0])
    assert "3 networks" in table["row"][3]
    (row,) = pd.read_csv(tmp_path / "variance.csv").to_dict("records")
    assert row["two_pcs"] == pytest.approx(Grid.load(probe(plan, "path").path).explained.sum(), rel=1e-9)
    assert row["random_plane"] < row["start_plane"] <= row["two_pcs"] + 1e-9
    found = evaluate(plan.claims.spec["claims"], plan.claims.paths(), "tiny", "quick").set_index("id")
    print(found[["ours", "detail"]].to_string())
    assert np.isfinite(found.drop(["few", "convex", "ratio", "rank", "noise"])["ours"].astype(float)).all()
    assert found.loc["few", "reason"] == "1 networks, at least 8 are needed"
    assert (found.loc[["negative", "bent"], "verdict"] == "not judged").all()
    assert found.loc["negative", "reason"].startswith("the network is no minimum: network_accuracy is 0.")
    assert found.loc["flat", "reason"] == "1 initialisation: too few for an interval"
    assert found.loc["share", "ours"] == pytest.approx(row["two_pcs"])
    table = read_table(Path(probe(plan, "path", "descent").path), "descent")
    assert found.loc["early", "ours"] == pytest.approx(table["plane_angle"][0])
    assert found.loc["change", "ours"] == pytest.approx(table["angle"][2] - table["angle"][0])


def test_rules_plan_every_job_once_and_make_a_relief(tmp_path):
    jobs = counts(plan(tmp_path, ALL, study=TINY))
    expected = {"data": 1, "train": 3, "tile": 21, "assemble": 3, "descent": 2, "trust": 3, "gather": 1, "gram": 1}
    assert {rule: jobs[rule] for rule in expected} == expected
    assert (jobs["figure"], jobs["relief"], jobs["table"]) == (7, 1, 3)


def test_a_gathered_figure_is_made_by_the_rules(tmp_path):
    assert_made_by_the_rules(tmp_path, "tiny_surfaces", "curvature")


def test_the_page_opens_on_the_most_rugged_surface_with_its_minimum_pinned(tmp_path):
    """The bowl is listed first, the rugged one in sight, each with a pin on its own lowest point."""
    axis = np.arange(-2.0, 3)
    x, y = np.meshgrid(axis, axis)
    bowl, rough = 0.5 + x**2 + y**2, 10.0 ** (2 * ((x + 2 * y) % 3) - 1)
    rough[4, 1] = 0.01
    minimum = {"test_accuracy": 0.9}
    grids = [SimpleNamespace(x=axis, y=axis, measured={"train_loss": z}, minimum=minimum) for z in (bowl, rough)]
    write_page(tmp_path / "p.html", ["bowl", "rough"], grids, [np.log10(bowl), np.log10(rough)])
    text = (tmp_path / "p.html").read_text()
    call = text[text.rindex("Plotly.newPlot(") :]
    data, end = json.JSONDecoder().raw_decode(call[call.index("[") :])
    layout = json.JSONDecoder().raw_decode(call[call.index("{", call.index("[") + end) :])[0]
    assert [trace["visible"] for trace in data] == [False, True, False, True]
    assert [trace["type"] for trace in data] == ["surface", "surface", "scatter3d", "scatter3d"]
    assert (data[2]["x"][0], data[2]["y"][0], data[2]["z"][0]) == (0, 0, pytest.approx(np.log10(0.5)))
    assert (data[3]["x"][0], data[3]["y"][0], data[3]["z"][0]) == (-1, 2, pytest.approx(-2))
    assert layout["updatemenus"][0]["active"] == 1
    assert layout["title"]["text"] == "rough, test error 10.0%"
