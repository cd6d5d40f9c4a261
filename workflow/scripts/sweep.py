"""Rule sweep."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.train.jobs.sweep import sweep

    starts = this.inputs("starts")
    sweep(this.spec, this.input("data"), this.output("points"), this.state, this.provenance, starts)
