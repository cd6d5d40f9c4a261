"""Rule average."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.levelsets.jobs.average import probe

    probe(this.spec, this.input("cloud"), this.input("data"), this.output("average"), this.provenance)
