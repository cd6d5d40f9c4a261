"""Rule gather."""

from lossatlas.points import gather
from lossatlas.workflow.job import job

with job(snakemake) as this:
    first = [(path, [-1]) for path in this.inputs("run")]
    names = this.spec.get("names")
    points = first + [(path, None) for path in this.inputs("points")]
    gather(this.output("cloud"), points, this.provenance, names, this.spec.get("sets"))
