"""The pretend cluster, started for these tests and stopped after them."""

import pytest
import slurm_cluster


@pytest.fixture(scope="session")
def slurm():
    """Start SLURM; skip where it cannot be started."""
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    status, text = slurm_cluster.cluster("start")
    if "a SLURM of its own" in text:
        pytest.skip(text)
    if status:
        slurm_cluster.cluster("stop")
        pytest.fail(text)
    yield
    slurm_cluster.cluster("stop")
