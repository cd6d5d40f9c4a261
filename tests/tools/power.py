"""What a power cut may leave on a disk: every state that the operations of a job allow, as ALICE builds them.

(Pillai et al., OSDI 2014.) The model is the weakest that programmes may count on: of what was asked for, only what an
fsync covers is on disk. An fsync of a file covers its bytes, one of a folder its entries, neither anything else; all
other operations are on disk or not, each by itself and in any order. A rename is whole or not at all. Each state is
written into a folder, looked at as a user would, and the job is run there.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from faults import FAULTS, Bench, read_log, signature

from lossatlas.audit import integrity

RENAME_EXCHANGE = 2


@dataclass
class Node:
    """A file or a folder, whatever it is called.

    Attributes:
        folder: whether it is one.
        start: of a file from before the job, its bytes or where they lie; None = empty.
        entries: of a folder from before the job: name -> node.
    """

    folder: bool
    start: Path | bytes | None = None
    entries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A change that a power cut may take back, or a sync.

    Attributes:
        kind: ``entry``, ``bytes`` or ``sync``.
        about: what it is for people.
        entries: (folder, name, node or None), all of them or none.
        node: whose bytes change, or that is synced.
        parts: (offset, bytes written there, or None: the file ends there), one after the other.
    """

    kind: str
    about: str
    entries: tuple[tuple[int, str, int | None], ...] = ()
    node: int = -1
    parts: tuple[tuple[int, bytes | None], ...] = ()

    def covers(self, other: "Step") -> bool:
        """Whether this sync puts another step on disk."""
        if self.kind != "sync":
            return False
        return other.node == self.node or any(folder == self.node for folder, _, _ in other.entries)


class Trace:
    """The steps of one run of a job, and the tree from which it started."""

    def __init__(self, folder: Path, ignored: tuple[str, ...] = ("results/logs", "results/.locks")) -> None:
        """Note the tree as it is before the run; what is on disk then stays there.

        Args:
            folder: in which the job runs.
            ignored: what lies below these is left out.
        """
        self.folder, self.ignored = folder, ignored
        self.nodes: list[Node] = []
        self.steps: list[Step] = []
        self.root = self._known(folder)
        self.now = {number: dict(node.entries) for number, node in enumerate(self.nodes) if node.folder}

    def _known(self, path: Path) -> int:
        number = len(self.nodes)
        # What state and unfinished files hold now will not lie there later.
        changes = "results/.state/" in path.as_posix() or path.name.startswith(".")
        start = None if path.is_dir() else path.read_bytes() if changes else path
        self.nodes.append(Node(path.is_dir(), start))
        if path.is_dir():
            for found in sorted(path.iterdir()):
                if not self._ignores(found):
                    self.nodes[number].entries[found.name] = self._known(found)
        return number

    def _ignores(self, path: Path) -> bool:
        relative = path.relative_to(self.folder).as_posix()
        return any(relative == name or relative.startswith(f"{name}/") for name in self.ignored)

    def _new(self, folder: bool) -> int:
        self.nodes.append(Node(folder))
        if folder:
            self.now[len(self.nodes) - 1] = {}
        return len(self.nodes) - 1

    def _find(self, path: str) -> tuple[int, str, int | None]:
        """Return folder, name and node of a path as things are."""
        at = self.root
        *way, name = Path(path).relative_to(self.folder).parts or ("",)
        for part in way:
            at = self.now[at][part]
        return at, name, self.now[at].get(name) if name else self.root

    def _enter(self, about: str, *entries: tuple[int, str, int | None]) -> None:
        for folder, name, node in entries:
            if node is None:
                self.now[folder].pop(name, None)
            else:
                self.now[folder][name] = node
        self.steps.append(Step("entry", about, entries))

    def _change(self, about: str, node: int, part: tuple[int, bytes | None]) -> None:
        """Note written bytes; all that a temporary file is given between two syncs is one step."""
        last = self.steps[-1] if self.steps else None
        if last and last.kind == "bytes" and last.node == node and about.endswith(".part"):
            self.steps[-1] = Step("bytes", last.about, node=node, parts=(*last.parts, part))
        else:
            self.steps.append(Step("bytes", about, node=node, parts=(part,)))

    def read(self, log: Path) -> None:
        """Take the steps from the shim's log, which must hold the data written."""
        files: dict[int, int] = {}  # inode -> node, of open files: an inode is used again once its file is gone
        for op in read_log(log):
            if self._ignores(Path(op.second or op.path)):
                continue
            about = op.text.replace(f"{self.folder}/", "")
            if op.name == "open":
                folder, name, node = self._find(op.path)
                if op.flags & 1:
                    node = self._new(False)
                    self._enter(f"make {about.removeprefix('open ')}", (folder, name, node))
                elif op.flags & 2:
                    self._change(f"empty {about.removeprefix('open ')}", node, (0, None))
                files[op.inode] = node
            elif op.name == "write":
                self._change(about, files[op.inode], (op.offset, op.data))
            elif op.name == "truncate":
                self._change(about, files[op.inode] if op.inode in files else self._find(op.path)[2], (op.offset, None))
            elif op.name == "fsync":
                node = self._find(op.path)[2] if " (deleted)" not in op.path else None
                if node is None or not self.nodes[node].folder:
                    node = files.get(op.inode, node)
                self.steps.append(Step("sync", about, node=node))
            elif op.name == "mkdir":
                folder, name, _ = self._find(op.path)
                self._enter(about, (folder, name, self._new(True)))
            elif op.name in ("unlink", "rmdir"):
                folder, name, _ = self._find(op.path)
                self._enter(about, (folder, name, None))
            elif op.name == "rename":
                (folder, name, node), (to, new, other) = self._find(op.path), self._find(op.second)
                left = other if op.flags & RENAME_EXCHANGE else None
                self._enter(about, (folder, name, left), (to, new, node))
            elif op.name not in ("close", "flock"):
                raise NotImplementedError(op.text)

    # -----------------------------------------------------------------------------------------------------------------
    # states

    def loose(self, cut: int) -> list[int]:
        """Return the steps before a cut that no sync before it covers."""
        done = self.steps[:cut]
        return [
            i
            for i, step in enumerate(done)
            if step.kind != "sync" and not any(later.covers(step) for later in done[i + 1 :])
        ]

    def state(self, cut: int, lost: frozenset[int], spoilt: str = "") -> dict[str, bytes | Path | None]:
        """Return the tree after a cut: path -> bytes, or where they lie; None for a folder.

        Args:
            cut: how many steps were asked for.
            lost: those that are not on disk.
            spoilt: ``zeros``: bytes that no sync covers are zeros; ``torn``: of the last such write one half is there.
        """
        entries = {number: dict(node.entries) for number, node in enumerate(self.nodes) if node.folder}
        data: dict[int, bytearray] = {}
        loose = set(self.loose(cut)) if spoilt else set()
        last = max((i for i in loose if self.steps[i].kind == "bytes"), default=-1)
        for i, step in enumerate(self.steps[:cut]):
            if i in lost:
                continue
            if step.kind == "entry":
                for folder, name, node in step.entries:
                    if node is None:
                        entries[folder].pop(name, None)
                    else:
                        entries[folder][name] = node
            elif step.kind == "bytes":
                if step.node not in data:
                    data[step.node] = bytearray(self._bytes(step.node))
                parts = step.parts[: (len(step.parts) + 1) // 2] if spoilt == "torn" and i == last else step.parts
                for part in parts:
                    _put(data[step.node], *part, "zeros" if spoilt == "zeros" and i in loose else "")
                if spoilt == "torn" and i == last and len(parts) == 1 and parts[0][1]:
                    del data[step.node][parts[0][0] + len(parts[0][1]) // 2 :]
        found: dict[str, bytes | Path | None] = {}

        def walk(number: int, path: str) -> None:
            for name, node in entries[number].items():
                place = f"{path}{name}"
                if self.nodes[node].folder:
                    found[place] = None
                    walk(node, f"{place}/")
                else:
                    start = self.nodes[node].start
                    found[place] = bytes(data[node]) if node in data else b"" if start is None else start

        walk(self.root, "")
        return found

    def content(self, cut: int, path: str) -> bytes:
        """Return the bytes of a file as the job sees them after so many steps."""
        found = self.state(cut, frozenset())[path]
        return found.read_bytes() if isinstance(found, Path) else found or b""

    def _bytes(self, node: int) -> bytes:
        start = self.nodes[node].start
        return start.read_bytes() if isinstance(start, Path) else start or b""

    def losses(self, cut: int, rng: np.random.Generator | None = None, more: int = 0) -> Iterator[tuple]:
        """Yield (what is lost, how what stays is spoilt) of the states to look at after a cut.

        All that is loose is lost, or nothing, or each step alone, or all but it; all bytes; all names; names that came;
        names that went; bytes are zeros, or torn; and ``more`` sets drawn at random.
        """
        loose = self.loose(cut)
        every = frozenset(loose)
        yield every, ""
        yield frozenset(), ""
        yield frozenset(), "zeros"
        yield frozenset(), "torn"
        for kind in ("bytes", "entry"):
            mine = frozenset(i for i in loose if self.steps[i].kind == kind)
            yield mine, ""
            yield every - mine, ""
        gone = frozenset(i for i in loose if self._only_removes(self.steps[i]))
        yield gone, ""
        yield every - gone, ""
        for i in loose:
            yield frozenset([i]), ""
            yield every - {i}, ""
        for _ in range(more if rng is not None and loose else 0):
            yield frozenset(i for i in loose if rng.random() < rng.choice([0.2, 0.5, 0.8])), ""

    @staticmethod
    def _only_removes(step: Step) -> bool:
        return step.kind == "entry" and all(node is None for _, _, node in step.entries)

    def states(self, rng: np.random.Generator | None = None, more: int = 0) -> Iterator["State"]:
        """Yield every different state that a cut after any step may leave, of those :meth:`losses` tells of."""
        seen = set()
        for cut in range(len(self.steps) + 1):
            if cut and self.steps[cut - 1].kind == "sync" and cut < len(self.steps):
                continue  # fewer states than before it, all of them among those of the next cut
            for lost, spoilt in self.losses(cut, rng, more):
                found = self.state(cut, lost, spoilt)
                key = _digest(found)
                if (key, cut == len(self.steps)) not in seen:
                    seen.add((key, cut == len(self.steps)))
                    yield State(self, cut, lost, spoilt, found)


def _put(file: bytearray, offset: int, data: bytes | None, spoilt: str) -> None:
    if data is None:
        del file[offset:]
        file.extend(bytes(offset - len(file)))
        return
    file.extend(bytes(max(offset - len(file), 0)))
    file[offset : offset + len(data)] = bytes(len(data)) if spoilt else data


def _digest(found: dict) -> str:
    total = hashlib.sha256()
    for path, value in sorted(found.items()):
        if isinstance(value, bytes):  # nobody reads what a temporary file holds
            value = "temporary" if path.endswith(".part") else hashlib.sha256(value).hexdigest()
        total.update(f"{path} {value}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True)
class State:
    """A disk after a power cut.

    Attributes:
        trace: of the run.
        cut, lost, spoilt: how it came about.
        files: path -> bytes or where they lie; None for a folder.
    """

    trace: Trace
    cut: int
    lost: frozenset[int]
    spoilt: str
    files: dict[str, bytes | Path | None]

    @property
    def ended(self) -> bool:
        """Whether the job had ended."""
        return self.cut == len(self.trace.steps)

    def __str__(self) -> str:
        last = self.trace.steps[self.cut - 1].about if self.cut else "nothing"
        names = [f"{i + 1} {self.trace.steps[i].about}" for i in sorted(self.lost)]
        spoilt = f", what no sync covers is {self.spoilt}" if self.spoilt else ""
        return f"power cut after step {self.cut} of {len(self.trace.steps)} ({last}){spoilt}; lost: {names}"

    def write(self, folder: Path) -> None:
        """Make a folder be like this."""
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for path, value in self.files.items():
            target = folder / path
            if value is None:
                target.mkdir()
            elif isinstance(value, bytes):
                target.write_bytes(value)
            else:
                os.link(value, target)

    def kept(self) -> dict[str, list[bytes]]:
        """Return file of the job's state -> its versions of which one must be there: the last on disk, and later ones.

        A version is on disk once its folder was synced after the rename that brought it. What the job has begun to
        remove, or to put aside, is left out.
        """
        versions: dict[str, list[bytes]] = {}
        loose: dict[str, int] = {}
        firm: set[str] = set()
        for i, step in enumerate(self.trace.steps[: self.cut]):
            match = re.fullmatch(r"rename (\S+) -> (results/\.state/\S+)", step.about)
            if match and self.trace.nodes[step.entries[1][2]].folder:  # put aside
                for path in [path for path in versions if path.startswith(f"{match[1]}/")]:
                    del versions[path]
            elif match:
                versions.setdefault(match[2], []).append(self.trace.content(i + 1, match[2]))
                loose[match[2]] = i
            elif step.about.startswith("unlink "):
                versions.pop(step.about.removeprefix("unlink "), None)
            for path in [path for path, at in loose.items() if step.covers(self.trace.steps[at])]:
                versions[path] = versions.get(path, [])[-1:]
                firm.add(path)
                del loose[path]
        return {path: found for path, found in versions.items() if path in firm and found}

    def examine(self, bench: Bench, folder: Path) -> "Survival":
        """Look at this disk as a user would, in a folder, and run the job there."""
        self.write(folder)
        wrong = [f"{path}: committed, and lost" for path, old in self.kept().items() if self.files.get(path) not in old]
        there = [path for path in bench.outputs if (folder / path).exists()]
        for path in there:
            (finding,) = integrity.check([folder / path])
            right = signature(folder / path) == bench.expected[path]
            if finding.state == integrity.WHOLE and not right:
                wrong.append(f"{path}: looks whole, and is not what was made")
            if finding.state == integrity.BAD and path.endswith(".h5"):
                wrong.append(f"{path}: under its name, and bad ({finding.reason})")
        if self.ended and len(there) < len(bench.outputs):
            wrong.append("the job had ended well, and its output is gone")
        done = bench.run(folder)
        wrong += bench.judge_clean(done, folder)
        said = [line for line in done.said.splitlines() if line.startswith("lossatlas: ")]
        log = next((folder / "results/logs").rglob("*.log"), None)
        resumed = log is not None and "resume" in log.read_text(errors="replace")
        return Survival(len(there) == len(bench.outputs), resumed, said, wrong)


@dataclass(frozen=True)
class Survival:
    """What came of a power cut.

    Attributes:
        made: the job's output was there.
        resumed: the job went on from what it had kept.
        said: lines for the user.
        wrong: what should not be.
    """

    made: bool
    resumed: bool
    said: list[str]
    wrong: list[str]


def traced(bench: Bench, scratch: Path, resumed: int = 0) -> Trace:
    """Return the steps of an undisturbed run of a job, or of one that goes on after a kill at an operation.

    The folder is left as the run leaves it.
    """
    bench.remake()
    if resumed:
        bench.run(fault=FAULTS["kill"], k=resumed)
        shutil.rmtree(bench.folder / "results/logs")
    trace, log = Trace(bench.folder), scratch / "log"
    done = bench.run(log=log, data=True, prepared=True)
    assert bench.judge_clean(done) == [], done.said
    trace.read(log)
    log.unlink()
    return trace
