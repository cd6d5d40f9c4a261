"""What a gallery shows, written into it as ``index.json``: the next one keeps from it the studies it does not make."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossatlas.files import checksum
from lossatlas.files.disk import say

RECORD = "index.json"
"""The gallery's record: its manifest with paths inside it, and the SHA-256 of every file."""

STAMP = ".built"
"""Digest of the record; the file that Snakemake knows, and removes before it makes the gallery again."""

FACTS = ("preset", "commit", "versions", "date")
"""Of a manifest: what every study says of the run that made it."""

log = logging.getLogger(__name__)


def write(folder: Path, manifest: Mapping[str, Any], studies: Sequence[Mapping[str, Any]]) -> None:
    """Write record and stamp of a gallery whose other files are finished.

    Args:
        folder: the gallery.
        manifest: what it was built from.
        studies: those shown, as in the manifest, but for their files: of figures and tables ``files`` (suffix -> path),
            of claims ``claims`` and ``statements``, all relative to the folder.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = {"kind": "gallery", **manifest, "studies": list(studies)}
    text = checksum.record_text(about, {str(path.relative_to(folder)): checksum.file_digest(path) for path in files})
    (folder / RECORD).write_text(text, encoding="utf-8")
    (folder / STAMP).write_text(json.loads(text)[checksum.RECORD] + "\n", encoding="utf-8")


def kept(folder: Path, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the studies that a finished gallery shows besides those named, with the run that made them.

    One of which a file is missing or is not what was written is left out, and one line says so. Paths are those of the
    files in the folder.
    """
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        text = f"not readable ({error})"
    broken = checksum.broken_record(text)
    if broken:
        say(f"{folder / RECORD}: {broken}; the gallery shows the configured studies only")
        return
    record = json.loads(text)
    for study in record["studies"]:
        if study["name"] in names:
            continue
        wrong = _wrong(folder, study, record[checksum.FILES])
        if wrong:
            say(f"study {study['name']} leaves the gallery: {wrong}; its own run of the gallery brings it back")
            continue
        log.info("study %s stays as it was", study["name"])
        yield _placed(study, folder)


def _wrong(folder: Path, study: Mapping[str, Any], digests: Mapping[str, str]) -> str | None:
    """Return what is wrong with the files of a study in a gallery."""
    entries = [*study["figures"], *study["tables"]]
    names = [path for entry in entries for path in entry["files"].values()]
    for name in (*names, *filter(None, [study["claims"], study.get("statements")])):
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if checksum.file_digest(folder / name) != digests.get(name):
            return f"{folder / name} is not what was written (SHA-256 differs)"
    return None


def _placed(study: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a study of the record with its files as paths that can be opened from here."""
    found = dict(study)
    for part in ("figures", "tables"):
        found[part] = [
            {**entry, **{kind: str(folder / path) for kind, path in entry["files"].items()}} for entry in study[part]
        ]
    for part in ("claims", "statements"):
        found[part] = str(folder / study[part]) if study.get(part) else None
    return found
