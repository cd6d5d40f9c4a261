"""From a fresh clone to the gallery of preset quick, from nothing: CPU time in jobs, and in the scheduler."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size
from benchmarks.frame.remote import ROOT
from lossatlas.workflow.forks import SWITCH


def snakemake(fork: str, size: Size) -> Action:
    """``snakemake --cores 2`` in a fresh clone, with jobs as forks of one process (``yes``) or each from nothing."""
    if not shutil.which("git"):
        raise RuntimeError("git is not there")

    def run() -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder) / "clone"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
            return _made(clone, size, fork)

    return run


COUNTING = """
import atexit, json, resource, runpy, sys
sys.argv = ["snakemake", *sys.argv[2:]]
status = 0
try:
    runpy.run_module("snakemake", run_name="__main__")
except SystemExit as error:
    status = error.code or 0
atexit._run_exitfuncs()  # by which the processes that jobs are forks of have ended, and count
kinds = {"scheduler": resource.RUSAGE_SELF, "jobs": resource.RUSAGE_CHILDREN}
seconds = {name: sum(resource.getrusage(kind)[:2]) for name, kind in kinds.items()}
open(OUTPUT, "w").write(json.dumps(seconds))
sys.exit(status)
"""
"""Snakemake in this process, whose own time is the scheduler's; that of its ended children is the jobs'."""


def _made(clone: Path, size: Size, fork: str) -> Outcome:
    """Make the gallery in a clone; count jobs and CPU seconds in jobs and beside them."""
    output = clone / "seconds.json"
    config = [f"preset={size['preset']}", *([f"studies=[{size['studies']}]"] if size["studies"] else [])]
    code = COUNTING.replace("OUTPUT", repr(str(output)))
    command = [sys.executable, "-c", code, "--", "--cores", "2", "--config", *config, "--", "results/figures/all"]
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), SWITCH: fork}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
    seconds = json.loads(output.read_text())
    counts = {"seconds in jobs": seconds["jobs"], "seconds in the scheduler": seconds["scheduler"]}
    pictures = list((clone / "results" / "figures").rglob("*.png"))
    return Outcome([float(len(pictures))], counts)


CASES = (
    Case(
        name="gallery",
        row="gallery",
        what="from a fresh clone to the gallery of preset quick, from nothing",
        same=(
            "the same command in two clones, jobs as forks of one process or each started from nothing; the number of "
            "pictures is compared"
        ),
        tolerance=0.0,
        ours=Side(partial(snakemake, "yes")),
        peers={"every job from nothing": Side(partial(snakemake, "no"))},
        sizes={
            "full": {"preset": "quick", "studies": ""},
            "small": {"preset": "quick", "studies": "surfaces"},
            "tiny": {"preset": "quick", "studies": "tests/studies/tiny.yaml"},
        },
        goals=(Goal(2.0, quantity="seconds in jobs"), Goal(2.0, quantity="seconds in the scheduler")),
    ),
)
