"""Python's garbage collector, kept from walking over what is only being loaded."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Pause the collector while modules are imported or a configuration is planned.

    Both make hundreds of thousands of objects that all stay; each pass of the collector walks over them, and over
    Snakemake's or torch's, and finds nothing. Planning takes a quarter less, the start of a job a tenth
    (docs/benchmarks.md).
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
