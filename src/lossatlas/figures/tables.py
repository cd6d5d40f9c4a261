"""Tables: the paper's values beside ours, as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.figures import catalogue, decay, pathplanes, returns, scores, sharpness, solutions
from lossatlas.files.hdf5 import atomic, read_table

COLUMNS = ["row", "quantity", "paper", "ours", "ours_std", "replicas", "note"]
"""Columns of every table of kind ``runs``."""


def last_epoch(path: Path | str) -> pd.Series:
    """Return the row of a run's last recorded epoch, the last one written if several share it."""
    table = read_table(Path(path), "points")
    if table.empty:
        raise LossatlasError(f"{path}: no epoch is recorded; delete it and run the same command again")
    own = table[table["seed"] == -1] if (table["seed"] == -1).any() else table
    return own.iloc[np.flatnonzero(own["epoch"] == own["epoch"].max())[-1]]


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


KINDS = {
    "runs": runs,
    "scores": scores.compare,
    "returns_table": returns.tabulate,
    "decay_table": decay.tabulate,
    "losses_table": solutions.losses,
    "weights_table": solutions.weights,
    "rates_table": solutions.rates,
    "sharpness_table": sharpness.tabulate,
    "variance_table": pathplanes.tabulate,
}
"""The function that makes each kind of table from its resolved spec and its inputs."""


def write(
    spec: Mapping[str, Any], inputs: Mapping[str, Any], output: Path | str, provenance: Mapping[str, Any]
) -> None:
    """Make a table and write it as CSV, whole or not at all.

    Args:
        spec: the table's mapping in the study's YAML, resolved or not.
        inputs: role -> files, as :func:`lossatlas.figures.catalogue.inputs` names them.
        output: the CSV file. It holds the numbers alone, so that any tool reads it.
        provenance: taken for symmetry with figures; the gallery shows it, a CSV file has no place for it.

    Raises:
        LossatlasError: the spec or an input is wrong, or the kind is a figure's.
    """
    resolved = catalogue.resolve(spec)
    if resolved["kind"] not in KINDS:
        raise LossatlasError(f"kind: {resolved['kind']!r} is a kind of figure, not of table; write it under `figures`")
    table = KINDS[resolved["kind"]](resolved, inputs)
    with atomic(Path(output)) as part:
        table.to_csv(part, index=False, lineterminator="\n")
