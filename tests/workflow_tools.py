"""Run Snakemake as a user does, and read what it plans."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lossatlas.workflow.command import separate_targets

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "studies" / "tiny.yaml"
ALL = "results/figures/all"
CONFIG = (f"studies=[{TINY}]", "preset=quick")

PLANNER = """
import json, logging, sys
from snakemake import cli
from snakemake.logging import LoggerManager

class Collect(logging.Handler):
    def emit(self, record):
        if getattr(record, "rule_name", None) and "job_info" in str(getattr(record, "event", "")).lower():
            keys = ("rule_name", "wildcards", "threads", "reason", "output")
            job = {key: getattr(record, key) for key in keys}
            job["resources"] = dict(record.resources.items())
            print("PLANNED " + json.dumps(job, default=str), flush=True)

handler = LoggerManager._default_streamhandler
def both(self):
    self.logger.addHandler(Collect())
    return handler(self)
LoggerManager._default_streamhandler = both
cli.main(sys.argv[1:])
"""
"""Snakemake's own command line, with every planned job printed as one line of JSON."""


@dataclass(frozen=True)
class Job:
    """A planned job."""

    rule: str
    wildcards: dict
    threads: int
    reason: str
    resources: dict
    output: list

    @property
    def id(self):
        """Return the folder name of the artefact it makes."""
        return self.wildcards.get("id", "")


def environment():
    """Return the environment of a user's shell: one thread, no search path for data, no downloads."""
    ignored = ("SNAKEMAKE_PROFILE", "LOSSATLAS_DATA", "PYTEST_CURRENT_TEST")
    kept = {key: value for key, value in os.environ.items() if key not in ignored}
    return {**kept, "OMP_NUM_THREADS": "1", "LOSSATLAS_DOWNLOAD": "0"}


def overrides(**keys):
    """Return the ``--config`` entry that merges keys into the tiny study."""
    return "overrides=" + json.dumps({"tiny": keys})


def arguments(*targets, config=(), options=(), root=ROOT):
    """Return Snakemake's arguments for targets of the tiny study; ``config`` is added to its configuration."""
    return ["-s", f"{root}/Snakefile", *options, "--config", *CONFIG, *config, "--", *targets]


def snakemake(folder, *targets, **settings):
    """Run Snakemake in a folder; return the finished process with stdout and stderr in one text."""
    command = [sys.executable, "-m", "snakemake", *arguments(*targets, **settings)]
    return subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start(folder, *targets, **settings):
    """Start Snakemake in a process group of its own, which a test may kill."""
    command = [sys.executable, "-m", "snakemake", *arguments(*targets, **settings)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def planned(folder, given):
    """Return the jobs of a dry run with arguments as given."""
    command = [sys.executable, "-c", PLANNER, *separate_targets(["-n", *given])]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line.removeprefix("PLANNED ")) for line in done.stdout.splitlines() if line[:8] == "PLANNED "]
    return [Job(rule=job.pop("rule_name"), **{**job, "wildcards": job["wildcards"] or {}}) for job in found]


def plan(folder, *targets, **settings):
    """Return the jobs that Snakemake would run for targets of the tiny study."""
    return planned(folder, arguments(*targets, **settings))


def counts(jobs):
    """Return rule -> number of jobs."""
    return dict(Counter(job.rule for job in jobs))


def copy(built, folder):
    """Copy a built folder with its file times and Snakemake's records."""
    shutil.copytree(built, folder, dirs_exist_ok=True)
    return folder


def checksums(folder):
    """Return path -> SHA-256 of every file of results/, except logs."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not relative.startswith("results/logs/"):
            found[relative] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def error_lines(text):
    """Return what the jobs reported to the user."""
    return [line for line in text.splitlines() if line.startswith("lossatlas: error:")]
