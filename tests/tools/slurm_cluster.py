"""Run the workflow on the pretend cluster as a user does, and do to it what happens to clusters."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import psutil
from harness import ROOT, environment

CLUSTER = ROOT / "tests/slurm/cluster.sh"
STUDY = ROOT / "tests/slurm/small.yaml"
PATIENCE = 900
"""Seconds after which a test gives a real daemon up; never part of what a test asserts."""

RUNNER = """
import sys

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)
sys.argv[0] = "snakemake"
main()
"""
"""The command `snakemake`; SLURM is asked for the state of jobs every second, for users every 65 to 180 s."""


TOOLS = {"slurm-wlm munge": ("slurmctld", "slurmd", "munged", "squeue")}
ACCOUNTING = {"slurmdbd mariadb-server-core mariadb-client-core": ("slurmdbd", "mariadbd", "my_print_defaults")}
"""Packages -> programs of theirs that the tests start."""


def missing(accounting=False):
    """Return why there can be no cluster here, or none with accounting, or nothing."""
    if os.geteuid() != 0:
        return "starting SLURM's daemons needs root"
    path = os.environ["PATH"] + ":/usr/sbin"
    for packages, tools in {**TOOLS, **(ACCOUNTING if accounting else {})}.items():
        absent = [tool for tool in tools if not shutil.which(tool, path=path)]
        if absent:
            return f"{', '.join(absent)} missing; apt-get install {packages}"
    return ""


PARTITIONS = "cpu_partition: cpu, gpu_partition: gpu, gpu_model: test, gpu_worth: 0"
"""What the pretend cluster has, as the configuration's `cluster` says it; every network goes to its GPUs."""


def cluster(action):
    """Run cluster.sh; return its exit status and what it printed (to a file: daemons never close a pipe)."""
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run([CLUSTER, action], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        output.seek(0)
        return done.returncode, output.read().strip()


def ask(*command):
    """Return what a SLURM command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def until(condition, what):
    """Wait for a condition, as long as SLURM may take; return its value."""
    return harness.until(condition, what, PATIENCE)


def arguments(folder, *targets, profile=ROOT / "slurm", options=(), overrides=None, cluster=PARTITIONS):
    """Return Snakemake's arguments for targets of the small study, in a folder; without SLURM where there is no profile."""
    where = ["--profile", str(profile)] if profile else ["--cores", "2"]
    config = ("overrides=" + json.dumps({"small": overrides or {}}), f"cluster={{{cluster}}}")
    options = (*where, "--directory", str(folder), *options)
    return harness.arguments(*targets, study=STUDY, options=options, config=config)


def shell():
    """Return a user's environment, without the one variable that SLURM sets in GPU jobs only."""
    kept = {key: value for key, value in environment().items() if key != "CUDA_VISIBLE_DEVICES"}
    return {**kept, "PYTHONPATH": os.pathsep.join([f"{ROOT}/src", kept.get("PYTHONPATH", "")])}


def snakemake(folder, *targets, **settings):
    """Run Snakemake on the cluster; return the finished process, stdout and stderr in one text."""
    command = [sys.executable, "-c", RUNNER, *arguments(folder, *targets, **settings)]
    return harness.run(command, ROOT, env=shell(), timeout=PATIENCE)


class Running:
    """A Snakemake in a process group of its own, its output in a file."""

    def __init__(self, folder, *targets, **settings):
        """Start it."""
        command = [sys.executable, "-c", RUNNER, *arguments(folder, *targets, **settings)]
        self.log = folder / f"snakemake-{time.monotonic_ns()}.log"
        self.process = harness.start(command, ROOT, self.log, shell())

    def text(self):
        """Return what it has printed so far."""
        return self.log.read_text()

    def kill(self):
        """Kill it as a rebooting login node does: no clean-up, and nobody told."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self):
        """Wait for its end and return its exit status."""
        return self.process.wait(timeout=PATIENCE)


def epoch(folder):
    """Return the whole epochs that the one unfinished training has committed; -1 without one."""
    for file in (folder / "results/.state/runs").glob("*/state.pt"):
        kept = harness.committed(file.parent)
        return kept["epoch"] if kept else -1  # finished meanwhile
    return -1


def training_processes(folder):
    """Return the processes that run the training script in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if process.info["cwd"] == str(folder) and any(
            re.fullmatch(r"\S*scripts/tmp\w*\.step\.py", word)
            for word in command  # not the shell around it
        ):
            found.append(process)
    return found


def clear(folder):
    """Kill what still lives of jobs in a folder: without cgroups SLURM loses sight of grandchildren of killed steps."""
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(folder):
            process.kill()


def job_steps():
    """Return the processes by which slurmd runs jobs here."""
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] == "slurmstepd"]


def jobs(folder, *states):
    """Return the SLURM jobs of a folder in given states (all that are not over by default)."""
    lines = ask("squeue", "--noheader", "--format", "%i|%T|%Z").splitlines()
    rows = [line.split("|") for line in lines]
    return [number for number, state, where in rows if Path(where) == folder and (not states or state in states)]


def records():
    """Return what SLURM remembers of every job: a mapping of its fields a job."""
    text = ask("scontrol", "--oneliner", "show", "job")
    return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in text.splitlines()]


def copy_data(built, folder):
    """Copy the prepared data of a folder, so that a test is about what follows."""
    shutil.copytree(built / "results/data", folder / "results/data")
