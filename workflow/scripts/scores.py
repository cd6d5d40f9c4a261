"""Rule scores."""

from lossatlas.workflow.job import job

with job(snakemake) as this:
    from lossatlas.clouds.files import Gram
    from lossatlas.clouds.jobs.scores import score, write

    truth = [Gram.load(path) for path in this.inputs("truth")]
    table = score(Gram.load(this.input("gram")), this.spec, *truth)
    write(this.output("scores"), table, this.provenance)
