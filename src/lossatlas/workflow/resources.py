"""Memory, run time and GPUs a job asks a cluster for, from its spec. Local runs ignore all but memory.

Run times are those of the one cost model (:mod:`lossatlas.workflow.cost`), asked for twice over and never above
``cluster.max_runtime``. Nothing is lost by a job that runs into its limit: it resumes from its last whole epoch, and
asks for the same again; only one that failed otherwise asks for more memory.
"""

import math
from collections.abc import Iterable
from functools import cache

from lossatlas.specs.artefact import Artefact
from lossatlas.study import subjects
from lossatlas.study.config import Cluster
from lossatlas.workflow import cost

NAMES = ("mem_mb", "runtime", "gpu")

START_MINUTES = 10
"""Python, torch and CUDA on a cold shared file system, and loading the data."""

SAFETY = 2.0
"""Asked-for over estimated time."""

RETRIES = 2
"""Times that the profile sends a failed job again (``retries`` of slurm/config.yaml; a test compares)."""

BASE_MB = 3000
"""Python, h5py, pandas, scikit-learn and matplotlib, with room."""

TORCH_MB = 6000
"""Python and torch with CUDA: libraries and context take some 4 GB of host memory."""

LONGEST_ON_CPU = 2 * 3600.0
"""Seconds that a job may take on a core that would be cheaper there: others wait for it."""

LEAST_SHARE = 0.25
"""Of a GPU, that a job asks for at least: chunks take an eighth of its memory, and a backward pass as much again."""

EVERYWHERE = Cluster()
"""A cluster of which nothing is said."""


@cache
def device(made: Artefact, cluster: Cluster = EVERYWHERE) -> str:
    """Return where a job on networks costs less: ``cpu`` (one core) or ``gpu``."""
    gpu, cpu = (cost.network_seconds(made, one) for one in (cost.GPU, cost.CPU))
    return cost.CPU if cpu <= min(cluster.gpu_worth * gpu, LONGEST_ON_CPU) else cost.GPU


def on_network(kind: str) -> bool:
    """Tell whether a kind of artefact or product is computed on networks."""
    step = subjects.steps().get(kind)
    return step is not None and step.gpu


@cache
def seconds(made: Artefact, cluster: Cluster = EVERYWHERE) -> float:
    """Return the seconds a job is expected to take on the device it goes to."""
    gpu = on_network(made.kind) and device(made, cluster) == cost.GPU
    return cost.seconds(subjects.steps()[made.kind].rule, made, gpu)


def request(kind: str, jobs: Iterable[Artefact], failures: int = 0, cluster: Cluster = EVERYWHERE) -> dict[str, int]:
    """Return what a job asks for.

    Args:
        kind: of artefact or product.
        jobs: the artefact to make, or all that share one request; none for products.
        failures: of the job so far that more memory may mend.
        cluster: what it may ask for.

    Returns:
        ``mem_mb``; ``runtime``, minutes; ``gpu``, how many.
    """
    every = list(jobs)
    gpu = on_network(kind) and any(device(made, cluster) == cost.GPU for made in every)
    minutes = max((_minutes(made, cluster) for made in every), default=30)
    return {
        "mem_mb": (1 + failures) * max((_mem_mb(made, gpu) for made in every), default=BASE_MB),
        "runtime": min(minutes, max(math.floor(60 * cluster.max_runtime), 1)),
        "gpu": int(gpu),
    }


def shards(jobs: Iterable[Artefact], cluster: Cluster) -> int:
    """Return how many parts of a GPU are enough for jobs that share one request; 0 = they fill one."""
    if cluster.gpu_shards is None:
        return 0
    share = max((max(cost.filled(made), LEAST_SHARE) for made in jobs), default=1.0)
    parts = math.ceil(share * cluster.gpu_shards)
    return parts if parts < cluster.gpu_shards else 0


def restarts(jobs: Iterable[Artefact], cluster: Cluster) -> int:
    """Return how often one of the jobs may have to resume because no request is above ``max_runtime``."""
    longest = max((seconds(made, cluster) for made in jobs), default=0.0)
    return max(math.ceil(SAFETY * longest / (3600 * cluster.max_runtime)) - 1, 0)


def _mem_mb(made: Artefact, gpu: bool) -> int:
    """Return the memory of a job, MB.

    On networks: four copies of the prepared data (read, converted, on their way to the GPU), eight of the weights in
    float32 (gradients, optimiser, state dicts, journal row), and what its work says beside them.
    """
    counted = cost.work(made)
    if not on_network(made.kind):
        return BASE_MB + math.ceil(counted.memory / 1e6)
    data = 4 * (counted.train + counted.test) * counted.bytes
    base = TORCH_MB if gpu else BASE_MB
    return base + math.ceil((data + 4 * (8 + counted.vectors) * counted.parameters) / 1e6)


def _minutes(made: Artefact, cluster: Cluster) -> int:
    """Return the time of a job, minutes."""
    counted = cost.work(made)
    if on_network(made.kind) or counted.seconds:
        return START_MINUTES + math.ceil(SAFETY * seconds(made, cluster) / 60)
    return counted.minutes


def speeds_in_words() -> str:
    """Return the lines that say which speeds an estimate stands on."""
    file = cost.speeds_file()
    about = cost.about(file)
    place = "LOSSATLAS_SPEEDS" if file != cost.SPEEDS else "src/lossatlas/workflow/speeds.json"
    return "\n".join(f"{device}: {about[device]} ({place})" for device in (cost.CPU, cost.GPU))
