"""Principal axes of some rows of a cloud, from its exact Gram matrix; every other row can be projected on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError


class Geometry(Protocol):
    """A cloud's inner products: :class:`lossatlas.clouds.files.Gram`, or whatever has them.

    Attributes:
        gram: (n, n) float64, x_i . x_j with x_i = theta_i - theta_0.
    """

    @property
    def gram(self) -> Array:
        """Inner products (n, n)."""


@dataclass(frozen=True)
class Axes:
    """Orthonormal axes u_k of R^D that are combinations of rows of a cloud.

    Attributes:
        rows: the m rows whose variance the axes explain.
        mean_weights: (m,) origin = sum_i mean_weights_i theta_i, their mean.
        weights: (m, count) u_k = sum_i weights_ik theta_i, of unit length.
        explained: (count,) share of those rows' variance along each axis.
        coordinates: (n, count) of every row of the cloud: (theta_j - origin) . u_k.
        residual2: (n,) squared distance of every row from the span of the axes.
    """

    rows: NDArray[np.intp]
    mean_weights: Array
    weights: Array
    explained: Array
    coordinates: Array
    residual2: Array

    def of_mean(self, rows: NDArray[np.intp]) -> Array:
        """Return the coordinates (count,) of the mean of some rows: the mean of their coordinates."""
        return self.coordinates[rows].mean(axis=0)


def principal_axes(gram: Geometry, rows: NDArray[np.intp], count: int) -> Axes:
    """Return the first principal axes of some rows.

    Args:
        gram: of the whole cloud, (n, n).
        rows: whose mean is the origin and whose variance is explained.
        count: number of axes.

    Raises:
        LossatlasError: fewer independent rows than axes.
    """
    inner = gram.gram
    centre = inner[:, rows].mean(axis=1)  # x_j . mean of the chosen x
    centred = inner[:, rows] - centre[:, None] - centre[rows][None, :] + centre[rows].mean()  # (n, m)
    values, vectors = eigh((centred[rows] + centred[rows].T) / 2)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    if len(values) < count or values[-1] <= 1e-13 * values[0]:
        raise LossatlasError(
            f"{len(rows)} points span fewer than {count} dimensions; record more points, or ask for fewer axes"
        )
    signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(count)])
    unit = vectors * signs / np.sqrt(values)  # u_k = sum_i unit_ik (theta_i - mean)
    coordinates = centred @ unit
    norm2 = np.diagonal(inner) - 2 * centre + centre[rows].mean()
    return Axes(
        rows,
        np.full(len(rows), 1 / len(rows)),
        unit - unit.mean(axis=0),
        values / float(np.trace(centred[rows])),
        coordinates,
        np.maximum(norm2 - (coordinates**2).sum(axis=1), 0.0),
    )
