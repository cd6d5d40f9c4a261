"""What lies behind files of a tree of results: the jobs that made them and their inputs, as their records tell it."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from lossatlas.audit import facts, origin
from lossatlas.audit.integrity import BAD, Finding
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.provenance import INPUTS
from lossatlas.files.record import provenance_file


@dataclass(frozen=True)
class Made:
    """What one job made.

    Attributes:
        name: its first file, as the records of others name it: ``results/...``.
        files: all its files by such names, the record beside them among them.
        record: its provenance.
    """

    name: str
    files: Mapping[str, Path]
    record: Mapping[str, Any]

    @property
    def inputs(self) -> Mapping[str, str]:
        """Return what it was made from: name -> content digest."""
        return self.record.get(INPUTS, {})


@dataclass(frozen=True)
class Lineage:
    """Some files, and all that they were made from.

    Attributes:
        tree: their folder ``results``.
        asked: names of the files.
        jobs: what made them and their inputs, each after what it was made from.
        absent: inputs that the tree does not hold (a store keeps some only): name -> content digest.
    """

    tree: Path
    asked: tuple[str, ...]
    jobs: tuple[Made, ...]
    absent: Mapping[str, str] = field(default_factory=dict)


def lineage(files: Sequence[Path]) -> Lineage:
    """Return what lies behind files that the workflow made.

    Args:
        files: of one tree of results: artefacts, figures, tables or claims.

    Raises:
        LossatlasError: a file is missing, was made by something else, lies in another tree than the first, or it or one
            of the files behind it is not what was written.
    """
    tree = facts.results_folder(files[0])
    found: dict[str, Made] = {}
    absent: dict[str, str] = {}
    asked = {_name(file, tree): file for file in files}
    todo: list[tuple[str, Path, str]] = [(name, file, "") for name, file in asked.items()]
    while todo:
        name, path, digest = todo.pop()
        if any(name in made.files for made in found.values()):
            continue
        if not path.exists() and name not in asked:
            absent[name] = digest
            continue
        found[name] = _made(name, path)
        todo += [(one, facts.in_tree(tree, one), content) for one, content in found[name].inputs.items()]
    return Lineage(tree, tuple(asked), tuple(_in_order(found)), absent)


def _name(file: Path, tree: Path) -> str:
    if facts.results_folder(file) != tree:
        raise LossatlasError(
            f"{file}: lies in another tree of results than {tree}; export each into a crate of its own"
        )
    return f"results/{Path(os.path.abspath(file)).relative_to(tree).as_posix()}"


def _made(name: str, path: Path) -> Made:
    """Return the job of a file, with the other files that it made."""
    _whole(path)
    record = origin.read(path)
    origin.target(record)  # refuses what no rule makes
    files = {name: path}
    beside = provenance_file(path)
    if beside.is_file():
        folder = name.rpartition("/")[0]
        named = json.loads(beside.read_text(encoding="utf-8")).get(checksum.FILES, {})
        for one in (beside, *(path.parent / file for file in named)):
            files[f"{folder}/{one.name}"] = one
            _whole(one)
    return Made(name, files, record)


def _whole(path: Path) -> None:
    """Refuse what fsck would call bad: a crate vouches for its files."""
    if path.is_file() and (broken := facts.read(path).broken):
        raise LossatlasError(f"{path}: {broken}; {Finding(path, BAD, broken).remedy}")


def _in_order(found: Mapping[str, Made]) -> Iterator[Made]:
    graph = {name: [one for one in made.inputs if one in found] for name, made in found.items()}
    return (found[name] for name in TopologicalSorter(graph).static_order())
