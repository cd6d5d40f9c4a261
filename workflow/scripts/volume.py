"""Rule volume."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.basins.jobs import volume

    volume(this.spec, this.input("data"), this.inputs("points"), this.output("volume"), this.state, this.provenance)
