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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Accepts, Spec, key, mistake, read, unique
from lossatlas.specs.study import Study
from lossatlas.specs.yaml import nearest

PRESETS = ("quick", "laptop", "paper")
"""Presets from the smallest to the paper's own; ``min_preset`` names one."""

HOLDS, FAILS, UNDECIDED, NOT_JUDGED = "holds", "fails", "undecided", "not judged"
HOLDS_BUT = "holds, but"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_JUDGED)
"""Of a claim; ``lossatlas.claims.verdict`` has the rules."""
STATEMENT_VERDICTS = (HOLDS, HOLDS_BUT, *VERDICTS[1:])


Names = Annotated[list[str], AfterValidator(unique("name each once"))]


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
    """A threshold, such as ``{op: '>', value: 1.0}`` or ``{op: within, value: [-0.1, 0.1]}``."""

    op: Literal[">", ">=", "<", "<=", "within"] = key("How ours must compare with the value.")
    value: float | Annotated[list[float], Field(min_length=2, max_length=2)] = key(
        "The value; of `within` two, the smallest and the largest that count as equal."
    )
    of: Literal["value", "every", "most", "any"] = key(
        "What must satisfy it: the measured value with its whole interval; every unit, which one counterexample "
        "refutes; most units; or any unit, since existence is shown by an example.",
        "value",
    )

    @model_validator(mode="after")
    def _two_for_within(self) -> "Holds":
        if isinstance(self.value, list) != (self.op == "within"):
            wanted = "two values, [least, largest]" if self.op == "within" else "one value"
            raise mistake("value", f"`{self.op}` takes {wanted}")
        return self

    @property
    def bounds(self) -> tuple[float, ...]:
        """Return the values: one, or two of ``within``."""
        return tuple(self.value) if isinstance(self.value, list) else (self.value,)

    def __str__(self) -> str:
        words = " to ".join(f"{bound:g}" for bound in self.bounds)
        return f"{self.op} {words}" + ("" if self.of == "value" else f" in {self.of}")


class Condition(Spec):
    """A second measure, on the inputs of the claim, whose value must satisfy a threshold first."""

    measure: str = key("Name of the measure.")
    parameters: dict[str, Any] = key("Keys of the measure.", {})
    holds: Holds = key("What must hold.")
    reason: str = key("Why the claim cannot be judged otherwise.", "")


class Statement(Spec):
    """A statement of a paper, and the claims of the study that decide it."""

    id: str = key("Its name in the scorecard.")
    sentence: str = key("What the paper says, in our words.")
    printed: str = key("The decisive words as printed; a few, with the paper's numbers.", "")
    where: str = key("Where they stand: section, figure, table.", "")
    measured: str = key("What is measured, on which units, and why that is the statement.", "")
    refuted_by: str = key("The null or control that would show it wrong.", "")
    main: Names = key("Claims that are the statement; all must hold.", min_length=1)
    controls: Names = key("Claims that must not fail for it to be believed: nulls, other explanations excluded.", [])
    rivals: Names = key("Claims that explain it away where they hold.", [])
    checks: Names = key("The same measured otherwise: another cutoff, metric, task.", [])

    def claims(self) -> dict[str, str]:
        """Return claim -> its part in the statement."""
        parts = (("main", self.main), ("control", self.controls), ("rival", self.rivals), ("check", self.checks))
        return {id: part for part, ids in parts for id in ids}


class Claim(Spec):
    """A sentence with a number measured from the artefacts, and a threshold."""

    id: str = key("Its name in the scorecard.")
    sentence: str = key("What is claimed.")
    paper: str | int | float | None = key("The paper's number, or what it says of it.", None)
    measure: str = key("Name of the measure.")
    inputs: dict[str, Any] = key("Input of the measure -> reference such as {gram: cloud}, or a list of them.", {})
    parameters: dict[str, Any] = key("Keys of the measure.", {})
    holds: Holds = key("When the claim holds.")
    min_preset: Literal["quick", "laptop", "paper"] | None = key("Smallest preset at which it is measured.", None)
    measurable_if: Condition | list[Condition] | None = key("A premise that must be met, or a list of them.", None)


@dataclass(frozen=True)
class Judged:
    """A claim with its measures.

    Attributes:
        claim: as the study has it.
        measure: what is compared with its threshold.
        premises: those of ``measurable_if``, each with its measure.
    """

    claim: Claim
    measure: Measure
    premises: tuple[tuple[Condition, Measure], ...] = ()


def resolve(raw: Any, measures: Mapping[str, type[Measure]], where: str = "") -> Judged:
    """Check a claim, its measure and those of its premises.

    Args:
        raw: the mapping of the study's YAML.
        measures: every measure, by name.
        where: prefix of the keys in messages.

    Raises:
        LossatlasError: one line for each mistake: the key, what was found, the nearest valid key or value.
    """
    claim = read(Claim, raw, where)
    premises = _premises(claim)
    places = ["measurable_if"] if isinstance(claim.measurable_if, Condition) else []
    places = places or [f"measurable_if[{i}]" for i in range(len(premises))]
    parts: list[tuple[Claim | Condition, str]] = [(claim, where)]
    parts += [(part, _at(where, place)) for part, place in zip(premises, places, strict=True)]
    roles: set[str] = set()
    mistakes: list[str] = []
    found: list[Measure] = []
    for part, at in parts:
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
    if all(part.measure in measures for part, _ in parts):
        mistakes += [
            f"{_at(where, 'inputs')}.{role}: unknown key; {nearest(role, sorted(roles))}"
            for role in claim.inputs
            if role not in roles
        ]
    if mistakes:
        raise LossatlasError("\n".join(dict.fromkeys(mistakes)))
    return Judged(claim, found[0], tuple(zip(premises, found[1:], strict=True)))


def _premises(claim: Claim) -> list[Condition]:
    """Return the premises of a claim, of which it may give one or a list."""
    given = claim.measurable_if
    return [given] if isinstance(given, Condition) else list(given or ())


def folded(statements: Sequence[Statement], claims: Sequence[str]) -> tuple[Statement, ...]:
    """Check that every claim is part of one statement; a study without statements has one for each claim.

    Args:
        statements: of the study.
        claims: names of its claims.

    Raises:
        LossatlasError: one line for each claim that is unknown, in no statement or in two.
    """
    if not statements:
        return tuple(Statement(id=id, sentence="", main=[id]) for id in claims)
    mistakes, seen = [], dict[str, str]()
    for statement in statements:
        for id in (*statement.main, *statement.controls, *statement.rivals, *statement.checks):
            where = f"statements.{statement.id}: {id}"
            if id not in claims:
                mistakes.append(f"{where}: not a claim of this study; {nearest(id, list(claims))}")
            elif id in seen:
                mistakes.append(f"{where}: already a claim of statement {seen[id]}")
            seen[id] = statement.id
    mistakes += [f"claims.{id}: in no statement; name it in one of `statements`" for id in claims if id not in seen]
    named = [statement.id for statement in statements]
    mistakes += [f"statements.{id}: there are two of that name" for id in dict.fromkeys(named) if named.count(id) > 1]
    if mistakes:
        raise LossatlasError("\n".join(mistakes))
    return tuple(statements)


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
