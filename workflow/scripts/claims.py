"""Rule claims."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.claims.evaluate import evaluate, write, write_metrics
    from lossatlas.study.subjects import measures

    claims, statements = this.spec["claims"], this.spec["statements"]
    judges = snakemake.params.product["judges"]
    found = evaluate(claims, measures(), this.product_inputs, this.study, this.preset, statements, judges)
    write(found[0], this.output("csv"))
    write(found[1], this.output("statements"))
    write_metrics(*found, this.output("metrics"))
