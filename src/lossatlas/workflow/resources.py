"""Memory, run time and GPUs a job asks a cluster for, from its spec. Local runs ignore all but memory."""

from collections.abc import Mapping

NAMES = ("mem_mb", "runtime", "gpu")

IMAGES_PER_GPU_SECOND = 4000
"""Training throughput assumed of one GPU on WRN-28-2 at 32 px, images/s: cautious, and growing with each attempt."""

PAPER_TRAINING_IMAGES = 50_000
ON_GPU = ("sweeps", "levelsets", "surfaces")
"""Further kinds that evaluate networks for long."""

BASE_MINUTES = {
    "sweeps": 480,
    "levelsets": 480,
    "surfaces": 120,
    "averages": 30,
    "data": 30,
    "grams": 60,
    "embeddings": 30,
    "scores": 120,
    "synthetic": 15,
    "clouds": 15,
}


def size(kind: str, name: str, spec: Mapping, attempt: int) -> int:
    """Return one resource of a job.

    Args:
        kind: of artefact or product.
        name: ``mem_mb``, ``runtime`` (minutes) or ``gpu``.
        spec: of the artefact; empty for products.
        attempt: counted from 1; memory and time grow with it.

    Returns:
        The amount to ask for.
    """
    trains = kind in ("runs", "retrains")
    if name == "gpu":
        return int(trains or kind in ON_GPU)
    if name == "mem_mb":
        return (6000 if trains or kind in ON_GPU else 3000) * attempt
    if not trains:
        return BASE_MINUTES.get(kind, 15) * attempt
    epochs = spec["recipe"]["epochs"] * len(spec.get("jumps", [1]))
    minutes = epochs * PAPER_TRAINING_IMAGES / IMAGES_PER_GPU_SECOND / 60
    return int(15 + 1.5 * minutes) * attempt
