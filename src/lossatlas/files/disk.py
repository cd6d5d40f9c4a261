"""What a disk and its users need: folders whose entries are on disk, files closed to a user, one line for people."""

import errno
import grp
import logging
import os
import pwd
import stat
import sys
from pathlib import Path

from lossatlas.errors import LossatlasError

log = logging.getLogger(__name__)

_UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)
"""Errors of file systems that do not sync folders, and of folders that may be passed through and not be read."""

_known: set[tuple[str, int, int]] = set()
"""Name, device and inode of folders whose own entries this process has put on disk."""


def sync_folder(folder: Path) -> None:
    """Put the entries of a folder on disk, and the entries of the folders that lead to it.

    A file that was synced and renamed may still be gone after a power failure: its name is an entry of its folder,
    which a file system writes when it likes. So the folder is synced, too, before anything that the file replaces is
    removed. What leads to the folder is synced once a process.

    Raises:
        OSError: the disk says that it could not.
    """
    _sync(folder)
    while folder.parent != folder:
        about = folder.stat()
        mark = os.path.abspath(folder), about.st_dev, about.st_ino
        if mark in _known:
            return
        _sync(folder.parent)
        _known.add(mark)
        folder = folder.parent


def _sync(folder: Path) -> None:
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise


def denied(error: PermissionError, path: Path | None = None) -> LossatlasError:
    """Return what to say of a file or folder that the present user may not change: whose it is, and the remedy.

    Args:
        error: what the system said.
        path: what was to be changed or made; by default the file that the error names.
    """
    found = Path(os.fsdecode(error.filename or ".")) if path is None else path
    if found.is_relative_to(Path.cwd()):  # as the user types it
        found = found.relative_to(Path.cwd())
    if not os.path.exists(found) or os.access(found, os.W_OK):  # closed is the folder in which it is made or replaced
        found = next(folder for folder in (*found.parents, found) if os.path.exists(folder))
    about = found.stat()
    theirs, group, me = _user(about.st_uid), _group(about.st_gid), _user(os.geteuid())
    closed = f"{found}: {error.strerror}: belongs to {theirs}, group {group}, mode {stat.S_IMODE(about.st_mode):o}"
    if about.st_uid == os.geteuid():
        return LossatlasError(f"{closed}; make it writable (`chmod u+rwX {found}`) and run the same command again")
    all_theirs = found
    if not found.is_absolute():  # all that they have made in this tree is closed as well, and need not come up in turn
        above = [path for path in found.parents if path.name and path.stat().st_uid == about.st_uid]
        all_theirs = above[-1] if above else found
    return LossatlasError(
        f"{closed}, you are {me}; have {theirs} run `chmod -R g+rwX {all_theirs}`, and all who share the folder set "
        "`umask 002`; then run the same command again"
    )


def owner(path: Path) -> str:
    """Return the name of the user whose a file or folder is."""
    try:
        return _user(path.stat().st_uid)
    except OSError:
        return "nobody"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def say(message: str) -> None:
    """Put one line into the log and on the screen, for people."""
    log.warning(message)
    print(f"lossatlas: {message}", file=sys.stderr, flush=True)
