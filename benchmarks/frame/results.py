"""The files of results, one a kind of machine: a comparison that is made again replaces its own entry alone."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lossatlas.files.machine import versions

FOLDER = Path(__file__).resolve().parents[1] / "results"


def read(path: Path) -> dict[str, Any]:
    """Return a file of results; an empty one where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"machine": {}, "cases": {}}


def merge(path: Path, machine: Mapping[str, Any], records: Mapping[str, Any]) -> None:
    """Put records in the place of those of the same cases; others stay as they are."""
    found = read(path)
    found["machine"] = dict(machine)
    found["cases"] = dict(sorted({**found["cases"], **records}.items()))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(rounded(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Return a document with its numbers to five digits: more of a time means nothing."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def context(busy: float, rates: Mapping[str, float], root: Path) -> dict[str, Any]:
    """Return what is true of every comparison of a run: day, commit, load at the start, rates, versions."""
    kept = ("python", "torch", "numpy", "scipy")
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "commit": commit(root),
        "busy": busy,
        "rates": dict(rates),
        "versions": {name: version for name, version in versions().items() if name in kept},
    }


def commit(root: Path) -> str:
    """Return the commit of what is measured, with ``-dirty`` where sources or comparisons are not as it has them."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False).stdout.strip()

    measured = ("src", "benchmarks/cases", "benchmarks/frame", "benchmarks/reference")
    changed = git("status", "--porcelain", "--", *measured)
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")
