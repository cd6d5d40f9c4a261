"""Artefact files: HDF5 that appears whole or not at all, tables inside it, and clear errors on reading."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from lossatlas import preemption
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.disk import denied, sync_folder
from lossatlas.files.provenance import dumps
from lossatlas.files.sources import reach

if TYPE_CHECKING:  # tables alone need it: a file of arrays is written without
    import pandas as pd

_BROKEN = "EIO EROFS EUCLEAN EBADMSG ENXIO ENODEV ESTALE ETIMEDOUT ENOTCONN EREMOTEIO EHOSTDOWN"
BROKEN = frozenset(getattr(errno, name) for name in _BROKEN.split() if hasattr(errno, name))
"""Errors of a disk, or of the network it hangs on, that no programme can help."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on failure it is removed.

    The file is synced before it is renamed and its folder afterwards: then it is on disk under its name, and what it
    replaces may be removed.

    Raises:
        LossatlasError: the folder, or what a job of another user left in it, is closed to the present one.
    """
    part = path.with_name(f".{path.name}.part")
    ours = (str(part), str(path), *map(str, path.parents))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.unlink(missing_ok=True)  # a killed job's, maybe another user's, who alone may write it
            yield part
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
            sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except PermissionError as error:
        if str(error.filename) not in ours:  # of another file, which the block read
            raise
        raise denied(error) from error


@contextmanager
def create(path: Path, kind: str, provenance: Mapping) -> Iterator[h5py.File]:
    """Open a new artefact file for writing; it appears under its name, whole, when the block is left without error.

    It carries two checksums (:mod:`lossatlas.files.checksum`): of what it holds, and a seal over every byte.

    Args:
        path: the file to make.
        kind: attribute ``kind``: ``points``, ``gram``, ``embedding``, ``data``.
        provenance: JSON-able description of what made it; written last, so that its seconds count the writing.
    """
    with preemption.held(), atomic(Path(path)) as part:
        block = checksum.SEAL_BYTES
        with _Sink(part) as sink, h5py.File(sink, "w", libver="latest", userblock_size=block) as file:
            file.attrs["kind"] = kind
            yield file
            if sink.error is None:  # what a full disk has swallowed cannot be read back
                file.attrs[checksum.CONTENT] = checksum.content_digest(file)
            file.attrs["provenance"] = dumps(provenance)
        checksum.seal(part)


class _Sink:
    """The file under an HDF5 file being written: it keeps the first failed write and raises it when it is closed.

    HDF5 itself does not survive a full disk: it cannot close a file that it cannot flush, prints one traceback per open
    object and often ends in a segmentation fault, so that no message reaches the user.
    """

    def __init__(self, path: Path) -> None:
        self.file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self.error: OSError | None = None
        for name in ("read", "seek", "tell", "flush"):
            setattr(self, name, getattr(self.file, name))

    def write(self, data: memoryview) -> int:
        """Write all of ``data``; after a failure pretend to."""
        rest = memoryview(data).cast("B")
        try:
            while rest and self.error is None:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

    def truncate(self, size: int) -> int:
        """Set the size of the file; after a failure pretend to."""
        try:
            return self.file.truncate(size) if self.error is None else size
        except OSError as error:
            self.error = error
            return size

    def readinto(self, buffer: memoryview) -> int:
        """Read back what HDF5 has written; what a failure lost reads as zeros."""
        view = memoryview(buffer).cast("B")
        count = self.file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.file.close()
        if self.error is not None:
            raise self.error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or a cause of it, is a full disk (HDF5 and torch wrap ENOSPC in errors of their own)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "errno = 28" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def broken_disk(error: BaseException | None) -> str | None:
    """Return what the system says of a disk that fails, where an error or a cause of it is that; None for any other."""
    while error is not None:
        found = re.search(r"errno = (\d+)", str(error))
        own = error.errno if isinstance(error, OSError) else None
        number = own or (int(found[1]) if found else 0)
        if number in BROKEN:
            return os.strerror(number)
        error = error.__cause__ or error.__context__
    return None


def write_table(file: h5py.Group, table: pd.DataFrame, group: str = "table") -> None:
    """Write a data frame as group ``/table``: integers int64, other numbers float64, the rest UTF-8 text."""
    import pandas as pd

    columns = file.create_group(group, track_order=True)
    for name, column in table.items():
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_integer_dtype(column):
            columns.create_dataset(str(name), data=column.to_numpy(dtype=np.int64))
        elif pd.api.types.is_numeric_dtype(column):
            columns.create_dataset(str(name), data=column.to_numpy(dtype=np.float64))
        else:
            values = [str(value) for value in column]
            columns.create_dataset(str(name), data=values, dtype=h5py.string_dtype("utf-8"))


def table_in(file: h5py.Group, group: str = "table") -> pd.DataFrame:
    """Return the group ``/table`` as a data frame, columns in the order in which they were written, text decoded."""
    import pandas as pd

    columns: dict[str, Any] = {}
    if group not in file:
        return pd.DataFrame(columns)
    for name in file[group]:
        data = file[group][name]  # not items(), which gives None for what cannot be read
        columns[name] = data.asstr()[...] if h5py.check_string_dtype(data.dtype) else data[...]
    return pd.DataFrame(columns)


def opened(path: Path) -> h5py.File:
    """Return an open HDF5 file; a missing or truncated one is one clear :class:`LossatlasError`."""
    if not path.exists():
        raise LossatlasError(f"{path}: no such file; run the snakemake target that makes it, or `dvc pull`")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise LossatlasError(
            f"{path}: not a readable HDF5 file, truncated or corrupt ({error}); {_remedy(path)}"
        ) from error


def _remedy(path: Path) -> str:
    return f"delete {path.parent} and run the same command again"


@contextmanager
def open_hdf5(path: Path, kind: str | Sequence[str]) -> Iterator[h5py.File]:
    """Open an artefact for reading; a missing, truncated or foreign file is one clear :class:`LossatlasError`."""
    with opened(path) as file:
        found = file.attrs.get("kind")
        kinds = [kind] if isinstance(kind, str) else list(kind)
        if found not in kinds:
            raise LossatlasError(f"{path}: holds {found!r}, expected {' or '.join(kinds)}; {_remedy(path)}")
        reach(path, file)
        yield file


def read_table(
    path: Path, kind: str | Sequence[str] = ("points", "history", "gram", "embedding"), group: str = "table"
) -> pd.DataFrame:
    """Read ``/table`` of an artefact file, or another group of columns (``history``)."""
    with open_hdf5(path, kind) as file:
        return table_in(file, group)
