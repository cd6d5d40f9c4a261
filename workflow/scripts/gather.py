"""Rule gather."""

from lossatlas.clouds.jobs.gather import chosen, with_history
from lossatlas.files.points import gather
from lossatlas.workflow.job import job

with job(snakemake) as this:
    names, history = this.spec.get("names"), with_history(this.spec)
    minimum = [((path, [-1]), {}) for path in this.inputs("run")]
    sources, columns = zip(*minimum, *chosen(this.spec, this.inputs("points")), strict=True)
    gather(this.output("cloud"), sources, this.provenance, names, columns, history)
