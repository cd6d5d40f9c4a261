"""The one line that a failed job has to say, found in its log or in what it printed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path

SAID = "lossatlas: error: "
"""What a job prints before its one line."""

SILENT = "ended and said nothing"

_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"(?P<module>(?:[A-Za-z_]\w*\.)*)(?P<kind>[A-Za-z_]\w*)(?:: (?P<text>.*))?$")
_DATED = re.compile(r"\d{4}-\d\d-\d\d ")


@dataclass(frozen=True)
class Failure:
    """What is left of a failed job.

    Attributes:
        text: its one line.
        log: where more stands.
        said: whether the job itself said it.
    """

    text: str
    log: str
    said: bool


def read(
    logs: Sequence[str], outputs: Sequence[str], printed: Sequence[str], reported: str
) -> tuple[Failure, str | None]:
    """Return what a failed job has to say, and which of the printed lines it was.

    Args:
        logs: paths of its logs, its own first; what an executor adds, such as SLURM's, after it.
        outputs: files it was to make.
        printed: what jobs of the run have printed behind :data:`SAID` and no other failure has taken.
        reported: what Snakemake's executor knows of the failure; "" where it knows nothing.

    Returns:
        The failure; the element of ``printed`` that is used up, None where it was in the log or nowhere.
    """
    own = logs[0] if logs else ""
    text = _read(own)
    wanted = logged(text)
    told = [line for line in printed if wanted and wanted in line]
    told += [line for line in printed if any(path in line for path in (*logs, *outputs))]
    if not reported:  # it was not killed, so it has said something, if of neither log nor output: a closed folder
        told += printed
    for line in told:
        return Failure(line, own, True), line
    if wanted:
        return Failure(wanted, own, True), None
    last = _last(text)
    return Failure(last or reported or SILENT, own if last or not logs else logs[-1], bool(last)), None


def logged(text: str) -> str:
    """Return the error that a log ends with, printed or raised, in one line; "" where there is none."""
    printed = [line.partition(SAID)[2] for line in text.splitlines() if SAID in line]
    if printed:
        return printed[-1]
    if _TRACEBACK not in text:
        return ""
    lines = text.rpartition(_TRACEBACK)[2].strip("\n").splitlines()
    raised = list(takewhile(lambda line: not _DATED.match(line), dropwhile(lambda line: line[:1].isspace(), lines)))
    found = _RAISED.match(" ".join(line.strip() for line in raised))
    if found is None:
        return ""
    said = (found["text"] or "").strip()
    return said if said and found["module"].startswith("lossatlas.") else f"{found['kind']}: {said}".rstrip(": ")


def _read(log: str) -> str:
    try:
        return Path(log).read_text(encoding="utf-8", errors="replace") if log else ""
    except OSError:
        return ""


def _last(text: str) -> str:
    """Return the last line of a log that is no ordinary step of a job, such as what a shell command said."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines and not _DATED.match(lines[-1]) else ""
