"""lossatlas: a study is data (config/studies/*.yaml); about a dozen generic rules turn it into figures."""

import os
import sys
from pathlib import Path

from lossatlas.workflow import forks, scheduler, slurm
from lossatlas.workflow.requeue import SUBMITTED
from lossatlas.workflow.watch import begin
from lossatlas.workflow.wiring import load_plan

ROOT = Path(workflow.basedir)


configfile: str(ROOT / "config" / "config.yaml")


PLAN = load_plan(config, ROOT)


scheduler.mend()
slurm.mend()
if workflow.local_exec and not workflow.remote_exec:
    forks.mend(PLAN.config.numerics)

if workflow.remote_exec:  # on a node, in a job that Snakemake has submitted, which may be queued again
    os.environ[SUBMITTED] = "1"

# A SIGTERM reaches the script and this shell around it: the shell waits for what the script does about it.
shell.prefix("trap : TERM; ")


wildcard_constraints:
    id=r"[\w.-]+-[0-9a-f]{10}",
    study=r"[A-Za-z0-9_]+",
    figure=r"[A-Za-z0-9_]+",
    table=r"[A-Za-z0-9_]+",


rule all:
    """The gallery of every study configured: figures, tables, scorecard; of studies of your own, theirs."""
    input:
        PLAN.targets(),


onstart:
    if not workflow.local_exec:
        PLAN.allow_restarts(workflow.rules)
    begin(workflow, PLAN)


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/clouds.smk"
include: "workflow/rules/trajectories.smk"
include: "workflow/rules/planes.smk"
include: "workflow/rules/levelsets.smk"
include: "workflow/rules/barriers.smk"
include: "workflow/rules/basins.smk"
include: "workflow/rules/solutions.smk"
include: "workflow/rules/draw.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/gallery.smk"
