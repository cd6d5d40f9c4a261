"""Numbers of paths and of sets of minima that figures and claims share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.barriers.dyads import Sample
from lossatlas.barriers.separation import areas
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError


def sample(rows: pd.DataFrame, quantity: str) -> Sample:
    """Return the values of a column with the points that each path joins, in the order in which pairs were drawn."""
    rows = rows.sort_values("pair")
    return Sample(rows[quantity].to_numpy(float), rows["first"].to_numpy(np.int64), rows["second"].to_numpy(np.int64))


def at_step(table: pd.DataFrame, step: int | None) -> pd.DataFrame:
    """Return the rows of one recorded step, of the last by default."""
    wanted = table["step"].max() if step is None else step
    rows = table[table["step"] == wanted]
    if rows.empty:
        known = ", ".join(str(s) for s in sorted(table["step"].unique()))
        raise LossatlasError(
            f"paths: step {wanted} is not recorded (recorded: {known}); add it to the probe's `record`"
        )
    return rows


def excess(table: pd.DataFrame, part: str) -> pd.Series:
    """Return the height above the higher end point, at least 0 by construction."""
    return table[f"{part}_height"] - table[f"{part}_end"]


def measured(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the columns of one landscape under plain names: height, end, excess, argmax."""
    names = {f"{part}_{name}": name for name in ("height", "end", "argmax")}
    about = ["pair", "first", "second", "first_replica", "second_replica", "step", "length"]
    return table[[*about, *names]].rename(columns=names).assign(excess=excess(table, part))


def by_radius(points: pd.DataFrame, variant: str, kernel: str) -> float:
    """Return the area under the ROC curve of the distance from the origin of the plane, which is the points' mean.

    Args:
        points: of a separation file.
        variant: what is projected.
        kernel: of the projection.
    """
    mine = points[(points["variant"] == variant) & (points["kernel"] == kernel)]
    radius = np.hypot(mine["pc1"].to_numpy(float), mine["pc2"].to_numpy(float))
    labels = (mine["set"] == mine["set"].iloc[0]).to_numpy(bool)
    return float(areas(radius[None], labels)[0])


@dataclass(frozen=True)
class Shells:
    """Distances of two sets of points from a common origin.

    Attributes:
        distances: of the points of each set, ascending row number.
        centroid: distance of the origin from either of the centroids that it is the middle of.
        spread: root mean square distance of the points behind those centroids from their own centroid.
        counts: points behind each centroid.
    """

    distances: tuple[Array, Array]
    centroid: float
    spread: tuple[float, float]
    counts: tuple[int, int]

    @property
    def by_chance(self) -> float:
        """Half the distance of two centroids that independent deviations from one common point alone would give."""
        (a, b), (m, n) = self.spread, self.counts
        # A mean of n deviations of mean square s^2 is off by s^2 / n; n - 1 since s is about the sets' own mean.
        return float(np.sqrt(a**2 / (m - 1) + b**2 / (n - 1)) / 2)


def shells(gram: Gram, sets: list[str], centres: list[str]) -> Shells:
    """Return the distances of two sets from the middle of the centroids of two sets (Yu & Morozov, section III.3).

    Args:
        gram: of a union of clouds.
        sets: whose points are measured.
        centres: whose centroids are averaged; the paper takes the early-stopped sets throughout.
    """
    squared = gram.squared_distances()
    members = {name: np.flatnonzero(gram.table["cloud"] == name) for name in {*sets, *centres}}
    empty = [name for name, rows in members.items() if len(rows) < 2]
    if empty:
        raise LossatlasError(f"set {empty[0]!r} has fewer than two points in this cloud; give it more")
    weights = np.zeros(gram.n)
    for name in centres:
        weights[members[name]] += 0.5 / len(members[name])
    # |x - sum w y|^2 = sum w |x - y|^2 - sum w w' |y - y'|^2 / 2 for weights that sum to one
    inner = float(weights @ squared @ weights) / 2
    distances = [np.sqrt(np.maximum(squared[members[name]] @ weights - inner, 0.0)) for name in sets]
    a, b = (members[name] for name in centres)
    within = [float(squared[np.ix_(rows, rows)].mean()) / 2 for rows in (a, b)]
    between = float(squared[np.ix_(a, b)].mean()) - sum(within)
    spread = (float(np.sqrt(within[0])), float(np.sqrt(within[1])))
    return Shells((distances[0], distances[1]), float(np.sqrt(max(between, 0.0))) / 2, spread, (len(a), len(b)))
