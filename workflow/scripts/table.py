"""Rule table."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.draw.draw import write_table

    write_table(this.spec, this.product_inputs, this.output("csv"), this.provenance)
