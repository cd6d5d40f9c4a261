"""Fixtures shared by all tests."""

import secrets

import numpy as np
import pytest


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
