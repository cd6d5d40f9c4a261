"""Points: an HDF5 store of weight vectors, one row a point, with a table beside it.

A finished file appears whole (written under a temporary name, synced, renamed); rows that a running job has recorded
live in a :class:`Journal` until then. The format is described in ``docs/design.md``.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import h5py
import numpy as np
import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.files.checksum import BLOCK_BYTES, SOURCES, stored_content
from lossatlas.files.disk import denied, sync_folder
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.state import JOURNAL, UNREADABLE, DamagedError

CHUNK_COLUMNS = 32_768
"""Columns of one HDF5 chunk (128 kB of float32): a Gram pass over column blocks then reads each byte once."""

TRAJECTORY = ("run", "replica", "seed", "step")
"""Columns that tell trajectories apart, where a table has them."""


class Journal:
    """Rows recorded by a running job: append-only, and truncated to the last commit when the job resumes.

    Two raw float32 files in one folder, ``theta.f32`` and ``buffers.f32``. A row counts once the job's own state
    (written atomically after it) says so; whatever lies beyond was cut off by a kill and is dropped by
    :meth:`truncate`. A raw file cannot be corrupted by a kill between two rows, which an HDF5 file can. The state keeps
    the SHA-256 of the rows it counts, which are compared with it when they are read again.
    """

    def __init__(self, folder: Path, dim: int, buffer_dim: int) -> None:
        """Open or create the journal of rows of ``dim`` weights and ``buffer_dim`` buffer values in ``folder``.

        Raises:
            LossatlasError: another user made it, and it is closed to this one.
        """
        self.dims = {"theta": dim, "buffers": buffer_dim}
        self.folder, self.count, self._listed = folder, 0, False
        self.digests = {name: hashlib.sha256() for name in self.dims}
        self.files: dict[str, IO[bytes]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.dims:
                self.files[name] = open(folder / f"{name}{JOURNAL}", "a+b")  # noqa: SIM115
        except PermissionError as error:
            self.close()
            raise denied(error) from error

    def append(self, theta: np.ndarray, buffers: np.ndarray) -> None:
        """Append one row: theta (D,) and buffers (B,), both float32."""
        for name, row in (("theta", theta), ("buffers", buffers)):
            if row.shape != (self.dims[name],) or row.dtype != np.float32:
                raise ValueError(f"{name}: got {row.dtype} {row.shape}, expected float32 ({self.dims[name]},)")
            data = row.tobytes()
            self.files[name].write(data)
            self.digests[name].update(data)
        self.count += 1

    def sync(self) -> dict[str, str]:
        """Put the appended rows on disk, so that a commit that follows never counts a row that is not there.

        Returns:
            The SHA-256 of all rows of ``theta`` and of ``buffers``, which the commit keeps.
        """
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        if not self._listed:
            sync_folder(self.folder)
            self._listed = True
        return {name: digest.hexdigest() for name, digest in self.digests.items()}

    def truncate(self, rows: int, digests: Mapping[str, str] | None = None) -> None:
        """Keep the first ``rows`` rows.

        Args:
            rows: how many the last commit counted.
            digests: what :meth:`sync` returned before it; None = whatever they are.

        Raises:
            DamagedError: the journal holds fewer rows, or others.
        """
        for name, file in self.files.items():
            size = 4 * rows * self.dims[name]
            found = file.seek(0, os.SEEK_END)
            if found < size:
                raise DamagedError(f"{name}{JOURNAL} has {found} bytes, {size} were committed")
            file.truncate(size)
            self.digests[name] = hashlib.sha256()
            for block in self._blocks(name, size, BLOCK_BYTES):
                self.digests[name].update(block)
            if digests is not None and self.digests[name].hexdigest() != digests[name]:
                raise DamagedError(f"the rows in {name}{JOURNAL} are not those that were written (SHA-256 differs)")
        self.count = rows

    def rows(self, name: str, count: int) -> Iterator[np.ndarray]:
        """Yield the first ``count`` rows of ``theta`` or ``buffers`` from disk, one at a time.

        Raises:
            DamagedError: behind the last of all rows, where one of them is not what was appended.
        """
        found, width = hashlib.sha256(), 4 * self.dims[name]
        self.files[name].flush()
        for block in self._blocks(name, width * count, width):
            found.update(block)
            yield np.frombuffer(block, dtype=np.float32)
        if not width:
            yield from np.empty((count, 0), np.float32)
        elif count == self.count and found.digest() != self.digests[name].digest():
            raise DamagedError(f"the rows in {name}{JOURNAL} are not those that were written (SHA-256 differs)")

    def _blocks(self, name: str, size: int, step: int) -> Iterator[bytes]:
        """Yield the first bytes of a file from disk, ``step`` at a time."""
        try:
            self.files[name].seek(0)
            for start in range(0, size, max(step, 1)):
                block = self.files[name].read(min(step, size - start))
                if len(block) < min(step, size - start):
                    raise DamagedError(f"{name}{JOURNAL} has {start + len(block)} bytes, {size} were committed")
                yield block
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            raise DamagedError(f"{name}{JOURNAL} cannot be read ({error.strerror})") from error

    def close(self) -> None:
        """Close both files."""
        for file in self.files.values():
            file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_points(
    output: Path,
    journal: Journal,
    table: pd.DataFrame,
    layout: str,
    buffer_layout: str,
    provenance: Mapping,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Turn a journal into a points file, row by row (never more than one row in memory).

    Args:
        output: the points.h5 to make; it appears whole or not at all.
        journal: its first ``len(table)`` rows are written.
        table: one line a row.
        layout: JSON of the parameters' :class:`lossatlas.landscape.layout.Layout`.
        buffer_layout: JSON of the buffers' layout.
        provenance: JSON-able description of what made the file.
        tables: further tables by the name of their group, such as ``history``.
    """
    with create(output, "points", provenance) as file:
        file.attrs["layout"] = layout
        file.attrs["buffer_layout"] = buffer_layout
        for name, dim in journal.dims.items():
            chunks = (1, min(dim, CHUNK_COLUMNS)) if dim else None
            data = file.create_dataset(name, (len(table), dim), np.float32, chunks=chunks)
            for i, row in enumerate(journal.rows(name, len(table))):
                data[i] = row
        write_table(file, table)
        for name, more in (tables or {}).items():
            write_table(file, more, name)


def read_point(path: Path, row: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Return theta (D,) and buffers (B,) of one row of a points file, float32."""
    with open_hdf5(path, "points") as file:
        return file["theta"][row], file["buffers"][row]


def gather(
    output: Path,
    sources: Sequence[tuple[Path, Sequence[int] | None]],
    provenance: Mapping,
    names: Sequence[tuple[str, int]] | None = None,
    columns: Sequence[Mapping[str, str]] | None = None,
    history: bool = True,
) -> None:
    """Gather rows of many points files into one cloud by HDF5 virtual datasets: no weight is copied.

    Args:
        output: the cloud to make. It names its sources by paths relative to itself, and their content digests.
        sources: (points file, row numbers or None for all of them), in the order the cloud is to have; a file
            may come again.
        provenance: JSON-able description of what made the file.
        names: (run, replica) of each source; they replace the table's column ``run`` and add ``replica``.
        columns: further columns of each source's rows, with their one value.
        history: whether to take the sources' ``/history`` along, each file's once.

    Raises:
        LossatlasError: a source is missing, truncated, or of another network than the first.
    """
    tables: list[pd.DataFrame] = []
    histories: list[pd.DataFrame] = []
    spans: list[tuple[Path, Sequence[int], dict[str, tuple[int, int]]]] = []
    layouts = []
    gathered: list[dict] = []
    for path, rows in sources:
        with open_hdf5(path, "points") as file:
            table = table_in(file)
            new = history and "history" in file and path not in (span[0] for span in spans)
            histories += [table_in(file, "history")] if new else []
            shapes = {name: file[name].shape for name in ("theta", "buffers")}
            layouts.append((file.attrs["layout"], file.attrs["buffer_layout"]))
            content = stored_content(file)
        if shapes["theta"][0] != len(table):
            raise LossatlasError(
                f"{path}: {shapes['theta'][0]} weight vectors but {len(table)} table rows; delete it and run again"
            )
        if layouts[-1] != layouts[0]:
            raise LossatlasError(
                f"{path}: its network differs from that of {sources[0][0]}; gather clouds of one network"
            )
        gathered.append(
            {
                "file": os.path.relpath(path, output.parent),
                "content": content,
                "rows": rows if rows is None else list(rows),
            }
        )
        rows = list(range(len(table))) if rows is None else [range(len(table))[row] for row in rows]
        table = table.iloc[rows]
        if names is not None:
            run, replica = names[len(tables)]
            table = table.assign(run=run, replica=replica)
        if columns is not None:
            table = table.assign(**columns[len(tables)])
        tables.append(table)
        spans.append((path, rows, shapes))
    merged = pd.concat(tables, ignore_index=True)
    with create(output, "points", provenance) as file:
        file.attrs["layout"], file.attrs["buffer_layout"] = layouts[0]
        file.attrs[SOURCES] = json.dumps(gathered, default=list)
        for name in ("theta", "buffers"):
            dim = spans[0][2][name][1]
            virtual = h5py.VirtualLayout((len(merged), dim), np.float32)
            start = 0
            for path, rows, shapes in spans:
                relative = os.path.relpath(path, output.parent)
                source = h5py.VirtualSource(relative, name, shape=shapes[name], dtype=np.float32)
                virtual[start : start + len(rows)] = source[rows] if len(rows) < shapes[name][0] else source
                start += len(rows)
            file.create_virtual_dataset(name, virtual, fillvalue=np.nan)
        write_table(file, merged)
        if histories:
            write_table(file, pd.concat(histories, ignore_index=True), "history")
