"""Whether files are what was written, lie in their places, and were made from what lies beside them in the tree."""

import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lossatlas.audit import facts
from lossatlas.audit.ancestry import mixture
from lossatlas.audit.facts import Facts
from lossatlas.errors import LossatlasError
from lossatlas.files.record import content_of

WHOLE, UNSEALED, BAD = "whole", "no checksum", "BAD"
OTHERS, MIXED = "made from others", "mixed classes"
PRODUCTS = ("csv", "json", "png", "pdf", "svg", "mp4", "gif", "html", "vtp")
"""Suffixes of files whose checksum stands in the record beside them."""

_GALLERY = ("figures", "all")


@dataclass(frozen=True)
class Finding:
    """What was found about one file.

    Attributes:
        path: the file.
        state: :data:`WHOLE`, :data:`UNSEALED` (nothing to compare with), :data:`BAD`, or of a file that is whole by
            itself :data:`OTHERS` (an input in the tree has other content than the one it was made from) or
            :data:`MIXED` (it and its inputs were made on several classes of machine, or with several versions).
        reason: what is wrong.
    """

    path: Path
    state: str
    reason: str = ""

    @property
    def remedy(self) -> str:
        """Return what a user can do about it."""
        if _is_gallery(self.path):
            return f"delete {self.path.with_name('.built')} and run its snakemake target again"
        place = self.path.parent if facts.FOLDER.fullmatch(self.path.parent.name) else self.path
        if self.state == UNSEALED:
            return "made again, it gets one"
        if self.state == OTHERS:
            return f"delete {place} and run its snakemake target again, or put that input back"
        if self.state == MIXED:
            return f"no one machine gives these bits; if that matters, delete {place} and run its target on one class"
        return f"delete {place}, then `dvc pull` it or run its snakemake target again"


def check(paths: Iterable[Path], jobs: int = 1) -> list[Finding]:
    """Check files and all files below folders, each once, in order.

    Args:
        paths: files, or folders of results.
        jobs: processes that read files; the findings are the same with any number.

    Raises:
        LossatlasError: there is nothing of a name, or a process was killed.
    """
    files = listed(paths)
    store = _Store(jobs)
    store.read(files)
    return [store.finding(path) for path in files]


def listed(paths: Iterable[Path]) -> list[Path]:
    """Return files and the files below folders, each once.

    Raises:
        LossatlasError: there is nothing of a name.
    """
    return list(dict.fromkeys(file for path in paths for file in files_in(path)))


def sample(files: Sequence[Path], share: float, seed: int) -> list[Path]:
    """Return a random part of files, at least one of each kind: folder below ``results/`` and suffix.

    Args:
        files: in an order of which the draw depends.
        share: of each kind, rounded up.
        seed: of the draw.
    """
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        inside = Path(os.path.abspath(path)).relative_to(facts.results_folder(path)).parts
        kinds.setdefault((*inside[:-1][:1], path.suffix), []).append(path)
    draw = random.Random(seed)
    chosen = {path for same in kinds.values() for path in draw.sample(same, math.ceil(share * len(same)))}
    return [path for path in files if path in chosen]


class _Store:
    """Facts of files, read each once, and what follows from comparing them."""

    def __init__(self, jobs: int) -> None:
        """Start knowing nothing."""
        self._jobs = jobs
        self._facts: dict[Path, Facts] = {}
        self._glances: dict[Path, Facts] = {}
        self._bad: dict[Path, str] = {}

    def read(self, files: Sequence[Path]) -> None:
        """Read files, the sources of gathered clouds among them, and what the inputs of all of them say."""
        new = files
        while new:
            found = self._each(facts.read, new, self._facts)
            new = [_beside(made.path, name) for made in found for name in made.sources]
            new = [path for path in dict.fromkeys(new) if path.exists()]
        inputs = (path for file in files for path in self._inputs(self._facts[file.resolve()]).values())
        self._each(
            facts.glance, [path for path in dict.fromkeys(inputs) if path.resolve() not in self._facts], self._glances
        )

    def _each(self, look: Callable[[Path], Facts], files: Sequence[Path], known: dict[Path, Facts]) -> list[Facts]:
        places = {place: path for path in files if (place := path.resolve()) not in known}
        found = _over(look, list(places.values()), self._jobs)
        known.update(zip(places, found, strict=True))
        return found

    def finding(self, path: Path) -> Finding:
        """Return what was found about a file that has been read, under the name given."""
        made = self._facts[path.resolve()]
        if reason := self._why_bad(made):
            return Finding(path, BAD, reason)
        if made.unsealed:
            return Finding(path, UNSEALED, made.unsealed)
        inputs = dict(self._known_inputs(made))
        for name, one in inputs.items():
            if _content(one) != made.inputs[name]:
                return Finding(path, OTHERS, f"its input {name} has other content than the one it was made from")
        if mixed := mixture(made, inputs):
            return Finding(path, MIXED, mixed)
        return Finding(path, WHOLE)

    def _inputs(self, made: Facts) -> dict[str, Path]:
        """Return a file's inputs as they lie in its tree."""
        results = facts.results_folder(made.path)
        found = {name: facts.in_tree(results, name) for name in made.inputs}
        return {name: path for name, path in found.items() if path.is_file()}

    def _known_inputs(self, made: Facts) -> Iterator[tuple[str, Facts]]:
        """Yield the inputs to compare with; one that is bad is a finding of its own and accuses nothing else."""
        for name, path in self._inputs(made).items():
            place = path.resolve()
            one = self._facts.get(place) or self._glances[place]
            if not (self._why_bad(one) if place in self._facts else one.broken):
                yield name, one

    def _why_bad(self, made: Facts) -> str:
        place = made.path.resolve()
        if place not in self._bad:
            self._bad[place] = made.broken  # until its sources are known, so that a circle of them ends
            self._bad[place] = made.broken or self._bad_source(made)
        return self._bad[place]

    def _bad_source(self, made: Facts) -> str:
        """Check what a gathered cloud refers to: there, whole, and with the content it was gathered from."""
        for name, content in sorted(made.sources.items()):
            source = _beside(made.path, name)
            if not source.exists():
                return f"its source {source} is missing"
            one = self._facts[source.resolve()]
            if reason := self._why_bad(one):
                return f"its source {source} is bad ({reason})"
            if content and _content(one) != content:
                return f"its source {source} is not the one it was gathered from"
        return ""


def _beside(path: Path, name: str) -> Path:
    return Path(os.path.normpath(path.parent / name))


def _content(made: Facts) -> str:
    """Return a file's content digest, computed where it carries none."""
    return made.content or content_of(made.path)


def _over(look: Callable[[Path], Facts], files: Sequence[Path], jobs: int) -> list[Facts]:
    """Return the facts of files, read by several processes where there is more than one of each."""
    if min(jobs, len(files)) < 2:
        return [look(path) for path in files]
    try:
        with ProcessPoolExecutor(min(jobs, len(files))) as pool:
            return list(pool.map(look, files, chunksize=max(1, min(16, len(files) // (4 * jobs)))))
    except BrokenProcessPool:
        raise LossatlasError("a process that reads files was killed; `--jobs 1` reads them in this one") from None


def files_in(path: Path) -> Iterator[Path]:
    """Yield the files below a folder that carry a checksum or could, or the file itself.

    Raises:
        LossatlasError: there is nothing of that name.
    """
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise LossatlasError(f"{path}: no such file or folder; name a folder of results or a file in it")
    for found in sorted(path.rglob("*")):
        if found.is_file() and found.suffix[1:] in ("h5", *PRODUCTS) and not _skipped(found, path):
            yield found


def _skipped(file: Path, below: Path) -> bool:
    """Whether a file is hidden (a job's state, a file being written) or of the gallery, for which its record stands."""
    inside = file.relative_to(below).parts
    parts = (*below.parts[-2:], *inside)
    return any(part.startswith(".") for part in inside) or (_GALLERY in pairwise(parts) and not _is_gallery(file))


def _is_gallery(file: Path) -> bool:
    """Whether a file is the record of the gallery, which has the digests of all of it."""
    return Path(os.path.abspath(file)).parts[-3:] == (*_GALLERY, "index.json")
