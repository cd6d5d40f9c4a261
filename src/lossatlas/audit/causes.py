"""Why two results may differ, by what their records say: arithmetic, machines, versions, inputs, code."""

from collections.abc import Mapping, Sequence
from typing import Any

from lossatlas.audit import facts
from lossatlas.audit.nearness import BITS, CONCLUSIONS, DIFFERENT, LEVELS
from lossatlas.files.machine import differing_versions
from lossatlas.files.provenance import INPUTS, SEGMENTS
from lossatlas.study import subjects

Record = Mapping[str, Any]

NOTHING = "no cause recorded: the same class of machine, versions, inputs and commit"

PRECISIONS = ("float64", "float32", "tf32", "bfloat16")

_LONG = 120
"""Characters from which on two values of a spec are not worth printing."""


def of(a: Record, b: Record, inputs: Mapping[str, str]) -> list[str]:
    """Return in what two records differ that may explain other results, ``what: one / other``, most decisive first.

    Args:
        a: provenance of the first.
        b: provenance of the second.
        inputs: inputs of one name that had other content -> the level at which they agree, "" if that is not known.
    """
    found = [*asked(a, b), *_inputs(inputs), *machines(a, b)]
    commits = [str(record.get("commit", "unknown")) for record in (a, b)]
    return found + ([f"code: commit {commits[0]} / {commits[1]}"] if commits[0] != commits[1] else [])


def expected(a: Record, b: Record, kind: str) -> str:
    """Return the level that two records let expect; "" where rounding may grow to anything.

    The same bits are expected of what is made under the same class and versions from inputs of the same bits, and of
    prepared data anywhere; the same conclusions of claims. Two results of different specs may be anything.
    """
    if asked(a, b):
        return ""
    same = INPUTS in a and a[INPUTS] == b.get(INPUTS)
    if is_exact(kind) or (same and not machines(a, b)):
        return BITS
    return CONCLUSIONS if kind == "claims" else ""


def is_exact(kind: str) -> bool:
    """Whether a kind has the same bits on every machine: prepared data."""
    return kind in subjects.steps() and subjects.steps()[kind].exact


def asked(a: Record, b: Record) -> list[str]:
    """Return in what two specs differ, precision first."""
    first, second = (
        {"version of its code": record.get("version"), **_flat(record.get("spec", {}))} for record in (a, b)
    )
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    keys.sort(key=lambda key: not key.endswith("precision"))
    told = [_pair(_name(key), first.get(key), second.get(key)) for key in keys]
    return [text if len(text) < _LONG else f"{_name(key)}: different" for key, text in zip(keys, told, strict=True)]


def precision(record: Record) -> str:
    """Return the precision in which a job computed: its recipe's, else its own; float32 where its spec names none."""
    spec = record.get("spec", {})
    named = (spec.get("recipe") or {}).get("precision") or spec.get("precision")
    return named if named in PRECISIONS else "float32"


def machines(a: Record, b: Record) -> list[str]:
    """Return in what the stretches of two jobs differ that decides about bits: arithmetic, class, threads, versions."""
    stretches = a.get(SEGMENTS) or [], b.get(SEGMENTS) or []
    lacking = [which for which, one in zip(("first", "second"), stretches, strict=True) if not one]
    if lacking:
        return [f"class of machine: not recorded by the {' and the '.join(lacking)} (an earlier version wrote it)"]
    found = [] if a.get("numerics") == b.get("numerics") else [_pair("numerics", a.get("numerics"), b.get("numerics"))]
    for name, values in {
        "precision: TF32": [_each(side, "tf32") for side in stretches],
        "class of machine": [_joined([facts.kernels(one) for one in side]) for side in stretches],
        "threads": [_each(side, "threads") for side in stretches],
    }.items():
        found += [] if values[0] == values[1] else [_pair(name, *values)]
    pairs = [differing_versions(x["versions"], y["versions"]) for x in stretches[0] for y in stretches[1]]
    versions = list(dict.fromkeys(text for pair in pairs for text in pair))
    return found + ([f"versions: {', '.join(versions)}"] if versions else [])


def _inputs(inputs: Mapping[str, str]) -> list[str]:
    if not inputs:
        return []
    worst = min(inputs, key=lambda name: LEVELS.index(inputs[name]) if inputs[name] else -1)
    level = inputs[worst]
    said = "different" if level == DIFFERENT else f"agree to {level}" if level else "not there as they were, to compare"
    more = f" and {len(inputs) - 1} more" if len(inputs) > 1 else ""
    kind = worst.split("/")[1] if "/" in worst else ""
    return [f"{'data' if is_exact(kind) else 'inputs'}: {worst}{more}: {said}"]


def _flat(spec: Any, place: str = "") -> dict[str, Any]:
    """Return the values of a nested mapping by their keys, joined by dots."""
    if not isinstance(spec, Mapping):
        return {place: spec}
    inside = (_flat(part, f"{place}.{name}" if place else str(name)) for name, part in spec.items())
    return {key: value for part in inside for key, value in part.items()}


def _name(key: str) -> str:
    return "precision" if key.endswith("precision") else key


def _pair(name: str, first: Any, second: Any) -> str:
    texts = ["none" if value is None else str(value) for value in (first, second)]
    return f"{name}: {texts[0]} / {texts[1]}"


def _each(side: Sequence[Mapping[str, Any]], key: str) -> str:
    words = {None: "not used", True: "on", False: "off"} if key == "tf32" else {}
    return _joined([str(words.get(one.get(key), one.get(key))) for one in side])


def _joined(values: Sequence[str]) -> str:
    return " then ".join(dict.fromkeys(values))
