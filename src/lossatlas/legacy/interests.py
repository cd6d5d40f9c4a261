"""What a probe may say, and what it says by default. Imports no torch: the Snakefile reads it."""

from collections.abc import Mapping
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import nearest

SETTINGS: dict[str, Any] = {
    "traversal": "predictor",
    "corrector": "newton",
    "step": 1e-3,
    "threshold": 0.1,
    "grow": 1.1,
    "shrink": 0.1,
    "tolerance": "scaled",
    "corrections": 500,
    "steps": 1000,
    "angle": None,
    "gradients": None,
}
"""How a level set is walked. ``step``, ``threshold``, ``grow`` and ``shrink``: Tahir & Katz, section V-A, who give no
first step; any between 1e-6 and 1e-2 leads to the same path."""

FUNCTIONS = ("circle",)
"""Landscapes with known answers that a study may name (``lossatlas.landscape.analytic``)."""

PATH_FUNCTIONS = ("two_wells",)
"""Those of two variables between whose points a study may look for paths."""

INTERESTS: dict[str, dict[str, Any]] = {
    "norm2": {},
    "linear": {"coefficients": None},
    "random": {"seed": 0},
    "walk": {"seed": 0},
    "towards": {"replica": 0},
    "function": {"builder": None},
}
"""Directions of interest and their keys; null = must be given."""


def resolve_interest(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Check a direction of interest and fill in its defaults.

    Raises:
        LossatlasError: an unknown kind or key, or a missing one.
    """
    kind = entry.get("kind", "norm2")
    if kind not in INTERESTS:
        raise LossatlasError(f"kind: {kind!r} is not a direction of interest; {nearest(kind, list(INTERESTS))}")
    known = INTERESTS[kind]
    for key in entry:
        if key != "kind" and key not in known:
            raise LossatlasError(
                f"{key}: unknown key of {kind}; {nearest(key, list(known)) if known else 'it has none'}"
            )
    found = {"kind": kind, **known, **entry}
    missing = [key for key in known if found[key] is None]
    if missing:
        raise LossatlasError(f"{missing[0]}: missing; {kind} needs it")
    return found
