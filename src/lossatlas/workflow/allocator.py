"""What the C library does with memory that torch frees on the CPU."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""

_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 1 GiB in the process for the next ones; return whether the C library can.

    glibc maps a block above 32 MiB anew each time, and the kernel zeroes it page by page: for the activations of LeNet
    on 1,000 images that is 40% of the time of a pass (docs/benchmarks.md). Only glibc has these parameters.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all([mallopt(_TRIM_THRESHOLD, _BYTES), mallopt(_MMAP_THRESHOLD, _BYTES)])
