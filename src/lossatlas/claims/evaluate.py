"""Measure claims and give each its verdict. Thresholds stand in the studies and are never changed here."""

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.barriers import measures as barriers
from lossatlas.basins import measures as basins
from lossatlas.basins.files import Rings
from lossatlas.claims.measurement import MeasureFunction, Measurement
from lossatlas.clouds import measures as clouds
from lossatlas.clouds.files import Gram
from lossatlas.clouds.numbers import Scores
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic, read_table
from lossatlas.legacy.claims import MEASURES, NOT_MEASURABLE, PRESETS, resolve
from lossatlas.levelsets import measures as levelsets
from lossatlas.planes import measures as planes
from lossatlas.planes.files import Grid
from lossatlas.solutions import measures as solutions
from lossatlas.train import measures as train
from lossatlas.train.numbers import last_epoch
from lossatlas.trajectories import measures as trajectories

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

REGISTRY: dict[str, MeasureFunction] = {
    **trajectories.REGISTRY,
    **clouds.REGISTRY,
    **train.REGISTRY,
    **levelsets.REGISTRY,
    **barriers.REGISTRY,
    **solutions.REGISTRY,
    **basins.REGISTRY,
    **planes.REGISTRY,
}
"""The function of each measure: (role -> loaded artefacts, resolved parameters) -> measurement."""


def evaluate(
    claims: Iterable[Mapping[str, Any]], inputs: Mapping[str, Mapping[str, Any]], study: str = "", preset: str = ""
) -> pd.DataFrame:
    """Measure claims and judge them.

    Args:
        claims: mappings of the study's YAML.
        inputs: claim id -> role -> path, or (nested) list of paths, of the artefacts the claim names.
        study: name of the study, for the first column.
        preset: name of the preset; a claim whose ``min_preset`` is larger is not measured. A preset that is not one
            of the three (a user's own) counts as large enough.

    Returns:
        One row a claim, with :data:`COLUMNS`. The verdict compares our value, not its interval, with the threshold.

    Raises:
        LossatlasError: a claim is malformed or an artefact is missing or unreadable.
    """
    loaded = _Artefacts()
    rows = []
    for claim in claims:
        resolved = resolve(claim)
        found = _measure(resolved, inputs.get(resolved["id"], {}), preset, loaded)
        rows.append(_row(resolved, found, study))
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


def judge(measurement: Measurement, holds: Mapping[str, Any]) -> str:
    """Return the verdict on a measurement under a threshold {op, value}; a NaN is a failure, not an excuse."""
    if measurement.value is None:
        return NOT_MEASURABLE
    return "holds" if _HOLDS[holds["op"]](measurement.value, float(holds["value"])) else "fails"


def _measure(claim: Mapping[str, Any], paths: Mapping[str, Any], preset: str, loaded: "_Artefacts") -> Measurement:
    least = claim["min_preset"]
    if least is not None and preset in PRESETS and PRESETS.index(preset) < PRESETS.index(least):
        return Measurement(None, None, 0, f"needs preset {least} or larger; this is {preset}")
    condition = claim["measurable_if"]
    if condition is not None:
        first = _one(claim["id"], condition, paths, loaded)
        if judge(first, condition["holds"]) != "holds":
            reason = f"{condition['reason']}: " if condition["reason"] else ""
            found = "no value" if first.value is None else f"{first.value:.4g}"
            wanted = _threshold(condition["holds"])
            return Measurement(
                None, None, 0, f"{reason}{condition['measure']} is {found}, needed {wanted} ({first.detail})"
            )
    return _one(claim["id"], claim, paths, loaded)


def _one(name: str, part: Mapping[str, Any], paths: Mapping[str, Any], loaded: "_Artefacts") -> Measurement:
    inputs = {}
    for role, kind in MEASURES[part["measure"]].inputs.items():
        found = paths.get(role, [])
        entries: list[Any] = list(_flat(found))
        if kind == "scores":
            entries = [found] if isinstance(found, Mapping) else list(found)
        if not entries:
            raise LossatlasError(
                f"claim {name}: no file for input {role!r}; this is a fault of the workflow, not of the study"
            )
        inputs[role] = [Scores.load(entry) if kind == "scores" else loaded.get(kind, entry) for entry in entries]
    return measure(part["measure"], inputs, part["parameters"])


def _flat(value: Any) -> Iterator[Path]:
    if isinstance(value, str | Path):
        yield Path(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, Sequence):
        for item in value:
            yield from _flat(item)


class _Artefacts:
    """Loads each artefact once; the same file gives the same object."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Path], Any] = {}

    def get(self, kind: str, path: Path) -> Any:
        """Return a Gram matrix (``gram``), a table (``average``) or the last recorded row of a run (``runs``)."""
        if (kind, path) not in self._known:
            loaders: dict[str, Callable[[Path], Any]] = {
                "gram": Gram.load,
                "path_gram": Gram.load,
                "average": lambda file: read_table(file, "average"),
                "paths": lambda file: read_table(file, "path"),
                "kernels": lambda file: read_table(file, "separation"),
                "volume": lambda file: read_table(file, "volume"),
                "boundaries": Rings.load,
                "grid": Grid.load,
                "descent": lambda file: read_table(file, "descent"),
            }
            self._known[kind, path] = loaders.get(kind, last_epoch)(path)
        return self._known[kind, path]


def _threshold(holds: Mapping[str, Any]) -> str:
    return f"{holds['op']} {holds['value']:g}"


def _row(claim: Mapping[str, Any], found: Measurement, study: str) -> dict[str, Any]:
    low, high = found.spread if found.spread is not None else (np.nan, np.nan)
    return {
        "study": study,
        "id": claim["id"],
        "sentence": claim["sentence"],
        "measure": claim["measure"],
        "paper": "" if claim["paper"] is None else claim["paper"],
        "ours": np.nan if found.value is None else found.value,
        "low": low,
        "high": high,
        "n": found.n,
        "threshold": _threshold(claim["holds"]),
        "verdict": judge(found, claim["holds"]),
        "detail": found.detail + _doubt(found, float(claim["holds"]["value"])),
    }


def _doubt(found: Measurement, threshold: float) -> str:
    """Return a remark where the interval leaves the verdict open."""
    if found.value is None or found.spread is None or not found.spread[0] <= threshold <= found.spread[1]:
        return ""
    return "; the interval includes the threshold"


def measure(name: str, inputs: Mapping[str, Sequence[Any]], parameters: Mapping[str, Any]) -> Measurement:
    """Measure on loaded artefacts.

    Args:
        name: a measure of the catalogue.
        inputs: role -> artefacts: :class:`Gram` for ``gram``, the last recorded row of each run for ``runs``,
            :class:`~lossatlas.clouds.numbers.Scores` for ``scores``.
        parameters: parameters that differ from the measure's defaults.

    Returns:
        The measurement; its value is None when the artefacts do not allow one.
    """
    return REGISTRY[name](inputs, {**MEASURES[name].parameters, **parameters})
