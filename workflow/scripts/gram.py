"""Rule gram."""

from lossatlas.clouds.jobs.gram import compute
from lossatlas.workflow.job import job

with job(snakemake) as this:
    compute(this.input("cloud"), this.output("gram"), this.provenance)
