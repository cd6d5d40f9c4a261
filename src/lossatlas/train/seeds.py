"""Seeds of a training (no torch: the Snakefile resolves them)."""

from lossatlas.seeds import derive


def training_seeds(master: int, replica: int) -> dict[str, int]:
    """Return the seeds of a replica: initialisation, training (order and augmentation), random labels.

    They depend on the master seed and the replica alone: two recipes of one replica start from the same weights.
    """
    return {role: derive(master, role, replica) for role in ("init", "training", "labels")}


def drawing_seeds(master: int, replica: int) -> dict[str, int]:
    """Return the seeds of a replica's own training set and of the part held out of it."""
    return {role: derive(master, role, replica) for role in ("resample", "held_out")}
