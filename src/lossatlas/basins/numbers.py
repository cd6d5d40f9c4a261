"""Numbers of basins, boundaries and minefields that figures and claims share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.basins.files import Decisions
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, table_in


def at_cutoff(table: pd.DataFrame, cutoff: float) -> pd.DataFrame:
    """Return the rows of one cutoff.

    Raises:
        LossatlasError: no basin was measured at it.
    """
    found = table[np.isclose(table["cutoff"], cutoff)]
    if found.empty:
        raise LossatlasError(f"cutoff: {cutoff:g} was not measured; valid: {sorted(set(table['cutoff']))}")
    return found.reset_index(drop=True)


def matching(table: pd.DataFrame, panel: Mapping[str, Any]) -> NDArray[np.intp]:
    """Return the places of the minima that a panel's ``value`` and ``replica`` choose; null = any."""
    wanted = np.ones(len(table), dtype=bool)
    if panel["value"] is not None:
        wanted &= np.isclose(table["value"], panel["value"])
    if panel["replica"] is not None:
        wanted &= (table["replica"] == panel["replica"]).to_numpy()
    return np.flatnonzero(wanted)


def find(files: Sequence[Path | str], kind: str, panel: Mapping[str, Any]) -> tuple[Path, int, pd.Series]:
    """Return the file, place and table row of a panel's minimum; null keys match the first.

    Raises:
        LossatlasError: none of the files holds it.
    """
    for path in files:
        with open_hdf5(Path(path), kind) as file:
            table = table_in(file)
        places = matching(table, panel)
        if len(places):
            return Path(path), int(places[0]), table.iloc[places[0]]
    raise LossatlasError(f"panels: no minimum of value {panel['value']} and replica {panel['replica']}")


def decisions(files: Sequence[Path | str], panel: Mapping[str, Any]) -> Decisions:
    """Return what the minimum of a panel decides."""
    path, place, row = find(files, "boundary", panel)
    with open_hdf5(path, "boundary") as file:
        return Decisions(
            file["x"][...],
            file["y"][...],
            file["label"][place],
            file["train/x"][...],
            file["train/y"][...],
            row,
        )


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
