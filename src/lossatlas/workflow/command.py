"""Targets behind ``--config`` on Snakemake's command line, as the documentation writes them.

Snakemake's ``--config`` takes every word up to the next option, so that
``snakemake --cores 2 --config preset=laptop results/figures/all`` ends in a traceback about name=value pairs.
Snakemake imports its logger plugins while it builds its parser, before it reads the command line; ours calls
:func:`prepare` then.
Nobody's program is replaced, and a command line for another Snakefile stays as it is.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
"""Where Snakemake looks when no ``-s`` says (``snakemake.common.SNAKEFILE_CHOICES``; a test compares)."""

OURS = "from lossatlas.workflow.wiring import load_plan"
"""A line that the Snakefile of lossatlas has, in whatever folder it lies."""

_PAIR = re.compile(r"[A-Za-z_][\w.]*=")
_SNAKEFILE = re.compile(r"(?:--snakefile=?|-s)(?P<file>.*)")


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


def snakefile(arguments: Sequence[str]) -> Path | None:
    """Return the Snakefile that Snakemake takes with these arguments in this folder; None where there is none."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if found := _SNAKEFILE.fullmatch(word):
            return Path(found["file"] or following)
    return next((Path(name) for name in SNAKEFILES if Path(name).is_file()), None)


def is_ours(file: Path | None) -> bool:
    """Tell whether a Snakefile is that of lossatlas."""
    try:
        return file is not None and OURS in file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False


def is_snakemake(program: str) -> bool:
    """Tell whether ``sys.argv[0]`` is Snakemake's command, ``snakemake`` or ``python -m snakemake``."""
    path = Path(program)
    return path.stem == "snakemake" or (path.name == "__main__.py" and path.parent.name == "snakemake")


def prepare() -> None:
    """Move the targets of a Snakemake that a user has called on the Snakefile of lossatlas."""
    program, *arguments = sys.argv or [""]
    by_user = "--mode" not in arguments  # Snakemake itself starts jobs with it, and says what is meant
    if is_snakemake(program) and by_user and is_ours(snakefile(arguments)):
        sys.argv[1:] = separate_targets(arguments)
