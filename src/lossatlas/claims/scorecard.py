"""The scorecard: the claims of all studies in one table, with what other machines found of the same questions.

A table of claims lies in a tree of results as ``claims/<study>.csv`` with its record beside it.
"""

import csv
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossatlas.claims.evaluate import COLUMNS
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.disk import say
from lossatlas.files.hdf5 import atomic
from lossatlas.files.provenance import SEGMENTS
from lossatlas.files.record import provenance_file

HERE = "here"
"""Name of the machine whose results the tree holds."""

COUNTS = ("machines", "holds_on", "agree")
"""Columns where there are other machines: how many have the claim, on how many it holds, and whether all verdicts are
the same (``yes``, ``no``)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claims:
    """A finished table of claims.

    Attributes:
        csv: its file.
        record: what made it; of another version of lossatlas maybe not all of it.
        rows: column -> text, as the file has it.
    """

    csv: Path
    record: Mapping[str, Any]
    rows: list[dict[str, str]]

    @property
    def digest(self) -> str:
        """Return the digest of the record, which has that of the file."""
        return str(self.record[checksum.RECORD])

    @property
    def machine(self) -> dict[str, str]:
        """Return what the machine is called: class, CPU or GPU, and the commit that ran there."""
        last = (self.record.get(SEGMENTS) or [{}])[-1]
        found = {
            "class": last.get("class"),
            "processor": last.get("gpu") or last.get("cpu"),
            "commit": self.record.get("commit"),
        }
        return {name: str(value) for name, value in found.items() if value}


def read(path: Path) -> Claims:
    """Read a table of claims.

    Raises:
        LossatlasError: there is none, or its record does not vouch for it.
    """
    record = provenance_file(path)
    for one in (path, record):
        if not one.is_file():
            raise LossatlasError(f"{one}: no such file")
    try:
        text = record.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LossatlasError(f"{record}: not readable ({error})") from None
    broken = checksum.broken_record(text)
    if broken:
        raise LossatlasError(f"{record}: {broken}")
    about = json.loads(text)
    if about[checksum.FILES].get(path.name) != checksum.file_digest(path):
        raise LossatlasError(f"{path}: its bytes are not those that were written (SHA-256 differs)")
    with path.open(encoding="utf-8", newline="") as file:
        return Claims(path, about, list(csv.DictReader(file)))


# ---------------------------------------------------------------------------------------------------------------------
# other machines


def others(machines: Mapping[str, str], asked: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Claims]]:
    """Read other machines' tables of claims: machine -> study -> table.

    Args:
        machines: name -> its tree of results, the folder that ``claims/`` lies in.
        asked: study -> what is asked of its claims here: ``preset``, ``spec``, ``inputs`` and other keys of the record.

    Raises:
        LossatlasError: one line: a name that cannot head a column, no table of these studies, one that is damaged, or
            the answer to another question.
    """
    found: dict[str, dict[str, Claims]] = {}
    for name, tree in machines.items():
        if name == HERE or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise LossatlasError(
                f"machines: {name!r}: no name for a machine; take letters, digits, `_`, `-` and `.`, and not {HERE!r}"
            )
        folder = Path(tree) / "claims"
        tables = {study: folder / f"{study}.csv" for study in asked}
        there = {study: path for study, path in tables.items() if path.exists()}
        if not there:
            raise LossatlasError(
                f"machines: {name}: no claims of {', '.join(asked)} lie in {folder}; "
                "copy results/claims of that machine there"
            )
        found[name] = {}
        for study, path in there.items():
            try:
                table = read(path)
            except LossatlasError as error:
                raise LossatlasError(f"machines: {name}: {error}; copy it again from that machine") from None
            difference = _other_question(table, asked[study])
            if difference:
                raise LossatlasError(f"machines: {name}: {path} answers another question: {difference}")
            found[name][study] = table
    return found


def _other_question(table: Claims, asked: Mapping[str, Any]) -> str | None:
    """Return why a table's claims are not those asked for here; which machine or code measured them does not count."""
    record, asked = table.record, json.loads(json.dumps(asked))
    for key in ("study", "preset", "numerics"):
        if record.get(key) != asked.get(key):
            return f"its {key} is {record.get(key)}, here it is {asked.get(key)}"
    difference = _other_claims(record, asked) or _other_inputs(record, asked)
    if not difference and [row.get("id") for row in table.rows] != [claim["id"] for claim in asked["spec"]["claims"]]:
        return "its rows are not its claims"
    return difference


def _other_claims(record: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    theirs, ours = (
        {claim["id"]: claim for claim in (one.get("spec") or {}).get("claims", ())} for one in (record, asked)
    )
    for id in (*ours, *theirs):
        if id not in theirs or id not in ours:
            return f"claim {id} is {'not there' if id in ours else 'only there'}"
        keys = [key for key in (*ours[id], *theirs[id]) if ours[id].get(key) != theirs[id].get(key)]
        if keys:
            return f"claim {id} has another {keys[0]}: {theirs[id].get(keys[0])}, here {ours[id].get(keys[0])}"
    return None if list(theirs) == list(ours) else "its claims stand in another order"


def _other_inputs(record: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    theirs, ours = (_paths(one.get("inputs") or {}) for one in (record, asked))
    for place in (*ours, *theirs):
        if theirs.get(place) != ours.get(place):
            return f"{place} is made from {_few(theirs.get(place))}, here from {_few(ours.get(place))}"
    return None


def _paths(inputs: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return reference -> files, whose paths name all they depend on."""
    return {f"{what} {name}": list(files) for what, named in inputs.items() for name, files in named.items()}


def _few(files: Sequence[str] | None) -> str:
    if not files:
        return "nothing"
    return files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else "")


# ---------------------------------------------------------------------------------------------------------------------
# the table


@dataclass(frozen=True)
class Scorecard:
    """Claims of several studies.

    Attributes:
        columns: of the table, in order.
        rows: column -> text.
        about: for its record: ``studies`` shown, ``tables`` (machine -> study -> digest of its table's record), and
            where there are other machines ``machines`` (name -> class, processor, commit).
    """

    columns: list[str]
    rows: list[dict[str, str]]
    about: dict[str, Any]


def gather(folder: Path, studies: Sequence[str], machines: Mapping[str, str]) -> Scorecard:
    """Gather the tables of a tree: of the studies named, then of all others that are finished and whole.

    Args:
        folder: ``claims/`` of the tree.
        studies: those that must be there.
        machines: name -> another machine's tree; its verdicts stand beside those of the studies named.

    Raises:
        LossatlasError: a table that must be there is missing or damaged, or another machine's is refused.
    """
    tables = {study: _own(folder / f"{study}.csv") for study in studies}
    elsewhere = others(machines, {study: table.record for study, table in tables.items()})
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in tables and "." not in path.stem:  # not a study's statements
            try:
                tables[path.stem] = read(path)
            except LossatlasError as error:
                say(f"{error}; the scorecard leaves out study {path.stem}, which is not among those configured")
    columns = [*COLUMNS, "preset"]
    if elsewhere:
        columns += [*COUNTS, *(f"{what}_{name}" for name in elsewhere for what in ("ours", "verdict"))]
    rows = [row for study, table in tables.items() for row in _rows(study, table, elsewhere)]
    every = {HERE: tables, **elsewhere}
    digests = {name: {study: one.digest for study, one in found.items()} for name, found in every.items()}
    about: dict[str, Any] = {"studies": list(tables), "tables": digests}
    if elsewhere:
        configured = {HERE: {study: tables[study] for study in studies}, **elsewhere}
        about["machines"] = {name: _machine(found.values()) for name, found in configured.items()}
    return Scorecard(columns, [{column: row.get(column, "") for column in columns} for row in rows], about)


def _own(path: Path) -> Claims:
    try:
        return read(path)
    except LossatlasError as error:
        raise LossatlasError(f"{error}; delete {path} and run the same command again") from None


def _rows(study: str, table: Claims, elsewhere: Mapping[str, Mapping[str, Claims]]) -> list[dict[str, str]]:
    """Return the rows of a study, with its preset and what other machines found."""
    rows = []
    for number, row in enumerate(table.rows):
        found = {name: tables[study].rows[number] for name, tables in elsewhere.items() if study in tables}
        verdicts = [one["verdict"] for one in (row, *found.values())]
        more = {f"{what}_{name}": one[what] for name, one in found.items() for what in ("ours", "verdict")}
        if elsewhere:
            more["machines"], more["holds_on"] = str(len(verdicts)), str(verdicts.count("holds"))
            more["agree"] = ("yes" if len(set(verdicts)) == 1 else "no") if found else ""
        rows.append({**row, "preset": str(table.record.get("preset", "")), **more})
    return rows


def _machine(tables: Iterable[Claims]) -> dict[str, str]:
    """Return what a machine is called; where its tables say several things, all of them."""
    found: dict[str, dict[str, None]] = {}
    for table in tables:
        for key, value in table.machine.items():
            found.setdefault(key, {})[value] = None
    return {key: "; ".join(values) for key, values in found.items()}


def write(scorecard: Scorecard, path: Path) -> None:
    """Write a scorecard as CSV, whole or not at all."""
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, scorecard.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(scorecard.rows)
