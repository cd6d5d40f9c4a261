"""Fixtures shared by all tests."""

# Tests compare bits: kernels are capped before anything loads NumPy, also for the processes that tests start. GPUs stay
# in sight for the tests that need one.
import os

from lossatlas.numerics import PORTABLE

os.environ.update({name: value for name, value in PORTABLE.items() if name != "CUDA_VISIBLE_DEVICES"})

import json
import secrets
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from harness import ALL, make_all, plan, snakemake, study

EARLY = ("slurm/test_limits", "workflow", "slurm", "packaging", "faults")
"""How paths of the files that take longest begin. The two of SLURM start one each: the second would wait for the first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with long files: a worker of pytest-xdist takes one at a time, and none is to be alone at the end."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next((i for i, start in enumerate(EARLY) if path.startswith(start)), len(EARLY))

    items.sort(key=rank)


@pytest.fixture
def fresh_seed() -> int:
    """Return a fresh seed, printed so that a failure can be repeated."""
    seed = secrets.randbits(32)
    print(f"fresh seed: {seed}")
    return seed


@pytest.fixture
def rng(fresh_seed: int) -> np.random.Generator:
    """Return a numpy generator from a fresh, printed seed."""
    return np.random.default_rng(fresh_seed)


@pytest.fixture
def some_of(rng):
    """Return a function that draws some of several cases, from the printed seed; all with ``LOSSATLAS_EXHAUSTIVE=1``."""

    def draw(cases, count):
        cases = list(cases)
        return (
            cases if os.environ.get("LOSSATLAS_EXHAUSTIVE") else [cases[i] for i in rng.permutation(len(cases))[:count]]
        )

    return draw


@pytest.fixture(scope="session")
def once(request, tmp_path_factory):
    """Return a function that fills a folder once, whichever worker of pytest-xdist comes first; the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent

    def fill(name, make):
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with FileLock(shared / f"once-{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return fill


@pytest.fixture(scope="session")
def built(once):
    """Build the whole tiny study once, by Snakemake; tests copy the folder before they change it."""

    def build(folder):
        (folder / "jobs.json").write_text(json.dumps([job.rule for job in plan(folder, ALL)]))
        done = snakemake(folder, ALL)
        assert done.returncode == 0, done.stdout

    return once("built", build)


@pytest.fixture(scope="session")
def made_study(once):
    """Return a function that makes every artefact of a tiny study, once: its folder, which stays as it is, and its plan."""
    known = {}

    def make(name):
        if name not in known:
            plan = study(name)
            known[name] = once(name, lambda folder: make_all(plan, folder)), plan
        return known[name]

    return make
