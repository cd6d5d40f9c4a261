"""One job at a time makes a file, also when two think it is theirs.

A Snakemake that was killed on the login node leaves its jobs in SLURM's queue, and a node that lost its network may go
on computing a job that SLURM has requeued. Started again, the same job would write the same journal. So every job holds
a lock while it runs; the kernel, or the file server, frees it when the holder dies, however it dies.
"""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lossatlas.files.disk import denied, say

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock file ``path``; wait for whoever holds it, and say who that is.

    The holder removes the file before it lets go, so nothing stays behind a job that ends by itself. On a file system
    without locks the job runs unprotected, and its log says so.

    Args:
        path: of the lock file.

    Yields:
        Whether another job held it first.

    Raises:
        LossatlasError: a job of another user left the file, or made its folder, and it is closed to this one.
    """
    file, waited = _locked(path)
    try:
        yield waited
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(file)
        with suppress(OSError):  # not empty: other jobs have their state there
            path.parent.rmdir()


def _locked(path: Path) -> tuple[int, bool]:
    """Return the locked file, and whether it had to be waited for."""
    waited = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):  # the last holder has just removed the empty folder
            if path.parent.exists() and not path.parent.is_dir():
                raise
            continue
        except PermissionError as error:
            raise denied(error, path) from error
        try:
            if not _try(file):
                waited = True
                _tell(path, file)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            log.warning("%s: locks do not work here (%s); start no second Snakemake on this folder", path, error)
            return file, waited
        if _is(path, file):
            with suppress(OSError):  # a full disk: the name is for people only
                os.ftruncate(file, 0)
                os.write(file, _who().encode())
            return file, waited
        os.close(file)  # the holder removed the file while we waited for it: lock the next one


def _try(file: int) -> bool:
    """Lock the file if nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, file: int) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _who() -> str:
    """Return what a person needs to find this process: SLURM job, host, process."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    number = f"{os.environ.get('SLURM_ARRAY_JOB_ID')}_{task}" if task else os.environ.get("SLURM_JOB_ID")
    return (f"SLURM job {number}, " if number else "") + f"process {os.getpid()} on {socket.gethostname()}"


def _tell(path: Path, file: int) -> None:
    holder = os.pread(file, 200, 0).decode(errors="replace") or "another job"
    say(f"{path}: waiting for {holder}, which is making the same file (left by an interrupted Snakemake?)")
