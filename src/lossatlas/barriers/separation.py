"""How well kernel PCA tells two sets of weight vectors apart, and what of that is their norms alone.

The projections are those of :mod:`lossatlas.clouds.embeddings` on the exact Gram matrix. *Variants* of a cloud answer
what a kernel sees:

- ``trained``: the vectors as they are.
- ``equal_norms``: each scaled to the mean norm; only directions are left.
- ``random_directions``: each replaced by a vector of its own norm in a random direction; only norms are left.
- ``gaussian``: independent N(0, sigma^2) weights with given sigmas, as many vectors of each set as asked for.

The last two need no vectors of R^D: inner products of n Gaussian vectors are drawn from their Wishart distribution.

*How many vectors it takes.* Let D be large and the components of two sets independent with deviations a > b. Under the
RBF kernel with 2 sigma^2 = D vectors have the values exp(-2 a^2), exp(-2 b^2) and exp(-a^2 - b^2) within and between
the sets, 1 with themselves. With m and n vectors the centred matrix has the contrast of the sets as an eigenvector, of
value mn/(m+n) (e^-b^2 - e^-a^2)^2 + (n (1 - e^-2a^2) + m (1 - e^-2b^2))/(m+n), and single vectors of the wider set with
value 1 - e^-2a^2. The first principal component is the contrast, and separates the sets, where the former is larger::

    n > coth((a^2 - b^2) / 2),     n: vectors of the narrower set

whatever m is. With fewer, PC 1 is a direction among the wider set's own vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import silhouette_score

from lossatlas.arrays import Array
from lossatlas.barriers.spec import SCORES, VARIANTS
from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError

ANGLES = 180
"""Directions of the plane that are tried for the best linear separation, one a degree."""


def critical_count(a: float, b: float) -> float:
    """Return how many vectors the narrower of two isotropic sets needs for PC 1 of the RBF kernel to separate them.

    Args:
        a: deviation of the components of one set.
        b: of the other; infinitely many vectors where it is the same.
    """
    apart = abs(a**2 - b**2) / 2
    return float(1 / np.tanh(apart)) if apart > 0 else float("inf")


def deviation(gram: Gram, rows: NDArray[np.intp]) -> float:
    """Return the deviation of the components of isotropic vectors with these distances, about wherever they lie."""
    squared = gram.squared_distances()[np.ix_(rows, rows)]
    count = len(rows)
    return float(np.sqrt(squared.sum() / (count * (count - 1)) / (2 * gram.dimension)))


def needed(first: float, second: float, counts: tuple[int, int]) -> tuple[float, int]:
    """Return the critical count of two sets of these deviations, and how many vectors the narrower has."""
    return critical_count(first, second), counts[1] if first > second else counts[0]


def subset(gram: Gram, rows: NDArray[np.intp]) -> Gram:
    """Return the Gram matrix of some rows of a cloud, relative to the first of them."""
    return from_inner_products(gram.raw()[np.ix_(rows, rows)], gram.dimension, gram.table.iloc[rows])


def from_inner_products(inner: Array, dimension: int, table: pd.DataFrame) -> Gram:
    """Return a Gram matrix from inner products about the origin, (n, n)."""
    shifted = inner - inner[:1, :] - inner[:, :1] + inner[0, 0]
    return Gram(
        gram=(shifted + shifted.T) / 2,
        cross=inner[:, 0] - inner[0, 0],
        reference_norm2=float(inner[0, 0]),
        dimension=dimension,
        table=table.reset_index(drop=True),
    )


def wishart(n: int, dimension: int, rng: np.random.Generator) -> Array:
    """Draw the inner products (n, n) of n standard Gaussian vectors of R^dimension, n <= dimension (Bartlett)."""
    lower = np.tril(rng.standard_normal((n, n)), -1)
    lower[np.diag_indices(n)] = np.sqrt(rng.chisquare(dimension - np.arange(n)))
    return lower @ lower.T


def variant(gram: Gram, name: str, labels: NDArray[np.bool_], spec: Mapping, rng: np.random.Generator) -> Any:
    """Return the Gram matrix of a variant of a cloud, and its labels (n,), True for the first set."""
    inner, norms = gram.raw(), gram.norms()
    if name == "trained":
        return gram, labels
    if name == "equal_norms":
        scale = norms.mean() / norms
        return from_inner_products(inner * np.outer(scale, scale), gram.dimension, gram.table), labels
    if name == "random_directions":
        drawn = wishart(len(norms), gram.dimension, rng)
        scale = norms / np.sqrt(np.diagonal(drawn))
        return from_inner_products(drawn * np.outer(scale, scale), gram.dimension, gram.table), labels
    count = spec["count"]
    drawn = wishart(2 * count, gram.dimension, rng)
    sigma = np.repeat(spec["sigmas"], count)
    table = pd.DataFrame({"cloud": np.repeat(spec["sets"], count), "row": np.arange(2 * count)})
    return from_inner_products(drawn * np.outer(sigma, sigma), gram.dimension, table), np.arange(2 * count) < count


def areas(values: Array, labels: NDArray[np.bool_]) -> Array:
    """Return the area under the ROC curve of each row of values for each labelling, whichever way round it is.

    Args:
        values: (k, n).
        labels: (..., n), equally many True in each.

    Returns:
        (..., k), each between 1/2 (no separation) and 1 (a threshold separates the sets).
    """
    ranks = rankdata(values, axis=1)
    first = int(labels.reshape(-1, labels.shape[-1])[0].sum())
    second = labels.shape[-1] - first
    u = labels.astype(float) @ ranks.T - first * (first + 1) / 2
    area = u / (first * second)
    return np.maximum(area, 1 - area)


def score(coordinates: Array, labels: NDArray[np.bool_], permutations: int, rng: np.random.Generator) -> dict[str, Any]:
    """Score how well two sets separate in the plane of two principal components.

    Returns:
        ``pc1`` and ``plane``: area under the ROC curve of the first component, and of the best of :data:`ANGLES`
        directions of the plane; ``pc1_p`` and ``plane_p``: share of random labellings (this one among them) that do as
        well, with the best direction chosen anew each time; ``pc1_chance`` and ``plane_chance``: what one in twenty of
        them reaches; ``silhouette``.
    """
    angles = np.pi * np.arange(ANGLES) / ANGLES
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ coordinates.T
    shuffled = np.stack([labels, *(rng.permutation(labels) for _ in range(permutations))])
    found = areas(values, shuffled)
    by_score = {"pc1": found[:, 0], "plane": found.max(axis=1)}
    result: dict[str, Any] = {}
    for name in SCORES:
        reached = by_score[name]
        p, chance = float((reached >= reached[0] - 1e-12).mean()), float(np.quantile(reached, 0.95))
        result |= {name: float(reached[0]), f"{name}_p": p, f"{name}_chance": chance}
    return {**result, "silhouette": float(silhouette_score(coordinates, labels))}


def separate(gram: Gram, spec: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Project two sets of a cloud under every kernel and variant and score their separation.

    Args:
        gram: of a cloud with a column ``cloud``.
        spec: sets (two names), kernels, sigmas (two, or None: no Gaussian variant), count (its vectors a set),
            permutations, seed.

    Returns:
        Scores, one row a variant and kernel, and points, one row a variant, kernel and vector.
    """
    rows = [np.flatnonzero(gram.table["cloud"] == name) for name in spec["sets"]]
    if min(map(len, rows)) < 2:
        raise LossatlasError(f"kernels: fewer than two vectors in a set of {spec['sets']}; give the clouds more points")
    chosen = subset(gram, np.concatenate(rows))
    labels = np.arange(chosen.n) < len(rows[0])
    scores: list[dict] = []
    points: list[pd.DataFrame] = []
    for i, name in enumerate(VARIANTS):
        if name == "gaussian" and spec["sigmas"] is None:
            continue
        made, mine = variant(chosen, name, labels, spec, np.random.default_rng([spec["seed"], i]))
        norms = made.norms()
        about = {"variant": name, "first": int(mine.sum()), "second": int((~mine).sum())}
        about["norm"] = float(areas(norms[None], mine)[0])
        about |= {
            "deviation_first": deviation(made, np.flatnonzero(mine)),
            "deviation_second": deviation(made, np.flatnonzero(~mine)),
        }
        for kernel in spec["kernels"]:
            width: dict[str, Any] = {"two_sigma2": "dimension"} if kernel == "rbf" else {}
            found = embed(made, "kpca", kernel=kernel, **width)
            shares = found.notes["explained_variance_ratio"]
            rng = np.random.default_rng([spec["seed"], i, len(points)])
            measured = score(found.coordinates, mine, spec["permutations"], rng)
            scores.append({**about, "kernel": kernel, **measured, "explained1": shares[0], "explained2": shares[1]})
            part = {"pc1": found.coordinates[:, 0], "pc2": found.coordinates[:, 1], "norm": norms}
            points.append(pd.DataFrame(part).assign(variant=name, kernel=kernel, set=np.where(mine, *spec["sets"])))
    return pd.DataFrame(scores), pd.concat(points, ignore_index=True)
