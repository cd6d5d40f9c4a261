"""Every rule that makes an artefact: its step's function, run as the job at hand."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    this.make()
