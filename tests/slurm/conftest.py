"""The pretend cluster, started for these tests and stopped after them."""

import pytest
import slurm_tools


@pytest.fixture(scope="session")
def slurm():
    """Start SLURM; skip where it cannot be started."""
    reason = slurm_tools.missing()
    if reason:
        pytest.skip(reason)
    status, text = slurm_tools.cluster("start")
    if "a SLURM of its own" in text:
        pytest.skip(text)
    if status:
        slurm_tools.cluster("stop")
        pytest.fail(text)
    yield
    slurm_tools.cluster("stop")
