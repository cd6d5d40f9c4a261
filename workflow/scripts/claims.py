"""Rule claims."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.claims.evaluate import evaluate, write

    write(evaluate(this.spec["claims"], this.product_inputs, this.study, this.preset), this.output("csv"))
