"""A folder that is replaced whole: built beside the finished one and exchanged with it in one step."""

import ctypes
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lossatlas.files.disk import denied, sync_folder

log = logging.getLogger(__name__)

_AT_FDCWD, _EXCHANGE = -100, 2
"""Of renameat2(2), which puts two names in each other's place."""

_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What a call says that a kernel or a file system does not have (NFS: exchange)."""


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; on success it takes that one's place, on failure the old one stays.

    Everything is on disk before the exchange, and the exchange before the old folder is removed. Where the file system
    cannot exchange two folders, there is no folder of that name between two renames; the next call puts back what a
    kill there left aside. What killed calls left is removed: two calls for one target must not run at once.

    Args:
        target: the folder; it may be absent.

    Raises:
        LossatlasError: the folder it stands in is closed to the present user.
        OSError: the disk is full or refuses; the old folder stands, unless the last sync of all is what failed.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target)
        part.mkdir()
        yield part
        _sync(part)
        old = _swap(part, target)
    except BaseException as error:
        _remove(part)
        with suppress(OSError):  # empty: who called made it for this one
            target.rmdir()
        if isinstance(error, PermissionError) and Path(str(error.filename)) in (part, target, *target.parents):
            raise denied(error) from error
        raise
    sync_folder(target.parent)
    if old is not None:
        _remove(old)


def _tidy(target: Path) -> None:
    """Put back a folder that a killed call left aside, and remove what else it left."""
    aside = sorted(target.parent.glob(f".{target.name}.*.old"))
    if aside and not (target.is_dir() and any(target.iterdir())):
        os.replace(aside.pop(), target)
    for left in (*aside, *target.parent.glob(f".{target.name}.*.part")):
        _remove(left)


def _remove(path: Path) -> None:
    """Remove a folder, file or link; of a folder what belongs to another user may stay, and the log says so."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        log.warning("%s: not removed; delete it", path)


def _sync(folder: Path) -> None:
    """Put all files below a folder on disk, and the folders.

    By one call for the whole file system where there is one: 400 files, each synced by itself, took 8 to 30 seconds on
    a busy disk, so half a second.
    """
    if _syncfs(folder):
        return
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(Path(place, name), "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))


def _syncfs(folder: Path) -> bool:
    """Put the file system that a folder lies in on disk; False where that cannot be done."""
    file = os.open(folder, os.O_RDONLY)
    try:
        return _call("syncfs", folder, file)
    finally:
        os.close(file)


def _swap(part: Path, target: Path) -> Path | None:
    """Put a finished folder in the place of an old one; return where that lies now, None if there was none."""
    if not os.path.lexists(target):
        os.rename(part, target)
        return None
    if _exchange(part, target):
        return part
    old = part.with_suffix(".old")
    os.rename(target, old)
    try:
        os.rename(part, target)
    except OSError:
        os.rename(old, target)
        raise
    return old


def _exchange(first: Path, second: Path) -> bool:
    """Put two names in each other's place in one step; False where that cannot be done."""
    names = os.fsencode(first), os.fsencode(second)
    return _call("renameat2", second, _AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)


def _call(name: str, path: Path, *given: int | bytes) -> bool:
    """Call a function of Linux' C library; False where it or the file system does not have it.

    Raises:
        OSError: it failed, on ``path``.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        return False
    if function(*given) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(path))
