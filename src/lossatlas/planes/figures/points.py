"""Table kinds ``hessian_table`` (curvature at ends), ``barrier_table`` (the hump between two) and ``trust_table``."""

from typing import Any

import numpy as np
import pandas as pd

from lossatlas.planes.files import Grid, Trust
from lossatlas.planes.numbers import barrier
from lossatlas.planes.spec import BarrierTable, HessianTable, TrustTable
from lossatlas.specs.registry import Inputs

MEASURED = ("lambda_min", "lambda_max", "trace", "trace_error", "residual_min", "residual_max", "products", "converged")


def tabulate_hessians(spec: HessianTable, inputs: Inputs) -> pd.DataFrame:
    """Return one row a network: the ends of its Hessian's spectrum where the run ended, and its trace.

    Returns:
        Columns row, replica, train_loss, lambda_min, lambda_max, their ratio ``min_over_max`` (0 and above: no
        direction leads down), trace with its standard error ``trace_error`` where measured, residuals
        |Hv - lambda v| of both eigenpairs, products (Hessian-vector products taken) and converged (1 or 0).
    """
    rows = []
    for entry in spec.rows:
        grids: list[Grid] = inputs.all("grids", entry.curvature)
        for replica, grid in enumerate(grids):
            at = np.unravel_index(
                np.argmin(np.add.outer(np.square(grid.y), np.square(grid.x))), (len(grid.y), len(grid.x))
            )
            row: dict[str, Any] = {"row": entry.title, "replica": replica}
            row["train_loss"] = float(grid.minimum["train_loss"])
            row |= {name: float(grid.measured[name][at]) for name in MEASURED if name in grid.measured}
            row["min_over_max"] = row["lambda_min"] / row["lambda_max"]
            rows.append(row)
    return pd.DataFrame(rows)


def tabulate_trust(spec: TrustTable, inputs: Inputs) -> pd.DataFrame:
    """Return one row a question put to a slice, and a first one for each with the verdict of all.

    Returns:
        Columns row, question, outcome, number, criterion, sentence.
    """
    parts = []
    for entry in spec.rows:
        found: Trust = inputs.one("trust", entry.trust)
        whole = {"name": "all", "outcome": found.outcome, "number": np.nan, "criterion": "", "sentence": found.words()}
        parts.append(pd.concat([pd.DataFrame([whole]), found.checks], ignore_index=True).assign(row=entry.title))
    table = pd.concat(parts, ignore_index=True).rename(columns={"name": "question"})
    return table[["row", "question", "outcome", "number", "criterion", "sentence"]]


def tabulate_barriers(spec: BarrierTable, inputs: Inputs) -> pd.DataFrame:
    """Return one row a segment and part of the data: what a straight line between two networks climbs.

    Returns:
        Columns row, part, first, second (losses at the ends), highest, at (position of the highest point, 0 to 1),
        ``barrier``, the largest loss above the line between the ends' losses (Frankle et al. 2020), and
        ``above_higher``, the highest loss less that at the higher end.
    """
    rows = []
    for entry in spec.rows:
        grid: Grid = inputs.one("grid", entry.line)
        for part in ("train", "test"):
            if f"{part}_loss" in grid.measured:
                losses = grid.measured[f"{part}_loss"][0]
                rows.append({"row": entry.title, "part": part, **barrier(grid.x, losses)})
    return pd.DataFrame(rows)
