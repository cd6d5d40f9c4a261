"""Sharpness, convexity and correlations of losses on lines and planes, on functions whose answers are known."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from harness import measure
from scipy.stats import spearmanr

from lossatlas.planes import numbers as flatness
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import bends, on_plane, ratio, sharpness
from lossatlas.statistics import spearman


def grid_of(loss, x=None, y=None, directions=(), accuracy=0.5, **measured):
    """Return a grid with these losses."""
    loss = np.atleast_2d(np.asarray(loss, dtype=float))
    x = np.linspace(-1, 1, loss.shape[1]) if x is None else x
    y = np.linspace(-1, 1, loss.shape[0]) if y is None else y
    minimum = pd.Series({"run": "net", "test_accuracy": accuracy, "train_loss": 0.0})
    kept = {name: np.asarray(values, dtype=float) for name, values in measured.items()}
    about = {"directions": list(directions)}
    return Grid(x, y, {"train_loss": loss, **kept}, about, minimum, pd.DataFrame(), pd.DataFrame(), np.full(2, np.nan))


def test_measures_of_a_parabola_are_its_own(rng):
    a, c = rng.uniform(0.5, 3), rng.uniform(0, 2)
    x = np.linspace(-1, 1, 21)
    loss = c + a * x**2
    assert flatness.rise(x, loss, 0.5) == pytest.approx(a / 4)
    assert flatness.worst(x, loss, 0.5) == pytest.approx(a / 4 / (1 + c))
    assert flatness.curvature(x, loss) == pytest.approx(2 * a)


def test_lines_that_overflow_are_infinitely_sharp_and_others_are_told_apart():
    x = np.linspace(-1, 1, 5)
    entries = [
        {"normalise": how, "number": i, "seed": i, "scale": 1.0} for i, how in enumerate(("filter", "none", "filter"))
    ]
    grid = grid_of([x**2, 9 * x**2, np.where(np.abs(x) > 0.4, np.nan, 0.0)], x=x, directions=entries)
    np.testing.assert_allclose(sharpness(grid, "filter", "rise", 0.5), [0.25, np.inf])
    np.testing.assert_allclose(sharpness(grid, "none", "rise", 0.5), [2.25])
    assert len(sharpness(grid, "layer", "rise")) == 0


def test_convexity_of_known_surfaces(rng):
    x, y = np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)
    u, v = np.meshgrid(x, y)
    root = rng.standard_normal((2, 2))
    form = root @ root.T + 0.1 * np.eye(2)
    bowl = form[0, 0] * u**2 + 2 * form[0, 1] * u * v + form[1, 1] * v**2
    assert not bends(grid_of(bowl, x, y)).any()
    assert bends(grid_of(-bowl, x, y)).all()
    assert bends(grid_of(u * v, x, y)).all()  # a saddle, seen by the mixed difference alone
    cubic = grid_of(u**3 + v**2, x, y)
    np.testing.assert_array_equal(bends(cubic), np.broadcast_to(x[1:-1] < -1e-9, (5, 7)))
    hole = bowl.copy()
    hole[3, 4] = np.inf
    assert bends(grid_of(hole, x, y)).sum() == 9
    assert on_plane(grid_of(u**2 + v**2 + 3.0, x, y), 0.1) == pytest.approx(0.0)


def test_ratio_counts_negative_eigenvalues_only():
    grid = grid_of(np.zeros((1, 4)), lambda_min=[[-1.0, 0.5, -3.0, np.nan]], lambda_max=[[4.0, 2.0, 2.0, np.nan]])
    np.testing.assert_allclose(ratio(grid), [[0.25, 0.0, 1.5, np.nan]])


def test_spearman_is_scipys_and_ranks_infinity_highest(rng):
    a, b = rng.standard_normal(20), rng.integers(0, 5, 20)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman([1, 2, 3], [1.0, 5.0, np.inf]) == pytest.approx(1.0)
    assert np.isnan(spearman([1, 2, 3], [1, 1, 1]))


def networks(sharpnesses, errors):
    """Return grids of lines: sharpness under each normalisation and the test error of each network."""
    x = np.linspace(-1, 1, 5)
    found = []
    for values, error in zip(sharpnesses, errors, strict=True):
        entries = [{"normalise": how, "number": 0, "seed": 0, "scale": 1.0} for how in values]
        losses = [4 * value * x**2 for value in values.values()]
        found.append(grid_of(losses, x=x, y=np.arange(len(values)), directions=entries, accuracy=1 - error))
    return found


def test_rank_and_ratio_of_sharpness(rng):
    errors = np.linspace(0.1, 0.5, 9)
    noise = rng.permutation(9) + 1.0
    grids = networks([{"filter": e, "layer": n, "none": 2.0 - e} for e, n in zip(errors, noise, strict=True)], errors)
    found = measure("sharpness_rank", {"lines": grids}, against=["layer", "none"])
    assert found.value == pytest.approx(1.0 - max(spearmanr(noise, errors).statistic, -1.0))
    assert found.n == 9
    assert measure("sharpness_rank", {"lines": grids}).value == pytest.approx(1.0)
    assert measure("sharpness_rank", {"lines": grids[:7]}).value is None
    sharp = measure("sharpness_ratio", {"first": grids[-3:], "second": grids[:3]})
    assert sharp.value == pytest.approx(errors[-2] / errors[1])
    assert sharp.spread[0] <= sharp.value <= sharp.spread[1]


def test_shares_of_maps_and_planes():
    first = grid_of(np.zeros((1, 4)), lambda_min=[[-1.0, 0.5, -3.0, np.nan]], lambda_max=[[4.0, 2.0, 2.0, np.nan]])
    second = grid_of(np.zeros((1, 4)), lambda_min=[[-0.1, 0.5, 0.0, -0.2]], lambda_max=[[4.0, 2.0, 2.0, 4.0]])
    found = measure("negative_curvature", {"first": [first], "second": [second]}, above=0.1)
    assert found.value == pytest.approx(2 / 3)
    assert "1 points without a spectrum" in found.detail
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)
    planes = [grid_of(scale * (u**2 + v**2), x, x) for scale in (8.0, 4.0, 2.0, 1.0)]
    assert measure("flattening", {"planes": planes}).value == pytest.approx(-1.0)
    assert measure("bent", {"first": [grid_of(u * v, x, x)], "second": planes[:1]}).value == pytest.approx(1.0)


def test_convex_looking_points_are_taken_apart():
    x = np.linspace(-1, 1, 9)
    u, v = np.meshgrid(x, x)
    low = np.where(u < 0, -3.0, -0.2)
    grid = grid_of(u**3 + v**2, x, x, lambda_min=low, lambda_max=np.full_like(u, 10.0))
    assert measure("convex_ratio", {"maps": [grid]}).value == pytest.approx(0.02)
    assert measure("convex_ratio", {"maps": [grid]}, relative_to="other").value == pytest.approx(-0.28)


def test_angles_of_a_descent_are_averaged_by_thirds():
    tables = [
        pd.DataFrame({"plane_angle": [0.0, 10, 40, 50, 80, 90], "angle": [1.0] * 6}),
        pd.DataFrame({"plane_angle": [20.0, 20, 40, 50, 60, np.nan], "angle": [1.0] * 6}),
    ]
    values = {
        when: measure("descent_angle", {"descents": tables}, when=when).value for when in ("early", "late", "change")
    }
    assert values == pytest.approx({"early": 12.5, "late": 72.5, "change": 60.0})
    assert measure("descent_angle", {"descents": tables}, when="change", space="full").value == 0
    assert measure("descent_angle", {"descents": tables}, when="late", about=90).value == pytest.approx(17.5)


def test_no_torch_is_needed_to_read_grids():
    code = "import sys, lossatlas.planes.numbers, lossatlas.planes.measures; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
