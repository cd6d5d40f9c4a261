"""What is compared: every row of the issue's table has its cases, and both sides do the same work."""

import copy
import tempfile
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import cases
from benchmarks.cases import gallery, gradient, hessian, inputs, levelset, path, phate, radii, surface, training
from benchmarks.frame.case import OURS, Goal
from benchmarks.frame.worker import Worker, version
from benchmarks.reference import bisection, level_path, retrain
from PIL import Image

TABLE = {
    "surface-lenet": 4.0,
    "surface-resnet-20": 2.0,
    "surface-swiss-roll": 10.0,
    "hessian-ends": 2.0,
    "hessian-trace": 2.0,
    "hessian-density": 2.0,
    "hessian-product": 2.5,
    "phate": 3.0,
    "path-fcp": 3.0,
    "path-lenet": 3.0,
    "radii": 20.0,
    "levelset-iris": 5.0,
    "levelset-auto-mpg": 5.0,
    "gradient-mnist": 0.6,
    "gradient-cifar10": 0.6,
    "fanout": 2.5,
    "training-wrn-28-2": 2.0,
    "gallery": 2.0,
}
"""Comparisons that were asked for, with the first number."""

BFLOAT16 = ("fanout", "training-wrn-28-2")
"""Those that are also made with ``precision: bfloat16``, with the same numbers."""

FULL = {
    "surface-lenet": {"examples": 10_000},
    "surface-resnet-20": {"examples": 1000},
    "phate": {"points": 1000, "dimension": 1_467_610},
    "path-fcp": {"points": 51, "examples": 10_000},
    "path-lenet": {"points": 51, "examples": 10_000},
    "radii": {"directions": 3000},
    "fanout": {"retrainings": 20, "epochs": 5},
    "training-wrn-28-2": {"depth": 28, "width": 2},
}
"""What the table says of sizes."""


def named(name):
    """Return a case by name."""
    return next(case for case in cases.ALL if case.name == name)


def test_every_row_of_the_table_is_a_case():
    asked = TABLE | {f"{name}-bfloat16": TABLE[name] for name in BFLOAT16}
    assert {case.name: case.goals[0].asked for case in cases.ALL if case.goals} == asked
    assert {case.row for case in cases.ALL} == set(cases.ROWS)
    for name, size in FULL.items():
        assert size.items() <= named(name).sizes["full"].items(), name


def test_what_else_the_table_asks_for():
    assert Goal(10.0, quantity="memory") in named("phate").goals
    assert Goal(2.5, "at most", peer="a gradient") in named("hessian-product").goals
    assert all(goal.quantity == "gradients" for case in cases.ALL if case.row == "levelset" for goal in case.goals)
    assert {goal.quantity for goal in named("gallery").goals} == {"seconds in jobs", "seconds in the scheduler"}
    assert set(named("surface-lenet").peers) == {"loss-landscapes", "landscaper"}
    assert {"PyHessian", "curvlinops", "hessian-eigenthings"} == set(named("hessian-trace").peers)


def test_cases_are_whole():
    assert len({case.name for case in cases.ALL}) == len(cases.ALL)
    for case in cases.ALL:
        assert set(case.sizes) == {"full", "small", "tiny"}, case.name
        assert case.peers, case.name
        assert all(goal.peer in ("", *case.peers) for goal in case.goals), case.name
        assert OURS not in case.peers


def agrees(case, tmp_path, peer, spoil=0.0):
    """Return whether a case's tiny check passes in this process, with the peer's result spoilt by a relative amount."""
    size = dict(case.sizes["tiny"])
    theirs, ours = tmp_path / "theirs.npy", tmp_path / "ours.npy"
    for side, given, to in ((case.peers[peer], None, theirs), (case.ours, str(theirs), ours)):
        worker = Worker(side)
        worker.prepare(size)
        worker.check(given, str(to))
    found = np.load(theirs)
    if found.ndim == 2 and case.row == "surface":
        found[:, 0] *= 1 + spoil
    else:
        found = found * (1 + spoil)
    return bool(case.differ(np.load(ours), found) <= case.tolerance)


OWN_PEERS = [
    ("radii", "Python loop with bisection", 1e-3),
    ("levelset-iris", "the paper's scheme", 0.1),
    ("training-lockstep", "a network after the other", 0.1),
    ("training-wrn-28-2", "plain loop with DataLoader", 0.1),
    ("training-wrn-28-2-bfloat16", "plain loop with DataLoader", 0.1),
    ("gradient-cifar10", "torch, all images at once", 0.01),
    ("hessian-product", "a gradient", 0.1),
]
"""Cases whose peers need no other package and no data that are not here, and by how much a result is then spoilt."""


@pytest.mark.parametrize("name, peer, spoil", OWN_PEERS)
def test_the_same_work(tmp_path, name, peer, spoil):
    assert agrees(named(name), tmp_path, peer)
    assert not agrees(named(name), tmp_path, peer, spoil)


@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16_is_the_only_difference_and_makes_one(name):
    ours, own = (named(each).sizes["full"] for each in (name, f"{name}-bfloat16"))
    assert (ours["precision"], own["precision"]) == ("float32", "bfloat16")
    assert ours | {"precision": "bfloat16"} == own


def test_bfloat16_rounds_the_weights_of_training():
    size = named("training-wrn-28-2").sizes["tiny"]
    exact, rounded = (training.our_check({**size, "precision": kind}, None) for kind in ("float32", "bfloat16"))
    assert 1e-5 < np.abs(rounded - exact).max() / np.abs(exact).max() < 0.05


@pytest.fixture
def no_mnist(monkeypatch, rng):
    """Random images in MNIST's place: what is compared does not depend on them."""

    def images(count):
        x = torch.from_numpy(rng.random((60_000 if count > 1000 else 200, 1, 28, 28), dtype=np.float32))[:count]
        return x, torch.arange(count) % 10

    x, y = images(200)
    monkeypatch.setattr(inputs, "mnist", lambda count: (x[:count], y[:count]))


@pytest.mark.parametrize(
    "name, peer",
    [
        ("path-fcp", "loop over points with autograd"),
        ("path-fcp", "torch.func.vmap over points"),
        ("path-lenet", "loop over points with autograd"),
        ("gradient-mnist", "torch, all images at once"),
    ],
)
def test_the_same_work_on_mnist(no_mnist, tmp_path, name, peer):
    assert agrees(named(name), tmp_path, peer)
    assert not agrees(named(name), tmp_path, peer, 0.01)


@pytest.mark.parametrize("name", ["surface-lenet", "surface-resnet-20", "surface-swiss-roll"])
def test_our_losses_are_those_at_the_points_of_the_other_package(no_mnist, name, rng):
    """A package's record is losses and weights; ours, at these weights, is torch's own loss."""
    case = named(name)
    size = case.sizes["tiny"]
    make = {"lenet": surface.lenet, "resnet-20": surface.resnet, "swiss-roll": surface.swiss_roll}[name[8:]]
    model, x, y = make(size)
    rows = []
    for _ in range(3):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in moved.parameters():
                noise = rng.normal(size=tuple(parameter.shape)).astype(np.float32)
                parameter.add_(0.1 * torch.from_numpy(noise))
            loss = torch.nn.functional.cross_entropy(moved(x).double(), y).item()
        rows.append(np.concatenate([[loss], inputs.weights(moved).double().numpy()]))
    given = np.stack(rows)
    ours = case.ours.check(size, given)
    assert case.differ(ours, given) <= case.tolerance
    given[0, 0] *= 1.01
    assert case.differ(ours, given) > case.tolerance


@pytest.mark.skipif(not version("curvlinops-for-pytorch"), reason="curvlinops is not installed")
@pytest.mark.parametrize("name, peer", [("hessian-ends", "curvlinops + eigsh"), ("hessian-product", "curvlinops")])
def test_the_same_curvature_as_curvlinops(tmp_path, name, peer):
    assert agrees(named(name), tmp_path, peer)
    assert not agrees(named(name), tmp_path, peer, 0.05)


def test_estimates_are_compared_in_their_errors():
    assert hessian.in_errors(np.array([10.0, 3.0]), np.array([15.0, 4.0])) == pytest.approx(1.0)
    assert hessian.in_errors(np.array([10.0, np.nan]), np.array([15.0, 4.0])) == np.inf


def test_embeddings_are_compared_up_to_a_similarity(rng):
    a = rng.normal(size=(30, 2))
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    assert phate.disparity(3.0 * a @ rotation + 5.0, a) == pytest.approx(0.0, abs=1e-9)
    assert phate.disparity(rng.normal(size=(30, 2)), a) > named("phate").tolerance


def test_the_same_embedding(tmp_path):
    assert agrees(named("phate"), tmp_path, "PHATE().fit_transform(X)")


def test_bisection_finds_the_first_crossing(rng):
    """Of |x|^2 along unit rays: the square root of the cutoff, to the width of the bracket."""
    rays = torch.from_numpy(rng.normal(size=(7, 5)))
    rays /= rays.norm(dim=1, keepdim=True)
    cutoff = float(rng.uniform(0.1, 10.0))
    zero = torch.zeros(5, dtype=torch.float64)
    for first in (0.01, 100.0):
        found, count = bisection.radii(lambda v: float(v @ v), zero, rays, cutoff, first, 1.15, 1e-5)
        np.testing.assert_allclose(found, cutoff**0.5, rtol=1e-5)
        assert count > 7 * 10
    found, _ = bisection.radii(lambda v: 0.0, zero, rays, cutoff, 1.0, 2.0, 1e-5)
    assert np.isinf(found).all()


def test_the_papers_scheme_ends_at_the_least_norm(rng):
    """On the level set of a linear loss the least norm is where theta is along its gradient."""
    slope = torch.from_numpy(rng.normal(size=6))
    start = torch.from_numpy(rng.normal(size=6))
    if slope @ start > 0:
        start = -start
    scheme = level_path.Scheme(1e-3, 1.1, 0.1, 0.1, 1e-9, 50)
    theta, loss, count, angle = level_path.traverse(lambda v: (float(slope @ v), slope), start, scheme, 179.0, 20_000)
    assert loss == pytest.approx(float(slope @ start), abs=1e-9)
    assert angle >= 179.0
    assert count < 20_000
    closest = slope * (slope @ start) / (slope @ slope)
    assert float((theta - closest).norm()) <= float(closest.norm()) * np.tan(np.radians(1.5))


def test_galleries_are_compared_by_their_pixels(monkeypatch, tmp_path):
    pictures = {"yes": [0, 9], "no": [0, 9]}

    def made(clone, size, fork):
        assert size["studies"] == "tests/studies/tiny.yaml"
        folder = clone / "results" / "figures" / "a"
        folder.mkdir(parents=True)
        for i, shade in enumerate(pictures[fork]):
            Image.new("L", (5, 4), shade).save(folder / f"{i}.png")
        return {"seconds in jobs": 1.0, "seconds in the scheduler": 1.0}

    @contextmanager
    def cloned():
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            yield Path(folder)

    monkeypatch.setattr(gallery, "_made", made)
    monkeypatch.setattr(gallery, "cloned", cloned)
    case = named("gallery")

    def apart():
        ours, theirs = (side.check(case.sizes["full"], None) for side in (case.ours, *case.peers.values()))
        return case.differ(ours, theirs)

    assert apart() <= case.tolerance
    pictures["no"] = [0, 10]
    assert apart() > case.tolerance
    pictures["no"] = [0]
    assert apart() > case.tolerance
    pictures["no"] = []
    with pytest.raises(RuntimeError, match="no picture"):
        apart()


def test_plain_retraining_is_sgd(rng):
    """One step from given weights on all examples is torch's own step."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    x, y = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32)), torch.arange(6) % 3
    start = torch.from_numpy(rng.normal(size=15).astype(np.float32))
    (found,) = retrain.retrained(model, start, [torch.arange(6)], (x, y, x, y), 0.1, 0.0, 6)
    leaf = start.clone().requires_grad_()
    outputs = x @ leaf[:12].reshape(3, 4).T + leaf[12:]
    torch.nn.functional.cross_entropy(outputs, y).backward()
    torch.testing.assert_close(found, start - 0.1 * leaf.grad)


def test_arithmetic_of_the_limits():
    """Forward passes counted by hand: a linear layer of n x m takes 2 n m a vector."""
    shape = [2, *inputs.SWISS_NET["widths"], 1]
    by_hand = 2 * sum(a * b for a, b in pairwise(shape))
    size = {"examples": 7, "directions": 3}
    assert radii.arithmetic(size, {"losses": 11}).amount == pytest.approx(by_hand * 7 * 11, rel=0.05)
    assert path.arithmetic("fcp", {"examples": 2, "points": 5}, {}).amount > 0
    cifar = gradient.arithmetic(gradient.CIFAR, "cifar10", {"examples": 1}, {}).amount
    assert gradient.arithmetic(gradient.CIFAR, "cifar10", {"examples": 10}, {}).amount == pytest.approx(10 * cifar)
    assert training.arithmetic(named("training-wrn-28-2").sizes["full"], {}).rate == "float32"
    assert phate.arithmetic({"points": 10, "dimension": 7}, {}).amount == 700.0


def test_a_level_set_is_kept_by_both(tmp_path):
    """Both ends have the start's loss, to the tolerance of the scheme."""
    size = {"angle": 95.0, "epochs": 20, "most": 2000}
    landscape = levelset._landscape("iris", 20)
    level = float(landscape.loss(landscape.theta()))
    for make in (levelset.ours, levelset.paper):
        loss, angle = make("iris", size)().result
        assert loss == pytest.approx(level, abs=2e-5)
        assert angle == 95.0
