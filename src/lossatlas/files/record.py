"""Records beside artefacts and products: what made them, and their checksums."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py

from lossatlas.files import checksum
from lossatlas.files.hdf5 import atomic, opened
from lossatlas.files.provenance import dumps


def provenance_file(path: Path) -> Path:
    """Return the JSON file beside an artefact or product that keeps its provenance and checksum: its record."""
    return path.with_name(path.name.split(".")[0] + ".json")


def write_record(path: Path, provenance: Mapping, files: Sequence[Path]) -> None:
    """Write the record of finished files in one folder: what made them, and their checksums."""
    text = checksum.record_text(
        json.loads(dumps(provenance)), {file.name: checksum.file_digest(file) for file in files}
    )
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def content_of(path: Path) -> str:
    """Return the content digest of an artefact: of an HDF5 file what it carries, of any other that of its bytes.

    Raises:
        LossatlasError: the file is missing, truncated or corrupt.
    """
    if path.suffix != ".h5":
        return checksum.file_digest(path)
    with opened(path) as file:
        return checksum.stored_content(file)


def read_provenance(path: Path) -> dict:
    """Read the provenance of any artefact: inside an HDF5 file, beside a CSV one."""
    if path.suffix == ".csv":
        record = json.loads(provenance_file(path).read_text(encoding="utf-8"))
        return {key: value for key, value in record.items() if key not in (checksum.FILES, checksum.RECORD)}
    with h5py.File(path, "r") as file:
        return json.loads(file.attrs["provenance"])
