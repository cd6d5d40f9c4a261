"""Rule statements."""

from pathlib import Path

from lossatlas.workflow.job import job

with job(snakemake) as this:
    import pandas as pd

    from lossatlas.draw.style import save
    from lossatlas.gallery.scorecard import compose, gather

    claims = pd.read_csv("results/claims.csv", dtype=str, keep_default_na=False)
    drawn = compose(gather(Path("results/claims"), claims))
    save(drawn, this.outputs, "What the papers say, and what was measured", this.provenance)
