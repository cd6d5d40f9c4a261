"""A progress bar with the time left, for what takes more than two seconds, on a terminal and in notebooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 2.0
"""Seconds before a bar appears: what is done by then needs none."""


@contextmanager
def ticking(what: str, total: int, progress: bool | None = None) -> Iterator[Callable[[], None]]:
    """Yield what is to be called after each of ``total`` units of work.

    Args:
        what: what the bar says.
        total: units.
        progress: None: a bar on a terminal and in a notebook, nothing anywhere else, as in the workflow's jobs; True:
            a bar wherever standard error goes; False: none.
    """
    notebook = "ipykernel" in sys.modules
    if progress is False or not (progress or notebook or sys.stderr.isatty()):
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, delay=DELAY, leave=False, dynamic_ncols=True) as bar:

        def tick() -> None:
            bar.update(1)

        yield tick
