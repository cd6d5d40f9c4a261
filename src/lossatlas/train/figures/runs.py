"""Table of kind ``runs``: the paper's values beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.legacy import figures as catalogue
from lossatlas.train.numbers import last_epoch

COLUMNS = ["row", "quantity", "paper", "ours", "ours_std", "replicas", "note"]
"""Columns of every table of kind ``runs``."""


def runs(spec: Mapping[str, Any], inputs: Mapping[str, Any]) -> pd.DataFrame:
    """Compare runs with the paper at their last recorded epoch.

    Args:
        spec: resolved spec of kind ``runs``.
        inputs: ``runs``: row title -> points files, one a replica.

    Returns:
        One row for each row title and quantity, with :data:`COLUMNS`: mean and sample standard deviation over the
        replicas with a finite value; the others are counted in the note.
    """
    rows = []
    for entry in spec["rows"]:
        title = entry["title"]
        paths: Sequence[Any] = inputs["runs"].get(title, [])
        if not paths:
            raise LossatlasError(f"row {title!r}: no run; give its points files")
        ends = pd.DataFrame([last_epoch(path) for path in paths])
        epochs = sorted({f"{epoch:g}" for epoch in ends["epoch"]}, key=float)
        for quantity in catalogue.QUANTITIES:
            values = ends[quantity].to_numpy(float) if quantity in ends else np.full(len(ends), np.nan)
            finite = values[np.isfinite(values)]
            notes = [f"epoch {' or '.join(epochs)}"]
            if len(finite) < len(values):
                notes.append(f"{len(values) - len(finite)} of {len(values)} replicas without a finite value left out")
            rows.append(
                {
                    "row": title,
                    "quantity": quantity,
                    "paper": entry["paper"].get(quantity, np.nan),
                    "ours": finite.mean() if len(finite) else np.nan,
                    "ours_std": finite.std(ddof=1) if len(finite) > 1 else np.nan,
                    "replicas": len(finite),
                    "note": "; ".join(notes),
                }
            )
    return pd.DataFrame(rows, columns=COLUMNS)
