"""Gram, embedding and scores files: read, and written."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh

from lossatlas.arrays import Array
from lossatlas.clouds.spec import SCORES
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, table_in, write_table


def copy_table(src_h5: h5py.Group, dst_h5: h5py.Group, name: str = "table") -> None:
    """Copy the group ``/table`` (one dataset a column), or another, virtual columns turned into plain ones.

    Args:
        src_h5: open file that may have ``/table``.
        dst_h5: open, writable file without one.
        name: of the group.
    """
    group = dst_h5.create_group(name, track_order=True)
    if name in src_h5:
        for label in src_h5[name]:
            column = src_h5[name][label]
            group.create_dataset(label, data=column[...], dtype=column.dtype)


def distances2_of(gram: Array) -> tuple[Array, Array]:
    """Return |x_i - x_j|^2 as the Gram matrix gives it, and its scale |x_i|^2 + |x_j|^2, both (n, n)."""
    diagonal = np.diagonal(gram)
    scale = diagonal[:, None] + diagonal[None, :]
    return scale - 2.0 * gram, scale


@dataclass(frozen=True)
class Gram:
    """The Euclidean geometry of n points of R^D, relative to row 0.

    Attributes:
        gram: (n, n) float64, x_i . x_j with x_i = theta_i - theta_0.
        cross: (n,) float64, x_i . theta_0.
        reference_norm2: |theta_0|^2.
        dimension: D.
        table: one row a point.
        near_pairs: (m, 2) int64, pairs measured apart (i < j).
        near_distances2: (m,) float64, their squared distances.
    """

    gram: Array
    cross: Array
    reference_norm2: float
    dimension: int
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    near_pairs: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    near_distances2: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Gram":
        """Read a gram file.

        Raises:
            LossatlasError: the file is missing, truncated or not a gram file.
        """
        source = Path(path)
        if not source.is_file():
            raise LossatlasError(f"{source}: no such gram file; compute it first")
        try:
            with h5py.File(source, "r") as file:
                return cls(
                    gram=file["gram"][...],
                    cross=file["cross"][...],
                    reference_norm2=float(file.attrs["reference_norm2"]),
                    dimension=int(file.attrs["dimension"]),
                    table=table_in(file),
                    near_pairs=file["near_pairs"][...],
                    near_distances2=file["near_distances2"][...],
                )
        except (OSError, KeyError) as error:
            raise LossatlasError(
                f"{source}: not a whole gram file ({first_line(error)}); remove it and compute it again"
            ) from error

    @classmethod
    def from_rows(cls, theta: NDArray[np.floating[Any]], table: pd.DataFrame | None = None) -> "Gram":
        """Build the Gram of an in-memory (n, D) array: small clouds, artificial trees, tests.

        Args:
            theta: (n, D) with n >= 2; near pairs are not measured apart (use ``compute`` for that).
            table: one row a point.
        """
        rows = np.asarray(theta, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[0] < 2:
            raise LossatlasError(
                f"a cloud needs at least 2 rows, found an array of shape {rows.shape}; give more points"
            )
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise LossatlasError(f"row {bad[0]} of the cloud holds a NaN or an infinity; leave it out")
        x = rows - rows[0]
        return cls(
            gram=x @ x.T,
            cross=x @ rows[0],
            reference_norm2=float(rows[0] @ rows[0]),
            dimension=rows.shape[1],
            table=pd.DataFrame(index=range(len(rows))) if table is None else table,
        )

    @property
    def n(self) -> int:
        """Number of points."""
        return len(self.cross)

    def of_rows(self, rows: NDArray[np.intp]) -> "Gram":
        """Return the geometry of some of the points, in the order given; the reference stays this cloud's row 0.

        Args:
            rows: (m,) different row numbers.
        """
        place = np.full(self.n, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        pairs = place[self.near_pairs]
        kept = (pairs >= 0).all(axis=1)
        return Gram(
            gram=self.gram[np.ix_(rows, rows)],
            cross=self.cross[rows],
            reference_norm2=self.reference_norm2,
            dimension=self.dimension,
            table=self.table.iloc[rows].reset_index(drop=True),
            near_pairs=pairs[kept],
            near_distances2=self.near_distances2[kept],
        )

    def squared_distances(self) -> Array:
        """Return |theta_i - theta_j|^2, (n, n) float64, symmetric, zero diagonal, near pairs as measured apart."""
        distances2 = np.maximum(distances2_of(self.gram)[0], 0.0)
        i, j = self.near_pairs[:, 0], self.near_pairs[:, 1]
        distances2[i, j] = distances2[j, i] = self.near_distances2
        np.fill_diagonal(distances2, 0.0)
        return distances2

    def distances(self, metric: str = "euclidean") -> Array:
        """Return all pairwise distances, (n, n) float64, symmetric, zero diagonal.

        Args:
            metric: ``euclidean``, or ``cosine``: 1 - cos(theta_i, theta_j) of the raw vectors (angles seen from the
                origin of R^D), computed without cancellation as ``(|a - b|^2 - (|a| - |b|)^2) / (2 |a| |b|)``, where
                ``|a| - |b| = (|a|^2 - |b|^2) / (|a| + |b|)`` and ``|a|^2 - |b|^2 = g_aa - g_bb + 2 (c_a - c_b)``.

        Raises:
            LossatlasError: unknown metric, or a vector that is zero (to working precision) under ``cosine``.
        """
        if metric == "euclidean":
            return np.sqrt(self.squared_distances())
        if metric != "cosine":
            raise LossatlasError(f"metric {metric!r}: expected 'euclidean' or 'cosine'; correct the embedding's metric")
        norms = self.norms()
        zero = np.flatnonzero(norms**2 <= 1e-12 * (np.diagonal(self.gram) + self.reference_norm2))
        if len(zero):
            row = int(zero[0])
            raise LossatlasError(f"row {row} is the zero vector: it has no cosine distance; use metric euclidean")
        relative2 = np.diagonal(self.gram) + 2.0 * self.cross  # |theta_i|^2 - |theta_0|^2
        difference = (relative2[:, None] - relative2[None, :]) / (norms[:, None] + norms[None, :])
        cosine = (self.squared_distances() - difference**2) / (2.0 * np.outer(norms, norms))
        np.fill_diagonal(cosine, 0.0)
        return np.clip(cosine, 0.0, 2.0)

    def norms(self) -> Array:
        """Return |theta_i|, (n,) float64: sqrt(g_ii + 2 c_i + |theta_0|^2)."""
        return np.sqrt(np.maximum(np.diagonal(self.gram) + 2.0 * self.cross + self.reference_norm2, 0.0))

    def raw(self) -> Array:
        """Return theta_i . theta_j, (n, n) float64, relative to the origin of R^D: g_ij + c_i + c_j + |theta_0|^2."""
        return self.gram + self.cross[:, None] + self.cross[None, :] + self.reference_norm2

    def centred(self) -> Array:
        """Return the inner products of the rows minus their mean, (n, n) float64: J G J with J = I - 1 1^T / n."""
        mean = self.gram.mean(axis=0)
        centred = self.gram - mean[:, None] - mean[None, :] + mean.mean()
        return (centred + centred.T) / 2.0

    def eigen(self) -> tuple[Array, Array]:
        """Return eigenvalues (n,), falling and not negative, and eigenvectors (n, n) of the centred Gram matrix.

        The largest entry in magnitude of every eigenvector (the first of equals) is positive.
        """
        values, vectors = eigh(self.centred())
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(self.n)])
        return values, vectors * signs

    def coordinates(self, tolerance: float | None = None) -> Array:
        """Return principal coordinates: an exact isometry of the cloud into R^r, r <= n - 1, about its mean.

        With J G J = V diag(l) V^T the coordinates are V diag(sqrt(l)) (classical scaling: Torgerson 1952, Gower 1966),
        which are also the scores of every principal component. Squared distances agree with those of R^D up to
        about ``tolerance`` times the largest eigenvalue (near pairs: use ``distances``).

        Args:
            tolerance: eigenvalues up to this share of the largest count as zero; default n times machine epsilon.

        Returns:
            (n, r) float64 with r >= 1, columns by falling variance, signs as in ``eigen``.
        """
        values, vectors = self.eigen()
        if tolerance is None:
            tolerance = self.n * float(np.finfo(np.float64).eps)
        rank = max(int(np.count_nonzero(values > tolerance * values[0])), 1)
        return vectors[:, :rank] * np.sqrt(values[:rank])

    def explained_variance(self) -> Array:
        """Return the share of the variance along each principal component, (n - 1,) float64, falling.

        All zero if all points coincide.
        """
        values = self.eigen()[0][: self.n - 1]
        total = float(np.trace(self.centred()))
        return values / total if total > 0 else np.zeros_like(values)

    def radii(self, reference_row: int = 0) -> Array:
        """Return the distances |theta_i - theta_ref| from one row, (n,) float64."""
        return self.distances()[reference_row]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def unreadable(path: Path, error: BaseException) -> str:
    """Return the message about a file that is no whole HDF5 file."""
    return f"{path}: truncated or not an HDF5 file ({first_line(error)}); remove it and compute or pull it again"


@dataclass(frozen=True)
class Embedding:
    """A cloud in the plane.

    Attributes:
        coordinates: (n, 2) float64.
        method: name in :data:`lossatlas.clouds.spec.METHODS`.
        metric: ``euclidean`` or ``cosine``.
        parameters: every parameter as used; ``auto`` values of the neighbourhood size are replaced by the number.
        notes: what the method found out, e.g. PHATE's ``t`` or ``explained_variance_ratio``, and ``warnings`` if the
            library gave any.
        seed: the seed, None for methods without randomness.
    """

    coordinates: Array
    method: str
    metric: str = "euclidean"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


def write_embedding(
    path: str | os.PathLike[str], embedding: Embedding, table: pd.DataFrame, provenance: Mapping[str, Any]
) -> None:
    """Write an embedding file atomically: ``/coordinates``, ``/table``, attribute ``method`` (JSON).

    Args:
        path: the file; its folder must exist.
        embedding: what to write.
        table: one row a point, normally ``gram.table``.
        provenance: JSON-serialisable.
    """
    if len(table.columns) and len(table) != len(embedding.coordinates):
        raise LossatlasError(
            f"{path}: {len(embedding.coordinates)} points but {len(table)} table rows; pass the cloud's table"
        )
    about = {
        "name": embedding.method,
        "metric": embedding.metric,
        "parameters": dict(embedding.parameters),
        "notes": dict(embedding.notes),
        "seed": embedding.seed,
    }

    with create(Path(path), "embedding", provenance) as file:
        file.create_dataset("coordinates", data=embedding.coordinates)
        file.attrs["method"] = json.dumps(about, sort_keys=True)
        write_table(file, table)


def read_embedding(path: str | os.PathLike[str]) -> tuple[Embedding, pd.DataFrame]:
    """Read an embedding file.

    Returns:
        The embedding and its table.

    Raises:
        LossatlasError: the file is missing, truncated or not an embedding file.
    """
    source = Path(path)
    if not source.is_file():
        raise LossatlasError(f"{source}: no such embedding file; compute it first")
    try:
        with h5py.File(source, "r") as file:
            about = json.loads(file.attrs["method"])
            coordinates, table = file["coordinates"][...], table_in(file)
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise LossatlasError(
            f"{source}: not a whole embedding file ({reason}); remove it and compute it again"
        ) from error
    embedding = Embedding(
        coordinates, about["name"], about["metric"], about["parameters"], about["notes"], about["seed"]
    )
    return embedding, table


def read_scores(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read ``scores.csv``; a missing or foreign file is a :class:`LossatlasError`."""
    try:
        table = pd.read_csv(path, dtype={"setting": str})
    except (OSError, ValueError) as error:
        raise LossatlasError(
            f"{path}: no readable scores ({error}); delete it and run the same command again"
        ) from error
    missing = [name for name in ("method", "metric", "setting", "seed", *SCORES) if name not in table]
    if missing:
        raise LossatlasError(f"{path}: no column {missing[0]!r}; delete it and run the same command again")
    return table
