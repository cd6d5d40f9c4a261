"""Measure claims, and judge them and the statements they are parts of."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.claims.spec import NOT_JUDGED, PRESETS, Claim, Judged, Measure, Statement, folded, resolve
from lossatlas.claims.verdict import Judgement, judge, judge_statement, satisfies
from lossatlas.files.hdf5 import atomic
from lossatlas.specs.base import read
from lossatlas.specs.registry import Inputs
from lossatlas.specs.registry import resolve as named

COLUMNS = [
    "study",
    "statement",
    "part",
    "id",
    "sentence",
    "measure",
    "paper",
    "ours",
    "low",
    "high",
    "interval",
    "n",
    "unit",
    "threshold",
    "verdict",
    "reason",
    "detail",
]
"""Columns of ``claims.csv``, a row a claim."""

STATEMENT_COLUMNS = [
    "study",
    "id",
    "sentence",
    "printed",
    "where",
    "measured",
    "refuted_by",
    "verdict",
    "reason",
    "main",
    "controls",
    "rivals",
    "checks",
]
"""Columns of ``statements.csv``, a row a statement of a paper; the last four name its claims."""


def evaluate(
    claims: Iterable[Any],
    measures: Mapping[str, type[Measure]],
    inputs: Inputs,
    study: str = "",
    preset: str = "",
    statements: Iterable[Any] = (),
    judges: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure claims and judge them, and the statements they are parts of.

    Args:
        claims: mappings of the study's YAML.
        measures: every measure, by name.
        inputs: what the claims' references name.
        study: name of the study, for the first column.
        preset: name of the preset; a claim whose ``min_preset`` is larger is not measured. A preset that is not one
            of the three (a user's own) counts as large enough.
        statements: mappings of the study's YAML; none = every claim is one.
        judges: False where the preset is too small for any verdict: everything is measured, nothing judged.

    Returns:
        One row a claim, with :data:`COLUMNS`, and one a statement, with :data:`STATEMENT_COLUMNS`.

    Raises:
        LossatlasError: a claim is malformed or an artefact is missing or unreadable.
    """
    judged = [resolve(claim, measures) for claim in claims]
    whole = folded([read(Statement, one) for one in statements], [one.claim.id for one in judged])
    places = {id: (one.id, part) for one in whole for id, part in one.claims().items()}
    rows = []
    for one in judged:
        found, verdict = _found(one, inputs, preset)
        if not judges:
            verdict = replace(verdict, verdict=NOT_JUDGED, reason=f"preset {preset} is shown, not judged")
        rows.append(_row(one.claim, found, verdict, (study, *places[one.claim.id])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    verdicts = dict(zip(table["id"], table["verdict"], strict=True))
    sentences = {one.claim.id: one.claim.sentence for one in judged}
    told = [_statement(one, verdicts, sentences, study) for one in whole]
    return table, pd.DataFrame(told, columns=STATEMENT_COLUMNS)


def write(table: pd.DataFrame, csv: Path | str) -> None:
    """Write claims as CSV, whole or not at all."""
    with atomic(Path(csv)) as part:
        table.to_csv(part, index=False, lineterminator="\n")


def write_metrics(claims: pd.DataFrame, statements: pd.DataFrame, path: Path | str) -> None:
    """Write what DVC compares between commits as JSON: claim -> {ours, verdict}, and statement -> verdict.

    Six digits: the last bits of a value differ between machines, and no verdict hangs on them.
    """
    measured: dict[str, dict[str, float | str]] = {}
    for name, value, verdict in zip(claims["id"], claims["ours"].astype(float), claims["verdict"], strict=True):
        number = {"ours": float(f"{value:.6g}")} if np.isfinite(value) else {}
        measured[str(name)] = {**number, "verdict": str(verdict)}
    told = dict(zip(statements["id"], statements["verdict"], strict=True))
    with atomic(Path(path)) as part:
        part.write_text(json.dumps({"claims": measured, "statements": told}, indent=1) + "\n", encoding="utf-8")


def _found(judged: Judged, inputs: Inputs, preset: str) -> tuple[Measurement, Judgement]:
    """Return what a claim's measure found, with the verdict; or why it was not measured or may not be judged."""
    least = judged.claim.min_preset
    if least is not None and preset in PRESETS and PRESETS.index(preset) < PRESETS.index(least):
        found = nothing(f"needs preset {least} or larger; this is {preset}")
        return found, judge(found, judged.claim.holds)
    premise = _premise(judged, inputs)
    found = measure(judged.measure, inputs)
    verdict = judge(found, judged.claim.holds)
    return found, replace(verdict, verdict=NOT_JUDGED, reason=premise) if premise else verdict


def _premise(judged: Judged, inputs: Inputs) -> str:
    """Return which premise fails, with its numbers; "" if none does."""
    for condition, spec in judged.premises:
        found = measure(spec, inputs)
        if found.value is None or not satisfies(found.value, condition.holds):
            reason = f"{condition.reason}: " if condition.reason else ""
            value = "no value" if found.value is None else f"{found.value:.4g}"
            return f"{reason}{condition.measure} is {value}, needed {condition.holds} ({found.detail})"
    return ""


def measure(spec: Measure, inputs: Inputs) -> Measurement:
    """Return what a measure finds."""
    found: Measurement = named(spec.run)(spec, inputs)
    return found


def _row(claim: Claim, found: Measurement, verdict: Judgement, place: tuple[str, str, str]) -> dict[str, Any]:
    interval = verdict.interval if verdict.interval is not None else found.interval
    return {
        **dict(zip(("study", "statement", "part"), place, strict=True)),
        "id": claim.id,
        "sentence": claim.sentence,
        "measure": claim.measure,
        "paper": "" if claim.paper is None else claim.paper,
        "ours": np.nan if verdict.value is None else verdict.value,
        "low": np.nan if interval is None else interval.low,
        "high": np.nan if interval is None else interval.high,
        "interval": "exact" if found.exact else "" if interval is None else interval.method,
        "n": found.n,
        "unit": found.unit,
        "threshold": str(claim.holds),
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "detail": found.detail,
    }


def _statement(
    statement: Statement, verdicts: Mapping[str, str], sentences: Mapping[str, str], study: str
) -> dict[str, Any]:
    verdict, reason = judge_statement(statement, verdicts)
    texts = {name: getattr(statement, name) for name in ("id", "printed", "where", "measured", "refuted_by")}
    parts = {name: " ".join(getattr(statement, name)) for name in ("main", "controls", "rivals", "checks")}
    sentence = statement.sentence or sentences[statement.main[0]]
    return {**texts, **parts, "study": study, "sentence": sentence, "verdict": verdict, "reason": reason}
