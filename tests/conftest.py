"""Fixtures shared by all tests."""

import json
import secrets

import numpy as np
import pytest
from harness import ALL, plan, snakemake


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


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Build the whole tiny study once, by Snakemake; tests copy the folder before they change it."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "jobs.json").write_text(json.dumps([job.rule for job in plan(folder, ALL)]))
    done = snakemake(folder, ALL)
    assert done.returncode == 0, done.stdout
    return folder
