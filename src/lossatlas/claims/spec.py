"""What a claim may say. Light: the Snakefile checks every claim with it.

A measure is one class in its subject's ``spec.py`` and the function it names::

    class VolumeGap(Measure):
        \"\"\"Log10 volume of the minima `first` less that of `second`, mean over replicas.\"\"\"

        measure: ClassVar = "volume_gap"
        run: ClassVar = "lossatlas.basins.measures:volume_gap"
        first: Annotated[tuple[Reference, ...], Accepts("volume")]
        second: Annotated[tuple[Reference, ...], Accepts("volume")]
        cutoff: float = key("Training loss that bounds the basin.", 0.1, gt=0)

``volume_gap(spec: VolumeGap, inputs: Inputs) -> Measurement`` measures it. A study writes its inputs below ``inputs``
and its other keys below ``parameters``; one of these that is called like an input has the alias ``parameters.<name>``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Accepts, Spec, key, read
from lossatlas.specs.study import Study
from lossatlas.specs.yaml import nearest

PRESETS = ("quick", "laptop", "paper")
"""Presets from the smallest to the paper's own; ``min_preset`` names one."""

NOT_MEASURABLE = "not measurable at this preset"
VERDICTS = ("holds", "fails", NOT_MEASURABLE)


class Measure(Spec):
    """A number measured from artefacts; subclasses declare its inputs (:class:`Accepts`) and its other keys."""

    measure: ClassVar[str]
    """Its name in YAML."""
    run: ClassVar[str]
    """``module:function`` that measures it from the spec and its inputs."""

    @classmethod
    def roles(cls) -> dict[str, str]:
        """Return input -> the kind of reference it takes."""
        found = {}
        for name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Accepts):
                    found[field.alias or name] = mark.whats[0]
        return found

    def check(self, study: Study, where: str) -> None:
        """Raise what only the whole study can tell; nothing by default."""


class Holds(Spec):
    """A threshold, such as ``{op: '>', value: 1.0}``."""

    op: Literal[">", ">=", "<", "<="] = key("How ours must compare with the value.")
    value: float = key("The value.")

    def __str__(self) -> str:
        return f"{self.op} {self.value:g}"


class Condition(Spec):
    """A second measure, on the inputs of the claim, that must hold first."""

    measure: str = key("Name of the measure.")
    parameters: dict[str, Any] = key("Keys of the measure.", {})
    holds: Holds = key("What must hold.")
    reason: str = key("Why the claim cannot be measured otherwise.", "")


class Claim(Spec):
    """A sentence of the paper with a number measured from the artefacts, and a threshold."""

    id: str = key("Its name in the scorecard.")
    sentence: str = key("What the paper says.")
    paper: str | int | float | None = key("The paper's number, or what it says of it.", None)
    measure: str = key("Name of the measure.")
    inputs: dict[str, Any] = key("Input of the measure -> reference such as {gram: cloud}, or a list of them.", {})
    parameters: dict[str, Any] = key("Keys of the measure.", {})
    holds: Holds = key("When the claim holds.")
    min_preset: Literal["quick", "laptop", "paper"] | None = key("Smallest preset at which it can be measured.", None)
    measurable_if: Condition | None = key("A measure that must hold first.", None)


@dataclass(frozen=True)
class Judged:
    """A claim with its measures.

    Attributes:
        claim: as the study has it.
        measure: what is compared with its threshold.
        condition: the measure of ``measurable_if``, or None.
    """

    claim: Claim
    measure: Measure
    condition: Measure | None


def resolve(raw: Any, measures: Mapping[str, type[Measure]], where: str = "") -> Judged:
    """Check a claim, its measure and that of its condition.

    Args:
        raw: the mapping of the study's YAML.
        measures: every measure, by name.
        where: prefix of the keys in messages.

    Raises:
        LossatlasError: one line for each mistake: the key, what was found, the nearest valid key or value.
    """
    claim = read(Claim, raw, where)
    condition = claim.measurable_if
    roles: set[str] = set()
    mistakes: list[str] = []
    found: list[Measure | None] = []
    for part, at in ((claim, where), (condition, _at(where, "measurable_if"))):
        if part is None:
            found.append(None)
            continue
        kind = measures.get(part.measure)
        if kind is None:
            hint = nearest(part.measure, list(measures))
            mistakes.append(f"{_at(at, 'measure')}: {part.measure!r} is not a measure; {hint}")
            continue
        roles |= set(kind.roles())
        try:
            found.append(_measure(kind, part.parameters, claim.inputs, at, where))
        except LossatlasError as error:
            mistakes += str(error).splitlines()
    if all(part is None or part.measure in measures for part in (claim, condition)):
        mistakes += [
            f"{_at(where, 'inputs')}.{role}: unknown key; {nearest(role, sorted(roles))}"
            for role in claim.inputs
            if role not in roles
        ]
    if mistakes:
        raise LossatlasError("\n".join(dict.fromkeys(mistakes)))
    measure, second = found
    assert measure is not None
    return Judged(claim, measure, second)


def _measure(
    kind: type[Measure], parameters: Mapping[str, Any], inputs: Mapping[str, Any], at: str, where: str
) -> Measure:
    """Return a measure from its two mappings; messages name the one that a key stands in."""
    roles = kind.roles()
    aliases = {field.alias for field in kind.model_fields.values()}
    given = {role: inputs[role] for role in roles if role in inputs}
    for name, value in parameters.items():
        twin = f"parameters.{name}"  # of a key that has the name of an input
        if name in roles and twin not in aliases:
            raise LossatlasError(f"{_at(at, twin)}: an input; write it under `inputs`")
        given[twin if twin in aliases else name] = value
    try:
        return read(kind, given)
    except LossatlasError as error:
        lines = []
        for line in str(error).splitlines():
            role = line.partition(":")[0].partition("[")[0].partition(".")[0]
            missing = line == f"{role}: missing" and role in roles
            line = line.removeprefix("parameters.")
            place = _at(where, "inputs") if role in roles else _at(at, "parameters")
            lines.append(f"{place}.{line}" + (f"; write {{{roles[role]}: name}}" if missing else ""))
        raise LossatlasError("\n".join(lines)) from None


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
