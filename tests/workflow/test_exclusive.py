"""Two processes that make one file: the second waits, whatever becomes of the first."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lossatlas.workflow.exclusive import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from lossatlas.workflow.exclusive import exclusive
with exclusive(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""

COUNTER = """
import random, sys, time
from pathlib import Path
from lossatlas.workflow.exclusive import exclusive
lock, number = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    with exclusive(lock):
        before = int(number.read_text())
        time.sleep(random.uniform(0, 0.002))
        number.write_text(str(before + 1))
"""


@pytest.fixture
def holder(tmp_path):
    """Return a process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "locks/a.lock")]
    environment = {**os.environ, "SLURM_JOB_ID": "17"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def test_alone_leaves_nothing_behind(tmp_path):
    with exclusive(tmp_path / "locks/a.lock") as waited:
        assert not waited
        assert (tmp_path / "locks/a.lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_waits_for_a_holder_that_is_killed_and_names_it(tmp_path, holder, capfd):
    lock = tmp_path / "locks/a.lock"
    child = os.fork()
    if child == 0:  # kills the holder once the parent waits for it
        time.sleep(1)
        os.kill(holder.pid, signal.SIGKILL)
        os._exit(0)
    with exclusive(lock) as waited:
        assert waited
    os.waitpid(child, 0)
    said = capfd.readouterr().err
    assert f"a.lock: waiting for SLURM job 17, process {holder.pid} on " in said
    assert list(tmp_path.iterdir()) == []


def test_an_old_lock_file_holds_nobody_up(tmp_path):
    lock = tmp_path / "locks/a.lock"
    lock.parent.mkdir()
    lock.write_text("process 1 on a node that is gone")
    with exclusive(lock) as waited:
        assert not waited


def test_no_two_at_once(tmp_path):
    """Five processes add to a number, 60 times each; the lock file and its folder come and go all the while."""
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "locks/a.lock"), str(number), "60"]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(5)]
    assert [process.wait() for process in processes] == [0] * 5
    assert number.read_text() == "300"
    assert not (tmp_path / "locks").exists()


def test_a_file_system_without_locks_runs_unprotected_and_says_so(tmp_path, monkeypatch, caplog):
    def refuse(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with exclusive(tmp_path / "locks/a.lock") as waited:
        assert not waited
    assert "locks do not work here" in caplog.text
