"""Rule synthesise."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.clouds.jobs.synthesise import synthesise

    synthesise(this.output("cloud"), this.spec, this.provenance)
