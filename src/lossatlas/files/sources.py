"""The files that a gathered cloud refers to: all there, and all open at once where its weights are read.

HDF5 opens a source of a virtual dataset when a row of it is read and keeps it open. Where it cannot, it gives the fill
value (NaN) without a word.
"""

import json
import os
import resource
from functools import lru_cache
from pathlib import Path

import h5py

from lossatlas.errors import LossatlasError
from lossatlas.files.checksum import SOURCES

OTHERS = 128
"""Files that a process has open beside the sources of its clouds."""


def named(file: h5py.File) -> dict[str, str]:
    """Return the sources that a cloud names, relative to it, with their content digests; nothing of any other file."""
    return {entry["file"]: entry["content"] for entry in json.loads(file.attrs.get(SOURCES, "[]"))}


def reach(path: Path, file: h5py.File) -> None:
    """Make sure that every source of an open cloud can be read; nothing to do for any other file.

    Each is opened once, and again when it has changed.

    Raises:
        LossatlasError: a source is missing or cannot be opened, or there are more than this process may open.
    """
    sources = named(file)
    for source in sorted(sources):
        where = path.parent / source
        try:
            about = os.stat(where)
            _open(where, about.st_ino, about.st_size, about.st_mtime_ns)
        except FileNotFoundError:
            raise LossatlasError(
                f"{path}: its source {where} is missing; run the snakemake target that makes it, or `dvc pull`"
            ) from None
        except (OSError, KeyError) as error:
            said = " ".join(str(error).split())
            raise LossatlasError(
                f"{path}: its source {where} cannot be read ({said}); make it readable, or delete "
                f"{where.parent} and run the same command again"
            ) from error
    if sources:
        _allow(path, len(sources))


@lru_cache(maxsize=1 << 16)
def _open(path: Path, inode: int, size: int, changed: int) -> None:
    """Open a source as HDF5 does when one of its rows is read, and look for the rows; failures are not kept."""
    with h5py.File(path, "r") as file:
        for name in ("theta", "buffers"):
            file[name].shape  # noqa: B018


def _allow(path: Path, count: int) -> None:
    """Raise the number of files that this process may have open, as far as the system lets it."""
    wanted = count + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise LossatlasError(
            f"{path}: reading it takes {wanted} open files, and this process may have {hard}: raise the limit "
            "(`ulimit -Hn`, or `nofile` in /etc/security/limits.conf), or write larger `grain` for its jumps"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
