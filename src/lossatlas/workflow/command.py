"""The command ``snakemake`` of this environment: Snakemake's own, with targets allowed behind ``--config``.

Snakemake's ``--config`` takes every word up to the next option, so that
``snakemake --cores 2 --config preset=laptop results/figures/all`` ends in a traceback about name=value pairs. Here
words that are no name=value pairs are handed on as targets; everything else is Snakemake's.
"""

import re
import sys

from snakemake.cli import main as snakemake

from lossatlas.workflow.slurm import keep_jobs_in_sight

_PAIR = re.compile(r"[A-Za-z_][\w.]*=")


def separate_targets(arguments: list[str]) -> list[str]:
    """Return the arguments with targets that follow ``--config`` moved behind ``--``, where Snakemake finds them.

    Args:
        arguments: words of the command line, without the program's name.

    Returns:
        The same list if it has ``--`` or nothing to move.
    """
    if "--" in arguments:
        return arguments
    kept, targets, in_config = [], [], False
    for word in arguments:
        if word.startswith("-"):
            in_config = word in ("--config", "-C")
        elif in_config and not _PAIR.match(word):
            targets.append(word)
            continue
        kept.append(word)
    return [*kept, "--", *targets] if targets else arguments


def main() -> None:
    """Run Snakemake."""
    keep_jobs_in_sight()
    sys.argv[1:] = separate_targets(sys.argv[1:])
    snakemake()
