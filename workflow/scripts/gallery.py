"""Rule gallery."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.gallery import build

    build(this.output("built").parent, this.complete_manifest(snakemake.params.manifest))
