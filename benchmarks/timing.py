"""Process time of one thread, and the speed of a matrix product to hold it against."""

import time
from collections.abc import Callable

import torch


def best(action: Callable[[], object], repeat: int, warm_up: bool = False) -> float:
    """Return the least process time of several calls, seconds; after one more call to warm up, if asked."""
    if warm_up:
        action()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def matrix_rate(repeat: int) -> float:
    """Return the speed of a float32 product of two 1,024 x 1,024 matrices, FLOP/s."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / best(lambda: a @ b, 5 * repeat, warm_up=True)
