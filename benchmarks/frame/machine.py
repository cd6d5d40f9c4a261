"""What bounds a comparison on this machine, measured in the same run: rates of products, of memory and of the disk."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lossatlas.files.machine import cpu, cpu_fields

MATRIX, COPIED, FILE = 1024, 1 << 27, 1 << 28
"""Rows of the matrices of a product; bytes of a copy, which no cache holds; bytes of a file."""


def identity() -> dict[str, object]:
    """Return the CPU's model, its family, its cores and the instruction sets that choose kernels; no machine's name."""
    found = cpu()
    return {"cpu": found["cpu"], "family": family(), "cores": os.cpu_count() or 1, "isa": found["isa"]}


def family() -> str:
    """Return the number of the CPU's family: what is rented often hides its model; empty where the kernel says none."""
    return cpu_fields().get("cpu family", "")


def titled(identity: Mapping[str, object]) -> str:
    """Return the title of a kind of machine."""
    of_family = f", family {identity['family']}" if identity.get("family") else ""
    return f"{identity['cpu']}{of_family}, {identity['cores']} cores"


def slug() -> str:
    """Return a file name for this kind of machine: its title without blanks."""
    return re.sub(r"[^a-z0-9]+", "-", titled(identity()).lower()).strip("-")


def busy() -> float:
    """Return how many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


def least(action: Callable[[], object], repeat: int, clock: Callable[[], float] = time.process_time) -> float:
    """Return the least time of several calls after one to warm up: what the machine can do when it is left alone."""
    action()
    times = []
    for _ in range(repeat):
        start = clock()
        action()
        times.append(clock() - start)
    return min(times)


def product_rate(kind: str) -> float:
    """Return the speed of one thread's product of two square matrices, FLOP/s; ``kind`` is float32 or float64."""
    import torch

    a, b = (torch.randn(MATRIX, MATRIX, dtype=getattr(torch, kind)) for _ in range(2))
    return 2 * MATRIX**3 / least(lambda: a @ b, 10)


def numpy_rate() -> float:
    """Return the speed of one thread's float64 product by NumPy's OpenBLAS, FLOP/s: it has AVX-512 on any CPU."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a, b = np.random.default_rng(0).standard_normal((2, MATRIX, MATRIX))
    with threadpool_limits(1):
        return 2 * MATRIX**3 / least(lambda: a @ b, 10)


def convolution_rate() -> float:
    """Return the speed of one thread's 3x3 convolution of many channels, FLOP/s.

    It is arithmetic like a product's, by another library: on AMD's processors MKL takes narrower instructions than they
    have, so that a product alone would understate what the machine can do.
    """
    import torch

    x, filters = (
        torch.randn(*shape).to(memory_format=torch.channels_last) for shape in ((4, 256, 32, 32), (256, 256, 3, 3))
    )
    with torch.no_grad():
        seconds = least(lambda: torch.nn.functional.conv2d(x, filters, padding=1), 5)
    return 2 * 9 * 4 * 32**2 * 256**2 / seconds


def memory_rate() -> float:
    """Return the speed of one thread's copy, bytes read and bytes written a second."""
    import torch

    source, target = torch.ones(COPIED, dtype=torch.uint8), torch.empty(COPIED, dtype=torch.uint8)
    return 2 * COPIED / least(lambda: target.copy_(source), 5)


def disk_rate() -> float:
    """Return the speed of reading a file that is not in the page cache, bytes/s of wall time."""
    buffer = bytearray(1 << 22)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            for _ in range(FILE // len(buffer)):
                file.write(os.urandom(len(buffer)))
            file.flush()
            os.fsync(file.fileno())

        def read() -> None:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while file.readinto(buffer):
                    pass

        return FILE / least(read, 3, time.perf_counter)


def rates() -> dict[str, float]:
    """Return the rates: FLOP/s of ``float32`` and ``float64`` arithmetic, bytes/s of ``memory`` and ``disk``.

    ``float32`` is the faster one of ``product`` and ``convolution``, which stand beside it; ``float64`` that of torch's
    product and of NumPy's.
    """
    import torch

    torch.set_num_threads(1)
    product, convolution = product_rate("float32"), convolution_rate()
    return {
        "float32": max(product, convolution),
        "product": product,
        "convolution": convolution,
        "float64": max(product_rate("float64"), numpy_rate()),
        "memory": memory_rate(),
        "disk": disk_rate(),
    }
