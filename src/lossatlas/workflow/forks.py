"""Jobs on this machine as forks of a process that has imported what they need (:mod:`lossatlas.workflow.forkserver`).

Snakemake starts Python for every job; :func:`mend` makes it start the server's client instead. A job keeps a process of
its own, with the same environment and the same bits. Jobs with more than one thread, and all where one may take a GPU,
start as they always did.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakemake.script import PythonScript

from lossatlas.study import subjects
from lossatlas.workflow import forkclient
from lossatlas.workflow.cost import has_gpu

SWITCH = "LOSSATLAS_FORK"
"""Variable of the environment that, as ``no``, lets every job start from nothing."""

ONE_THREAD = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
"""Libraries whose ``<name>_NUM_THREADS`` Snakemake sets to a job's threads."""

LONGEST = 100
"""Characters of a socket's path, of which Linux takes 107."""

_plain = PythonScript.execute_script


class Server:
    """A server, begun when its first job comes."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Let it import some modules."""
        self.modules = modules
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._socket: str | None = None
        self._tried = False

    def socket(self) -> str | None:
        """Return the path of its socket; None where it does not serve."""
        with self._lock:
            if not self._tried:
                self._tried = True
                with suppress(OSError):  # no room for a socket or a process: jobs that start from nothing may have it
                    self._begin()
            return self._socket

    def _begin(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="lossatlas-"))
        path = str(folder / "forks")
        if len(path) > LONGEST:
            folder.rmdir()
            return
        one = {f"{name}_NUM_THREADS": "1" for name in ONE_THREAD} | {"VECLIB_MAXIMUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lossatlas.workflow.forkserver", path, *self.modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"MPLBACKEND": "Agg", **os.environ, **one},
            text=True,
        )
        atexit.register(self._end)
        assert self._process.stdout is not None
        if self._process.stdout.readline() == "ready\n":
            self._socket = path
        else:
            shutil.rmtree(folder)

    def _end(self) -> None:
        """Let it end; Snakemake has waited for all jobs."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)


def fit(numerics: str) -> bool:
    """Tell whether jobs may be forks here: not where one may take a GPU, of which a process before it knows nothing."""
    return os.environ.get(SWITCH) != "no" and hasattr(os, "pidfd_open") and (numerics == "portable" or not has_gpu())


def mend(numerics: str) -> None:
    """Make Snakemake run this process's jobs as forks, where they may be."""
    if not fit(numerics):
        return
    steps = Server(_modules(step.run for step in subjects.steps().values()))
    others = Server(["lossatlas.draw.draw", *_modules(one.draw for one in subjects.products().values())])

    def execute(script: Any, file: str, edit: bool = False) -> None:
        """Run a script, as :meth:`PythonScript.execute_script` does."""
        elsewhere = script.conda_env or script.container_img or script.env_modules
        server = steps if script.path.get_filename() == "step.py" else others
        socket = None if elsewhere or script.threads != 1 else server.socket()
        if socket is None:
            _plain(script, file, edit)
            return
        script._execute_cmd(
            "{python:q} -I -S {client:q} {socket:q} {python:q} {file:q}",
            python=sys.executable,
            client=forkclient.__file__,
            socket=socket,
            file=file,
            is_python_script=True,
        )

    PythonScript.execute_script = execute


def _modules(functions: Iterable[str]) -> list[str]:
    """Return the modules of functions (``module:function``)."""
    return sorted({function.partition(":")[0] for function in functions})
