"""Rule scorecard."""

from pathlib import Path

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.claims.scorecard import gather, write

    asked = snakemake.params.scorecard
    found = gather(Path("results/claims"), asked["studies"], asked["machines"])
    this.provenance.update(found.about)
    write(found, this.output("csv"))
