"""Probes on minima, their figures and measures, on the tiny study of poisoned minima."""

from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from harness import ALL, assert_made_by_the_rules, counts, evaluate, inputs_of, job, measure, plan, tiny
from harness import draw as drawn
from harness import study as planned
from scipy.stats import spearmanr

from lossatlas import statistics
from lossatlas.basins.files import Boundaries, Labelled, Volumes
from lossatlas.basins.jobs import slices, volume
from lossatlas.basins.jobs.minima import minima
from lossatlas.basins.numbers import at_cutoff, field, joined, separation
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files import clock
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.files.points import read_point
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.seeds import derive
from lossatlas.specs.study import only
from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.train.spec import runs
from lossatlas.workflow.cost import work

NAME = "tiny_generalization"
torch.set_num_threads(1)


def study(**overrides):
    """Return the plan of the tiny study with keys merged in."""
    return planned(NAME, **overrides)


def job_of(made, folder, output):
    """Return the job of an artefact whose inputs are made below a folder."""
    files = {role: [folder / path for path in made.paths(role)] for role in made.inputs}
    return job(made.spec, output, **files)


@pytest.fixture(scope="module")
def made(made_study):
    """Return folder and plan of the tiny study."""
    return made_study("tiny_generalization")


def test_radii_are_where_the_loss_crosses_the_cutoff(made):
    folder, found = made
    (first, *_) = found.get("volume", "basins", "")
    with open_hdf5(folder / first.path, "volume") as file:
        radii = file["radii"][...]
    assert radii.shape == (3, 2, 130)
    for i, minimum in enumerate(minima(job_of(first, folder, folder / "none"))):
        directions = volume._Basin(first.spec, minimum, np.array([0.8, 1.5]), folder / "none").directions(1)
        for k, cutoff in enumerate((0.8, 1.5)):
            r = radii[i, k, 64:128]
            inside = np.isfinite(r) & (r > 0)
            for shift, sign in ((1 - 1e-3, -1), (1 + 1e-3, 1)):
                steps = torch.from_numpy(np.where(inside, r, 0.0) * shift).float()[:, None]
                losses = minimum.nets.train.losses(minimum.theta + steps * directions).numpy()
                assert (sign * (losses - cutoff) > 0)[inside].mean() > 0.9
            # filter-normalised directions are as long as the weights
            norm = float(directions[0].norm())
            assert norm == pytest.approx(read_table(folder / first.path, "volume")["weight_norm"][2 * i], rel=1e-5)


def test_a_basin_may_be_bounded_by_some_of_the_examples(made):
    folder, found = made
    (file,) = found.get("volume", "few", "")
    with open_hdf5(folder / file.path, "volume") as opened:
        radii = opened["radii"][:, 0]
    for r, minimum in zip(radii, minima(job_of(file, folder, folder / "none")), strict=True):
        directions = volume._Basin(file.spec, minimum, np.array([0.8]), folder / "none").directions(0)[:20]
        some = minimum.nets.train.at_examples(torch.arange(15))
        inside = np.isfinite(r) & (r > 0)
        assert inside.any()
        losses = some.losses(minimum.theta + torch.from_numpy(np.where(inside, r, 0.0)).float()[:, None] * directions)
        np.testing.assert_allclose(losses.numpy()[inside], 0.8, rtol=5e-3)
    few, all_of_them = work(file), work(found.get("volume", "basins", "")[0])
    assert few.flops / few.rows < 0.6 * all_of_them.flops / all_of_them.rows


def test_an_interrupted_volume_gives_the_same_bits(made, tmp_path, monkeypatch):
    folder, found = made
    (first, *_) = found.get("volume", "basins", "")
    this = job_of(first, folder, tmp_path / "volume.h5")
    real, calls = volume._Basin.directions, []

    def interrupted(self, block):
        calls.append(block)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(self, block)

    monkeypatch.setattr(volume._Basin, "directions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        volume.volume(this)
    assert list((tmp_path / "state").glob("*/radii.npz"))
    volume.volume(this)
    with h5py.File(tmp_path / "volume.h5") as a, h5py.File(folder / first.path) as b:
        for name in ("radii", "profile"):
            assert np.array_equal(a[name][...], b[name][...])


def test_slices_hold_the_loss_of_the_minimum_in_the_middle(made):
    folder, found = made
    (first,) = found.get("slices", "planes", "")
    with open_hdf5(folder / first.path, "slice") as file:
        loss, x = file["loss"][...], file["x"][...]
    table = read_table(folder / first.path, "slice")
    assert list(table["value"]) == [0.0, 0.4]
    assert x[2] == 0
    assert loss[:, 2, 2] == pytest.approx(table["train_loss"].to_numpy(), rel=1e-5)


def test_slices_are_summed_in_float32_as_they_always_were(made):
    """The losses kept in stores are bit for bit those at (theta + x_j u) + x_i v, a row of the grid at a time."""
    folder, found = made
    (first,) = found.get("slices", "planes", "")
    with open_hdf5(folder / first.path, "slice") as file:
        loss, x = file["loss"][...], file["x"][...]
    for kept, minimum in zip(loss, minima(job_of(first, folder, folder / "none")), strict=True):
        layout, theta = minimum.nets.train.layout, minimum.theta
        assert theta.dtype == torch.float32
        drawn_rows = gaussian_rows(layout, derive(first.spec["master"], "slice"), 2)
        u, v = normalise_rows(drawn_rows, theta, layout, "filter")
        steps = torch.from_numpy(x).float()
        expected = [minimum.landscape().losses(theta + steps[:, None] * u + step * v).numpy() for step in steps]
        assert np.array_equal(kept, np.stack(expected))


def test_interrupted_slices_give_the_same_bits(made, tmp_path, monkeypatch):
    folder, found = made
    (first,) = found.get("slices", "planes", "")
    this = job_of(first, folder, tmp_path / "slice.h5")
    monkeypatch.setattr(clock, "COMMIT_SECONDS", 0.0)
    real, calls = slices._Around.line, []

    def interrupted(self, row):
        calls.append(row)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(self, row)

    monkeypatch.setattr(slices._Around, "line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slices.slices(this)
    assert len(list((tmp_path / "state").rglob("*.npz"))) == 2
    slices.slices(this)
    assert len(calls) == 11  # seven rows, the interrupted one, and what was left of ten
    assert (tmp_path / "slice.h5").read_bytes() == (folder / first.path).read_bytes()


def test_boundaries_are_what_the_network_decides(made):
    folder, found = made
    for name in ("decisions", "rings", "others"):
        for artefact in found.get("boundaries", name, ""):
            with open_hdf5(folder / artefact.path, "boundary") as file:
                predicted, y = file["test/predicted"][...], file["test/y"][...]
                assert file["label"].shape[1:] == (artefact.spec["grid"],) * 2
            table = read_table(folder / artefact.path, "boundary")
            assert (predicted == y).mean(1) == pytest.approx(table["test_accuracy"].to_numpy())
    # the minima of one run on the data of another: equal data here, so equal accuracies
    (own,) = found.get("volume", "runs", "")
    (other,) = found.get("boundaries", "others", "")
    a, b = (read_table(folder / made.path, kind) for made, kind in ((own, "volume"), (other, "boundary")))
    assert list(a["test_accuracy"]) == list(b["test_accuracy"])


def test_mines_start_from_the_iterates(made):
    folder, found = made
    gram = Gram.load(folder / only(found.get("gram", "field", "")).path)
    measured = field(gram)
    path = runs(found, "path", "")[0]
    points = np.stack([read_point(folder / path.path, row)[0] for row in range(5)]).astype(float)
    assert list(read_table(folder / path.path)["epoch"]) == [0.0, 5.0, 10.0, 15.0, 20.0]
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert measured.length == pytest.approx(steps.sum(), rel=1e-5)
    assert measured.displacement == pytest.approx(np.linalg.norm(points[-1] - points[0]), rel=1e-5)
    (part,) = [p for p in only(found.get("cloud", "field", "")).inputs["points"] if p.kind == "sweeps"]
    ends = [read_point(folder / part.path, row)[0].astype(float) for row in range(3)]
    expected = [np.linalg.norm(end - points[i]) for end, i in zip(ends, (0, 2, 4), strict=True)]
    assert measured.to_start == pytest.approx(expected, rel=1e-5)
    assert (measured.to_path <= measured.to_start + 1e-9).all()


def test_figures_are_drawn_with_their_numbers(made, tmp_path):
    folder, found = made
    for name, product in found.figures.items():
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "csv")}
        drawn(product.spec, inputs_of(product, folder), outputs)
        assert outputs["png"].stat().st_size > 5_000
        assert len(pd.read_csv(outputs["csv"])) > 1
    assert found.figures["boundaries"].spec["title"] == "Boundaries of Swiss roll"


def test_claims_are_measured(made):
    folder, found = made
    table = evaluate(found.claims.spec["claims"], inputs_of(found.claims, folder), "tiny", "quick")
    assert len(table) == 11
    assert np.isfinite(table["ours"].astype(float)).all()
    volumes = joined([Volumes.load(folder / made.path) for made in found.get("volume", "basins", "")])
    rows = at_cutoff(volumes, 0.8)
    finite = rows[np.isfinite(rows["log10_volume"])]
    rank = statistics.rank_correlation(rows, "test_accuracy", "log10_volume")
    assert rank.value == pytest.approx(spearmanr(finite["test_accuracy"], finite["log10_volume"]).statistic)
    assert (rank.rows, rank.replicas) == (len(finite), finite["replica"].nunique())


def test_volume_gap_pairs_replicas():
    halves = ("log10_volume_first_half", "log10_volume_second_half")
    rest = dict.fromkeys((*halves, "effective_directions", "test_accuracy", "train_loss"), 1.0)
    found_at = [(0, 0.0, -10.0), (1, 0.0, -20.0), (2, 0.0, -5.0)]
    found_at += [(0, 0.2, -110.0), (1, 0.2, -320.0), (2, 0.2, np.nan)]
    rows = [{"replica": r, "value": v, "cutoff": 0.1, "log10_volume": volume, **rest} for r, v, volume in found_at]
    volumes = Volumes(pd.DataFrame(rows), np.empty((6, 1, 0)), np.empty(0), np.empty((6, 0, 0), dtype=np.float32))
    found = measure("volume_gap", {"first": volumes, "second": volumes}, first_value=0.0, second_value=0.2)
    assert found.value == pytest.approx((100 + 300) / 2)
    assert found.n == 2
    assert "1 without a volume" in found.detail
    volumes = replace(volumes, table=volumes.table.assign(dimension=50))
    per_weight = {"first_value": 0.0, "second_value": 0.2, "column": "log10_volume_per_weight"}
    assert measure("volume_gap", {"first": volumes, "second": volumes}, **per_weight).value == pytest.approx(200 / 50)


def test_gaps_of_accuracy_and_the_spread_of_radii_are_over_initialisations():
    rows = []
    for replica in range(6):
        for value, accuracy in ((0.0, 0.9 + 0.01 * replica), (0.5, 0.3)):
            radii = {"radius_median": 0.1, "radius_largest": 0.1 * (1.2 + 0.1 * replica), "directions": 7}
            accuracies = {"test_accuracy": accuracy, "train_accuracy": 1.0}
            rows.append({"replica": replica, "value": value, "cutoff": 0.1, **accuracies, **radii})
    volumes = Volumes(pd.DataFrame(rows), np.empty((12, 1, 0)), np.empty(0), np.empty((12, 0, 0)))
    gap = measure("minima_gap", {"first": volumes, "second": volumes}, first_value=0.0, second_value=0.5)
    assert gap.value == pytest.approx(0.625)
    assert gap.n == 6
    assert gap.interval.low == pytest.approx(statistics.of_mean([0.6 + 0.01 * k for k in range(6)]).low)
    spread = measure("radius_spread", {"volume": volumes}, value=0.0)
    assert spread.value == pytest.approx(1.45)
    assert (spread.interval.low, spread.interval.high) == pytest.approx((1.2, 1.7))


def test_separation_of_rings():
    x = np.array([[0.4, 0], [0, 0.4], [0.41, 0], [0, -0.41], [0.95, 0]])
    y = np.array([0, 0, 1, 1, 1])
    predicted = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]])
    grid, points = np.empty(0), Labelled(x, y)
    minima_of = pd.DataFrame({"train_accuracy": [1.0, 0.9, 0.8]})
    rings = Boundaries(minima_of, grid, grid, np.empty((3, 0, 0), dtype=np.uint8), points, points, predicted)
    assert list(separation(rings)) == [1.0, 0.5, 0.5]
    found = measure("circle_found", {"boundaries": rings}, quantity="separation", statistic="max")
    assert found.value == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": {"basins": {"volume": {"runs": ["alone"]}}}}, "give either sweep or runs"),
        ({"probes": {"planes": {"slices": {"grid": 6}}}}, "6 is even"),
        ({"probes": {"planes": {"slices": {"values": [0.7]}}}}, "no member of sweep 'betas'"),
        ({"sweeps": {"betas": {"parameter": "lr"}}}, "only beta, weight_decay or tether may differ"),
        ({"sweeps": {"betas": {"early": True}}}, "keeps no early-stopped points"),
        ({"sweeps": {"betas": {"lockstep": False}, "mines": {"lockstep": False}}}, "needs lockstep"),
        ({"sweeps": {"mines": {"start": {"every": 7}}}}, "does not record every 7 epochs"),
        ({"runs": {"alone": {"recipe": {"poison": {"source": "extra"}}}}}, "of the `extra` part"),
        ({"runs": {"rings": {"data": {"name": "digits", "options": None}, "scale": "raw"}}}, "`raw` is for vectors"),
        ({"figures": {"slices": {"panels": [{"slices": "basins"}]}}}, "of kind 'volume', expected 'slices'"),
    ],
)
def test_mistakes_are_named_in_one_line(change, message):
    whole = merge(read_yaml(tiny(NAME)), change)
    with pytest.raises(LossatlasError, match=message) as caught:
        study(**whole)
    assert len(str(caught.value).splitlines()) == 1


def test_work_of_the_new_kinds_is_counted():
    found = study()
    for artefact in (
        *found.get("volume", "basins", ""),
        *found.get("slices", "planes", ""),
        *found.get("boundaries", "decisions", ""),
    ):
        assert work(artefact).flops > 0
    betas = found.get("volume", "basins", "")[0].inputs["points"][0]
    poisoned, plain = work(betas).flops, work(replace(betas, spec={**betas.spec, "poison": None})).flops
    assert 1.2 < poisoned / plain < 1.6
    alone = {key: value for key, value in betas.spec.items() if key != "lockstep"}
    assert work(replace(betas, spec=alone)).steps == len(betas.spec["members"]) * work(betas).steps


def test_another_cutoff_changes_the_basins_alone():
    before = study()
    after = study(probes={"basins": {"volume": {"cutoffs": [0.8, 2.0]}}})
    assert [m.hash for m in before.get("volume", "basins", "")] != [m.hash for m in after.get("volume", "basins", "")]
    assert before.get("slices", "planes", "")[0].hash == after.get("slices", "planes", "")[0].hash


def test_rules_plan_every_job_once_and_make_a_figure(tmp_path):
    jobs = counts(plan(tmp_path, ALL, study=tiny(NAME)))
    expected = {"data": 2, "train": 5, "sweep": 3, "gather": 1, "volume": 5, "slices": 1, "boundaries": 3}
    assert {rule: jobs[rule] for rule in expected} == expected
    assert_made_by_the_rules(tmp_path, NAME, "boundaries")
