"""What a table of traversals and sweeps says: ends of the paths, the best value of a sweep's parameter, an interval."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PATHS = "levelset"
"""What column ``source`` calls the points of the traversals that a cloud is named after."""


def ends(table: pd.DataFrame, source: str = PATHS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the first and of the last point of every path, by replica; their index is the table's."""
    paths = table[table["source"] == source]
    steps = paths.groupby("replica", sort=True)["steps"]
    return table.loc[steps.idxmin()], table.loc[steps.idxmax()]


def sweeps(table: pd.DataFrame, parameter: str, held_out: bool = False, continued: bool = False) -> pd.DataFrame:
    """Return the rows of sweeps over a parameter (``none``: of plain replicas).

    Args:
        table: of a cloud, or of the history of its sweeps.
        parameter: key of the recipe that was swept.
        held_out: held-out members, or the others.
        continued: those that started where phase 1 ended, or those that started from initialisations.
    """
    if "parameter" not in table:
        return table.iloc[:0]
    chosen = (table["parameter"] == parameter) & (table["held_out"] == int(held_out))
    if "source" in table:
        chosen &= table["source"] == "sweep"
    went_on = table["continued"] == 1 if "continued" in table else np.zeros(len(table), bool)
    return table[chosen & (went_on == continued)]


def metric(table: pd.DataFrame) -> str:
    """Return what a task is judged by: test accuracy, or test loss where there is none (regression)."""
    accuracy = table["test_accuracy"].to_numpy(float)
    return "test_accuracy" if np.isfinite(accuracy).any() else "test_loss"


def best(table: pd.DataFrame, choose: str, parameter: str = "weight_decay") -> float | None:
    """Return the value of a parameter with the best mean over replicas; None where the table has none.

    Args:
        table: of a cloud of traversals with sweeps.
        choose: ``validation`` (on the part held out of the training set) or ``test`` (as the paper did).
        parameter: key of the recipe that was swept.

    Returns:
        The value of highest accuracy, or least loss for regression; of equal ones that of least loss. A value with a
        run that diverged is out.
    """
    rows = sweeps(table, parameter, held_out=choose == "validation")
    if rows.empty:
        return None
    diverged = rows.loc[~np.isfinite(rows[f"{choose}_loss"]), "value"]
    rows = rows[~rows["value"].isin(diverged)]
    means = rows.groupby("value")[[f"{choose}_accuracy", f"{choose}_loss"]].mean()
    if means.empty:
        return None
    accuracy = means[f"{choose}_accuracy"].fillna(0.0)
    return float(means.assign(order=-accuracy).sort_values(["order", f"{choose}_loss"]).index[0])


def walked(table: pd.DataFrame, source: str = PATHS) -> dict[int, pd.DataFrame]:
    """Return the points of every path in their order, by replica."""
    rows = table[table["source"] == source].sort_values(["replica", "steps"])
    return {int(path["replica"].iloc[0]): path for _, path in rows.groupby("replica", sort=True)}


def at(path: pd.DataFrame, column: str, where: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column of a path where another one, which never falls, has given values; between points linearly."""
    return np.interp(values, path[where].to_numpy(float), path[column].to_numpy(float))


def continued(table: pd.DataFrame, optimizer: str, quantity: str) -> pd.DataFrame:
    """Return the rows of weight decay from the starts of the paths, at the value best on the test set.

    The paths have nothing to choose, and a choice on the test set can only flatter weight decay.

    Args:
        table: of a cloud, or of the history of its sweeps.
        optimizer: which of the sweeps.
        quantity: ``test_accuracy`` or ``test_loss``.
    """
    rows = sweeps(table, "weight_decay", continued=True)
    rows = rows[rows["optimizer"] == optimizer]
    if rows.empty:
        return rows
    last = rows[rows["epoch"] == rows["epoch"].max()]
    means = last.groupby("value")[quantity].mean()
    return rows[rows["value"] == (means.idxmax() if quantity == "test_accuracy" else means.idxmin())]
