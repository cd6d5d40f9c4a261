"""lossatlas: a study is data (config/studies/*.yaml); about a dozen generic rules turn it into figures."""

import sys
from pathlib import Path

from lossatlas.workflow.wiring import load_plan

ROOT = Path(workflow.basedir)


configfile: str(ROOT / "config" / "config.yaml")


PLAN = load_plan(config, ROOT)


wildcard_constraints:
    id=r"[\w.-]+-[0-9a-f]{10}",
    study=r"[A-Za-z0-9_]+",
    figure=r"[A-Za-z0-9_]+",
    table=r"[A-Za-z0-9_]+",


rule all:
    """The gallery of every study configured: figures, tables, scorecard."""
    input:
        "results/figures/all",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/jump.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/figure.smk"
