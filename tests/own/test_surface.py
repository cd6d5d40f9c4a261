"""Surfaces and lines of one's own network: known functions, the network's own loss, files read back, lost points."""

import json

import h5py
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image
from torch import nn

import lossatlas as la
from lossatlas.errors import LossatlasError
from lossatlas.files.checksum import broken_seal
from lossatlas.landscape.analytic import quadratic
from lossatlas.landscape.landscape import FunctionLandscape, NetworkLandscape
from lossatlas.own.line import line
from lossatlas.own.measured import losses
from lossatlas.own.point import Point
from lossatlas.own.surface import surface
from lossatlas.train.stacked import MOST_WEIGHTS, together

torch.set_num_threads(1)


def network(rng, count=60):
    """Return a small network with batch norm on random examples, and its loss computed by hand."""
    torch.manual_seed(int(rng.integers(2**31)))
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    x, y = torch.randn(count, 5), torch.randint(3, (count,))
    model(x)
    model.eval()
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(model(x).double(), y))
    return la.load(model, data=(x, y)), loss


def bowl(rng, dim=6):
    """Return a point of theta^T A theta / 2 and A."""
    root = torch.from_numpy(rng.normal(size=(dim, dim)))
    matrix = root @ root.T
    matrix = (matrix + matrix.T) / 2
    return Point.of(quadratic(matrix), torch.from_numpy(rng.normal(size=dim))), matrix


def test_every_point_of_a_quadratic_on_a_grid_that_is_not_square(rng):
    point, matrix = bowl(rng)
    u, v = torch.from_numpy(rng.normal(size=(2, 6)))
    found = surface(point, (7, 4), ((-0.5, 1.0), (-2.0, 0.5)), (u, v), check=False)
    assert found.loss.shape == (4, 7)
    for i, y in enumerate(np.linspace(-2.0, 0.5, 4)):
        for j, x in enumerate(np.linspace(-0.5, 1.0, 7)):
            at = point.theta + x * u + y * v
            assert found.loss[i, j] == pytest.approx(float(0.5 * at @ (matrix @ at)), rel=1e-12)
    assert found.norms == pytest.approx([float(u.norm()), float(v.norm())])


def test_the_centre_is_the_networks_own_loss_and_the_same_seed_the_same_surface(rng):
    net, loss = network(rng)
    found = net.surface(grid=5, examples="all", check=False)
    assert found.centre == pytest.approx(loss, rel=1e-6)
    assert found.loss[2, 2] == pytest.approx(loss, rel=1e-6)
    again = net.surface(grid=5, examples="all", check=False)
    np.testing.assert_array_equal(found.loss, again.loss)
    assert not np.array_equal(found.loss, net.surface(grid=5, examples="all", seed=1, check=False).loss)


def test_filter_normalised_directions_have_the_filters_lengths(rng):
    net, _ = network(rng)
    weights = net.layout.unflatten(net.theta)
    expected = sum(float(w.square().sum()) for n, w in weights.items() if w.ndim == 2) ** 0.5
    found = net.surface(grid=3, examples=20, check=False)
    assert found.norms == pytest.approx([expected, expected], rel=1e-6)
    layer = net.surface(grid=3, examples=20, directions="layer", check=False)
    assert layer.norms == pytest.approx([expected, expected], rel=1e-6)
    assert not np.allclose(layer.loss[0], found.loss[0])


def test_fewer_examples_are_said_and_drawn_from_the_seed(rng):
    net, _ = network(rng)
    found = net.surface(grid=3, examples=20, check=False)
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:20]
    assert found.centre == pytest.approx(float(net.landscape.at_examples(rows).loss(net.theta)), rel=1e-9)
    assert any("20 of 60 examples" in note for note in found.notes)


def test_without_a_size_the_network_is_timed_and_what_was_taken_is_said(rng, monkeypatch):
    net, _ = network(rng)
    monkeypatch.setattr("lossatlas.own.slices.SECONDS", 0.0)
    found = net.surface(check=False)
    assert found.loss.shape == (13, 13)
    assert any("13 x 13 points fit a minute" in note for note in found.notes)


def test_files_are_read_back_with_their_provenance(rng, tmp_path):
    net, _ = network(rng)
    found = net.surface(grid=(5, 4), examples="all", range=0.5)
    for suffix in ("h5", "csv", "vtk", "vtp", "html", "png", "pdf", "svg"):
        found.save(tmp_path / f"s.{suffix}")
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(file["loss"][...], found.loss)
        np.testing.assert_array_equal(file["y"][...], found.y)
        record = json.loads(file.attrs["provenance"])
    assert broken_seal(tmp_path / "s.h5") is None
    assert record["network"]["weights_sha256"] == found.provenance["network"]["weights_sha256"]
    assert len(record["network"]["data_sha256"]) == 64
    assert record["versions"]["torch"]
    assert record["settings"]["grid"] == [5, 4]
    assert record["verdict"]["outcome"] == found.verdict.outcome
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert json.loads(lines[0].removeprefix("# ")) == record
    assert lines[1] == "x,y,loss"
    table = np.loadtxt(tmp_path / "s.csv", delimiter=",", skiprows=2)
    np.testing.assert_array_equal(table[:, 2].reshape(4, 5), found.loss)
    assert json.loads(Image.open(tmp_path / "s.png").text["lossatlas"]) == record
    assert imread(tmp_path / "s.png").std() > 0.05
    page = (tmp_path / "s.html").read_text()
    tag = page.split('<script type="application/json" id="lossatlas">')[1].split("</script>")[0]
    assert json.loads(tag.replace("<\\/", "</")) == record
    assert "<script src=" not in page


def test_the_vtk_file_holds_every_point(rng, tmp_path):
    point, _ = bowl(rng)
    found = surface(point, (5, 4), 1.0, check=False)
    words = found.save(tmp_path / "s.vtk").read_text().split("\n")
    assert words[0] == "# vtk DataFile Version 3.0"
    assert "DIMENSIONS 5 4 1" in words
    start = words.index("LOOKUP_TABLE default") + 1
    np.testing.assert_array_equal(np.array(words[start : start + 20], float).reshape(4, 5), found.loss)
    first = words.index("POINTS 20 double") + 1
    points = np.array([line.split() for line in words[first : first + 20]], float)
    np.testing.assert_allclose(points[:5, 0], found.x)
    np.testing.assert_allclose(points[::5, 1], found.y)
    np.testing.assert_allclose(points[:, 2], np.log10(found.loss.ravel()))
    legacy, xml = (pytest.importorskip(f"vtkmodules.vtkIO{kind}") for kind in ("Legacy", "XML"))
    for reader, name in ((legacy.vtkStructuredGridReader(), "s.vtk"), (xml.vtkXMLPolyDataReader(), "s.vtp")):
        found.save(tmp_path / name)
        reader.SetFileName(str(tmp_path / name))
        reader.Update()
        assert reader.GetOutput().GetNumberOfPoints() == 20
        values = reader.GetOutput().GetPointData().GetArray("loss")
        np.testing.assert_array_equal([values.GetValue(i) for i in range(20)], found.loss.ravel())


def test_points_without_a_loss_are_shown_and_counted(tmp_path):
    def function(theta):
        loss = theta.square().sum() + 1
        return torch.where(theta[0] > 0.6, torch.inf, torch.where(theta[1] > 0.6, torch.nan, loss))

    point = Point.of(FunctionLandscape(function, 2), torch.zeros(2))
    e = torch.eye(2)
    found = surface(point, 5, 1.0, (e[0], e[1]), check=False)
    assert np.isinf(found.loss[:, 4]).all()
    assert np.isnan(found.loss[4, :4]).all()
    assert found.notes == ("5 infinite and 4 NaN of 25 points have no finite loss",)
    assert found.save(tmp_path / "s.png").stat().st_size > 0
    page = found.plot3d()
    assert page.data[0].z.shape == (5, 5)
    marked = page.data[1]
    assert (marked.x[0], marked.y[0]) == (0, 0)
    assert marked.z[0] == pytest.approx(0.0)


def test_points_that_do_not_fit_into_memory_are_counted_unless_none_fits():
    class Full(FunctionLandscape):
        def loss(self, theta):
            if float(theta[0]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().loss(theta)

    landscape = Full(lambda theta: theta.square().sum(), 1)
    limit = 3.5
    found, lost = losses(landscape, (torch.tensor([float(i)]) for i in range(6)), 6, "surface")
    assert lost == 2
    np.testing.assert_array_equal(found, [0, 1, 4, 9, np.nan, np.nan])
    limit = -1.0
    with pytest.raises(LossatlasError, match="smaller batch_size"):
        losses(landscape, (torch.tensor([float(i)]) for i in range(6)), 6, "surface")


def test_a_line_to_another_network_ends_at_its_loss_with_statistics_of_each_point(rng):
    net, _ = network(rng)
    other, _ = network(rng)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    there = net.at(model)
    found = net.line(there, grid=5, range=(0, 1), examples="all", check=False)
    fresh = there.with_statistics("recompute")
    assert found.loss[-1] == pytest.approx(float(fresh.landscape.loss(there.theta)), rel=1e-6)
    assert any("computed anew" in note for note in found.notes)
    (asked,) = [c for c in net.line(there, grid=5, examples="all").verdict.checks if c.name == "batch norm"]
    assert asked.outcome == "stated", "statistics of one end say nothing against the line"
    assert found.norm == pytest.approx(float((there.theta.double() - net.theta.double()).norm()))
    with pytest.raises(LossatlasError, match="other examples"):
        net.line(other)


def test_a_line_in_one_direction_equals_a_naive_loop(rng):
    point, matrix = bowl(rng)
    d = torch.from_numpy(rng.normal(size=6))
    found = line(point, grid=9, range=2.0, directions=d, check=False)
    for t, loss in zip(np.linspace(-2, 2, 9), found.loss, strict=True):
        at = point.theta + t * d
        assert loss == pytest.approx(float(0.5 * at @ (matrix @ at)), rel=1e-12)
    assert found.columns().keys() == {"t", "loss"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 2}, "at least 3"),
        ({"range": -1.0}, "above 0"),
        ({"directions": "best"}, "filter-normalised"),
        ({"directions": "pca"}, "checkpoints"),
        ({"directions": (torch.zeros(3), torch.zeros(3))}, "expected 2 of"),
        ({"examples": 1000}, "1 to 60"),
    ],
)
def test_mistakes_are_named(rng, arguments, message):
    net, _ = network(rng)
    with pytest.raises(LossatlasError, match=message):
        net.surface(**{"grid": 3, "check": False, **arguments})


def test_an_unknown_suffix_and_missing_plotly_are_named(rng, tmp_path, monkeypatch):
    point, _ = bowl(rng)
    found = surface(point, 3, check=False)
    with pytest.raises(LossatlasError, match=r"\.h5"):
        found.save(tmp_path / "s.xlsx")
    monkeypatch.setitem(__import__("sys").modules, "plotly.graph_objects", None)
    with pytest.raises(LossatlasError, match=r"lossatlas\[3d\]"):
        found.plot3d()


def test_a_landscape_made_by_hand_is_enough(rng):
    model = nn.Linear(3, 2)
    x, y = torch.randn(30, 3), torch.randint(2, (30,))
    found = surface(Point.of(NetworkLandscape(model, x, y)), 3, examples="all", check=False)
    assert found.centre == pytest.approx(float(nn.functional.cross_entropy(model(x).double(), y).detach()), rel=1e-6)


def test_a_bar_shows_the_time_left_where_it_is_wanted(rng, monkeypatch, capsys):
    point, _ = bowl(rng)
    monkeypatch.setattr("lossatlas.own.bars.DELAY", 0.0)
    surface(point, 5, check=False)
    assert capsys.readouterr().err == ""  # no terminal, as in a job
    surface(point, 5, check=False, progress=False)
    assert capsys.readouterr().err == ""
    surface(point, 5, check=False, progress=True)
    said = capsys.readouterr().err
    assert "surface" in said
    assert "/25" in said


class _Scaled(nn.Linear):
    """A layer that is not what its class says."""

    def forward(self, x):
        return 2 * super().forward(x)


def _shared():
    act = nn.Tanh()
    return nn.Sequential(nn.Linear(5, 8), act, nn.Linear(8, 8), act, nn.Linear(8, 3))


def _tied():
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(5, 3))


def _hooked():
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    model[1].register_forward_hook(lambda layer, inputs, outputs: 3 * outputs)
    return model


def _plain(*more):
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), *more)


@pytest.mark.parametrize(
    "model, taken",
    [
        (_plain, True),
        (lambda: nn.Sequential(nn.Flatten(), *_plain()), True),
        (lambda: nn.Sequential(nn.Linear(5, 8, bias=False), nn.GELU(), nn.Linear(8, 3)), True),
        (_shared, False),
        (_tied, False),
        (_hooked, False),
        (lambda: nn.Sequential(_Scaled(5, 8), nn.Linear(8, 3)), False),
        (lambda: _plain(nn.Softmax(1)), False),
        (lambda: nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)), False),
        (lambda: nn.Sequential(nn.Linear(5, MOST_WEIGHTS), nn.Linear(MOST_WEIGHTS, 3)), False),
    ],
)
def test_points_of_small_dense_networks_are_taken_together(rng, model, taken):
    """A block of points as one product gives the loss of each; whatever is not surely such a network goes one by one."""
    torch.manual_seed(int(rng.integers(2**31)))
    net = la.load(model(), data=(torch.randn(40, 5), torch.randint(3, (40,))))
    assert (together(net.landscape) is not None) == taken
    thetas = net.theta + 0.3 * torch.randn(70 if taken else 3, net.landscape.dim)
    expected = [float(net.landscape.loss(theta)) for theta in thetas]
    place = torch.empty_like(thetas[0])
    found, lost = losses(net.landscape, (place.copy_(theta) for theta in thetas), len(thetas), "losses", False)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    assert lost == 0


@pytest.mark.parametrize(
    "change", ["classes that count differently", "rows of numbers", "sequences", "more examples than a chunk"]
)
def test_points_are_taken_one_by_one_where_examples_are_not_alike(rng, change):
    torch.manual_seed(int(rng.integers(2**31)))
    x, y, model, more = torch.randn(40, 5), torch.randint(3, (40,)), _plain(), {}
    if change == "classes that count differently":
        more["criterion"] = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    elif change == "rows of numbers":
        y, more["criterion"] = torch.randn(40, 3), "mse"
    elif change == "sequences":
        x, y, model = torch.randn(40, 4, 5), torch.randn(40, 4, 3), _plain()
        more["criterion"] = "mse"
    else:
        more["batch"] = 16
    net = la.load(model, data=(x, y), **more)
    assert together(net.landscape) is None
    found = net.surface(grid=3, examples="all", check=False, progress=False)
    assert found.loss[1, 1] == pytest.approx(net.loss, rel=1e-6)


def test_a_loss_that_overflows_in_a_block_is_not_finite(rng):
    net = la.load(_plain(), data=(torch.randn(20, 5), torch.randint(3, (20,))))
    thetas = torch.stack([net.theta, torch.full_like(net.theta, 1e38)])
    found, _ = losses(net.landscape, thetas, 2, "losses", False)
    assert np.isfinite(found[0])
    assert not np.isfinite(found[1])
