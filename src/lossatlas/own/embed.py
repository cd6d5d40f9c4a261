"""Points of weight space in the plane: PCA with the library alone, PHATE, t-SNE and UMAP with the extra ``embed``.

Every method gets exact distances or inner products of the points in R^D (:mod:`lossatlas.clouds.embeddings`), nothing
reduced before. How far a picture may be believed is measured by the rank correlation of its distances with those of
R^D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.own.point import digest_of
from lossatlas.own.result import Clock, Result
from lossatlas.planes.trust import Check, Outcome, Verdict

METHODS = ("pca", "phate", "tsne", "umap", "kpca", "random")

ORDER = 0.9
"""Rank correlation of distances from which on a picture keeps their order: at 0.9, of two pairs of points drawn at
random, the further apart is the further apart in the picture in some 86% of cases (normal scores: 1/2 + asin(r)/pi)."""


@dataclass(frozen=True, eq=False, repr=False)
class Embedded(Result):
    """Points in the plane.

    Attributes:
        coordinates: (n, 2).
        distances: (n, n) Euclidean distances in R^D.
        groups: (n,) what each point belongs to: points of one group are joined by a line in their order.
        method: how.
        explained: (2,) share of the variance along each axis, for PCA; NaN otherwise.
    """

    coordinates: Array
    distances: Array
    groups: tuple[str, ...]
    method: str
    explained: Array

    kind: ClassVar[str] = "own-embedding"
    size: ClassVar[tuple[float, float]] = (4.8, 3.4)

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        draw_groups(axes, self.coordinates, self.groups)
        names = [f"{self.method} {i + 1}" for i in range(2)]
        if np.isfinite(self.explained).all():
            names = [f"{n} ({share:.1%})" for n, share in zip(names, self.explained, strict=True)]
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.set_aspect("equal", "datalim")
        axes.set_title(f"{len(self.coordinates)} points of R^D, {self.method}", fontsize=8)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``group``, ``x``, ``y`` of every point."""
        return {"group": np.array(self.groups), "x": self.coordinates[:, 0], "y": self.coordinates[:, 1]}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``coordinates``, ``distances``, ``explained``."""
        return {"coordinates": self.coordinates, "distances": self.distances, "explained": self.explained}

    def headline(self) -> str:
        """Return method and number of points."""
        upper = self.distances[np.triu_indices(len(self.distances), 1)]
        return (
            f"{len(self.coordinates)} points by {self.method}; distances in R^D {upper.min():.4g} to {upper.max():.4g} "
            f"({self.provenance['seconds']:.0f} s)"
        )


def draw_groups(axes: Any, coordinates: Array, groups: Sequence[str]) -> None:
    """Draw points, those of one group joined in their order; a group of one is a dot; at most twelve are named."""
    names = list(dict.fromkeys(groups))
    for name, color in zip(names, style.hues(len(names)), strict=True):
        rows = [i for i, group in enumerate(groups) if group == name]
        label = name if len(names) <= 12 else None
        axes.plot(*coordinates[rows].T, color=color, lw=0.9, marker=".", ms=4, label=label)
        axes.plot(*coordinates[rows[-1]], color=color, marker="o", ms=4.5, markeredgecolor="white", lw=0)
    if len(names) <= 12:
        axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def embed(
    points: Any,
    method: str = "pca",
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    check: bool = True,
    **parameters: Any,
) -> Embedded:
    """Place points of weight space in the plane.

    Args:
        points: (n, D) array or tensor; a sequence of networks or of tensors (D,); or name -> such points of a group.
        method: ``pca``; with the extra ``embed`` also ``phate``, ``tsne``, ``umap``, ``kpca``, ``random``.
        groups: what each point belongs to; a mapping of points says it itself.
        seed: of methods that draw.
        check: whether to ask if the picture is right.
        **parameters: of the method (``knn``, ``perplexity``, ``n_neighbors``, ...).

    Raises:
        LossatlasError: unknown methods, points that do not fit or are not finite, or packages that are not installed.
    """
    rows, named = _rows(points, groups)
    if method not in METHODS:
        raise LossatlasError(f"embed: method got {method!r}; expected one of {list(METHODS)!r}")
    what = {"label": f"{len(rows)} points", "weights": rows.shape[1], "points_sha256": digest_of([rows])}
    clock = Clock("embed", what, {"method": method, "seed": seed, **parameters})
    distances = distances_of(rows)
    explained = np.full(2, np.nan)
    if method == "pca" and not parameters:
        coordinates, explained = pca(rows)
    else:
        coordinates = _by_library(rows, method, seed, parameters)
    verdict = Verdict(_checks(coordinates, distances, explained)) if check else Verdict()
    return Embedded(clock.record(), verdict, (), coordinates, distances, named, method, explained)


def _rows(points: Any, groups: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return points as (n, D) float64 on the CPU, and their groups."""
    if isinstance(points, Mapping):
        parts = {str(name): _stacked(part, str(name))[0] for name, part in points.items()}
        if len({part.shape[1] for part in parts.values()}) > 1:
            widths = sorted({part.shape[1] for part in parts.values()})
            raise LossatlasError(f"embed: got points of {widths} weights; expected as many in every group")
        found, names = torch.cat(list(parts.values())), [n for n, part in parts.items() for _ in part]
    else:
        found, names = _stacked(points, "points")
    if groups is not None:
        names = [str(group) for group in groups]
    if len(names) != len(found) or len(found) < 2:
        raise LossatlasError(f"embed: got {len(found)} points, {len(names)} groups; expected 2 or more, a group each")
    if not bool(torch.isfinite(found).all()):
        row = int((~torch.isfinite(found)).any(1).nonzero()[0])
        raise LossatlasError(f"embed: point {row} holds a NaN or an infinity; leave it out")
    return found, tuple(names)


def _stacked(points: Any, what: str) -> tuple[Tensor, list[str]]:
    """Return points as (n, D) float64, and what each is called."""
    if isinstance(points, Tensor | np.ndarray):
        found = torch.as_tensor(points).detach().to("cpu", torch.float64)
        found = found[None] if found.ndim == 1 else found
        names = ["points"] * len(found)
    else:
        one = [points] if hasattr(points, "theta") else list(points)
        rows = [item.theta if hasattr(item, "theta") else torch.as_tensor(item) for item in one]
        shapes = {tuple(row.shape) for row in rows}
        if len(shapes) != 1:
            raise LossatlasError(f"embed: {what} got shapes {sorted(shapes)}; expected networks or tensors of one (D,)")
        found = torch.stack([row.detach().to("cpu", torch.float64) for row in rows])
        names = [str(getattr(item, "label", "points")) for item in one]
    if found.ndim != 2:
        raise LossatlasError(f"embed: {what} got shape {tuple(found.shape)}; expected (n, D)")
    return found, names


def distances_of(rows: Tensor) -> Array:
    """Return the Euclidean distances (n, n) of rows (n, D), from their differences: near ones keep their digits."""
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").numpy()


def pca(rows: Tensor) -> tuple[Array, Array]:
    """Return scores (n, 2) of the first two principal components, and their shares of the variance."""
    centred = (rows - rows.mean(0)).numpy()
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = np.maximum(values[::-1][:2], 0.0), vectors[:, ::-1][:, :2]
    signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(2)])
    total = float(np.square(centred).sum())
    return vectors * signs * np.sqrt(values), values / total if total > 0 else np.zeros(2)


def _by_library(rows: Tensor, method: str, seed: int, parameters: Mapping[str, Any]) -> Array:
    try:
        from lossatlas.clouds.embeddings import embed as placed
        from lossatlas.clouds.files import Gram

        return placed(Gram.from_rows(rows.numpy()), method, seed=seed, **parameters).coordinates
    except ImportError as error:
        raise LossatlasError(
            f"embed: method {method!r} needs {error.name or error}, which is not installed; "
            "pip install 'lossatlas[embed]', or use method 'pca'"
        ) from error


def _checks(coordinates: Array, distances: Array, explained: Array) -> tuple[Check, ...]:
    """Return whether the picture keeps the order of distances, and what an axis holds."""
    upper = np.triu_indices(len(coordinates), 1)
    shown = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=2)[upper]
    known = np.ptp(shown) > 0 and np.ptp(distances[upper]) > 0
    rank = float(spearmanr(shown, distances[upper]).statistic) if known else float("nan")
    outcome: Outcome = "undecided" if np.isnan(rank) else "yes" if rank >= ORDER else "no"
    words = f"rank correlation {rank:.3f} of its distances with those of R^D"
    checks = [Check("distances", outcome, rank, f"rank correlation at least {ORDER}", words)]
    if np.isfinite(explained).all():
        words = f"the two axes hold {explained.sum():.1%} of the variance"
        checks.append(Check("variance", "stated", float(explained.sum()), "none", words))
    return tuple(checks)
