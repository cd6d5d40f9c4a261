"""At which level two results agree, and why not at a higher one.

``bits``: the same values, the last bit included; expected on one class of machine (:mod:`lossatlas.files.machine`) with
the same versions and inputs. ``rounding``: nothing but rounding need explain the differences. Of a training its
fingerprint tells, its losses at the first optimiser steps, before rounding has grown; of anything else its values. What
is made from inputs that agree to rounding counts with them, as long as they lie there to be compared: a training or an
embedding turns a last bit into another network or another picture. ``conclusions``: claims have the same verdicts, and
values within each other's spread over replicas. Else they are ``different``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import pandas as pd

from lossatlas.audit import causes, facts, origin
from lossatlas.audit.integrity import BAD, check
from lossatlas.audit.nearness import (
    BITS,
    CONCLUSIONS,
    DIFFERENT,
    LEVELS,
    ROUNDING,
    Nearness,
    by_claims,
    by_early_losses,
    by_values,
)
from lossatlas.audit.values import differences, other_shapes
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import table_in
from lossatlas.files.provenance import INPUTS
from lossatlas.files.record import content_of
from lossatlas.study import subjects


@dataclass(frozen=True)
class Agreement:
    """How two results agree.

    Attributes:
        name: path in the tree of results, or of the first file.
        kind: of an artefact, the folder below ``results/``; ``claims``, ``figure`` or ``table`` of a product.
        level: one of :data:`lossatlas.audit.nearness.LEVELS`.
        expected: the level that their classes of machine, versions and inputs let expect; "" where rounding may grow to
            anything.
        compared: what was compared, and how near it is.
        causes: why the level is not higher, most decisive first; none for the same bits.
        disagree: claims that disagree, a sentence each.
        files: the two.
    """

    name: str
    kind: str
    level: str
    expected: str
    compared: str
    causes: tuple[str, ...] = ()
    disagree: tuple[str, ...] = ()
    files: tuple[Path, Path] = (Path(), Path())

    @property
    def reached(self) -> bool:
        """Whether the level is the expected one or higher; where none is expected, whether they agree at any."""
        return LEVELS.index(self.level) >= LEVELS.index(self.expected or CONCLUSIONS)


class Comparison:
    """Two trees of results, whose files are compared, each pair once."""

    def __init__(self, first: Path, second: Path) -> None:
        """Take the two folders ``results``."""
        self.trees = first, second
        self._known: dict[str, Agreement] = {}

    def of(self, name: str) -> Agreement:
        """Compare the files of one name, such as ``results/runs/<id>/points.h5``, which lie in both trees."""
        if name not in self._known:
            first, second = (facts.in_tree(tree, name) for tree in self.trees)
            self._known[name] = replace(self.pair(first, second), name=name)
        return self._known[name]

    def pair(self, first: Path, second: Path) -> Agreement:
        """Compare two HDF5 or CSV files of one kind, which need not have one name.

        Raises:
            LossatlasError: one of them has no provenance, or they are of different kinds.
        """
        a, b = origin.read(first), origin.read(second)
        kind, other = kind_of(a), kind_of(b)
        if (kind, first.suffix) != (other, second.suffix):
            raise LossatlasError(f"{first} is of kind {kind!r}, {second} of kind {other!r}; compare two of one kind")
        expected, files = causes.expected(a, b, kind), (first, second)
        if same := _same(first, second, kind):
            return Agreement(str(first), kind, BITS, expected, same, files=files)
        inputs = dict(self._inputs(a, b))
        losses, others = _fingerprint(first), _fingerprint(second)
        if kind == "claims":
            near = by_claims(pd.read_csv(first), pd.read_csv(second))
        elif losses is not None and others is not None:
            expected = expected or ("" if causes.asked(a, b) else ROUNDING)
            near = by_early_losses(losses, others, {causes.precision(a), causes.precision(b)})
            if shapes := list(other_shapes(first, second)):
                near = Nearness(DIFFERENT, f"{near.compared}; but {shapes[0]}", near.doubt)
        else:
            near = by_values(first, second)
        if kind != "claims" and near.level == DIFFERENT and inputs:
            near = _after_inputs(near, inputs)
        why = causes.of(a, b, inputs)
        if near.doubt and not causes.asked(a, b):
            why = [near.doubt, *why]
        return Agreement(
            str(first), kind, near.level, expected, near.compared, tuple(why) or (causes.NOTHING,), near.disagree, files
        )

    def _inputs(self, a: Mapping, b: Mapping) -> Iterator[tuple[str, str]]:
        """Yield the inputs that had other content, with the level at which they agree; "" where it cannot be told."""
        before, after = a.get(INPUTS, {}), b.get(INPUTS, {})
        for name in before:
            if name not in after or before[name] == after[name]:
                continue
            first, second = (facts.in_tree(tree, name) for tree in self.trees)
            there = first.is_file() and second.is_file()
            same = there and (content_of(first), content_of(second)) == (before[name], after[name])
            yield name, self.of(name).level if same else ""


def _same(first: Path, second: Path, kind: str) -> str:
    """Return what is the same in two files of one kind, the last bit included; "" where nothing says that all is."""
    if content_of(first) == content_of(second):
        return "content: the same digest"
    if kind == "claims" and not any(differences(first, second)):
        return "claims of the studies in both: the same"
    return ""


def _after_inputs(near: Nearness, inputs: Mapping[str, str]) -> Nearness:
    """Return what a difference amounts to in what was made from inputs that differ, too."""
    if not set(inputs.values()) <= {ROUNDING, BITS}:
        return replace(near, doubt="")
    told = f"{near.compared}; its inputs agree to rounding, and what is made from them follows"
    return Nearness(ROUNDING, told)


def kind_of(provenance: Mapping) -> str:
    """Return the kind of an artefact; of a product ``claims``, ``figure`` or ``table``, the scorecard among claims."""
    if "study" not in provenance:
        kind = str(provenance.get("kind", ""))
        return "claims" if kind == "scorecard" else kind
    spec = provenance["spec"]
    return "claims" if "claims" in spec else str(subjects.products()[spec["kind"]].role)


def _fingerprint(path: Path) -> pd.DataFrame | None:
    """Return the early losses that a file keeps: unit, step, loss; None where it keeps none."""
    if path.suffix != ".h5":
        return None
    with h5py.File(path, "r") as file:
        return table_in(file, "fingerprint") if "fingerprint" in file and len(file["fingerprint"]["loss"]) else None


# ---------------------------------------------------------------------------------------------------------------------
# two files


def numbers_of(path: Path) -> Path:
    """Return the file whose values are compared: itself, or of a picture its numbers, which lie beside it.

    Raises:
        LossatlasError: there is none.
    """
    found = path if path.suffix in (".h5", ".csv") else path.with_suffix(".csv")
    if not found.is_file():
        what = (
            "no such file" if found == path else "missing; of a picture its numbers are compared, which lie beside it"
        )
        raise LossatlasError(f"{found}: {what}")
    return found


def refuse_bad(*paths: Path) -> None:
    """Raise LossatlasError where a file is not what was written."""
    for finding in check(paths):
        if finding.state == BAD:
            raise LossatlasError(f"{finding.path}: {finding.reason}; {finding.remedy}")


def compare_files(first: Path, second: Path) -> Agreement:
    """Compare two files, with the inputs that lie in their trees.

    Raises:
        LossatlasError: one is missing, bad, without provenance or of another kind.
    """
    files = numbers_of(first), numbers_of(second)
    refuse_bad(*files)
    return Comparison(*(facts.results_folder(path) for path in files)).pair(*files)


def report(found: Agreement, title: str) -> str:
    """Return how two results agree: a title and the level, what was compared, why not higher, each difference.

    The two files are read again for the differences.
    """
    details = [] if found.level == BITS or found.disagree else differences(*found.files)
    lines = [
        f"{title}: {found.level}",
        f"  compared: {found.compared}",
        *(f"  {'and' if i else 'why not higher'}: {cause}" for i, cause in enumerate(found.causes)),
        *(f"  {sentence}" for sentence in found.disagree),
        *(f"  {difference}" for difference in details),
    ]
    if found.expected:
        lines.append(f"  expected: {found.expected}{'' if found.reached else ', not reached'}")
    return "\n".join(lines)
