"""The job that embeds a cloud in the plane from its Gram matrix."""

import numpy as np

from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Gram, write_embedding
from lossatlas.errors import LossatlasError
from lossatlas.specs.registry import Job


def embed_cloud(job: Job) -> None:
    """Embed the cloud of ``gram``; the spec is an :class:`lossatlas.clouds.spec.EmbeddingJob`."""
    gram, spec = Gram.load(job.file("gram")), job.spec
    if not spec.get("minimum", True):
        gram = without_minimum(gram)
    embedding = embed(gram, spec["method"], spec["metric"], seed=spec["seed"], **spec["parameters"])
    write_embedding(job.output, embedding, gram.table, job.provenance)


def without_minimum(gram: Gram) -> Gram:
    """Return a jump-and-retrain cloud without the row of its minimum, as the authors' code embeds it."""
    seeds = gram.table["seed"].to_numpy()
    if not (seeds >= 0).any():
        raise LossatlasError("`minimum: false` is of jump-and-retrain clouds, whose row of seed -1 is the minimum")
    return gram.of_rows(np.flatnonzero(seeds >= 0))
