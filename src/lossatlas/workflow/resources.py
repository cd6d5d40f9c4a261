"""Memory, run time and GPUs a job asks a cluster for, from its spec. Local runs ignore all but memory.

Run times are estimates of :mod:`lossatlas.legacy.cost`'s counts over a stated speed, asked for twice over; a second
attempt asks for twice that. Nothing is lost by a job that runs into its limit: it resumes from its last whole epoch.
"""

import math
import os
from collections.abc import Iterable

from lossatlas.errors import LossatlasError
from lossatlas.legacy import cost
from lossatlas.specs.artefact import Artefact

NAMES = ("mem_mb", "runtime", "gpu")

GPU_TFLOPS = 5.0
"""Sustained speed assumed of one GPU in training, TFLOP/s: an assumption, not a measurement. It is a tenth or less of
what data sheets promise of data-centre GPUs, since batches of 128 small images do not fill them. The environment
variable ``LOSSATLAS_GPU_TFLOPS`` replaces it; ``python -m lossatlas.workflow.gpu_hours --measured`` prints yours."""

LAYER_SECONDS = 150e-6
"""Time a step takes for each layer however small it is, s: an assumption. Some 15 kernel launches (forward, backward,
optimiser) of 5-10 us each."""

CPU_FLOPS = 2e10
"""Speed assumed of one core in float64 matrix products, FLOP/s."""

READ_BYTES = 2e8
"""Speed assumed of the shared file system, bytes/s."""

START_MINUTES = 10
"""Python, torch and CUDA on a cold shared file system, and loading the data."""

SAFETY = 2.0
"""Asked-for over estimated time."""

BASE_MINUTES = {"data": 30, "scores": 60}
BASE_MB = 3000
"""Python, h5py, pandas, scikit-learn and matplotlib, with room."""

TORCH_MB = 6000
"""Python and torch with CUDA: libraries and context take some 4 GB of host memory."""

ARRAYS = ("retrains",)
"""Kinds whose jobs the SLURM profile submits as arrays (``slurm/config.yaml``). All tasks of an array get what its
first asks for, so each asks for what the largest of the plan needs."""


def measured_tflops() -> float | None:
    """Return the user's own figure for the speed of one GPU in training, launches included, TFLOP/s."""
    given = os.environ.get("LOSSATLAS_GPU_TFLOPS")
    if not given:
        return None
    try:
        speed = float(given)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise LossatlasError(f"LOSSATLAS_GPU_TFLOPS: got {given!r}, expected a number above 0 (TFLOP/s)")
    return speed


def speed_in_words() -> str:
    """Return the sentence that says which speed an estimate stands on."""
    speed = measured_tflops()
    if speed is not None:
        return f"at {speed:g} TFLOP/s (LOSSATLAS_GPU_TFLOPS)"
    return (
        f"assuming, not measured: {GPU_TFLOPS:g} TFLOP/s sustained and {LAYER_SECONDS * 1e6:g} us a layer and step;\n"
        "after some runs on your GPU, `python -m lossatlas.workflow.gpu_hours --measured` prints what to replace it by"
    )


def gpu_seconds(made: Artefact) -> float:
    """Return the expected seconds on a GPU of a job on networks: arithmetic over speed, plus launches."""
    work = cost.work(made)
    speed = measured_tflops()
    if speed is not None:
        return work.flops / (speed * 1e12)
    return work.flops / (GPU_TFLOPS * 1e12) + work.steps * work.network.layers * LAYER_SECONDS


def size(kind: str, name: str, jobs: Iterable[Artefact], attempt: int) -> int:
    """Return one resource of a job.

    Args:
        kind: of artefact or product.
        name: ``mem_mb``, ``runtime`` (minutes) or ``gpu``.
        jobs: the artefact to make, or all that share one request; none for products.
        attempt: counted from 1; memory and time grow with it.

    Returns:
        The amount to ask for.
    """
    if name == "gpu":
        return int(kind in cost.ON_NETWORKS)
    if name == "mem_mb":
        return attempt * max((_mem_mb(made) for made in jobs), default=BASE_MB)
    return attempt * max((_minutes(made) for made in jobs), default=30)


def _mem_mb(made: Artefact) -> int:
    """Return the memory of a job, MB.

    On networks: four copies of the prepared data (read, converted, on their way to the GPU) and eight of the weights in
    float32 (gradients, optimiser, state dicts, journal row). After it: four n x n matrices in float64, sixteen for
    embeddings (distances, kernels, operators and their powers), beside the streaming pass's blocks. A curvature
    map keeps a Krylov basis in float64.
    """
    if made.kind in cost.ON_NETWORKS:
        work = cost.work(made)
        data = 4 * (work.train + work.test) * work.bytes
        vectors = 8 * 4 + 8 * made.spec.get("measure", {}).get("products", 0)
        return TORCH_MB + math.ceil((data + vectors * work.network.parameters) / 1e6)
    if made.kind in ("grams", "embeddings", "separations", "scores"):
        return BASE_MB + math.ceil((4 if made.kind == "grams" else 16) * 8 * cost.rows(made) ** 2 / 1e6)
    return BASE_MB


def _minutes(made: Artefact) -> int:
    """Return the time of a job, minutes."""
    if made.kind in cost.ON_NETWORKS:
        return START_MINUTES + math.ceil(SAFETY * gpu_seconds(made) / 60)
    if made.kind == "grams":  # reads n rows of D float32 at most twice and multiplies them: 2 n^2 D
        n, dim = cost.rows(made), cost.dimension(made)
        seconds = 2 * 4 * n * dim / READ_BYTES + 2.0 * n**2 * dim / CPU_FLOPS
        return START_MINUTES + math.ceil(SAFETY * seconds / 60)
    return BASE_MINUTES.get(made.kind, 30)
