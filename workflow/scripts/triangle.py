"""Rule triangle."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.solutions.jobs import probe

    probe(this.spec, this.input("cloud"), this.input("data"), this.output("triangle"), this.provenance)
