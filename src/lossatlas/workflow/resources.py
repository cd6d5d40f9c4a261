"""Memory, run time and GPUs a job asks a cluster for, from its spec. Local runs ignore all but memory.

Run times are estimates of what each step counts as its work over a stated speed, asked for twice over; a second
attempt asks for twice that. Nothing is lost by a job that runs into its limit: it resumes from its last whole epoch.
"""

import math
import os
from collections.abc import Iterable

from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.registry import Work
from lossatlas.study import subjects

NAMES = ("mem_mb", "runtime", "gpu")

GPU_TFLOPS = 5.0
"""Sustained speed assumed of one GPU in training, TFLOP/s: an assumption, not a measurement. It is a tenth or less of
what data sheets promise of data-centre GPUs, since batches of 128 small images do not fill them. The environment
variable ``LOSSATLAS_GPU_TFLOPS`` replaces it; ``python -m lossatlas.workflow.gpu_hours --measured`` prints yours."""

LAYER_SECONDS = 150e-6
"""Time a step takes for each layer however small it is, s: an assumption. Some 15 kernel launches (forward, backward,
optimiser) of 5-10 us each."""

START_MINUTES = 10
"""Python, torch and CUDA on a cold shared file system, and loading the data."""

SAFETY = 2.0
"""Asked-for over estimated time."""

BASE_MB = 3000
"""Python, h5py, pandas, scikit-learn and matplotlib, with room."""

TORCH_MB = 6000
"""Python and torch with CUDA: libraries and context take some 4 GB of host memory."""


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


def work(made: Artefact) -> Work:
    """Return what making an artefact computes."""
    return subjects.steps()[made.kind].work(made)


def gpu_seconds(made: Artefact) -> float:
    """Return the expected seconds on a GPU of a job on networks: arithmetic over speed, plus launches."""
    counted = work(made)
    speed = measured_tflops()
    if speed is not None:
        return counted.flops / (speed * 1e12)
    return counted.flops / (GPU_TFLOPS * 1e12) + counted.steps * counted.layers * LAYER_SECONDS


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
    step = subjects.steps().get(kind)
    on_network = step is not None and step.gpu
    if name == "gpu":
        return int(on_network)
    if name == "mem_mb":
        return attempt * max((_mem_mb(made, on_network) for made in jobs), default=BASE_MB)
    return attempt * max((_minutes(made, on_network) for made in jobs), default=30)


def _mem_mb(made: Artefact, on_network: bool) -> int:
    """Return the memory of a job, MB.

    On networks: four copies of the prepared data (read, converted, on their way to the GPU), eight of the weights in
    float32 (gradients, optimiser, state dicts, journal row), and what its work says beside them.
    """
    counted = work(made)
    if not on_network:
        return BASE_MB + math.ceil(counted.memory / 1e6)
    data = 4 * (counted.train + counted.test) * counted.bytes
    return TORCH_MB + math.ceil((data + 4 * (8 + counted.vectors) * counted.parameters) / 1e6)


def _minutes(made: Artefact, on_network: bool) -> int:
    """Return the time of a job, minutes."""
    if on_network:
        return START_MINUTES + math.ceil(SAFETY * gpu_seconds(made) / 60)
    counted = work(made)
    if counted.seconds:
        return START_MINUTES + math.ceil(SAFETY * counted.seconds / 60)
    return counted.minutes
