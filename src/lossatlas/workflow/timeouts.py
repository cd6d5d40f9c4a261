"""Jobs that a cluster ended for want of time, or took the node from: they need the same again, and not more memory."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

STATES = ("TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
"""States of SLURM in which a job ends through no fault of its own."""

_STATUS = re.compile(r"SLURM status is: '(\w+)")

_seen: Counter[tuple[str, str]] = Counter()


def note(outputs: Iterable[str], message: str) -> None:
    """Count a failed attempt at an artefact if the executor's message says that it wanted only time."""
    found = _STATUS.search(message)
    if found and found[1] in STATES:
        for output in outputs:
            _, kind, id, *_ = (*Path(output).parts, "", "", "")
            _seen[kind, id] += 1


def count(kind: str, id: str) -> int:
    """Return the attempts at an artefact that wanted only time."""
    return _seen[kind, id]
