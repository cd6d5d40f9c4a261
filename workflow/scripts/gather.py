"""Rule gather."""

from lossatlas.points import gather
from lossatlas.workflow.job import job

with job(snakemake) as this:
    first = [(path, [-1]) for path in this.inputs("run")]
    names = this.spec.get("names")
    gather(this.output("cloud"), first + [(path, None) for path in this.inputs("points")], this.provenance, names)
