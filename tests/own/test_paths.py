"""Trajectories, jumps, basins and embeddings of one's own network against closed forms."""

import h5py
import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import PCA
from torch import nn

import lossatlas as la
from lossatlas.errors import LossatlasError
from lossatlas.landscape.analytic import quadratic
from lossatlas.landscape.landscape import FunctionLandscape
from lossatlas.own.basin import basin
from lossatlas.own.jumps import jumps
from lossatlas.own.point import Point
from lossatlas.own.trajectory import trajectory

torch.set_num_threads(1)


def test_a_path_within_a_plane_lies_on_it(rng, tmp_path):
    matrix = torch.diag(torch.linspace(1, 3, 8).double())
    flat = torch.from_numpy(np.linalg.qr(rng.normal(size=(8, 2)))[0].T)
    end = torch.from_numpy(rng.normal(size=8))
    landscape = quadratic(matrix)
    steps = torch.from_numpy(rng.normal(size=(5, 2)))
    points = [Point.of(landscape, end + step @ flat, f"epoch {i}") for i, step in enumerate(steps)]
    found = trajectory(Point.of(landscape, end, "end"), points, (7, 6))
    assert found.loss.shape == (6, 7)
    assert found.labels[-1] == "end"
    assert found.explained.sum() == pytest.approx(1)
    assert found.off == pytest.approx(0, abs=1e-6)
    exact = [float(0.5 * p.theta @ (matrix @ p.theta)) for p in points]
    assert found.path_loss[:-1] == pytest.approx(exact)
    assert found.shadow_loss == pytest.approx(found.path_loss)
    assert found.path[-1] == pytest.approx([0, 0], abs=1e-12)
    distances = [float(step.norm()) for step in steps]
    assert np.linalg.norm(found.path[:-1], axis=1) == pytest.approx(distances)
    assert found.verdict.checks[0].outcome == "yes"
    for suffix in ("h5", "csv", "png", "vtk"):
        found.save(tmp_path / f"t.{suffix}")


def test_a_path_out_of_the_plane_is_off_it(rng):
    """Along the axes of R^9 by turns: two principal axes hold two ninths; losses at the shadow are others."""
    landscape = quadratic(torch.eye(9).double())
    points = [Point.of(landscape, 3 * torch.eye(9).double()[i]) for i in range(9)]
    found = trajectory(Point.of(landscape, torch.zeros(9).double()), points, 3)
    outcomes = {check.name: check.outcome for check in found.verdict.checks}
    assert outcomes["variance"] == "no"
    assert outcomes["path"] == "no"
    assert found.path_loss[:9] == pytest.approx(4.5)
    assert found.shadow_loss[:9] == pytest.approx(4.5 - found.off[:9] ** 2 / 2)


def test_a_directory_of_checkpoints_is_a_trajectory(rng, tmp_path):
    model = nn.Linear(3, 2)
    for i in range(4):
        with torch.no_grad():
            model.weight += torch.randn(2, 3)
        torch.save(model.state_dict(), tmp_path / f"epoch{i}.pt")
    x, y = torch.randn(20, 3), torch.randint(2, (20,))
    net = la.load(model, tmp_path, data=(x, y))
    found = net.trajectory(grid=3)
    assert len(found.path) == 4
    assert found.path_loss[-1] == pytest.approx(net.loss, rel=1e-6)
    plane = net.surface(grid=3, directions="pca", check=False)
    assert plane.name == "principal axes of the checkpoints"


def test_jumps_into_a_bowl_come_back(rng, tmp_path):
    """SGD in a quadratic of curvature 1: every component shrinks by 1 - lr a step, without momentum."""
    centre = torch.from_numpy(rng.normal(size=6))
    bowl = FunctionLandscape(lambda theta: 0.5 * (theta - centre).square().sum(), 6)
    found = jumps(Point.of(bowl, centre), count=2, steps=(0.5, 1.0), epochs=2, lr=0.01, momentum=0.0)
    size = float(centre.norm())
    for j in range(4):
        rows = found.jump == j
        expected = found.step[rows][0] * size * 0.99 ** (100 * found.epoch[rows])
        np.testing.assert_allclose(found.distance[rows], expected, rtol=1e-9)
    assert found.returned == pytest.approx(0.99**200)
    np.testing.assert_allclose(found.loss, found.distance**2 / 2, atol=1e-12)
    assert found.embedded.distances.shape == (13, 13)
    with h5py.File(found.save(tmp_path / "j.h5")) as file:
        np.testing.assert_array_equal(file["distance"][...], found.distance)
    found.save(tmp_path / "j.png")


@pytest.mark.parametrize(
    ("lr", "outcome"), [(1e-6, "undecided"), (1e-3, "undecided"), (0.03, "undecided"), (1.0, "yes")]
)
def test_an_end_is_one_only_where_paths_have_moved_and_stopped(rng, lr, outcome):
    """Components shrink by 1 - lr towards the point, or settle at once on a ring around it."""
    centre = torch.from_numpy(rng.normal(size=4))
    ring = FunctionLandscape(lambda theta: 0.5 * ((theta - centre).norm() - 0.1) ** 2, 4)
    found = jumps(Point.of(ring, centre + 0.1 * torch.eye(4)[0]), count=2, steps=(1.0,), epochs=2, lr=lr, momentum=0.0)
    (check,) = [check for check in found.verdict.checks if check.name == "ends"]
    assert check.outcome == outcome
    assert ("since the jump" in check.sentence) == (lr == 1e-6)


def test_jumps_of_a_network_train_it_and_divergence_is_said(rng):
    torch.manual_seed(int(rng.integers(2**31)))
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    y = (x[:, 0] > 0).long()
    model(x)
    net = la.load(model, data=(x, y))
    found = net.jumps(count=1, steps=(1.0,), epochs=6, lr=0.1, batch=16)
    assert found.loss[-1] < found.loss[1]
    same = net.jumps(count=1, steps=(1.0,), epochs=6, lr=0.1, batch=16)
    np.testing.assert_array_equal(found.distance, same.distance)
    wild = Point.of(quadratic(100 * torch.eye(3).double()), torch.ones(3).double())
    lost = jumps(wild, count=1, steps=(1.0,), epochs=3, lr=10.0)
    assert any("diverged" in note for note in lost.notes)


def test_radii_of_a_bowl_are_known(rng, tmp_path):
    """|theta - c|^2 / 2 = e at distance sqrt(2 e), whatever the direction."""
    centre = torch.from_numpy(rng.normal(size=40))
    for offset in (0.0, 2.0, -2.0):
        bowl = FunctionLandscape(lambda theta, o=offset: 0.5 * (theta - centre).square().sum() + o, 40)
        found = basin(Point.of(bowl, centre), directions=4, excess=(0.1, 0.5))
        np.testing.assert_allclose(found.radii * found.norms, np.sqrt([[0.2], [1.0]]) * np.ones(4), rtol=0.02)
        assert found.loss == pytest.approx(offset)
    assert found.verdict.checks[0].outcome == "yes"
    assert found.columns()["distance"] == pytest.approx((found.radii * found.norms).ravel())
    found.save(tmp_path / "b.png")
    with pytest.raises(LossatlasError, match="rising"):
        basin(Point.of(bowl, centre), excess=(0.5, 0.1))


def test_an_open_valley_is_unbounded(rng):
    flat = FunctionLandscape(lambda theta: 0 * theta.sum() + 1.0, 3)
    found = basin(Point.of(flat, torch.ones(3).double()), directions=2, excess=(1.0,))
    assert np.isinf(found.radii).all()
    assert found.verdict.outcome == "undecided"
    assert any("beyond radius" in note for note in found.notes)


def test_pca_and_distances_are_those_of_other_libraries(rng):
    rows = rng.normal(size=(12, 30)) * np.linspace(3, 0.1, 30)
    found = la.embed(rows)
    exact = PCA(2).fit(rows)
    scores = exact.transform(rows)
    for k in range(2):
        sign = np.sign(scores[:, k] @ found.coordinates[:, k])
        np.testing.assert_allclose(sign * found.coordinates[:, k], scores[:, k], atol=1e-9)
    assert found.explained == pytest.approx(exact.explained_variance_ratio_)
    np.testing.assert_allclose(found.distances, squareform(pdist(rows)), rtol=1e-12)


def test_points_in_a_plane_keep_their_distances_and_scattered_ones_do_not(rng):
    line = np.outer(np.arange(8.0), rng.normal(size=20))
    assert la.embed({"a": line[:5], "b": line[5:]}).verdict.outcome == "yes"
    scattered = la.embed(rng.normal(size=(40, 500)))
    assert scattered.verdict.outcome == "no"
    with pytest.raises(LossatlasError, match="point 1"):
        la.embed([torch.zeros(2), torch.tensor([1.0, torch.nan]), torch.ones(2)])
    with pytest.raises(LossatlasError, match="pca"):
        la.embed(line, "best")


def test_methods_of_the_extra_name_it_where_it_is_absent(rng, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lossatlas.clouds.embeddings", None)
    with pytest.raises(LossatlasError, match=r"lossatlas\[embed\]"):
        la.embed(rng.normal(size=(9, 4)), "phate")
