"""Numbers of runs that figures and claims share."""

from pathlib import Path

import numpy as np
import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table


def last_epoch(path: Path | str) -> pd.Series:
    """Return the row of a run's last recorded epoch, the last one written if several share it."""
    table = read_table(Path(path), ("history", "points"))
    if table.empty:
        raise LossatlasError(f"{path}: no epoch is recorded; delete it and run the same command again")
    own = table[table["seed"] == -1] if (table["seed"] == -1).any() else table
    return own.iloc[np.flatnonzero(own["epoch"] == own["epoch"].max())[-1]]
