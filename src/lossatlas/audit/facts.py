"""What one file says of itself, and whether it is whole: all that can be told without looking at another artefact."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py

from lossatlas.files import checksum
from lossatlas.files.provenance import INPUTS, SEGMENTS
from lossatlas.files.record import provenance_file
from lossatlas.files.sources import named
from lossatlas.numerics import PORTABLE
from lossatlas.study import subjects

FOLDER = re.compile(r"(?P<label>[\w.-]+)-(?P<hash>[0-9a-f]{10})")
"""Name of an artefact's folder."""

OLD = "an earlier version wrote it"


@dataclass(frozen=True)
class Segment:
    """A stretch of a job, as far as it decides which bits come out.

    Attributes:
        kernels: its class of machine (:func:`lossatlas.files.machine.kernel_class`).
        gpu: whether it ran on one.
        versions: package -> version.
    """

    kernels: str
    gpu: bool
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """What one file says of itself.

    Attributes:
        path: the file.
        broken: why it is not what was written; "" where nothing says so.
        unsealed: why there is nothing to compare it with; "" where there is.
        kind: folder below ``results/`` of an artefact, "" of anything else.
        content: its content digest, "" where it does not carry one.
        inputs: path in the tree of results -> content digest of each file it was made from; empty if not recorded.
        sources: of a gathered cloud, file relative to its folder -> content digest, "" if not recorded.
        segments: stretches of the job that made it; empty if not recorded.
    """

    path: Path
    broken: str = ""
    unsealed: str = ""
    kind: str = ""
    content: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()


def read(path: Path) -> Facts:
    """Return the facts of a file, each of its bytes read: HDF5 by its seal, anything else by the record beside it."""
    return _hdf5(path, whole=True) if path.suffix == ".h5" else _product(path)


def glance(path: Path) -> Facts:
    """Return the facts of a file without a look at whether it is whole: what it holds by its own word."""
    if path.suffix == ".h5":
        return _hdf5(path, whole=False)
    try:
        content, record = checksum.file_digest(path), json.loads(provenance_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Facts(path, broken=f"not readable ({error})")
    return replace(_said(path, record if isinstance(record, dict) else {}), content=content)


def results_folder(path: Path) -> Path:
    """Return the folder ``results`` that a file lies in by its place, whatever that folder is called, absolute."""
    folder = Path(os.path.abspath(path)).parent
    if FOLDER.fullmatch(folder.name) and folder.parent.name in subjects.steps():
        return folder.parent.parent
    if folder.parent.name in ("figures", "tables"):
        return folder.parent.parent
    return folder.parent if folder.name == "claims" else folder


def in_tree(results: Path, name: str) -> Path:
    """Return the file of a tree that a record names, such as ``results/runs/<id>/points.h5``."""
    return results.joinpath(*Path(name).parts[1:])


def kernels(segment: Mapping[str, Any]) -> str:
    """Return the class of machine of a recorded stretch, with the caps of its kernels that the class does not say."""
    found, environment = str(segment["class"]), segment.get("environment", {})
    if found == "portable":  # all caps were in force; an earlier version may have known fewer
        caps = {
            name: environment.get(name, "") for name, value in PORTABLE.items() if environment.get(name, "") != value
        }
    else:
        caps = {name: value for name, value in environment.items() if not name.endswith("_THREADS")}
    return " ".join([found, *(f"{name}={value}" for name, value in caps.items())])


def _said(path: Path, provenance: Mapping[str, Any]) -> Facts:
    """Return what a provenance says, as far as it decides about bits."""
    kind = provenance.get("kind")
    segments = tuple(
        Segment(kernels(one), one.get("gpu") is not None, dict(one.get("versions", {})))
        for one in provenance.get(SEGMENTS, ())
        if "class" in one
    )
    inputs = dict(provenance.get(INPUTS, {}))
    return Facts(path, kind=kind if kind in subjects.steps() else "", inputs=inputs, segments=segments)


def _hdf5(path: Path, whole: bool) -> Facts:
    sealed = True
    try:
        broken = checksum.broken_seal(path) if whole else None
    except checksum.NoSealError:
        sealed, broken = False, None
    except OSError as error:
        broken = f"not readable ({error.strerror})"
    if broken:
        return Facts(path, broken=broken)
    try:
        with h5py.File(path, "r") as file:
            provenance = json.loads(file.attrs["provenance"])
            found = replace(
                _said(path, provenance), content=str(file.attrs.get(checksum.CONTENT, "")), sources=_sources(file)
            )
    except (OSError, RuntimeError) as error:
        return Facts(path, broken=f"not a readable HDF5 file, truncated or corrupt ({str(error).splitlines()[0]})")
    except (KeyError, ValueError, AttributeError, TypeError):
        return Facts(path, broken="no provenance: lossatlas did not write it")
    if not sealed and found.content:
        return replace(found, broken="its seal is gone: another programme has written it")
    return replace(found, broken=_misplaced(path, provenance), unsealed="" if sealed else OLD)


def _misplaced(path: Path, provenance: Mapping) -> str:
    """Compare an artefact's provenance with the name of its folder, where it lies in one; return what is wrong."""
    place = FOLDER.fullmatch(path.parent.name)
    kind = path.parent.parent.name
    if place is None or kind not in subjects.steps() or "hash" not in provenance:
        return ""
    held = tuple(str(provenance.get(key)) for key in ("kind", "label", "hash"))
    if held == (kind, place["label"], place["hash"]):
        return ""
    return f"another artefact lies in its place: {held[0]}/{held[1]}-{held[2]}"


def _sources(file: h5py.File) -> dict[str, str]:
    if checksum.SOURCES in file.attrs:
        return named(file)
    return dict.fromkeys(_virtual_files(file), "")


def _virtual_files(file: h5py.File) -> Iterator[str]:
    """Yield the names of the files behind the virtual datasets of the root group."""
    for item in file.values():
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            made = item.id.get_create_plist()
            yield from (made.get_virtual_filename(i) for i in range(made.get_virtual_count()))


def _product(path: Path) -> Facts:
    record = provenance_file(path)
    try:
        text = record.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Facts(path, unsealed="no record lies beside it")
    except (OSError, UnicodeDecodeError):
        text = ""
    broken = checksum.broken_record(text)
    if broken and _is_old_record(text):
        return Facts(path, unsealed=OLD)
    if path == record:
        return Facts(path, broken=broken) if broken else _record(path, json.loads(text))
    if broken:
        return Facts(path, broken=f"nothing vouches for it: its record {record} is bad ({broken})")
    content, said = checksum.file_digest(path), json.loads(text)
    found = replace(_said(path, said), content=content)
    if path.name not in said[checksum.FILES]:
        return Facts(path, unsealed=f"its record {record} does not name it")
    if content != said[checksum.FILES][path.name]:
        return replace(found, broken="its bytes are not those that were written (SHA-256 differs)")
    return found


def _record(path: Path, record: Mapping) -> Facts:
    """Return the facts of a record: whether it lies in its place, beside what it describes."""
    if record.get("kind") == "gallery":
        return Facts(path, broken=_gallery(path.parent, record[checksum.FILES]))
    wrong = _misplaced(path, record)
    strangers = [name for name in record[checksum.FILES] if provenance_file(path.parent / name) != path]
    missing = [name for name in record[checksum.FILES] if not (path.parent / name).exists()]
    if strangers:
        wrong = f"another record lies in its place: that of {strangers[0]}"
    elif missing:
        wrong = f"{missing[0]}, which it describes, is missing"
    return replace(_said(path, record), broken=wrong)


def _gallery(folder: Path, digests: Mapping[str, str]) -> str:
    """Return what is wrong with a gallery, whose one record has the digests of all files below its folder."""
    for name, digest in digests.items():
        try:
            found = checksum.file_digest(folder / name)
        except OSError as error:
            return f"{name}, which it describes, is not readable ({error.strerror})"
        if found != digest:
            return f"{name}, which it describes, is not what was written (SHA-256 differs)"
    return ""


def _is_old_record(text: str) -> bool:
    """Whether a record has no checksums because its version wrote none: whole JSON without a trace of them."""
    try:
        record = json.loads(text)
    except ValueError:
        return False
    return isinstance(record, dict) and "hash" in record and "_sha256" not in text
