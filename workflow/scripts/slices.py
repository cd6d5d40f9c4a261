"""Rule slices."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.basins.jobs import slices

    slices(this.spec, this.input("data"), this.inputs("points"), this.output("slice"), this.state, this.provenance)
