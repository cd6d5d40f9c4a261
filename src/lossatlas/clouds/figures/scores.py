"""Table of kind ``scores``: embedding methods on clouds, at library defaults and at settings chosen elsewhere."""

import json
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.clouds.spec import SCORES, SETTINGS, ScoresTable
from lossatlas.specs.registry import Inputs

COLUMNS = [
    "row",
    "method",
    "metric",
    "score",
    "paper",
    *(f"{name}_{part}" for name in SETTINGS for part in ("mean", "std", "low", "high")),
    "seeds",
    "setting",
]
"""Columns of every table of kind ``scores``."""


def tabulate(spec: ScoresTable, inputs: Inputs) -> pd.DataFrame:
    """Compare embedding methods on clouds, at library defaults and after a sweep.

    Returns:
        One row for each cloud, method, metric and score, with :data:`COLUMNS`: mean, sample standard deviation and
        range over the embeddings' seeds; ``setting`` is the one chosen, by this score, on the other clouds.
    """
    rows = []
    for entry in spec.rows:
        scores = inputs.one("scores", entry.scores)
        for method, metric in scores.methods():
            for score in SCORES:
                row: dict[str, Any] = {"row": entry.title, "method": method, "metric": metric, "score": score}
                row["paper"] = spec.paper.get(method, "")
                row["seeds"] = len(scores.values(method, metric, score, "defaults"))
                chosen = scores.chosen(method, metric, score)
                row["setting"] = "" if chosen is None else _words(chosen)
                for settings in SETTINGS:
                    values = scores.values(method, metric, score, settings)
                    row[f"{settings}_mean"] = values.mean() if len(values) else np.nan
                    row[f"{settings}_std"] = values.std(ddof=1) if len(values) > 1 else np.nan
                    row[f"{settings}_low"] = values.min() if len(values) else np.nan
                    row[f"{settings}_high"] = values.max() if len(values) else np.nan
                rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _words(setting: str) -> str:
    """Return a setting in words: ``knn 10``; "defaults" for none."""
    return ", ".join(f"{key} {value}" for key, value in json.loads(setting).items()) or "defaults"
