"""Rules figure, animate and relief."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.draw.draw import draw
    from lossatlas.study.read import read_product

    draw(read_product(this.spec), this.product_inputs, this.outputs, this.provenance)
