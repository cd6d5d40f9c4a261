"""Scores of an embedding against the exact geometry of its cloud.

Every score compares the plane with distances in R^D (Euclidean, whatever metric the embedding was made with) or with
the table's trajectories; a rotation, reflection, shift or uniform scaling of the plane changes none of them. None
means much alone:

=================  ==========  ==================================================================================
score              range       blind spot
=================  ==========  ==================================================================================
demap              -1 to 1     ranks only: it is dominated by the many far pairs, so a picture with the right global
                               layout scores high though every small neighbourhood is torn; on a cloud of nearly
                               orthogonal arms the geodesics are nearly the radii
continuity         0 to 1      rewards islands: trajectories drawn as separate blobs score 1 however their points lie
                               within the blob, and so does collapse of each trajectory to a spot of its own; where
                               trajectories meet in R^D a perfect isometry scores below 1, and islands above it
trustworthiness    0 to 1      false neighbours only: tearing a neighbourhood apart costs nothing; about 1/2 by chance
wholeness          0 up        tears only, and each trajectory by itself: a picture in which all of them are drawn one
                               over the other as evenly spaced lines scores above 1
=================  ==========  ==================================================================================

(A score of the kind "largest step of a trajectory over the picture's size" would reward collapse and is not offered.)

The cloud itself scores too: method ``exact`` is R^D against itself, the value that a perfect isometry would get.

References:
    K. R. Moon et al.: Visualizing structure and transitions in high-dimensional biological data. Nature Biotechnology
    37 (2019): DEMaP. J. Venna, S. Kaski: Neighborhood preservation in nonlinear projection methods. ICANN (2001):
    trustworthiness. Continuity is our reading of "continuous trajectory structures" (Horoi et al., figure 4).
"""

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.stats import rankdata

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.points import TRAJECTORY

logger = logging.getLogger(__name__)

_TINY = float(np.finfo(np.float64).tiny)


def geodesics(distances: Array, k: int) -> Array:
    """Return the lengths of shortest paths on the k-nearest-neighbour graph, (n, n) float64.

    An edge of length ``distances[i, j]`` joins i and j when either is among the other's k nearest. Where that graph
    falls into parts (trajectories far from each other do), the edges of the Euclidean minimum spanning tree that join
    different parts are added: every part is linked to the rest through nearest pairs, so that no path is infinite and
    the order between parts is that of their gaps.

    Args:
        distances: (n, n) symmetric, zero diagonal.
        k: neighbours, the point itself not counted; at n - 1 or above the geodesics are the distances.
    """
    n = len(distances)
    k = min(k, n - 1)
    if k < 1:
        raise LossatlasError(f"demap_k: {k}; a neighbourhood graph needs at least 1 neighbour and 2 points")
    # Coinciding points keep an edge: SciPy takes an entry of 0 for no edge.
    weights = np.maximum(distances, _TINY)
    np.fill_diagonal(weights, np.inf)
    rows = np.repeat(np.arange(n), k)
    columns = np.argsort(weights, axis=1, kind="stable")[:, :k].ravel()
    graph = _symmetric(weights, rows, columns)
    parts, labels = connected_components(graph, directed=False)
    if parts > 1:
        np.fill_diagonal(weights, 0.0)
        tree = minimum_spanning_tree(weights).tocoo()
        between = labels[tree.row] != labels[tree.col]
        logger.info("neighbourhood graph of %d parts joined by %d edges", parts, int(between.sum()))
        linked = [np.concatenate([a, b[between]]) for a, b in ((rows, tree.row), (columns, tree.col))]
        graph = _symmetric(weights, *linked)
    paths = dijkstra(graph, directed=False)
    return np.minimum(paths, paths.T)


def _symmetric(weights: Array, rows: NDArray[Any], columns: NDArray[Any]) -> csr_array:
    """Return the graph with the given edges in both directions, each once."""
    n = len(weights)
    pairs = np.unique(np.minimum(rows, columns).astype(np.int64) * n + np.maximum(rows, columns))
    low, high = np.divmod(pairs, n)
    both = (np.concatenate([low, high]), np.concatenate([high, low]))
    return csr_array(coo_array((weights[both], both), shape=(n, n)))


def demap(geodesic: Array, embedded: Array) -> float:
    """Return DEMaP: Spearman's correlation of geodesic distances in R^D with distances in the embedding.

    Both over all pairs i < j. 1: the same order; 0: unrelated (an embedding in which all points coincide counts as
    that); -1: reversed.

    Args:
        geodesic: (n, n) lengths of shortest paths, see :func:`geodesics`.
        embedded: (n, n) Euclidean distances in the plane.
    """
    return _correlation(_ranks(geodesic), _ranks(embedded))


def _ranks(distances: Array) -> Array:
    return rankdata(distances[np.triu_indices(len(distances), 1)])


def _correlation(first: Array, second: Array) -> float:
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def trajectories(table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which trajectory each point is of and which point follows it.

    A trajectory is the rows with equal run, replica, seed and step (those of the columns there are), in the order of
    ``epoch``. theta_o, the row of seed -1 in a jump-and-retrain cloud, is of none.

    Returns:
        ``member`` (n,), -1 for theta_o, and ``successor`` (n,), the row of the next point, -1 at the last.
    """
    rows = table.reset_index(drop=True)
    member = np.full(len(rows), -1, dtype=np.int64)
    successor = np.full(len(rows), -1, dtype=np.int64)
    jumps = (rows["seed"] >= 0).any()
    moving = rows[rows["seed"] >= 0] if jumps else rows
    keys = [name for name in TRAJECTORY if name in rows]
    for number, (_, group) in enumerate(moving.groupby(keys, sort=True)):
        order = group.sort_values("epoch", kind="stable").index.to_numpy()
        member[order] = number
        successor[order[:-1]] = order[1:]
    return member, successor


def continuity(embedded: Array, member: NDArray[np.int64], successor: NDArray[np.int64]) -> float:
    """Return how often a point's successor is nearer to it than every point of other trajectories.

    The share, among the points i with a successor s, of those with d(i, s) < d(i, j) for all points j of other
    trajectories. 1: always; 0: never, which is also what a picture gets in which everything coincides; by chance
    1 / (m + 1) with m points of other trajectories. (The mean rank of the successor among them says less: on
    jump-and-retrain clouds it is above 0.95 of its range for every method but the random plane.)

    Args:
        embedded: (n, n) distances in the plane (or in R^D).
        member: (n,) number of each point's trajectory; points of -1 are left out.
        successor: (n,) row of the next point, -1 where there is none.

    Returns:
        The score; NaN when there is only one trajectory or none has a second point.
    """
    points = np.flatnonzero(successor >= 0)
    others = (member[None, :] != member[points, None]) & (member[None, :] >= 0)
    if not len(points) or not others.any(axis=1).all():
        return float("nan")
    nearest = np.where(others, embedded[points], np.inf).min(axis=1)
    return float(np.mean(embedded[points, successor[points]] < nearest))


def wholeness(distances: Array, embedded: Array, member: NDArray[np.int64], successor: NDArray[np.int64]) -> float:
    """Return how little the trajectories are torn, over what they are in R^D: 1 = as whole as there, 0 = torn apart.

    A trajectory is torn where one of its steps is much longer than its others are: t = longest step over median step.
    The score is the geometric mean, over trajectories, of t in R^D over t in the picture. Where more than half of a
    trajectory's steps have length 0 in the picture it is torn without bound (score 0): collapse is not rewarded.

    Args:
        distances: (n, n) in R^D.
        embedded: (n, n) in the plane.
        member: (n,) number of each point's trajectory.
        successor: (n,) row of the next point, -1 where there is none.

    Returns:
        The score; NaN where no trajectory has two steps, or none moves in R^D.
    """
    points = np.flatnonzero(successor >= 0)
    logs = []
    for number in np.unique(member[points]):
        mine = points[member[points] == number]
        if len(mine) < 2:
            continue
        steps = [part[mine, successor[mine]] for part in (distances, embedded)]
        exact, drawn = ((float(np.max(s)), float(np.median(s))) for s in steps)
        if exact[1] <= 0:
            continue
        if drawn[1] <= 0:
            return 0.0
        logs.append(np.log(exact[0] / exact[1]) - np.log(drawn[0] / drawn[1]))
    return float(np.exp(np.mean(logs))) if logs else float("nan")


def trustworthiness(distances: Array, embedded: Array, k: int) -> float:
    """Return trustworthiness (Venna and Kaski 2001) of the k nearest neighbours in the plane.

    T = 1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_(j in U_i) (r(i, j) - k), where U_i are the k nearest of i in the plane
    that are not among its k nearest in R^D and r(i, j) is j's rank from i in R^D. 1: no false neighbour; about 1/2 by
    chance.

    Args:
        distances: (n, n) distances in R^D.
        embedded: (n, n) distances in the plane.
        k: neighbours, at most (n - 1) / 2; larger values are cut to that.
    """
    n = len(distances)
    k = min(k, (n - 1) // 2)
    ranks = np.argsort(np.argsort(_without_self(distances), axis=1, kind="stable"), axis=1, kind="stable")
    nearest = np.argsort(_without_self(embedded), axis=1, kind="stable")[:, :k]
    excess = np.take_along_axis(ranks, nearest, axis=1) + 1 - k
    return float(1.0 - 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)) * np.maximum(excess, 0).sum())


def _without_self(distances: Array) -> Array:
    apart = distances.copy()
    np.fill_diagonal(apart, np.inf)
    return apart


class Scorer:
    """The scores of pictures of one cloud; what depends on the cloud alone is computed once."""

    def __init__(self, gram: Gram, demap_k: int, trust_k: int, truth: Gram | None = None) -> None:
        """Prepare the reference.

        Args:
            gram: the cloud.
            demap_k: neighbours of the graph behind the geodesic distances.
            trust_k: neighbours that trustworthiness looks at.
            truth: the same points without noise, for the geodesics (Moon et al.); the cloud itself by default.
        """
        if truth is not None and truth.n != gram.n:
            raise LossatlasError(
                f"truth: a cloud of {truth.n} points for one of {gram.n}; it must be the same points without noise"
            )
        self.distances = gram.distances()
        self.trust_k = trust_k
        clean = self.distances if truth is None else truth.distances()
        self.ranks = _ranks(geodesics(clean, demap_k))
        self.member, self.successor = trajectories(gram.table)

    def of(self, embedded: Array) -> dict[str, float]:
        """Return every score of a picture given by its (n, n) distances."""
        return {
            "demap": _correlation(self.ranks, _ranks(embedded)),
            "continuity": continuity(embedded, self.member, self.successor),
            "trustworthiness": trustworthiness(self.distances, embedded, self.trust_k),
            "wholeness": wholeness(self.distances, embedded, self.member, self.successor),
        }
