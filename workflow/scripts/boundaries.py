"""Rule boundaries."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.probes.minima import boundaries

    boundaries(this.spec, this.input("data"), this.inputs("points"), this.output("boundary"), this.provenance)
