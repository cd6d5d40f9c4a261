"""Two trees of results compared: at which level each kind agrees, what flips, and what is not as expected."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lossatlas.audit.agreement import Agreement, Comparison
from lossatlas.audit.integrity import BAD, Finding, check, files_in
from lossatlas.audit.nearness import BITS, DIFFERENT, LEVELS
from lossatlas.errors import LossatlasError

LISTED = 20
"""Most lines of one sort that a report has."""


@dataclass(frozen=True)
class Trees:
    """How two trees agree.

    Attributes:
        found: the files of one name that both have, compared.
        alone: how many files only the first has, and only the second.
        bad: files that are not what was written; they are not compared.
    """

    found: list[Agreement]
    alone: tuple[int, int]
    bad: list[Finding] = field(default_factory=list)

    @property
    def missed(self) -> list[Agreement]:
        """What does not agree as the machines, versions and inputs let expect."""
        return [one for one in self.found if one.expected and not one.reached]

    @property
    def reached(self) -> bool:
        """Whether everything agrees as expected, and every file is what was written."""
        return not self.missed and not self.bad


def compare_trees(first: Path, second: Path, jobs: int = 1) -> Trees:
    """Compare two trees of results file by file: artefacts, and the numbers of figures, tables and claims.

    Args:
        first: a folder ``results``, or one that has it.
        second: the other.
        jobs: processes that check the files before they are compared.

    Raises:
        LossatlasError: one has no files, or they have none in common.
    """
    trees = [_results(path) for path in (first, second)]
    names = [dict.fromkeys(_names(tree)) for tree in trees]
    common = [name for name in names[0] if name in names[1]]
    if not common:
        raise LossatlasError(f"{first} and {second}: no artefact, table or figure of one name lies in both")
    files = [tree.joinpath(*Path(name).parts[1:]) for tree in trees for name in common]
    bad = [finding for finding in check(files, jobs) if finding.state == BAD]
    broken = {finding.path for finding in bad}
    comparison = Comparison(*trees)
    sound = [name for name in common if not broken & {tree.joinpath(*Path(name).parts[1:]) for tree in trees}]
    found = [comparison.of(name) for name in sound]
    return Trees(found, (len(names[0]) - len(common), len(names[1]) - len(common)), bad)


def _results(path: Path) -> Path:
    return path / "results" if (path / "results").is_dir() else path


def _names(tree: Path) -> Iterator[str]:
    """Yield the files that are compared, as records name them; the scorecard repeats the claims of the studies."""
    found = [path.relative_to(tree) for path in files_in(tree) if path.suffix in (".h5", ".csv")]
    claims = any(path.parts[0] == "claims" for path in found)
    for path in found:
        if path.name == "index.csv" or (claims and path.name == "claims.csv"):
            continue
        yield f"results/{path.as_posix()}"


def report(trees: Trees) -> str:
    """Return a table of kinds and levels, and below it what flips, what is not as expected, and why."""
    rows = [("kind", "files", *reversed(LEVELS), "not as expected")]
    for kind in dict.fromkeys(one.kind for one in trees.found):
        same = [one for one in trees.found if one.kind == kind]
        levels = Counter(one.level for one in same)
        missed = sum(one in trees.missed for one in same)
        rows.append((kind, str(len(same)), *(str(levels[level]) for level in reversed(LEVELS)), str(missed)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any(trees.alone):
        lines.append(f"{trees.alone[0]} files are in the first tree only, {trees.alone[1]} in the second")
    lines += [f"{finding.path}: {BAD}: {finding.reason}; {finding.remedy}" for finding in trees.bad]
    lines += _listed("claims that disagree", [said for one in trees.found for said in one.disagree])
    why = Counter(_sort(cause) for one in trees.found if one.level != BITS for cause in one.causes)
    lines += _listed("why not bits (files)", [f"{cause} ({count})" for cause, count in why.most_common()])
    late = [f"{one.name}: {one.level}, expected {one.expected}: {one.compared}" for one in trees.missed]
    lines += _listed("not as expected", late)
    others = [f"{one.name}: {one.compared}" for one in trees.found if one.level == DIFFERENT and not one.expected]
    return "\n".join(lines + _listed("different, where rounding may grow to anything", others))


def _sort(cause: str) -> str:
    """Return a cause without what it names of one file only: which input, which commits."""
    if cause.startswith("code: commit "):
        return "code: other commits"
    head, mark, rest = cause.partition(": results/")
    return f"{head}: {rest.rpartition(': ')[2]}" if mark else cause


def _listed(title: str, found: list[str]) -> list[str]:
    more = [f"  and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return [f"{title}:", *(f"  {line}" for line in found[:LISTED]), *more] if found else []
