"""Rule claims."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.claims.evaluate import evaluate, write, write_metrics
    from lossatlas.study.subjects import measures

    table = evaluate(this.spec["claims"], measures(), this.product_inputs, this.study, this.preset)
    write(table, this.output("csv"))
    write_metrics(table, this.output("metrics"))
