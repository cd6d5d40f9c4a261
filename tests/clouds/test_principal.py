"""Principal axes from a Gram matrix against a dense decomposition."""

import numpy as np
import pytest

from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.errors import LossatlasError


def test_principal_axes_of_some_rows_against_a_dense_decomposition(rng):
    theta = rng.standard_normal((20, 50)) + 100 * rng.standard_normal(50)
    rows = np.sort(rng.choice(20, 9, replace=False))
    axes = principal_axes(Gram.from_rows(theta), rows, 3)
    mean = theta[rows].mean(0)
    _, singular, vectors = np.linalg.svd(theta[rows] - mean, full_matrices=False)
    found = axes.weights.T @ theta[rows]
    np.testing.assert_allclose(np.abs((found * vectors[:3]).sum(1)), 1.0, atol=1e-8)
    np.testing.assert_allclose(np.abs(axes.coordinates), np.abs((theta - mean) @ vectors[:3].T), atol=1e-6)
    np.testing.assert_allclose(axes.explained, (singular**2 / (singular**2).sum())[:3], rtol=1e-8)
    residual = ((theta - mean) ** 2).sum(1) - (((theta - mean) @ vectors[:3].T) ** 2).sum(1)
    np.testing.assert_allclose(axes.residual2, residual, atol=1e-6 * residual.max())
    with pytest.raises(LossatlasError, match="span fewer than 3 dimensions"):
        principal_axes(Gram.from_rows(theta), rows[:3], 3)
