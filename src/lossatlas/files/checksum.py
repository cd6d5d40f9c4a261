"""Checksums: a seal over every byte of an HDF5 file, a digest of what it holds, and records of files beside others.

Two digests, since they answer two questions. The *seal* stands in the user block, the first 512 bytes that HDF5 leaves
to the application, and covers every other byte of the file: also those that no dataset uses, whose change no reader
would notice. The *content* digest stands in an attribute and covers what a reader gets: it stays the same when the same
bits are computed again, with another date in their provenance, and so can name the sources of a gathered cloud.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SEAL_BYTES = 512
"""Size of the seal: the smallest user block of HDF5. In front, so that a file cut off at any place still has it."""

CONTENT = "content_sha256"
"""Attribute of the root group: the content digest."""

SOURCES = "sources"
"""Attribute of a gathered cloud, JSON: for each source in order its ``file`` relative to the cloud, ``content`` digest,
and ``rows`` (null = all)."""

NOT_CONTENT = ("provenance", CONTENT)
"""Attributes of the root group that the content digest leaves out."""

FILES, RECORD = "files_sha256", "record_sha256"
"""Keys of a record: SHA-256 of the files beside it by name, and of the record without this key."""

BLOCK_BYTES = 8 << 20
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class NoSealError(Exception):
    """The file is HDF5 without a seal: an earlier version of lossatlas or another programme wrote it."""


def _seal_text(digest: str, size: int) -> bytes:
    text = f"lossatlas seal 1\nsha256 {digest}\nbytes {size}\n".encode()
    return text.ljust(SEAL_BYTES - 1) + b"\n"


def _digest_after_seal(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(SEAL_BYTES)
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: Path) -> None:
    """Write the seal into the user block of a closed HDF5 file: size and SHA-256 of all bytes behind it."""
    text = _seal_text(_digest_after_seal(path), path.stat().st_size)
    with open(path, "r+b") as file:
        file.write(text)


def broken_seal(path: Path) -> str | None:
    """Compare a file with its seal.

    Returns:
        None when every byte is as it was written, else what is wrong.

    Raises:
        NoSealError: the file is HDF5 and has no seal.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(SEAL_BYTES)
    if head.startswith(HDF5_SIGNATURE):
        raise NoSealError
    words = head.split()
    size = path.stat().st_size
    if len(words) != 7 or not words[4].isalnum() or not words[6].isdigit():
        return f"{size} bytes that do not begin as an artefact does" if size else "empty"
    digest, sealed = words[4].decode(), int(words[6])
    if head != _seal_text(digest, sealed):
        return "its seal is damaged"
    if size != sealed:
        return f"{size} bytes, written with {sealed}"
    if _digest_after_seal(path) != digest:
        return "its bytes are not those that were written (SHA-256 differs)"
    return None


def content_digest(file: h5py.File) -> str:
    """Return the SHA-256 of what an open HDF5 file holds, read in blocks of rows.

    It covers, in the order in which groups list their members, the name, type, shape and values of every dataset and
    all attributes but provenance and the digest itself. The values of a virtual dataset are not read: the attribute
    ``sources`` names its files, rows and their own digests. Chunking, compression and slack do not count.
    """
    total = hashlib.sha256()
    for part in _parts(file, "/"):
        total.update(part)
    return total.hexdigest()


def stored_content(file: h5py.File) -> str:
    """Return the content digest of an open artefact: the stored one, or for an old file without it, a computed one."""
    return str(file.attrs[CONTENT]) if CONTENT in file.attrs else content_digest(file)


def _parts(group: h5py.Group, path: str) -> Iterator[bytes]:
    yield from _attributes(group, path)
    for name in group:
        item, place = group[name], f"{path}{name}"
        if isinstance(item, h5py.Group):
            yield _header("group", place)
            yield from _parts(item, f"{place}/")
        elif item.is_virtual:
            yield _header("virtual", place, _typename(item.dtype), item.shape)
        else:
            yield _header("dataset", place, _typename(item.dtype), item.shape)
            yield from _attributes(item, place)
            yield from map(_bytes, blocks(item))


def _header(*parts: Any) -> bytes:
    """Return a line that no value can be mistaken for: its own length stands in front."""
    text = json.dumps(parts).encode()
    return len(text).to_bytes(8, "little") + text


def _typename(dtype: np.dtype) -> str:
    return "utf-8" if h5py.check_string_dtype(dtype) else dtype.newbyteorder("<").str


def _attributes(item: h5py.Group | h5py.Dataset, path: str) -> Iterator[bytes]:
    for name in sorted(set(item.attrs) - (set(NOT_CONTENT) if path == "/" else set())):
        value = item.attrs[name]
        if isinstance(value, str):
            yield _header("attribute", path, name, value)
        else:
            array = np.asarray(value)
            yield _header("attribute", path, name, _typename(array.dtype), array.shape)
            yield _bytes(array)


def blocks(data: h5py.Dataset) -> Iterator[np.ndarray]:
    """Yield the values of a dataset in blocks of rows, each of :data:`BLOCK_BYTES` at most or one row."""
    if data.shape == () or 0 in data.shape:
        yield np.asarray(data[()])
        return
    rows = max(1, BLOCK_BYTES * data.shape[0] // max(data.size * data.dtype.itemsize, 1))
    for start in range(0, data.shape[0], rows):
        yield data[start : start + rows]


def _bytes(array: np.ndarray) -> bytes:
    """Return values as little-endian bytes in C order; texts each behind its length."""
    if array.dtype.kind == "O":
        texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()]
        return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def record_text(provenance: Mapping, digests: Mapping[str, str]) -> str:
    """Return the JSON that lies beside files without room for a provenance: it, their digests, and its own."""
    record = {**provenance, FILES: dict(digests)}
    return json.dumps({**record, RECORD: hashlib.sha256(json.dumps(record).encode()).hexdigest()}) + "\n"


def broken_record(text: str) -> str | None:
    """Compare a record with its own digest: None when every byte is as it was written, else what is wrong."""
    try:
        record = json.loads(text)
    except ValueError:
        return "not valid JSON"
    if not isinstance(record, dict) or RECORD not in record or not isinstance(record.get(FILES), dict):
        return "no record of checksums"
    plain = {key: value for key, value in record.items() if key not in (FILES, RECORD)}
    return None if text == record_text(plain, record[FILES]) else "its text is not what was written (SHA-256 differs)"
