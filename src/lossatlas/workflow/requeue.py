"""A job's own view of SLURM: when it will be ended, and how it is started again before that.

Only of jobs that Snakemake has submitted: one that a person has submitted, and in which Snakemake runs, is theirs.

A signal before the time limit (``sbatch --signal``) reaches the steps of a job and not its batch script, and tasks of
an array run in the batch script; so a job asks for its end itself. Where SLURM cannot be asked, nothing is different
but that the job runs into its limit, with what it committed last.
"""

import logging
import os
import subprocess
import time

log = logging.getLogger(__name__)

SUBMITTED = "LOSSATLAS_SUBMITTED"
"""Environment variable that the Snakefile sets in a job that Snakemake has submitted."""

EARLY = 120.0
"""Seconds before its time limit at which a job commits and has itself queued again; a quarter of the rest, if less."""


def seconds_left() -> float | None:
    """Return the seconds until SLURM ends this job; None outside of such jobs, and where SLURM names no end."""
    said = _ask("squeue", "--noheader", "--format=%e", "--jobs")
    try:
        return max(float(said) - time.time(), 0.0)
    except ValueError:
        return None


def early() -> float | None:
    """Return the seconds after which this job is to commit and be queued again; None where it has no end."""
    left = seconds_left()
    return None if left is None else left - min(EARLY, left / 4)


def again() -> None:
    """Have SLURM end this job and queue it again, as it was submitted."""
    log.info("queued again: %s", _ask("scontrol", "requeue") or "asked for")


def _ask(*command: str) -> str:
    """Return what a SLURM command says of this job; nothing where there is none, and where it fails."""
    number = os.environ.get("SLURM_JOB_ID")
    if not number or not os.environ.get(SUBMITTED):
        return ""
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}  # seconds since 1970
    try:
        done = subprocess.run([*command, number], env=environment, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s: %s", command[0], error)
        return ""
    if done.returncode:
        log.info("%s: %s", command[0], done.stderr.strip())
    return done.stdout.strip()
