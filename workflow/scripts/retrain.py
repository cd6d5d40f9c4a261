"""Rule retrain."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.trajectories.jobs import retrain

    retrain(this.spec, this.input("data"), this.input("run"), this.output("points"), this.state, this.provenance)
