"""Rule figure."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.draw.draw import draw

    draw(this.spec, this.product_inputs, this.outputs, this.provenance)
