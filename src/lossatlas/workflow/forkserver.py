"""A process that has imported what jobs need, and forks one for each: a job of a second is not two of imports.

A script of Snakemake's is a Python process of its own, and most of a small job is that process importing torch. Here
one process imports it once and then waits. :mod:`lossatlas.workflow.forkclient` is what Snakemake starts in place of
Python: it hands over its script, environment, working directory and open files; the server forks, and the child runs
the script as Python would. Nothing but imports has been done before the fork, so the job's bits are the same.

    python -P -m lossatlas.workflow.forkserver SOCKET MODULE...

prints ``ready`` once it listens, or why it will not. It ends when its standard input is closed, that is with the
Snakemake that began it, after the jobs that are still running.
"""

import atexit
import ctypes
import gc
import importlib
import os
import re
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from lossatlas.workflow.forkclient import OTHER, Request, receive

DECIDES = re.compile(
    r"(PYTHON|LD_|OMP_|MKL_|KMP_|GOMP_|OPENBLAS|GOTO_|VECLIB|NUMEXPR|NUMBA|NPY_|ATEN_|ONEDNN|DNNL|CUDA|CUBLAS|TORCH|LC_|LANG)"
)
"""Variables that Python and libraries read when they start: where a job's differ, it needs a process of its own."""

PATIENCE = 5.0
"""Seconds that a client may take to say what it wants; meanwhile nobody else is served."""

PR_SET_PDEATHSIG = 1
"""Of ``prctl``: the signal that a process gets when the one that forked it ends."""


def decisive(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that are read when a process starts."""
    return {name: value for name, value in environment.items() if DECIDES.match(name)}


@dataclass(frozen=True)
class Child:
    """A job that runs: its process, a descriptor that tells when it ends, and the client that waits for it."""

    pid: int
    ended: int
    client: socket.socket


class Server:
    """Waits for jobs, for their ends, and for the end of the Snakemake that began it."""

    def __init__(self, listener: socket.socket, environment: Mapping[str, str]) -> None:
        """Serve on a socket that listens, in a process that began with an environment."""
        self.listener, self.environment = listener, environment
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self.retire)
        self.children: list[Child] = []
        self.serving = True

    def serve(self) -> None:
        """Serve until there is nobody left to serve."""
        while self.serving or self.children:
            for key, _ in self.selector.select():
                key.data()

    def retire(self) -> None:
        """Take no more jobs: Snakemake has ended."""
        self.selector.unregister(sys.stdin.fileno())
        self.selector.unregister(self.listener)
        self.serving = False

    def accept(self) -> None:
        """Take a job, unless it wants another environment than the one in which libraries were loaded here."""
        client, _ = self.listener.accept()
        client.settimeout(PATIENCE)
        try:
            request = receive(client)
        except OSError:  # it was stopped, or killed
            request = None
        if request is None:
            client.close()
            return
        try:
            if decisive(request.environment) != decisive(self.environment) or not self.fork(client, request):
                with suppress(OSError):
                    client.sendall(str(OTHER).encode())
                client.close()
        finally:
            for descriptor in request.files:
                os.close(descriptor)

    def fork(self, client: socket.socket, request: Request) -> bool:
        """Fork a process for a job; return whether the system let it."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid == 0:
            try:
                self.leave(client)
                run(request, parent, {n: v for n, v in os.environ.items() if n not in self.environment})
            finally:
                os._exit(1)  # never reached but where `run` itself fails
        child = Child(pid, os.pidfd_open(pid), client)
        self.children.append(child)
        self.selector.register(child.ended, selectors.EVENT_READ, lambda: self.end(child))
        self.selector.register(client, selectors.EVENT_READ, lambda: self.abandon(child))
        return True

    def leave(self, client: socket.socket) -> None:
        """Close, in a forked process, what is the server's."""
        self.selector.close()
        self.listener.close()
        for child in self.children:
            os.close(child.ended)
            child.client.close()
        client.close()

    def end(self, child: Child) -> None:
        """Tell a client how its job has ended: as Python's subprocess does, minus the signal's number if by one."""
        _, status = os.waitpid(child.pid, 0)
        self.forget(child)
        with suppress(OSError):  # it went away meanwhile
            child.client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        child.client.close()

    def forget(self, child: Child) -> None:
        """Look no longer after a job."""
        self.selector.unregister(child.ended)
        os.close(child.ended)
        if child.client.fileno() in self.selector.get_map():
            self.selector.unregister(child.client)
        self.children.remove(child)

    def abandon(self, child: Child) -> None:
        """End a job whose client was killed, as it would have been itself; the same moment may have seen its end."""
        if child in self.children:
            self.selector.unregister(child.client)
            os.kill(child.pid, signal.SIGKILL)


def run(request: Request, parent: int, imported: Mapping[str, str]) -> NoReturn:
    """Run a script as Python would in a process of its own, and end.

    Args:
        request: the job.
        parent: number of the process that forked this one.
        imported: variables that imports have set, as they do in the job's own process.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that was said
        os._exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, descriptor in enumerate(request.files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update({**imported, **request.environment})
    os.umask(request.umask)
    tempfile.tempdir = None  # what some import may have asked for
    sys.argv = [request.script]
    sys.path.insert(0, os.path.dirname(os.path.abspath(request.script)))
    status = _status(request.script)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 120  # as Python does
    os._exit(status)


def _status(script: str) -> int:
    """Run a script; return the exit status that Python would end with."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as asked:
        if asked.code is None or isinstance(asked.code, int):
            return (asked.code or 0) & 0xFF
        print(asked.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main(path: str, modules: Sequence[str]) -> None:
    """Import modules, listen, and serve."""
    environment = dict(os.environ)
    for module in modules:
        importlib.import_module(module)
    if len(os.listdir("/proc/self/task")) > 1:
        print("a library has begun threads, which a fork would lose", flush=True)
        return
    os.close(os.pidfd_open(os.getpid()))  # where the system has none, end here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; what to do about it is the jobs' business
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what is here is here for good, and stays shared with the jobs' processes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(128)
        print("ready", flush=True)
        Server(listener, environment).serve()
    os.unlink(path)
    os.rmdir(os.path.dirname(path))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
