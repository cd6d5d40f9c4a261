"""Numbers of retrainings and of whole trainings, all in R^D, that figures and claims share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.points import TRAJECTORY
from lossatlas.trajectories.spec import Kept, Retrainings, Sideways

SHARES = ("predicted", "jump_left", "theta_left", "radius", "angle")
"""Columns of ``shares.csv``: share that weight decay alone leaves; shares of the jump and of theta_o left along them;
distance from theta_o over its norm; root mean square angle of the filters with those of theta_o, in radians."""


def read_shares(path: Path) -> pd.DataFrame:
    """Read ``shares.csv``; a missing or foreign file is a :class:`LossatlasError`."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise LossatlasError(f"{path}: no readable shares ({error}); delete it and run again") from error
    if missing := [name for name in ("seed", "step", "epoch", *SHARES) if name not in table]:
        raise LossatlasError(f"{path}: no column {missing[0]!r}; delete it and run again")
    return table


def share_ends(table: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each retraining of ``shares.csv``."""
    return table.loc[table.groupby(["seed", "step"], sort=True)["epoch"].idxmax()].reset_index(drop=True)


@dataclass(frozen=True)
class Trajectory:
    """One retraining: rows of its cloud's Gram matrix in epoch order, the jump first."""

    gram: Gram
    rows: NDArray[np.intp]
    direction: tuple[int, int]
    step: float

    @property
    def inner(self) -> Array:
        """Inner products of the jump with every point, (k,)."""
        return self.gram.gram[self.rows[0], self.rows]

    @property
    def radii(self) -> Array:
        """Distances from theta_o, (k,)."""
        return np.sqrt(np.maximum(np.diagonal(self.gram.gram)[self.rows], 0.0))

    @property
    def epochs(self) -> Array:
        """Epochs of its points, (k,)."""
        return self.gram.table["epoch"].to_numpy(np.float64)[self.rows]

    @property
    def ratios(self) -> Array:
        """Distances from theta_o over the jump's, (k,)."""
        return self.radii / self.radii[0]

    @property
    def cosines(self) -> Array:
        """Cosines of the displacements from theta_o with the jump, (k,); not finite at theta_o itself."""
        return self.inner / (self.radii * self.radii[0])

    def lengths2(self, steps: Sequence[tuple[int, int]]) -> Array:
        """Squared lengths of the motions between pairs of its points."""
        distances2 = self.gram.squared_distances()
        return np.array([distances2[self.rows[i], self.rows[j]] for i, j in steps])


def trajectories(clouds: Sequence[Gram], chosen: Retrainings) -> list[Trajectory]:
    """Return the retrainings of jump-and-retrain clouds that ``steps`` and ``seeds`` select (null = all)."""
    found = []
    for number, gram in enumerate(clouds):
        table = gram.table.reset_index(drop=True)
        keys = [name for name in TRAJECTORY if name in table]
        for _, rows in table[table["seed"] >= 0].groupby(keys, sort=True):
            seed, step = int(rows["seed"].iloc[0]), float(rows["step"].iloc[0])
            wanted = chosen.steps is None or bool(np.isclose(step, chosen.steps).any())
            wanted &= chosen.seeds is None or seed in chosen.seeds
            ordered = rows.sort_values("epoch", kind="stable")
            if wanted and ordered["epoch"].iloc[0] == 0 and len(ordered) > 1:
                found.append(Trajectory(gram, ordered.index.to_numpy(), (number, seed), step))
    return found


def _outwardness(t: Trajectory, _: Retrainings) -> float:
    return float(t.ratios.max())


def _return_fraction(t: Trajectory, _: Retrainings) -> float:
    return float(t.ratios[-1])


def _direction_kept(t: Trajectory, settings: Kept) -> float:
    if settings.quantity == "left":
        return float(t.inner[-1] / t.inner[0])
    if settings.quantity == "half":
        half = np.flatnonzero(t.inner <= t.inner[0] / 2)
        return float(t.cosines[half[0]]) if len(half) else np.nan
    return float(t.cosines[-1])


def _lateral(t: Trajectory, settings: Sideways) -> float:
    last = len(t.rows) - 1
    moves = [(0, last)] if settings.over == "displacement" else [(k, k + 1) for k in range(last)]
    lengths2, radii2 = t.lengths2(moves), t.radii**2
    starts, ends = (np.array(side) for side in zip(*moves, strict=True))
    if settings.relative_to == "jump":
        along2 = ((t.inner[ends] - t.inner[starts]) / t.radii[0]) ** 2
    else:
        # The radius of a motion from a to b is that of its midpoint m: |m|^2 = (|a|^2 + |b|^2) / 2 - |b - a|^2 / 4.
        middle2 = (radii2[starts] + radii2[ends]) / 2 - lengths2 / 4
        product = (radii2[ends] - radii2[starts]) / 2  # (b - a) . m
        with np.errstate(divide="ignore", invalid="ignore"):
            along2 = np.where(middle2 > 1e-12 * lengths2, product**2 / middle2, lengths2)
    return float(np.sum(np.clip(lengths2 - along2, 0.0, None)) / np.sum(lengths2))


_OF: dict[str, Callable[[Trajectory, Any], float]] = {
    "outwardness": _outwardness,
    "return_fraction": _return_fraction,
    "direction_kept": _direction_kept,
    "lateral": _lateral,
}


def per_trajectory(name: str, clouds: Sequence[Gram], settings: Retrainings) -> pd.DataFrame:
    """Return a trajectory measure's values: columns direction, step, value; not finite where it is undefined.

    Args:
        name: ``outwardness``, ``return_fraction``, ``direction_kept`` or ``lateral``.
        clouds: jump-and-retrain clouds.
        settings: which retrainings; :class:`Kept` for ``direction_kept``, :class:`Sideways` for ``lateral``.
    """
    found = trajectories(clouds, settings)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = [_OF[name](t, settings) for t in found]
    rows = {"direction": [t.direction for t in found], "step": [t.step for t in found], "value": values}
    return pd.DataFrame(rows, columns=["direction", "step", "value"])


def paths(clouds: Sequence[Gram], run: str) -> dict[tuple[int, int], tuple[Gram, NDArray[np.intp]]]:
    """Return the trainings of a run: (cloud, replica) -> Gram matrix and rows in epoch order.

    Only paths that begin at the initialisation (epoch 0) and have a later point.
    """
    found = {}
    for number, gram in enumerate(clouds):
        table = gram.table.reset_index(drop=True)
        replicas = table["replica"] if "replica" in table else pd.Series(0, index=table.index)
        mine = table[(table["run"] == run) & (table["seed"] == -1)]
        for _, rows in mine.groupby(replicas, sort=True):
            ordered = rows.sort_values("epoch", kind="stable")
            if ordered["epoch"].iloc[0] == 0 and len(ordered) > 1:
                found[number, int(replicas[ordered.index[0]])] = (gram, ordered.index.to_numpy())
    return found


def _path_length(gram: Gram, rows: NDArray[np.intp]) -> float:
    return float(np.sqrt(gram.squared_distances()[rows[:-1], rows[1:]]).sum())


def _displacement(gram: Gram, rows: NDArray[np.intp]) -> float:
    return float(np.sqrt(gram.squared_distances()[rows[0], rows[-1]]))


def _straightness(gram: Gram, rows: NDArray[np.intp]) -> float:
    moved = _displacement(gram, rows)
    return _path_length(gram, rows) / moved if moved > 0 else np.inf


def _smoothness(gram: Gram, rows: NDArray[np.intp]) -> float:
    """Return the mean cosine of consecutive motions between the ends of whole epochs; NaN with fewer than two."""
    epochs = gram.table["epoch"].to_numpy(np.float64)[rows]
    whole = rows[epochs == np.round(epochs)]
    if len(whole) < 3:
        return np.nan
    near = gram.squared_distances()
    first, second, both = near[whole[:-2], whole[1:-1]], near[whole[1:-1], whole[2:]], near[whole[:-2], whole[2:]]
    moved = (first > 0) & (second > 0)
    cosines = (both - first - second)[moved] / (2.0 * np.sqrt(first[moved] * second[moved]))
    return float(cosines.mean()) if len(cosines) else np.nan


OF_PATH: dict[str, Callable[[Gram, NDArray[np.intp]], float]] = {
    "weight_norm": lambda gram, rows: float(gram.norms()[rows[-1]]),
    "distance_from_init": _displacement,
    "path_length": _path_length,
    "straightness": _straightness,
    "smoothness": _smoothness,
}
