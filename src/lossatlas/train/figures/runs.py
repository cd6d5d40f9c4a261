"""Table of kind ``runs``: the paper's values beside ours."""

import numpy as np
import pandas as pd

from lossatlas.specs.registry import Inputs
from lossatlas.train.spec import QUANTITIES, Runs

COLUMNS = ["row", "quantity", "paper", "ours", "ours_std", "replicas", "note"]
"""Columns of every table of kind ``runs``."""


def tabulate(spec: Runs, inputs: Inputs) -> pd.DataFrame:
    """Compare runs with the paper at their last recorded epoch.

    Args:
        spec: the table's.
        inputs: ``runs``.

    Returns:
        One row for each row title and quantity, with :data:`COLUMNS`: mean and sample standard deviation over the
        replicas with a finite value; the others are counted in the note.
    """
    rows = []
    for row in spec.rows:
        ends = pd.DataFrame(inputs.all("runs", row.run))
        epochs = sorted({f"{epoch:g}" for epoch in ends["epoch"]}, key=float)
        for quantity in QUANTITIES:
            values = ends[quantity].to_numpy(float) if quantity in ends else np.full(len(ends), np.nan)
            finite = values[np.isfinite(values)]
            notes = [f"epoch {' or '.join(epochs)}"]
            if len(finite) < len(values):
                notes.append(f"{len(values) - len(finite)} of {len(values)} replicas without a finite value left out")
            rows.append(
                {
                    "row": row.title,
                    "quantity": quantity,
                    "paper": row.paper.get(quantity, np.nan),
                    "ours": finite.mean() if len(finite) else np.nan,
                    "ours_std": finite.std(ddof=1) if len(finite) > 1 else np.nan,
                    "replicas": len(finite),
                    "note": "; ".join(notes),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)
