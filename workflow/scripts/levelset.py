"""Rule levelset."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.levelsets.jobs.levelset import traverse

    data = next(iter(this.inputs("data")), None)
    traverse(this.spec, data, this.inputs("starts"), this.output("points"), this.state, this.provenance)
