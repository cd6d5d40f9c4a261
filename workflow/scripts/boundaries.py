"""Rule boundaries."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.basins.jobs import boundaries

    boundaries(this.spec, this.input("data"), this.inputs("points"), this.output("boundary"), this.provenance)
