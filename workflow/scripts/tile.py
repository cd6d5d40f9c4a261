"""Rule tile."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.planes.jobs.tile import probe

    to, gram = (next(iter(this.inputs(role)), None) for role in ("to", "gram"))
    probe(this.spec, this.input("data"), this.input("run"), to, gram, this.output("grid"), this.state, this.provenance)
