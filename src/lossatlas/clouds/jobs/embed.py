"""The job that embeds a cloud in the plane from its Gram matrix."""

from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Gram, write_embedding
from lossatlas.specs.registry import Job


def embed_cloud(job: Job) -> None:
    """Embed the cloud of ``gram``; the spec is an :class:`lossatlas.clouds.spec.EmbeddingJob`."""
    gram, spec = Gram.load(job.file("gram")), job.spec
    embedding = embed(gram, spec["method"], spec["metric"], seed=spec["seed"], **spec["parameters"])
    write_embedding(job.output, embedding, gram.table, job.provenance)
