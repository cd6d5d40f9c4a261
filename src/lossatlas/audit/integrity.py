"""Whether files are what was written: their checksums, their places, and the sources of gathered clouds."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py

from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.record import provenance_file
from lossatlas.study import subjects

WHOLE, UNSEALED, BAD = "whole", "no checksum", "BAD"
PRODUCTS = ("csv", "json", "png", "pdf", "svg", "mp4", "gif", "html", "vtp")
"""Suffixes of files whose checksum stands in the record beside them."""

_ID = re.compile(r"(?P<label>[\w.-]+)-(?P<hash>[0-9a-f]{10})")
_GALLERY = ("figures", "all")


@dataclass(frozen=True)
class Finding:
    """What was found about one file.

    Attributes:
        path: the file.
        state: :data:`WHOLE`, :data:`UNSEALED` (nothing to compare with) or :data:`BAD`.
        reason: what is wrong.
    """

    path: Path
    state: str
    reason: str = ""

    @property
    def remedy(self) -> str:
        """Return what a user can do about it."""
        if self.state == UNSEALED:
            return "made again, it gets one"
        place = self.path.parent if _ID.fullmatch(self.path.parent.name) else self.path
        return f"delete {place}, then `dvc pull` it or run its snakemake target again"


class Checker:
    """Checks files; each once, however many clouds refer to it."""

    def __init__(self) -> None:
        """Start knowing nothing."""
        self._known: dict[Path, Finding] = {}

    def check(self, path: Path) -> Finding:
        """Check one file: HDF5 by its seal, anything else by the record beside it."""
        key = path.resolve()
        if key not in self._known:
            self._known[key] = self._hdf5(path) if path.suffix == ".h5" else self._product(path)
        return self._known[key]

    def _hdf5(self, path: Path) -> Finding:
        sealed = True
        try:
            broken = checksum.broken_seal(path)
        except checksum.NoSealError:
            sealed, broken = False, None
        except OSError as error:
            broken = f"not readable ({error.strerror})"
        if broken:
            return Finding(path, BAD, broken)
        try:
            with h5py.File(path, "r") as file:
                wrong = self._misplaced(path, json.loads(file.attrs["provenance"])) or self._sources(path, file)
                if not sealed and checksum.CONTENT in file.attrs:
                    wrong = "its seal is gone: another programme has written it"
        except (OSError, RuntimeError) as error:
            wrong = f"not a readable HDF5 file, truncated or corrupt ({str(error).splitlines()[0]})"
        except (KeyError, ValueError):
            wrong = "no provenance: lossatlas did not write it"
        if wrong:
            return Finding(path, BAD, wrong)
        return Finding(path, WHOLE) if sealed else Finding(path, UNSEALED, "an earlier version wrote it")

    def _misplaced(self, path: Path, provenance: Mapping) -> str | None:
        """Compare an artefact's provenance with the name of its folder, where it lies in one."""
        place = _ID.fullmatch(path.parent.name)
        kind = path.parent.parent.name
        if place is None or kind not in subjects.steps() or "hash" not in provenance:
            return None
        held = tuple(str(provenance.get(key)) for key in ("kind", "label", "hash"))
        if held == (kind, place["label"], place["hash"]):
            return None
        return f"another artefact lies in its place: {held[0]}/{held[1]}-{held[2]}"

    def _sources(self, path: Path, file: h5py.File) -> str | None:
        """Check the files that a gathered cloud refers to: there, whole, and with the content it was gathered from."""
        if checksum.SOURCES in file.attrs:
            gathered = {entry["file"]: entry["content"] for entry in json.loads(file.attrs[checksum.SOURCES])}
        else:
            gathered = dict.fromkeys(_virtual_files(file))
        for name, content in sorted(gathered.items()):
            source = Path(os.path.normpath(path.parent / name))
            if not source.exists():
                return f"its source {source} is missing"
            found = self.check(source)
            if found.state == BAD:
                return f"its source {source} is bad ({found.reason})"
            with h5py.File(source, "r") as opened:
                if content and checksum.stored_content(opened) != content:
                    return f"its source {source} is not the one it was gathered from"
        return None

    def _product(self, path: Path) -> Finding:
        record = provenance_file(path)
        try:
            text = record.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Finding(path, UNSEALED, "no record lies beside it")
        except (OSError, UnicodeDecodeError):
            text = ""
        broken = checksum.broken_record(text)
        if path == record:
            return self._record(path, broken, text)
        if broken and _is_old_record(text):
            return Finding(path, UNSEALED, "an earlier version wrote it")
        if broken:
            return Finding(path, BAD, f"nothing vouches for it: its record {record} is bad ({broken})")
        digests = json.loads(text)[checksum.FILES]
        if path.name not in digests:
            return Finding(path, UNSEALED, f"its record {record} does not name it")
        if checksum.file_digest(path) != digests[path.name]:
            return Finding(path, BAD, "its bytes are not those that were written (SHA-256 differs)")
        return Finding(path, WHOLE)

    def _record(self, path: Path, broken: str | None, text: str) -> Finding:
        if broken:
            old = _is_old_record(text)
            return Finding(path, UNSEALED, "an earlier version wrote it") if old else Finding(path, BAD, broken)
        record = json.loads(text)
        wrong = self._misplaced(path, record)
        strangers = [name for name in record[checksum.FILES] if provenance_file(path.parent / name) != path]
        missing = [name for name in record[checksum.FILES] if not (path.parent / name).exists()]
        if strangers:
            wrong = f"another record lies in its place: that of {strangers[0]}"
        elif missing:
            wrong = f"{missing[0]}, which it describes, is missing"
        return Finding(path, BAD, wrong) if wrong else Finding(path, WHOLE)


def _virtual_files(file: h5py.File) -> Iterator[str]:
    """Yield the names of the files behind the virtual datasets of the root group."""
    for item in file.values():
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            made = item.id.get_create_plist()
            yield from (made.get_virtual_filename(i) for i in range(made.get_virtual_count()))


def _is_old_record(text: str) -> bool:
    """Whether a record has no checksums because its version wrote none: whole JSON without a trace of them."""
    try:
        record = json.loads(text)
    except ValueError:
        return False
    return isinstance(record, dict) and "hash" in record and "_sha256" not in text


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
    """Whether a file is hidden (a job's state, a file being written) or of the gallery, a copy of what is checked."""
    inside = file.relative_to(below).parts
    parts = (*below.parts[-2:], *inside)
    return any(part.startswith(".") for part in inside) or _GALLERY in pairwise(parts)


def check(paths: list[Path]) -> list[Finding]:
    """Check files and all files below folders, each once, in order."""
    checker = Checker()
    files = dict.fromkeys(file for path in paths for file in files_in(path))
    return [checker.check(file) for file in files]
