"""Table of kind ``decay_table``: the ends of traversals beside weight decay, and the paper's values."""

from typing import Any

import pandas as pd

from lossatlas.levelsets.numbers import best, ends, metric, sweeps
from lossatlas.levelsets.spec import DecayTable
from lossatlas.specs.registry import Inputs

COLUMNS = [
    "row",
    "quantity",
    "paper_traversal",
    "paper_traversal_std",
    "traversal",
    "traversal_std",
    "traversal_start",
    "paper_decay",
    "paper_decay_std",
    "paper_lambda",
    "decay_validation",
    "decay_validation_std",
    "lambda_validation",
    "decay_test",
    "decay_test_std",
    "lambda_test",
    "optimizer",
    "plain_sgd",
    "plain_sgd_std",
    "traversals",
    "decay_runs",
    "steps",
    "corrections",
    "rejected",
    "angle",
    "level",
    "implied_lambda",
    "lagrange_residual",
    "stopped",
    "note",
]
"""Columns of a table of kind ``decay_table``: the paper's values, the traversals', those of weight decay with lambda
chosen on held-out training examples and as the paper chose it, corrector steps and steps taken back per predictor step,
and at the end of the paths the multiplier lambda =
|grad L| / (2 |theta|) they stand for with the residual |grad L + 2 lambda theta| / |grad L|."""


def tabulate(spec: DecayTable, inputs: Inputs) -> pd.DataFrame:
    """Compare the ends of traversals with weight decay.

    Returns:
        One row a cloud, with :data:`COLUMNS`; deviations are sample ones over the replicas.
    """
    rows = []
    for entry in spec.rows:
        table = inputs.one("gram", entry.cloud).table
        quantity = metric(table)
        first, last = ends(table)
        row: dict[str, Any] = {"row": entry.title, "quantity": quantity, "note": entry.note}
        row |= {f"paper_{name}": value for name, value in entry.paper.hashed().items() if value is not None}
        row |= {"traversal": last[quantity].mean(), "traversal_std": last[quantity].std(ddof=1)}
        row |= {"traversal_start": first[quantity].mean(), "traversals": len(last), "steps": int(last["steps"].max())}
        row |= {name: (last[name] / last["steps"]).mean() for name in ("corrections", "rejected")}
        row |= {"angle": last["angle"].mean(), "level": last["train_loss"].mean()}
        row |= {"implied_lambda": last["implied_decay"].mean(), "lagrange_residual": last["lagrange_residual"].mean()}
        row["stopped"] = " ".join(f"{why} {count}" for why, count in last["stopped"].value_counts().items())
        decayed = sweeps(table, "weight_decay")
        for choose in ("validation", "test"):
            value = best(table, choose)
            if value is not None:
                found = decayed.loc[decayed["value"] == value, quantity]
                row |= {f"lambda_{choose}": value, "decay_runs": len(found)}
                row |= {f"decay_{choose}": found.mean(), f"decay_{choose}_std": found.std(ddof=1)}
        row["optimizer"] = " ".join(sorted(set(decayed["optimizer"])))
        plain = sweeps(table, "none")
        if len(plain):
            found = plain.loc[plain["optimizer"] == "sgd", quantity]
            row |= {"plain_sgd": found.mean(), "plain_sgd_std": found.std(ddof=1)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)
