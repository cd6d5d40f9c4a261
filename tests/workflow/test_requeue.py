"""A job under SLURM ends before its time limit, and has itself queued again; the commands of SLURM are small scripts."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from harness import ROOT

from lossatlas.preemption import EXIT
from lossatlas.workflow import requeue

JOB = """
    import sys, time
    from pathlib import Path
    from types import SimpleNamespace
    from lossatlas.files.clock import Clock
    from lossatlas.files.state import State
    from lossatlas.workflow.job import job

    class Named(dict):
        def __iter__(self):
            return iter(self.values())

    snakemake = SimpleNamespace(
        rule="train", scriptdir=sys.argv[1], params={}, threads=1, config={}, log=["job.log"], output=Named(file="made")
    )
    with job(snakemake):
        state, clock = State(Path("state")) if sys.argv[2] == "state" else None, Clock()
        print("ready", flush=True)
        if sys.argv[2] == "memory":
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB")
        for second in range(3000):
            time.sleep(0.01)
            if state and clock.due():
                state.write("kept", b"work")
            if not state and second == 250:
                break
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Put SLURM's commands in front of the real ones; they note what they are asked, and say when the job ends."""

    def say(end):
        for name in ("squeue", "scontrol"):
            text = f"#!/bin/sh\necho {name} $SLURM_TIME_FORMAT $@ >> {tmp_path}/asked\n"
            (tmp_path / name).write_text(text + (f"echo {end}\n" if name == "squeue" else ""))
            (tmp_path / name).chmod(0o755)
        return lambda: (tmp_path / "asked").read_text().splitlines()

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv(requeue.SUBMITTED, "1")
    return say


def run(folder, what):
    """Run a job that takes long, and keeps state or none."""
    command = [sys.executable, "-c", textwrap.dedent(JOB), str(ROOT / "workflow/scripts"), what]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_job_that_keeps_state_ends_before_its_limit_and_is_queued_again(tmp_path, slurm):
    asked = slurm(int(time.time()) + 4)
    done = run(tmp_path, "state")
    assert done.returncode == EXIT, done.stderr
    assert "lossatlas: made: its time is nearly up; the same command goes on from what is kept" in done.stderr
    assert (tmp_path / "state/kept").exists()
    assert asked() == ["squeue %s --noheader --format=%e --jobs 1234", "scontrol %s requeue 1234"]


def test_a_job_that_keeps_none_uses_its_time(tmp_path, slurm):
    asked = slurm(int(time.time()) + 2)
    done = run(tmp_path, "none")
    assert done.returncode == 0, done.stderr
    assert len(asked()) == 1


def test_a_minibatch_that_a_gpu_does_not_hold_is_one_line(tmp_path):
    """By its name: a job that needs no torch imports none."""
    assert torch.OutOfMemoryError.__name__ == "OutOfMemoryError"
    done = run(tmp_path, "memory")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "lossatlas: error: the GPU's memory does not hold one minibatch of made: use a GPU with more"
    )


@pytest.mark.parametrize("said", ["NONE", "N/A", ""])
def test_a_job_without_a_limit_has_no_end(slurm, said):
    slurm(said)
    assert requeue.early() is None


def test_how_early(slurm, monkeypatch):
    slurm(int(time.time()) + 86400)
    assert requeue.early() == pytest.approx(86400 - requeue.EARLY, abs=60)
    slurm(int(time.time()) + 400)
    assert requeue.early() == pytest.approx(300, abs=60)


@pytest.mark.parametrize("lacking", ["SLURM_JOB_ID", requeue.SUBMITTED])
def test_a_job_that_snakemake_has_not_submitted_is_left_alone(slurm, monkeypatch, lacking):
    slurm(int(time.time()) + 400)
    monkeypatch.delenv(lacking)
    assert requeue.early() is None
    requeue.again()


def test_the_snakefile_marks_the_jobs_that_it_submits(tmp_path):
    """A job's own Snakemake runs in mode remote; one on a user's machine, or inside a user's own SLURM job, does not."""
    rule = "rule all:\n    output: 'said'\n    shell: 'echo $LOSSATLAS_SUBMITTED > said; trap'\n"
    text = (ROOT / "Snakefile").read_text()
    begin, end = text.index("if workflow.remote_exec"), text.index("wildcard_constraints")
    head = "import os\nfrom lossatlas.workflow.requeue import SUBMITTED\n\n\n"
    (tmp_path / "Snakefile").write_text(head + text[begin:end] + rule)
    for mode, said in (("remote", "1\n"), ("default", "\n")):
        (tmp_path / "said").unlink(missing_ok=True)
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--mode", mode]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "said").read_text() == said
        assert "trap -- ':' SIGTERM" in done.stdout + done.stderr


def test_a_signal_is_no_reason_to_be_queued_again(tmp_path, slurm):
    """``scancel`` sends it, too."""
    asked = slurm(int(time.time()) + 86400)
    command = [sys.executable, "-c", textwrap.dedent(JOB), str(ROOT / "workflow/scripts"), "state"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == EXIT
    process.stdout.close()
    assert len(asked()) == 1
    assert (tmp_path / "state/kept").exists()
