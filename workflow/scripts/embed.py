"""Rule embed."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.clouds.embeddings import embed
    from lossatlas.clouds.files import Gram, write_embedding

    gram = Gram.load(this.input("gram"))
    settings = {key: this.spec[key] for key in ("method", "metric", "seed")}
    embedding = embed(gram, **settings, **this.spec["parameters"])
    write_embedding(this.output("embedding"), embedding, gram.table, this.provenance)
