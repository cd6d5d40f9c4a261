"""Rule assemble."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.planes.jobs.assemble import gather

    gather(this.inputs("tiles"), this.output("grid"), this.provenance)
