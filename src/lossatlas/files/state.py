"""State: what an unfinished job keeps to go on from, and what it believes of what it finds.

Every file of it carries its size, its SHA-256 and the stretches of work in it
(:func:`lossatlas.files.machine.segment`). A file that is not what was written, or that another class of machine or
other versions of numerical libraries wrote, is not gone on from: it is set aside, a line says so, and the unit starts
again. So a result has the bits of one class, unless the environment variable ``LOSSATLAS_RESUME`` is ``any``: then the
job goes on, and its record has both stretches.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lossatlas import preemption
from lossatlas.errors import LossatlasError
from lossatlas.files.disk import denied, owner, say, sync_folder
from lossatlas.files.hdf5 import atomic
from lossatlas.files.provenance import SEGMENTS, Provenance

T = TypeVar("T")

RESUME = "LOSSATLAS_RESUME"
"""Environment variable: ``same`` (the default) goes on from state of the same class and versions, ``any`` from any."""

COMPARED = ("torch", "numpy", "scipy")
"""Packages with which unfinished work is computed; others come in when its output is whole."""

JOURNAL = ".f32"
"""Ending of journals, of whose rows a state file counts the first so many; removed after it."""

UNREADABLE = (errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.EISDIR, errno.ENOTDIR)
"""Errors of reading that will be the same the next time: what is there is lost."""

_HEAD = b"lossatlas state 1\nsha256 %b\nbytes %12d %20d\n"
_HEAD_BYTES = len(_HEAD % (b"0" * 64, 0, 0))


class DamagedError(Exception):
    """What a job left is not what it wrote."""


def unpack(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return what a state file says of itself (``name``, ``artefact``, ``segments``) and what it keeps.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: it is closed to this user.
        OSError: the disk, or the network it hangs on, fails for now.
        DamagedError: it is not what was written.
    """
    try:
        with open(path, "rb") as file:
            head, size = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
            words = head.split()
            if not size:
                raise DamagedError("empty")
            if len(words) != 8 or not (words[6].isdigit() and words[7].isdigit()):
                raise DamagedError("does not begin as state does (cut off, or of an earlier version of lossatlas)")
            lengths = int(words[6]), int(words[7])
            if head != _HEAD % (words[4], *lengths):
                raise DamagedError("its first lines are damaged")
            if size != _HEAD_BYTES + sum(lengths):
                raise DamagedError(f"{size} bytes, written with {_HEAD_BYTES + sum(lengths)}")
            about, data = file.read(lengths[0]), file.read(lengths[1])
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        raise DamagedError(f"cannot be read ({error.strerror})") from error
    if _digest(about, data) != words[4]:
        raise DamagedError("its bytes are not those that were written (SHA-256 differs)")
    return json.loads(about), data


def _digest(about: bytes, data: bytes | memoryview) -> bytes:
    total = hashlib.sha256(about)
    total.update(data)
    return total.hexdigest().encode()


class State:
    """The one owner of the folder of an unfinished job."""

    def __init__(self, folder: Path, provenance: Mapping[str, Any] | None = None) -> None:
        """Take the folder, which need not exist.

        Args:
            folder: of the job.
            provenance: of its output. Under ``segments`` it lists stretches of work, the present one last; those in the
                state that the job goes on from are put in front. Without that key no class is compared.
        """
        self.folder, self._name = folder, ""
        self._aside = self._whole = folder
        self._stretches = _Stretches({} if provenance is None else provenance)
        preemption.keep_state()

    def within(self, name: str) -> "State":
        """Return the state of one unit of a job that has several, each set aside by itself, below the same folder."""
        part = State(self.folder / name)
        part._name = f"{self._name}{name}/"
        part._aside = self._aside.with_name(f"{self._aside.name}.{name}")
        part._whole, part._stretches = self._whole, self._stretches
        return part

    @property
    def one_of_several(self) -> bool:
        """Whether this is the state of one unit of a job."""
        return bool(self._name)

    def read(self, name: str) -> bytes | None:
        """Return what was written under a name; None where nothing was, or where it is set aside, which a line says.

        Raises:
            LossatlasError: the folder is closed to this user, or ``LOSSATLAS_RESUME`` has a wrong value.
        """
        path, goes_on = self.folder / name, _resume()
        try:
            if self.folder.exists() and not os.access(self.folder, os.W_OK | os.X_OK):
                raise denied(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), self.folder)
            about, data = unpack(path)
            if about["name"] != self._name + name or not self._stretches.of(about["artefact"]):
                raise DamagedError(f"belongs to another unit ({about['artefact']} {about['name']})")
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise denied(error, path) from error
        except DamagedError as error:
            self.set_aside(name, str(error))
            return None
        other = self._stretches.other(about[SEGMENTS])
        if other and goes_on == "same":
            # All units at once: whoever wrote one wrote the others, and one line is enough.
            self._rename(self._whole, self._whole, path, f"{other} ({RESUME}=any would go on with it)", "other")
            return None
        if other:
            self._stretches.say(f"{self._whole}: {other}; goes on with it, as {RESUME} says, and records both")
        self._stretches.take(path, about[SEGMENTS])
        return data

    def load(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        """Return what ``parse`` makes of what :meth:`read` returns, or None.

        What it cannot parse is set aside, too: the bytes are those that were written, by a version that kept something
        else. A :class:`DamagedError` of ``parse`` says that what belongs to the file is not there.
        """
        data = self.read(name)
        if data is None:
            return None
        try:
            return parse(data)
        except DamagedError as error:
            self.set_aside(name, str(error))
        except (LossatlasError, OSError, MemoryError):
            raise
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            self.set_aside(name, f"another version of lossatlas wrote it ({type(error).__name__}: {first[:200]})")
        return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Put bytes on disk under a name, whole or not at all, with the stretches of work that are in them.

        Raises:
            Preempted: they are there, and the job was asked to end.
        """
        path = self.folder / name
        about = {"name": self._name + name, "artefact": self._stretches.artefact, SEGMENTS: self._stretches.all()}
        text = f"{json.dumps(about)}\n".encode()  # a line, so that `head -n 4` shows it
        with atomic(path) as part, open(part, "wb") as file:
            file.write(_HEAD % (_digest(text, data), len(text), len(data)))
            file.write(text)
            file.write(data)
        preemption.leave()

    def set_aside(self, name: str, why: str) -> None:
        """Rename the folder to one beside the job's, so that the unit starts again, and say so in one line.

        Args:
            name: of the file for whose sake.
            why: what is wrong with it.
        """
        self._rename(self.folder, self._aside, self.folder / name, why, "damaged")

    def _rename(self, folder: Path, to: Path, path: Path, why: str, sort: str) -> None:
        """Rename a folder: ``damaged`` stays until somebody deletes it, ``other`` until :meth:`remove`."""
        names = (to.with_name(f"{to.name}.{sort}-{n}") for n in range(1, 1 << 30))
        target = next(name for name in names if not os.path.lexists(name))
        try:
            os.rename(folder, target)
        except PermissionError as error:
            raise denied(error, folder) from error
        sync_folder(target.parent)
        self._stretches.drop(self.folder)
        say(f"{path}: {why}; set aside as {target}, what it held is computed again")

    def remove(self) -> None:
        """Remove the folder of a job whose output is whole and on disk, and what was set aside as another machine's.

        What cannot be removed takes up room and does no harm: a line says so.
        """
        beside = self._aside.parent
        folders = [self.folder]
        if beside.exists():
            folders += [path for path in beside.iterdir() if path.name.startswith(f"{self._aside.name}.other-")]
        for folder in folders:
            try:
                # Journals last: a kill in between must not leave a state file without the rows that it counts.
                for path in sorted(folder.rglob("*"), key=lambda path: path.suffix == JOURNAL):
                    if not path.is_dir():
                        path.unlink(missing_ok=True)
                if folder.exists():
                    shutil.rmtree(folder)
            except OSError as error:
                say(f"{folder}: the state of a finished job stays ({error.strerror}; of {owner(folder)}); delete it")


def _resume() -> str:
    value = os.environ.get(RESUME) or "same"
    if value not in ("same", "any"):
        raise LossatlasError(f"{RESUME}: {value!r} is neither same nor any; correct or unset it")
    return value


class _Stretches:
    """The stretches of work in a job's provenance: those of the state it goes on from, and the present one, last."""

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        self.provenance = provenance
        self.artefact = str(provenance.get("hash", ""))
        self._taken: dict[Path, list[dict]] = {}
        self._said: set[str] = set()

    def of(self, artefact: str) -> bool:
        """Whether state of an artefact may be this job's; one that does not know its artefact takes any."""
        return not artefact or not self.artefact or artefact == self.artefact

    def all(self) -> list[dict]:
        """Return all of them, their seconds as they are now."""
        if isinstance(self.provenance, Provenance):
            return self.provenance.stretches()
        return list(self.provenance.get(SEGMENTS, []))

    def other(self, earlier: list[dict]) -> str:
        """Return what tells earlier stretches from the present one, the class of machine or versions; "" = nothing."""
        present = self.all()[-1:]
        for then in earlier:
            for now in present:
                if then["class"] != now["class"]:
                    return f"computed on {then['class']}, while this is {now['class']}"
                versions = [each.get("versions", {}) for each in (then, now)]
                for name in COMPARED:
                    old, new = (found.get(name, "none") for found in versions)
                    if old != new:
                        return f"computed with {name} {old}, while this is {new}"
        return ""

    def take(self, path: Path, segments: list[dict]) -> None:
        """Put the stretches of a file in front of the present one."""
        self._taken[path] = segments
        self._arrange()

    def drop(self, folder: Path) -> None:
        """Leave out the stretches of the files of a folder that was set aside."""
        self._taken = {path: found for path, found in self._taken.items() if folder not in path.parents}
        self._arrange()

    def _arrange(self) -> None:
        present = self.all()[-1:]
        if not present:
            return
        found: dict[str, dict] = {}
        for segment in (one for segments in self._taken.values() for one in segments):
            plain = _unclocked(segment)
            if plain != _unclocked(present[0]) and segment.get("seconds", 0) >= found.get(plain, {}).get("seconds", 0):
                found[plain] = segment
        self.provenance[SEGMENTS][:-1] = sorted(found.values(), key=lambda segment: segment.get("started", ""))

    def say(self, message: str) -> None:
        """Say a line, once."""
        if message not in self._said:
            say(message)
        self._said.add(message)


def _unclocked(segment: Mapping[str, Any]) -> str:
    """Return a segment as text without the seconds, which grow from one commit to the next."""
    return json.dumps({key: value for key, value in segment.items() if key != "seconds"}, sort_keys=True)
