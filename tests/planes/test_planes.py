"""The one evaluator of lines and planes, on functions whose values are known."""

import numpy as np
import pytest
import torch
from harness import leave_rows

from lossatlas.files.state import State
from lossatlas.landscape.analytic import quadratic
from lossatlas.planes.plane import Plane, Slice, evaluate, losses, pointwise, surface


def vectors(rng, *shape):
    """Return random float64 vectors."""
    return torch.from_numpy(rng.standard_normal(shape))


def test_a_row_at_once_and_point_by_point_are_one(rng, tmp_path):
    root = rng.standard_normal((5, 5))
    landscape = quadratic(torch.from_numpy(root @ root.T))
    plane, x, y = Plane(vectors(rng, 5), vectors(rng, 2, 5)), np.linspace(-1, 2, 4), np.linspace(0, 1, 3)
    found = surface(landscape, plane, x, y)
    asked = []

    def at(theta, a):
        asked.append(a)
        return {"loss": float(landscape.loss(theta)), "at": [a, 2 * a]}

    rows = pointwise(at, plane.at(x, y), range(1, 3), State(tmp_path))
    assert len(asked) == 8
    np.testing.assert_allclose(rows["loss"], found[1:], rtol=1e-12)
    np.testing.assert_array_equal(rows["at"], np.broadcast_to(np.stack([x, 2 * x], 1), (2, 4, 2)))


def test_lines_of_a_bundle_have_one_start_and_directions_of_their_own(rng):
    landscape = quadratic(torch.eye(3, dtype=torch.float64))
    start, directions, x = vectors(rng, 3), vectors(rng, 2, 3), np.linspace(-1, 1, 5)
    found = evaluate(losses(landscape), Slice(start, None, directions, x, np.arange(2.0)))["loss"]
    for i in range(2):
        for j in range(5):
            np.testing.assert_allclose(found[i, j], float(landscape.loss(start + x[j] * directions[i])), rtol=1e-12)


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
    leave_rows(tmp_path, {"loss": found[:2] + 1.0})  # of an interrupted job: taken, not computed again
    rest = surface(landscape, plane, x, y, State(tmp_path))
    np.testing.assert_array_equal(rest[:2], found[:2] + 1.0)
    np.testing.assert_array_equal(rest[2], found[2])
