"""Path and separation files, read; the jobs of a path probe make one table. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, table_in


def read(paths: Sequence[Path | str], profiles: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[str, Array]]:
    """Return the table of a probe's jobs together, and datasets with one entry a row of it.

    Args:
        paths: path.h5 of each job.
        profiles: names of datasets (``train_losses``, ``points``).

    Returns:
        The table, one row a path and recorded step, and name -> array (rows, ...).
    """
    tables: list[pd.DataFrame] = []
    found: dict[str, list[Array]] = {name: [] for name in profiles}
    for path in paths:
        with open_hdf5(Path(path), "path") as file:
            tables.append(table_in(file))
            for name in profiles:
                if name not in file:
                    raise LossatlasError(f"{path}: has no {name!r}; a path probe on another kind of landscape made it")
                found[name].append(file[name][...])
    if not tables:
        raise LossatlasError("no path files; give a path probe")
    return pd.concat(tables, ignore_index=True), {name: np.concatenate(parts) for name, parts in found.items()}


def load(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Return the table of a probe's jobs together, one row a path and recorded step."""
    return read(paths)[0]


def plane(path: Path) -> dict[str, Array]:
    """Return a function's values on the plane around its paths: ``x`` (n,), ``y`` (n,) and ``loss`` (n, n)."""
    with open_hdf5(path, "path") as file:
        return {name: file["plane"][name][...] for name in ("x", "y", "loss")}


def read_separation(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the scores and the projected points of a separation file."""
    with open_hdf5(path, "separation") as file:
        return table_in(file), table_in(file, "points")
