"""Measures on paths, kernels and shells against known answers, and how often their intervals exclude the truth."""

import numpy as np
import pandas as pd
import pytest
from harness import measure
from scipy.stats import norm

from lossatlas.barriers.separation import areas, separate
from lossatlas.claims.spec import Holds
from lossatlas.claims.verdict import judge
from lossatlas.clouds.files import Gram

DIMENSION = 500


def shells_of(rng, count, sizes, shift=0.0):
    """Return a union of two sets of Gaussian vectors, equal replicas in both, the second shifted along all axes."""
    theta = rng.standard_normal((2 * count, DIMENSION)) * np.repeat(sizes, count)[:, None]
    theta[count:] += shift
    table = pd.DataFrame({"cloud": np.repeat(["a", "b"], count), "replica": np.tile(np.arange(count), 2)})
    return theta, Gram.from_rows(theta, table)


def separation(rng, count, sizes):
    """Return scores and points as a kernels probe has them."""
    _, gram = shells_of(rng, count, sizes)
    spec = {"sets": ["a", "b"], "kernels": ["rbf", "linear"], "sigmas": None, "permutations": 200, "seed": 1}
    return separate(gram, spec)


SETS = {"sets": ["a", "b"], "centres": ["a", "b"]}
CLEAR, UNCLEAR, MORE = Holds(op=">", value=0.9), Holds(op="<", value=0.9), Holds(op=">", value=0.5)


def test_heights_of_a_function_are_exact():
    rows = [
        {"step": step, "objective": objective, "penalty": penalty, "train_height": height + 0.5 * (step == 0)}
        for objective, base in (("squared", 0.6), ("identity", 0.7))
        for penalty, height in ((100.0, base + 0.02), (10.0, base))
        for step in (0, 9)
    ]
    found = measure("plane_heights", {"paths": pd.DataFrame(rows)}, paper=[0.6, 0.65])
    assert found.value == pytest.approx(0.03)
    assert found.exact
    assert judge(found, Holds(op="<=", value=0.03 + 1e-9)).verdict == "holds"
    assert judge(found, Holds(op="<=", value=0.02)).verdict == "fails"
    straight = measure("plane_heights", {"paths": pd.DataFrame(rows)}, of="straight", paper=[1.0])
    assert straight.value == pytest.approx(0.12)  # the straight path is the first
    assert measure("plane_heights", {"paths": pd.DataFrame(rows)}, paper=[0.6]).value is None


def test_a_shell_in_a_shell_is_separated_by_its_radius_where_no_line_does(rng):
    """Linear kernel: the line sees nothing, the distance from the origin everything; the RBF kernel's line sees it, too."""
    kernels = separation(rng, 40, [1.5, 1.0])
    assert judge(measure("kernel_separation", {"kernels": [kernels]}), CLEAR).verdict == "holds"
    assert judge(measure("kernel_separation", {"kernels": [kernels]}, score="pc1"), CLEAR).verdict == "holds"
    keys = {"best_of": ["linear"]}
    linear = measure("kernel_separation", {"kernels": [kernels]}, **keys)
    assert judge(linear, UNCLEAR).verdict == "holds"
    radius = measure("kernel_separation", {"kernels": [kernels]}, **keys, score="radius")
    assert radius.value > linear.value + 0.1
    points = kernels[1][(kernels[1]["kernel"] == "linear") & (kernels[1]["variant"] == "trained")]
    first = points["set"] == "a"
    length = np.linalg.norm(points[["pc1", "pc2"]], axis=1)
    area = np.mean(length[first][:, None] > length[~first])
    assert radius.value == pytest.approx(max(area, 1 - area))
    alike = measure("kernel_separation", {"kernels": [kernels]}, variant="equal_norms")
    assert judge(alike, UNCLEAR).verdict == "holds"
    assert measure("kernel_separation", {"kernels": [kernels]}, variant="gaussian").value is None


def test_too_few_for_their_widths_do_not_show_that_there_is_no_separation(rng):
    """48 + 48 vectors that need 66: PC 1 does not separate them, and that says nothing; enough of them would decide."""
    sizes = [0.25, 0.18]
    few = measure("kernel_separation", {"kernels": [separation(rng, 48, sizes)]}, score="pc1")
    assert few.value < 0.9
    assert judge(few, UNCLEAR).verdict == "undecided"
    assert few.interval.high == 1.0
    assert "vectors of the narrower, it has 48" in few.detail
    linear = measure("kernel_separation", {"kernels": [separation(rng, 48, sizes)]}, best_of=["linear"], score="pc1")
    assert judge(linear, UNCLEAR).verdict == "holds"


def test_few_vectors_decide_nothing_about_kernels(rng):
    """Both ways: with 12 + 12 vectors complete separation does not exclude 0.9, nor is its lack evidence of anything."""
    for sizes in ([1.5, 0.5], [1.0, 1.0]):
        found = measure("kernel_separation", {"kernels": [separation(rng, 12, sizes)]})
        for holds in (CLEAR, UNCLEAR):
            assert judge(found, holds).reason == "12 vectors a set: too few for an interval"


def test_the_best_line_of_a_plane_rarely_excludes_the_truth(rng):
    """The direction is chosen on the points themselves: sets of true area 0.9 are judged clear at most once in 20."""
    angles, labels, clear = np.pi * np.arange(180) / 180, np.arange(96) < 48, 0
    lines = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = pd.DataFrame(
        {"variant": "trained", "kernel": "rbf", "set": np.where(labels, "a", "b"), "pc1": 0.0, "pc2": 0.0}
    )
    for _ in range(200):
        plane = rng.standard_normal((96, 2))
        plane[labels, 0] += norm.ppf(0.9) * np.sqrt(2)
        row = {
            "variant": "trained",
            "kernel": "rbf",
            "first": 48,
            "second": 48,
            "plane": areas(lines @ plane.T, labels).max(),
        }
        about = {"plane_p": 0.0, "plane_chance": 0.6, "pc1": 0.5, "silhouette": 0.0, "norm": 0.5}
        about |= {"deviation_first": 0.7, "deviation_second": 0.3}
        found = measure("kernel_separation", {"kernels": [(pd.DataFrame([{**row, **about}]), points)]})
        clear += judge(found, CLEAR).verdict == "holds"
    assert clear <= 10


def test_larger_shells_are_further_out(rng):
    theta, gram = shells_of(rng, 10, [1.3, 1.0])
    found = measure("shell_order", {"cloud": gram}, **SETS)
    origin = (theta[:10].mean(0) + theta[10:].mean(0)) / 2
    lengths = np.linalg.norm(theta - origin, axis=1)
    assert found.value == np.mean(lengths[:10, None] > lengths[10:])
    assert judge(found, MORE).verdict == "holds"
    assert found.interval.low < found.interval.high  # though they are apart
    assert judge(measure("shell_order", {"cloud": shells_of(rng, 10, [1.0, 1.3])[1]}, **SETS), MORE).verdict == "fails"
    few = measure("shell_order", {"cloud": shells_of(rng, 5, [1.3, 1.0])[1]}, **SETS)
    assert judge(few, MORE).verdict == "not judged"


def test_centroids_of_independent_vectors_are_at_chance_and_shifted_ones_are_not(rng):
    within, wrong = Holds(op="<=", value=1.5), 0
    for _ in range(40):
        _, gram = shells_of(rng, 12, rng.uniform(0.5, 2, 2))
        found = measure("centroids_apart", {"cloud": gram}, **SETS, relative_to="chance")
        wrong += not found.interval.low <= 1.0 <= found.interval.high
        assert judge(found, within).verdict == "holds"
    assert wrong <= 8
    theta, gram = shells_of(rng, 12, [1.0, 1.0], shift=1.0)
    found = measure("centroids_apart", {"cloud": gram}, **SETS, relative_to="chance")
    assert judge(found, within).verdict == "fails"
    spread = measure("centroids_apart", {"cloud": gram}, **SETS)
    origin = (theta[:12].mean(0) + theta[12:].mean(0)) / 2
    lengths = np.linalg.norm(theta - origin, axis=1)
    gap = np.linalg.norm(theta[:12].mean(0) - theta[12:].mean(0))
    assert spread.value == pytest.approx(gap / min(lengths[:12].std(ddof=1), lengths[12:].std(ddof=1)))
    assert (spread.n, spread.unit) == (12, "initialisations")
    assert measure("centroids_apart", {"cloud": shells_of(rng, 2, [1.0, 1.0])[1]}, **SETS).interval is None
