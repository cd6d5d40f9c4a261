"""Claims and statements as the gallery shows them: read from their tables, cut to one study, in words."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lossatlas.claims.spec import FAILS, HOLDS, HOLDS_BUT, NOT_JUDGED, STATEMENT_VERDICTS, UNDECIDED
from lossatlas.errors import LossatlasError
from lossatlas.files.record import provenance_file

BADGES = {HOLDS: "holds", HOLDS_BUT: "but", FAILS: "fails", UNDECIDED: "open", NOT_JUDGED: "none"}
"""Verdict -> style of its badge."""

NUMBERS = ("ours", "low", "high", "n")


def _rows(csv: Path, study: str) -> pd.DataFrame:
    """Return a study's rows of a table: texts but for the numbers."""
    if not csv.is_file():
        raise LossatlasError(f"{csv}: no such file; run the snakemake target that makes it")
    rows = pd.read_csv(csv, dtype=str, keep_default_na=False)
    unknown = [(row["id"], row["verdict"]) for _, row in rows.iterrows() if row["verdict"] not in STATEMENT_VERDICTS]
    if unknown:
        id, verdict = unknown[0]
        raise LossatlasError(f"{csv}: verdict {verdict!r} of {id} is not one of {', '.join(STATEMENT_VERDICTS)}")
    rows = rows[rows["study"] == study]
    return rows.assign(**{name: pd.to_numeric(rows[name]) for name in NUMBERS if name in rows})


def claims(csv: Path, study: str) -> list[dict[str, Any]]:
    """Return the claims of a study from a table of claims or a scorecard."""
    rows = _rows(csv, study)
    machines = [name.removeprefix("verdict_") for name in map(str, rows) if name.startswith("verdict_")]
    texts = (
        "id",
        "statement",
        "part",
        "sentence",
        "measure",
        "paper",
        "threshold",
        "verdict",
        "reason",
        "detail",
        "unit",
    )
    found = []
    for row in rows.to_dict("records"):
        elsewhere = [name for name in machines if row[f"verdict_{name}"]]
        found.append(
            {
                **{key: row[key] for key in texts},
                "ours": cell(row["ours"]),
                "interval": "" if math.isnan(row["low"]) else f"{cell(row['low'])} to {cell(row['high'])}",
                "method": row["interval"],
                "n": cell(row["n"]),
                "differs": bool(elsewhere) and row["agree"] == "no",
                "holds_on": f"{row['holds_on']} of {row['machines']}" if elsewhere else "",
                "elsewhere": [
                    {"name": name, "ours": _text(row[f"ours_{name}"]), "verdict": row[f"verdict_{name}"]}
                    for name in elsewhere
                ],
            }
        )
    return found


def statements(csv: Path, study: str, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the statements of a study, each with its claims, main ones first."""
    order = ("main", "control", "rival", "check")
    found = []
    for row in _rows(csv, study).to_dict("records"):
        own = [claim for claim in checks if claim["statement"] == row["id"]]
        texts = ("id", "sentence", "printed", "where", "measured", "refuted_by", "verdict", "reason")
        found.append(
            {**{key: row[key] for key in texts}, "claims": sorted(own, key=lambda one: order.index(one["part"]))}
        )
    return found


def machines(csv: Path | None) -> dict[str, dict[str, str]]:
    """Return machine -> class, processor, commit from the record beside a scorecard; empty where it has one machine."""
    record = provenance_file(csv) if csv else None
    if record is None or not record.is_file():
        return {}
    return dict(json.loads(record.read_text(encoding="utf-8")).get("machines", {}))


def part(folder: Path, source: Path, study: str, what: str) -> str:
    """Write a study's rows of a table into the gallery; return the path relative to the page."""
    name = f"{what}/{study}.csv"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(source, dtype=str, keep_default_na=False)
    rows[rows["study"] == study].to_csv(folder / name, index=False, lineterminator="\n")
    return name


def _text(number: str) -> str:
    """Return a cell of a table, which may be empty, as a person reads it."""
    return cell(float(number)) if number else ""


def cell(value: Any) -> str:
    """Return a value as a person reads it: four digits, nothing for a missing one."""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:.4g}".replace("-", "\u2212") if math.isfinite(value) else ("∞" if value > 0 else "\u2212∞")
    return str(value)
