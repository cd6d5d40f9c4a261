"""Numbers of basins, boundaries, minefields and searches that figures and claims share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.basins.files import Boundaries, Masses, Volumes
from lossatlas.basins.margins import margins
from lossatlas.basins.spec import Shown
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError


class OfMinima(Protocol):
    """What a file on minima holds."""

    @property
    def minima(self) -> pd.DataFrame:
        """Return a row for each minimum, with columns value and replica."""


F = TypeVar("F", bound=OfMinima)


@dataclass(frozen=True)
class Found(Generic[F]):
    """A minimum of a probe.

    Attributes:
        file: what its file holds.
        place: its place there.
        row: its table row.
    """

    file: F
    place: int
    row: pd.Series


def find(files: Sequence[F], shown: Shown) -> Found[F]:
    """Return the first minimum that a panel's ``value`` and ``replica`` choose; None = any.

    Raises:
        LossatlasError: none of the files holds it.
    """
    for file in files:
        table = file.minima
        wanted = np.ones(len(table), dtype=bool)
        if shown.value is not None:
            wanted &= np.isclose(table["value"], shown.value)
        if shown.replica is not None:
            wanted &= (table["replica"] == shown.replica).to_numpy()
        if wanted.any():
            place = int(np.flatnonzero(wanted)[0])
            return Found(file, place, table.iloc[place])
    raise LossatlasError(f"panels: no minimum of value {shown.value} and replica {shown.replica}")


def joined(volumes: Sequence[Volumes]) -> pd.DataFrame:
    """Return the tables of volume files as one: a row for each minimum and cutoff."""
    return pd.concat([one.table for one in volumes], ignore_index=True)


def at_cutoff(table: pd.DataFrame, cutoff: float) -> pd.DataFrame:
    """Return the rows of one cutoff.

    Raises:
        LossatlasError: no basin was measured at it.
    """
    found = table[np.isclose(table["cutoff"], cutoff)]
    if found.empty:
        raise LossatlasError(f"cutoff: {cutoff:g} was not measured; valid: {sorted(set(table['cutoff']))}")
    return found.reset_index(drop=True)


def radii_at(volumes: Volumes, cutoff: float) -> Array:
    """Return the radii (minima, directions) of one cutoff; raises as :func:`at_cutoff` does."""
    measured = at_cutoff(volumes.table, cutoff)["cutoff"].iloc[0]
    return volumes.radii[:, volumes.cutoffs.index(measured)]


def of_value(table: pd.DataFrame, value: float | None) -> pd.DataFrame:
    """Return the rows of one swept value; None = all."""
    return table if value is None else table[np.isclose(table["value"], value)]


def separation(rings: Boundaries) -> Array:
    """Return for each minimum the mean share of the blue ring and of the inner red ring that is right: 1/2 to 1.

    Args:
        rings: decisions of networks trained on concentric rings: blue (class 0), and red on both sides of it.
    """
    points, y = rings.test.x, rings.test.y
    radius = np.linalg.norm(points, axis=1)
    right = rings.predicted == y
    red = np.sort(radius[y == 1])
    widest = int(np.argmax(np.diff(red)))  # between the inner and the outer red ring
    inner = (y == 1) & (radius <= red[widest])
    return (right[:, y == 0].mean(1) + right[:, inner].mean(1)) / 2


@dataclass(frozen=True)
class Field:
    """Distances of a minefield, all in R^D.

    Attributes:
        path: rows of the iterates, in epoch order.
        bad: rows of the poisoned minima.
        starts: the iterate each of them started from.
        to_start: distance of each poisoned minimum from it.
        to_path: distance of each poisoned minimum from the nearest iterate.
        length: of the polyline through the iterates.
        displacement: distance between the first and the last iterate.
    """

    path: NDArray[np.intp]
    bad: NDArray[np.intp]
    starts: NDArray[np.intp]
    to_start: NDArray[np.float64]
    to_path: NDArray[np.float64]
    length: float
    displacement: float


def field(gram: Gram) -> Field:
    """Return the distances of a cloud of one run with the ends of a sweep that started from its points.

    Raises:
        LossatlasError: the cloud holds something else.
    """
    table = gram.table.reset_index(drop=True)
    if "start" not in table or not np.isfinite(table["start"]).any():
        raise LossatlasError("minefield: the cloud holds no sweep that started from the points of a run")
    bad = np.flatnonzero(np.isfinite(table["start"]))
    rows = np.flatnonzero(~np.isfinite(table["start"]))
    path = rows[np.argsort(table["epoch"].to_numpy()[rows], kind="stable")]
    at = {epoch: row for row, epoch in zip(path, table["epoch"].to_numpy()[path], strict=True)}
    starts = np.array([at[epoch] for epoch in table["start"].to_numpy()[bad]])
    distances = np.sqrt(gram.squared_distances())
    return Field(
        path,
        bad,
        starts,
        distances[bad, starts],
        distances[np.ix_(bad, path)].min(axis=1),
        float(distances[path[:-1], path[1:]].sum()),
        float(distances[path[0], path[-1]]),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Gaussian masses


def masses_at(files: Sequence[Masses], width: float) -> pd.DataFrame:
    """Return a row for each minimum of mass files at one width, with ``log10_mass`` and how far the ladders agree.

    Raises:
        LossatlasError: no mass was measured at it.
    """
    table = pd.concat([one.table for one in files], ignore_index=True)
    found = table[np.isclose(table["width"], width)].reset_index(drop=True)
    if found.empty:
        raise LossatlasError(f"width: {width:g} was not measured; valid: {sorted(set(table['width']))}")
    apart = (found["log_mass"] - found["log_mass_back"]).abs()
    return found.assign(log10_mass=found["log_mass"] / np.log(10), apart=apart)


def in_cone(file: Masses) -> NDArray[np.bool_]:
    """Return which minima (m,) stay below the cutoff, and gain, while their last layer grows a thousandfold.

    A loss that falls to nothing so far out means that every training point is right by the last layer's weights alone;
    then it is in a ball about the ray, too: the cone is open.
    """
    ray = file.head[:, 0]
    below = ray <= file.minima["cutoff"].to_numpy()[:, None]
    return below.all(axis=1) & (ray[:, -1] < np.minimum(ray[:, 0], 1e-6))


# ---------------------------------------------------------------------------------------------------------------------
# searches for the nearest bad minimum


@dataclass(frozen=True)
class Search:
    """What was found from the iterates of one path of a training. Distances in R^D.

    Attributes:
        path: rows of its iterates in the cloud, in epoch order.
        nearest: a row for each start: ``start`` (epoch), ``distance`` to the nearest bad minimum found over all
            strengths of the tether (NaN where none was), ``tether``, ``row`` in the cloud (-1), its
            ``train_accuracy``, ``test_accuracy``, ``train_loss``, and ``settled_accuracy``, ``settled_moved`` after
            training without poison.
        clean: a row for each start: ``start``, ``distance`` that a clean training as long covers, accuracies.
        displacement: distance between the first and the last iterate.
        test_accuracy: where the path ends.
    """

    path: NDArray[np.intp]
    nearest: pd.DataFrame
    clean: pd.DataFrame
    displacement: float
    test_accuracy: float


def searches(gram: Gram) -> list[Search]:
    """Return the searches of each path of a cloud: paths, searches from their iterates, controls, settled ends.

    Rows of sweeps have a ``start``; searches vary the tether, controls nothing, and settled ends are continued.

    Raises:
        LossatlasError: the cloud holds something else.
    """
    table = gram.table.reset_index(drop=True)
    if not {"start", "moved", "replica", "met"} <= set(table.columns):
        raise LossatlasError("nearest: the cloud holds no searches that started from the points of runs")
    swept = np.isfinite(table["start"].to_numpy(float))
    iterates = np.flatnonzero(~swept)
    begins = np.flatnonzero(table["epoch"].to_numpy()[iterates] == 0)
    paths = np.split(iterates, begins[1:])
    continued = table["continued"].to_numpy(float) == 1 if "continued" in table else np.zeros(len(table), bool)
    tethered = (table["parameter"] == "tether").to_numpy()
    replicas = sorted(set(table["replica"][swept]))
    if len(replicas) != len(paths):
        raise LossatlasError(
            f"nearest: {len(paths)} paths and searches of {len(replicas)} replicas; one each is needed"
        )
    distances = np.sqrt(gram.squared_distances())
    found = []
    for replica, path in zip(replicas, paths, strict=True):
        mine = swept & (table["replica"] == replica).to_numpy()
        hits = table[mine & tethered & ~continued]
        settled = table[mine & tethered & continued]
        clean = table[mine & ~tethered & ~continued]
        end = table.iloc[path[-1]]
        found.append(
            Search(
                path,
                pd.DataFrame([_nearest(start, rows, settled) for start, rows in hits.groupby("start")]),
                clean.rename(columns={"moved": "distance"})[["start", "distance", "train_accuracy", "test_accuracy"]],
                float(distances[path[0], path[-1]]),
                float(end["test_accuracy"]),
            )
        )
    return found


def _nearest(start: float, rows: pd.DataFrame, settled: pd.DataFrame) -> dict[str, float]:
    """Return the nearest of the bad minima found from one start, and where training without poison leads from it."""
    met = rows[np.isfinite(rows["met"])]
    names = ("train_accuracy", "test_accuracy", "train_loss")
    if met.empty:
        nothing = dict.fromkeys(("distance", "tether", *names, "settled_accuracy", "settled_moved"), np.nan)
        return {"start": start, "row": -1, **nothing}
    best = met.loc[met["moved"].idxmin()]
    after = settled[(settled["start"] == start) & np.isclose(settled["value"], best["value"])]
    after = after[np.isfinite(after["met"])]
    return {
        "start": start,
        "row": int(met["moved"].idxmin()),
        "distance": float(best["moved"]),
        "tether": float(best["value"]),
        **{name: float(best[name]) for name in names},
        "settled_accuracy": float(after["test_accuracy"].iloc[0]) if len(after) else np.nan,
        "settled_moved": float(after["moved"].iloc[0]) if len(after) else np.nan,
    }


# ---------------------------------------------------------------------------------------------------------------------
# margins


def margin_table(files: Sequence[Boundaries]) -> pd.DataFrame:
    """Return a row for each minimum of boundary files: its own columns, margin, islands, largest, stability and gap."""
    rows = []
    for file in files:
        for place in range(len(file.minima)):
            seen = margins(file.x, file.y, file.label[place], file.train.x.astype(float), file.train.y)
            rows.append({**file.minima.iloc[place], **vars(seen)})
    table = pd.DataFrame(rows)
    return table.assign(gap=table["train_accuracy"] - table["test_accuracy"])
