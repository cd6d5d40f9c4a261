"""Rule embed."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.embed.gram import Gram
    from lossatlas.embed.methods import embed, write

    gram = Gram.load(this.input("gram"))
    settings = {key: this.spec[key] for key in ("method", "metric", "seed")}
    embedding = embed(gram, **settings, **this.spec["parameters"])
    write(this.output("embedding"), embedding, gram.table, this.provenance)
