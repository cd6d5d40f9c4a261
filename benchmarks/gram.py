"""Time, memory and arithmetic of the streaming Gram matrix at the paper's size: 1,000 points of WRN-28-2.

    python benchmarks/gram.py --dir /tmp [--threads 2] [--repeat 3] [--cold]

Writes a synthetic points.h5 of 1000 x 1,467,610 float32 (5.9 GB), reduces it in a child process, and prints wall time,
peak memory, the share of the machine's measured dgemm rate, and the share of its measured read bandwidth.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import json, resource, sys, time
start = time.perf_counter()
from lossatlas.clouds.jobs.gram import compute
imported = time.perf_counter()
compute(sys.argv[1], sys.argv[2], {"benchmark": True}, memory_bytes=int(sys.argv[3]))
end = time.perf_counter()
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"import": imported - start, "compute": end - imported, "VmHWM": peak,
                  "ru_maxrss": usage.ru_maxrss * 1024, "user": usage.ru_utime, "system": usage.ru_stime}))
"""


def generate(path: Path, n: int, dimension: int, chunk: int) -> float:
    import h5py
    import numpy as np

    start = time.perf_counter()
    rng = np.random.default_rng(0)
    base = rng.standard_normal(dimension, dtype=np.float32)
    with h5py.File(path, "w") as file:
        theta = file.create_dataset(
            "theta", (n, dimension), dtype="float32", chunks=(1, min(chunk, dimension)), fillvalue=None
        )
        for row in range(n):
            theta[row] = base + 0.01 * rng.standard_normal(dimension, dtype=np.float32)
        file.create_group("table").create_dataset("seed", data=np.arange(n))
    with path.open("rb") as raw:
        os.fsync(raw.fileno())
    return time.perf_counter() - start


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as raw:
        os.fsync(raw.fileno())
        os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_rate(path: Path) -> float:
    """Bytes per second of a plain sequential read."""
    buffer = bytearray(1 << 24)
    start, total = time.perf_counter(), 0
    with path.open("rb", buffering=0) as raw:
        while count := raw.readinto(buffer):
            total += count
    return total / (time.perf_counter() - start)


def dgemm_rate(threads: int) -> float:
    """Measured flop/s of a square float64 product, in a child so that the thread count holds; best of five."""
    code = (
        "import time, numpy as np\n"
        "a = np.random.default_rng(0).standard_normal((3000, 3000)); b = a.copy(); a @ b\n"
        "best = 1e9\n"
        "for _ in range(5):\n"
        "    s = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - s)\n"
        "print(2 * 3000**3 / best)\n"
    )
    return float(
        subprocess.run([sys.executable, "-c", code], env=_env(threads), capture_output=True, check=True).stdout
    )


def _env(threads: int) -> dict[str, str]:
    source = str(Path(__file__).resolve().parents[1] / "src")
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="folder for the 5.9 GB file")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=1_467_610)
    parser.add_argument("--chunk", type=int, default=32768)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=int, default=1 << 30, help="memory_bytes of the reduction")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="drop the file from the page cache before each run")
    parser.add_argument("--keep", action="store_true", help="keep the file, and use it if it is there")
    arguments = parser.parse_args()
    n, dimension = arguments.rows, arguments.dimension
    size = 4 * n * dimension
    folder = Path(arguments.dir) / "lossatlas-benchmark-gram"
    points, output = folder / f"points-{n}x{dimension}.h5", folder / "gram.h5"
    free = shutil.disk_usage(arguments.dir).free
    if not points.exists() and free < 1.2 * size:
        sys.exit(f"{arguments.dir}: {free / 1e9:.1f} GB free, {1.2 * size / 1e9:.1f} GB needed; give another --dir")
    folder.mkdir(exist_ok=True)
    try:
        if not points.exists():
            partial = points.with_suffix(".partial")
            print(f"wrote {size / 1e9:.2f} GB in {generate(partial, n, dimension, arguments.chunk):.1f} s")
            partial.rename(points)
        if arguments.cold:
            drop_from_cache(points)
        bandwidth = read_rate(points)
        peak = dgemm_rate(arguments.threads)
        flops = n * n * dimension
        state = "cold" if arguments.cold else "warm"
        print(f"{n} x {dimension} float32 = {size / 1e9:.2f} GB; syrk n^2 D = {flops / 1e12:.3f} Tflop")
        print(f"dgemm on {arguments.threads} threads {peak / 1e9:.0f} Gflop/s -> {flops / peak:.1f} s")
        print(f"{state} plain read {bandwidth / 1e9:.2f} GB/s -> {size / bandwidth:.1f} s")
        for _ in range(arguments.repeat):
            if arguments.cold:
                drop_from_cache(points)
            command = [sys.executable, "-c", CHILD, str(points), str(output), str(arguments.memory)]
            start = time.perf_counter()
            result = subprocess.run(command, env=_env(arguments.threads), stdout=subprocess.PIPE, check=True)
            wall = time.perf_counter() - start
            seen = json.loads(result.stdout)
            print(
                f"wall {wall:.1f} s (compute {seen['compute']:.1f}, import {seen['import']:.1f}; "
                f"user {seen['user']:.1f}, system {seen['system']:.1f}); "
                f"peak {seen['VmHWM'] / 1e9:.2f} GB (ru_maxrss {seen['ru_maxrss'] / 1e9:.2f}); "
                f"{100 * flops / peak / seen['compute']:.0f}% of dgemm, "
                f"{100 * size / bandwidth / seen['compute']:.0f}% of read bandwidth; load {os.getloadavg()[0]:.1f}"
            )
    finally:
        output.unlink(missing_ok=True)
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
