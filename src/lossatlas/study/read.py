"""A study's YAML as specs: every key checked against what the subjects declare, all mistakes at once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lossatlas.claims.spec import Judged, Statement, folded
from lossatlas.claims.spec import resolve as resolve_claim
from lossatlas.draw.spec import Product
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Spec, read
from lossatlas.specs.registry import Entry
from lossatlas.specs.yaml import merge, nearest
from lossatlas.study import subjects

PLAIN = ("title", "reference", "defaults", "figures", "tables", "claims", "statements")
"""Keys of a study besides the sections that subjects declare."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


@dataclass(frozen=True)
class StudyFile:
    """A study as its file, preset and overrides have it.

    Attributes:
        title, reference: shown in the gallery.
        sections: section -> name -> (what was declared for it, its spec).
        figures, tables: name -> spec.
        claims: with their measures.
        statements: of the paper, that the claims are parts of; none = every claim is one.
    """

    title: str
    reference: str
    sections: dict[str, dict[str, tuple[Entry, Spec]]] = field(default_factory=dict)
    figures: dict[str, Product] = field(default_factory=dict)
    tables: dict[str, Product] = field(default_factory=dict)
    claims: list[Judged] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)


class _Mistakes:
    """Lines of what is wrong, gathered so that all are reported at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tried(self, make: Any, *arguments: Any) -> Any:
        """Return what a function makes, None if it raises, whose lines are kept."""
        try:
            return make(*arguments)
        except LossatlasError as error:
            self.lines += str(error).splitlines()
            return None

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        """Return a mapping of names, {} for nothing or for something else, which is a mistake."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.lines.append(f"{where}: {value!r} is of type {type(value).__name__}, expected a mapping")
            return {}
        for name in value:
            if not NAME.fullmatch(str(name)):
                self.lines.append(f"{where}.{name}: not a name; write letters, digits and underscores")
        return {str(name): item for name, item in value.items()}


def read_study(raw: Any, source: str) -> StudyFile:
    """Check a study and fill in every default.

    Args:
        raw: the parsed YAML with preset and overrides merged in.
        source: its file, for messages, with the preset.

    Raises:
        LossatlasError: one line a mistake: file, key, value, what is allowed.
    """
    wrong = _Mistakes()
    document = dict(raw) if isinstance(raw, Mapping) else {}
    known = subjects.entries()
    names = [*PLAIN, *dict.fromkeys(section for section, _ in known)]
    wrong.lines += [f"{name}: unknown key; {nearest(str(name), names)}" for name in document if name not in names]
    wrong.lines += [f"{name}: missing" for name in ("title", "reference", "runs") if name not in document]
    for name in ("title", "reference"):
        if not isinstance(document.get(name, ""), str):
            wrong.lines.append(f"{name}: {document[name]!r} is not text")
    study = StudyFile(str(document.get("title", "")), str(document.get("reference", "")))
    for section in names[len(PLAIN) :]:
        given = wrong.mapping(document.get(section), section)
        if section == "runs":
            study.sections[section] = _runs(given, document.get("defaults"), wrong)
            continue
        made = {name: _entry(section, name, entry, wrong) for name, entry in given.items()}
        study.sections[section] = {name: entry for name, entry in made.items() if entry is not None}
    for section, role in (("figures", "figure"), ("tables", "table")):
        for name, entry in wrong.mapping(document.get(section), section).items():
            product = wrong.tried(read_product, entry, f"{section}.{name}", role)
            if product is not None:
                getattr(study, section)[name] = product
                wrong.lines += [
                    f"{section}.{name}.{part}: missing" for part in ("title", "caption") if part not in entry
                ]
    _claims(document.get("claims") or [], study, wrong)
    _statements(document.get("statements") or [], study, wrong)
    if wrong.lines:
        raise LossatlasError("\n".join(f"{source}: {line}" for line in dict.fromkeys(wrong.lines)))
    return study


def _runs(given: dict[str, Any], defaults: Any, wrong: _Mistakes) -> dict[str, tuple[Entry, Spec]]:
    """Return the runs, the study's defaults merged under each; a mistake of the defaults is told once, as theirs."""
    found = {}
    for name, own in given.items():
        told = _Mistakes()
        made = _entry("runs", name, merge(defaults or {}, own), told)
        if made is not None:
            found[name] = made
        for line in told.lines:
            place, _, message = line.partition(": ")
            keys = place.removeprefix(f"runs.{name}.").split(".")
            wrong.lines.append(f"defaults.{'.'.join(keys)}: {message}" if _is_of(keys, defaults, own) else line)
    return found


def _is_of(keys: list[str], defaults: Any, own: Any) -> bool:
    """Tell whether a key stands in the defaults and not in a run of its own."""
    for name in keys:
        name = name.partition("[")[0]
        if not isinstance(defaults, Mapping) or name not in defaults:
            return False
        if not isinstance(own, Mapping) or name not in own:
            return True
        defaults, own = defaults[name], own[name]
    return False


def _entry(section: str, name: str, raw: Any, wrong: _Mistakes) -> tuple[Entry, Spec] | None:
    """Return an entry of a section: its settings, or a mapping of the one key that says its kind to them."""
    known = subjects.entries()
    where = f"{section}.{name}"
    if (section, "") in known:
        entry, settings = known[section, ""], raw
    else:
        kinds = [kind for part, kind in known if part == section]
        if not isinstance(raw, Mapping) or len(raw) != 1:
            wrong.lines.append(f"{where}: give one of {', '.join(kinds)}, with its keys below it")
            return None
        ((kind, settings),) = raw.items()
        if kind not in kinds:
            wrong.lines.append(f"{where}.{kind}: unknown key; {nearest(str(kind), kinds)}")
            return None
        entry, where = known[section, kind], f"{where}.{kind}"
    spec = wrong.tried(read, entry.spec, settings, where)
    return None if spec is None else (entry, spec)


def read_product(raw: Any, where: str = "", role: str = "") -> Product:
    """Check the mapping of a figure or table and fill in its defaults.

    Args:
        raw: the mapping of the study's YAML.
        where: prefix of the keys in messages.
        role: ``figure`` or ``table``, if it must be one; "" = either.

    Raises:
        LossatlasError: one line for each mistake.
    """
    at = f"{where}." if where else ""
    kinds = {name: kind for name, kind in subjects.products().items() if role in ("", kind.role)}
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if kind not in kinds:
        other = subjects.products().get(str(kind))
        if other is not None:
            raise LossatlasError(
                f"{at}kind: {kind!r} is a kind of {other.role}, not of {role}; write it under `{other.role}s`"
            )
        found = "missing" if kind is None else f"{kind!r} is not a kind of figure or table"
        raise LossatlasError(f"{at}kind: {found}; {nearest(str(kind), list(kinds))}")
    return read(kinds[kind], raw, where)


def _claims(raw: Any, study: StudyFile, wrong: _Mistakes) -> None:
    if not isinstance(raw, list):
        wrong.lines.append(f"claims: {raw!r} is of type {type(raw).__name__}, expected a list")
        return
    for i, one in enumerate(raw):
        name = one.get("id", i) if isinstance(one, Mapping) else i
        judged = wrong.tried(resolve_claim, one, subjects.measures(), f"claims.{name}")
        if judged is not None:
            study.claims.append(judged)


def _statements(raw: Any, study: StudyFile, wrong: _Mistakes) -> None:
    if not isinstance(raw, list):
        wrong.lines.append(f"statements: {raw!r} is of type {type(raw).__name__}, expected a list")
        return
    for i, one in enumerate(raw):
        name = one.get("id", i) if isinstance(one, Mapping) else i
        statement = wrong.tried(read, Statement, one, f"statements.{name}")
        if statement is not None:
            study.statements.append(statement)
    if not wrong.lines:
        wrong.tried(folded, study.statements, [judged.claim.id for judged in study.claims])
