"""Rule table."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.figures.tables import write

    write(this.spec, this.product_inputs, this.output("csv"), this.provenance)
