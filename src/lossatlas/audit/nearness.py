"""How near two results are: by their early losses, by all their values, or by the verdicts on claims.

Each comparison answers with a level (:data:`LEVELS`) and says in words what it saw.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.audit.values import differences, shared

DIFFERENT, CONCLUSIONS, ROUNDING, BITS = LEVELS = ("different", "conclusions", "rounding", "bits")
"""From the lowest."""

FINGERPRINT = {
    "float64": {0: 1e-13, 1: 1e-9, 10: 1e-4},
    "float32": {0: 2e-6, 1: 2e-2, 10: 2e-1},
    "tf32": {0: 3e-3, 1: 5e-2, 10: 2e-1},
    "bfloat16": {0: 2e-2, 1: 5e-2, 10: 2e-1},
}
"""Precision -> optimiser step -> largest relative difference of two losses that rounding explains.

Some three times the largest of those measured on the first steps of 68 trainings of the quick preset between kernels
and numbers of threads (docs/reliability.md); of ``tf32``, which was not measured, an eighth of bfloat16's at step 0: it
has three bits more.
"""

VALUES = 1e-6
"""Largest difference of computed values, relative to the largest of their dataset, that rounding explains: eight last
bits of float32."""

_SAME, _WITHIN, _ALONE = "the same value", "within the other's spread", "the same verdict without a spread"


@dataclass(frozen=True)
class Nearness:
    """What a comparison found.

    Attributes:
        level: one of :data:`LEVELS`.
        compared: what was compared, and how near it is.
        doubt: what the comparison itself says about the cause; "" where it says nothing.
        disagree: claims that disagree, a sentence each.
    """

    level: str
    compared: str
    doubt: str = ""
    disagree: tuple[str, ...] = ()


def by_early_losses(a: pd.DataFrame, b: pd.DataFrame, precisions: Iterable[str]) -> Nearness:
    """Compare the fingerprints of two jobs.

    Args:
        a: columns unit, step (int64) and loss (float64), a row for each training and step of :data:`FINGERPRINT`.
        b: the same of the other.
        precisions: of the jobs; of several the limits of the finest hold, which the others do not keep.
    """
    if not a[["unit", "step"]].equals(b[["unit", "step"]]):
        return Nearness(DIFFERENT, f"fingerprints of {len(a)} and {len(b)} early losses", "other trainings or steps")
    limits = min((FINGERPRINT[one] for one in precisions), key=lambda limits: limits[0])
    x, y = a["loss"].to_numpy(), b["loss"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = np.abs(x - y) / np.maximum(np.abs(x), np.abs(y))
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    gaps = np.where(same, 0.0, np.where(np.isfinite(gaps), gaps, np.inf))
    largest = {step: float(gaps[a["step"] == step].max()) for step in limits if (a["step"] == step).any()}
    told = ", ".join(f"{gap:.1e} at step {step} (limit {limits[step]:g})" for step, gap in largest.items())
    compared = f"early losses (trainings: {a['unit'].nunique()}): relative differences up to {told}"
    over = [step for step, gap in largest.items() if gap > limits[step]]
    if not over:
        return Nearness(ROUNDING, compared)
    if over[0] == 0:
        return Nearness(DIFFERENT, compared, "data, seeds or precision: the losses before the first step differ")
    return Nearness(
        DIFFERENT, compared, f"optimiser or code: the losses agree at the start and differ at step {over[0]}"
    )


def by_values(first: Path, second: Path) -> Nearness:
    """Compare all values of two files; only floating-point numbers may differ, by :data:`VALUES`."""
    found = list(differences(first, second))
    if not found:
        return Nearness(ROUNDING, "values: the same; names, types or text around them differ")
    worst = max(found, key=lambda one: (not one.inexact, one.relative))
    near = worst.inexact and worst.relative <= VALUES
    return Nearness(ROUNDING if near else DIFFERENT, f"values: {worst} (limit {VALUES:g})")


def by_claims(a: pd.DataFrame, b: pd.DataFrame) -> Nearness:
    """Compare two tables of claims by study and id: verdicts, and each value with the other's spread over replicas.

    Of two scorecards the studies that both have are compared.
    """
    a, b = shared(a, b)
    columns = ["study", "id", "ours", "low", "high", "verdict"]
    both = a[columns].merge(b[columns], on=["study", "id"], how="outer", suffixes=("_a", "_b"), indicator="side")
    told = [_claim(row) for row in both.to_dict("records")]
    kinds = [kind for kind, _ in told]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    level = CONCLUSIONS if set(kinds) <= {_SAME, _WITHIN, _ALONE} else DIFFERENT
    if set(kinds) <= {_SAME}:
        level = ROUNDING
    return Nearness(level, f"{len(both)} claims: {counts}", disagree=tuple(said for _, said in told if said))


def _claim(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return how a claim of two tables agrees, and a sentence where it does not."""
    name = f"{row['study']} {row['id']}"
    if row["side"] != "both":
        return "in one of them only", f"{name}: in one of them only"
    (x, low_x, high_x), (y, low_y, high_y) = (
        tuple(float(row[f"{what}_{side}"]) for what in ("ours", "low", "high")) for side in "ab"
    )
    said = f"{name}: {row['verdict_a']}{_value(x, low_x, high_x)} / {row['verdict_b']}{_value(y, low_y, high_y)}"
    if row["verdict_a"] != row["verdict_b"]:
        return "verdicts that flip", said
    if (np.isnan(x) and np.isnan(y)) or abs(x - y) <= VALUES * max(abs(x), abs(y)):
        return _SAME, ""
    if np.isnan(low_x) and np.isnan(low_y) and np.isfinite([x, y]).all():
        return _ALONE, ""
    inside = [low <= value <= high for value, low, high in ((y, low_x, high_x), (x, low_y, high_y)) if low == low]
    return (_WITHIN, "") if inside and all(inside) else ("the same verdict outside the spread", said)


def _value(value: float, low: float, high: float) -> str:
    spread = "" if np.isnan(low) else f" [{low:.4g}, {high:.4g}]"
    return "" if np.isnan(value) else f", {value:.4g}{spread}"
