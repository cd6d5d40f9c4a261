"""Rule separate."""

from lossatlas.barriers.jobs.separate import probe
from lossatlas.workflow.job import job

with job(snakemake) as this:
    probe(this.spec, this.input("gram"), this.output("separation"), this.provenance)
