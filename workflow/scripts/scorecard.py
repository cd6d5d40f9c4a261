"""Rule scorecard."""

import pandas as pd

from lossatlas.claims.evaluate import write
from lossatlas.workflow.job import job

with job(snakemake) as this:
    write(pd.concat([pd.read_csv(path) for path in this.input("claims")]), this.output("csv"))
