"""Measure claims and give each its verdict. Thresholds stand in the studies and are never changed here."""

import json
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.claims.measurement import Measurement
from lossatlas.claims.spec import NOT_MEASURABLE, PRESETS, Claim, Holds, Judged, Measure, resolve
from lossatlas.files.hdf5 import atomic
from lossatlas.specs.registry import Inputs
from lossatlas.specs.registry import resolve as named

COLUMNS = [
    "study",
    "id",
    "sentence",
    "measure",
    "paper",
    "ours",
    "low",
    "high",
    "n",
    "threshold",
    "verdict",
    "detail",
]
"""Columns of ``claims.csv``."""

_HOLDS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def evaluate(
    claims: Iterable[Any], measures: Mapping[str, type[Measure]], inputs: Inputs, study: str = "", preset: str = ""
) -> pd.DataFrame:
    """Measure claims and judge them.

    Args:
        claims: mappings of the study's YAML.
        measures: every measure, by name.
        inputs: what the claims' references name.
        study: name of the study, for the first column.
        preset: name of the preset; a claim whose ``min_preset`` is larger is not measured. A preset that is not one
            of the three (a user's own) counts as large enough.

    Returns:
        One row a claim, with :data:`COLUMNS`. The verdict compares our value, not its interval, with the threshold.

    Raises:
        LossatlasError: a claim is malformed or an artefact is missing or unreadable.
    """
    judged = [resolve(claim, measures) for claim in claims]
    rows = [_row(one.claim, _found(one, inputs, preset), study) for one in judged]
    return pd.DataFrame(rows, columns=COLUMNS)


def write(table: pd.DataFrame, csv: Path | str) -> None:
    """Write claims as CSV, whole or not at all."""
    with atomic(Path(csv)) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_metrics(table: pd.DataFrame, path: Path | str) -> None:
    """Write claim -> {ours, verdict} as JSON, the form of metrics that DVC compares between commits.

    Six digits: the last bits of a value differ between machines, and no verdict hangs on them.
    """
    metrics: dict[str, dict[str, float | str]] = {}
    for name, value, verdict in zip(table["id"], table["ours"].astype(float), table["verdict"], strict=True):
        measured = {"ours": float(f"{value:.6g}")} if np.isfinite(value) else {}
        metrics[str(name)] = {**measured, "verdict": str(verdict)}
    with atomic(Path(path)) as part:
        part.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def judge(measurement: Measurement, holds: Holds) -> str:
    """Return the verdict on a measurement under a threshold; a NaN is a failure, not an excuse."""
    if measurement.value is None:
        return NOT_MEASURABLE
    return "holds" if _HOLDS[holds.op](measurement.value, holds.value) else "fails"


def _found(judged: Judged, inputs: Inputs, preset: str) -> Measurement:
    """Return what a claim's measure found, or why it was not measured."""
    least, condition = judged.claim.min_preset, judged.claim.measurable_if
    if least is not None and preset in PRESETS and PRESETS.index(preset) < PRESETS.index(least):
        return Measurement(None, None, 0, f"needs preset {least} or larger; this is {preset}")
    if condition is not None and judged.condition is not None:
        first = measure(judged.condition, inputs)
        if judge(first, condition.holds) != "holds":
            reason = f"{condition.reason}: " if condition.reason else ""
            value = "no value" if first.value is None else f"{first.value:.4g}"
            wanted = f"{condition.measure} is {value}, needed {condition.holds} ({first.detail})"
            return Measurement(None, None, 0, f"{reason}{wanted}")
    return measure(judged.measure, inputs)


def measure(spec: Measure, inputs: Inputs) -> Measurement:
    """Return what a measure finds."""
    found: Measurement = named(spec.run)(spec, inputs)
    return found


def _row(claim: Claim, found: Measurement, study: str) -> dict[str, Any]:
    low, high = found.spread if found.spread is not None else (np.nan, np.nan)
    return {
        "study": study,
        "id": claim.id,
        "sentence": claim.sentence,
        "measure": claim.measure,
        "paper": "" if claim.paper is None else claim.paper,
        "ours": np.nan if found.value is None else found.value,
        "low": low,
        "high": high,
        "n": found.n,
        "threshold": str(claim.holds),
        "verdict": judge(found, claim.holds),
        "detail": found.detail + _doubt(found, claim.holds.value),
    }


def _doubt(found: Measurement, threshold: float) -> str:
    """Return a remark where the interval leaves the verdict open."""
    if found.value is None or found.spread is None or not found.spread[0] <= threshold <= found.spread[1]:
        return ""
    return "; the interval includes the threshold"
