"""Rule index."""

import pandas as pd

from lossatlas.files.hdf5 import atomic
from lossatlas.workflow.job import job

with job(snakemake) as this, atomic(this.output("csv")) as part:
    pd.DataFrame(snakemake.params.index["rows"]).to_csv(part, index=False)
