"""Rule surface."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.levelsets.jobs.surface import probe

    gram, data = (next(iter(this.inputs(role)), None) for role in ("gram", "data"))
    probe(this.spec, this.input("cloud"), gram, data, this.output("surface"), this.state, this.provenance)
