"""Progress of a long job: a bar on a terminal, a line now and then in its log anywhere else."""

import logging
import sys
from types import TracebackType

from tqdm import tqdm

log = logging.getLogger(__name__)


class _Lines:
    """A stream whose lines go to the log."""

    def write(self, text: str) -> None:
        """Log what is more than white space."""
        if text.strip():
            log.info(text.strip())

    def flush(self) -> None:
        """Do nothing."""


class Progress:
    """Count units of work of a job.

    Jobs of Snakemake have no terminal, where `lossatlas.workflow.screen` shows the whole run: theirs is in their log.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        """Start at ``done`` of ``total`` units of ``what``."""
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            desc=what,
            total=total,
            initial=done,
            file=sys.stderr if terminal else _Lines(),
            mininterval=1 if terminal else 15,
            maxinterval=1 if terminal else 15,
            ascii=True,
            ncols=100,
            leave=True,
            bar_format="{desc}: {n}/{total} |{bar:20}| {elapsed} gone, {remaining} to go",
        )

    def update(self, units: int = 1) -> None:
        """Count more units as done."""
        self.bar.update(units)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
