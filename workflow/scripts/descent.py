"""Rule descent."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.planes.jobs.descent import probe

    files = (this.input(role) for role in ("data", "run", "gram"))
    probe(this.spec, *files, this.output("descent"), this.state, this.provenance)
