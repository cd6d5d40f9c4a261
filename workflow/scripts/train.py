"""Rule train."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.train.jobs.train import train_run

    train_run(this.spec, this.input("data"), this.output("points"), this.state, this.provenance)
