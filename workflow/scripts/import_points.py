"""Rule import_points."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.clouds.jobs.import_points import import_points

    import_points(this.spec, this.input("data"), this.output("points"), this.provenance)
