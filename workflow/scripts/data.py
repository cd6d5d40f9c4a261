"""Rule data."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.data.jobs import prepare

    prepare(this.spec, this.output("data"), this.root, this.provenance)
