"""Rule table."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.draw.draw import write_table
    from lossatlas.study.read import read_product

    write_table(read_product(this.spec), this.product_inputs, this.output("csv"))
