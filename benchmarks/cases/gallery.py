"""From a fresh clone to the gallery of preset quick, from nothing: CPU time in jobs, and in the scheduler."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread

from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size
from benchmarks.frame.remote import ROOT
from lossatlas.workflow.forks import SWITCH


def snakemake(fork: str, size: Size) -> Action:
    """``snakemake --cores 2`` in a fresh clone, with jobs as forks of one process (``yes``) or each from nothing."""

    def run() -> Outcome:
        with cloned() as clone:
            counts = _made(clone, size, fork)
            return Outcome([float(len(_pictures(clone)))], counts)

    return run


def compared(fork: str, _: Size, __: Any) -> list[int]:
    """Return a checksum of the pixels of every picture of the tiny study: preset quick has the same bits anywhere."""
    with cloned() as clone:
        _made(clone, SIZES["tiny"], fork)
        return [zlib.crc32(np.ascontiguousarray(imread(path))) for path in _pictures(clone)]


@contextmanager
def cloned() -> Iterator[Path]:
    """Yield a fresh clone with the data that come with it, which is then removed."""
    if not shutil.which("git"):
        raise RuntimeError("git is not there")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        data = [str(path.relative_to(clone)) for path in sorted((clone / "data").glob("*.dvc"))]
        subprocess.run([Path(sys.executable).with_name("dvc"), "pull", "--quiet", *data], cwd=clone, check=True)
        yield clone


def _pictures(clone: Path) -> list[Path]:
    """Return the pictures that were made."""
    found = sorted((clone / "results" / "figures").rglob("*.png"))
    if not found:
        raise RuntimeError("no picture was made")
    return found


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


def _made(clone: Path, size: Size, fork: str) -> dict[str, float]:
    """Make the gallery in a clone; return the CPU seconds in jobs and beside them."""
    output = clone / "seconds.json"
    config = [f"preset={size['preset']}", *([f"studies=[{size['studies']}]"] if size["studies"] else [])]
    code = COUNTING.replace("OUTPUT", repr(str(output)))
    command = [sys.executable, "-c", code, "--", "--cores", "2", "--config", *config, "--", "results/figures/all"]
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), SWITCH: fork}
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
    seconds = json.loads(output.read_text())
    return {"seconds in jobs": seconds["jobs"], "seconds in the scheduler": seconds["scheduler"]}


SIZES: dict[str, Size] = {
    "full": {"preset": "quick", "studies": ""},
    "small": {"preset": "quick", "studies": "surfaces"},
    "tiny": {"preset": "quick", "studies": "tests/studies/tiny.yaml"},
}

CASES = (
    Case(
        name="gallery",
        row="gallery",
        what="from a fresh clone to the gallery of preset quick, from nothing",
        same=(
            "the same command in two clones, jobs as forks of one process or each started from nothing; the pixels of "
            "all pictures of a tiny study are compared"
        ),
        tolerance=0.0,
        ours=Side(partial(snakemake, "yes"), partial(compared, "yes")),
        peers={"every job from nothing": Side(partial(snakemake, "no"), partial(compared, "no"))},
        sizes=SIZES,
        goals=(Goal(2.0, quantity="seconds in jobs"), Goal(2.0, quantity="seconds in the scheduler")),
        rounds=1,
        reason=(
            "Forks save the start of a job and its imports; what is left are trainings, paths and retrainings, alike "
            "on both sides. Both have today's scheduler, too; the one that half was asked of stands in benchmarks.md, "
            "the quick preset."
        ),
    ),
)
