"""The pretend cluster, started for these tests and stopped after them; one of two, as a folder of tests asks for it."""

import tempfile
from pathlib import Path

import pytest
import slurm_cluster
from filelock import FileLock


def _started(action, accounting):
    """Start SLURM; skip where it cannot be started."""
    reason = slurm_cluster.missing(accounting)
    if reason:
        pytest.skip(reason)
    with FileLock(Path(tempfile.gettempdir()) / "lossatlas-slurm.lock"):  # the other file's worker waits
        status, text = slurm_cluster.cluster(action)
        if "a SLURM of its own" in text:
            pytest.skip(text)
        if status:
            slurm_cluster.cluster("stop")
            pytest.fail(text)
        yield
        slurm_cluster.cluster("stop")


@pytest.fixture(scope="module")
def slurm():
    """Start SLURM without accounting."""
    yield from _started("start", accounting=False)


@pytest.fixture(scope="module")
def limited_slurm():
    """Start SLURM with accounting, a limit on jobs in the queue, and a partition of GPUs that ends jobs after a minute."""
    yield from _started("start-limited", accounting=True)
