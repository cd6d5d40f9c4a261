"""Rule path."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.barriers.jobs.path import probe

    cloud, data = (next(iter(this.inputs(role)), None) for role in ("cloud", "data"))
    probe(this.spec, cloud, data, this.output("path"), this.state, this.provenance)
