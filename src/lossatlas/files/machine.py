"""What a stretch of a job ran on: CPU, GPU, kernels, threads, versions; and the class of those with the same bits."""

import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lossatlas.numerics import PORTABLE, missing

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "h5py",
    "pillow",
    "phate",
    "umap-learn",
    "numba",
    "llvmlite",
    "pynndescent",
    "snakemake",
)
"""Packages that can change a result."""

COUNTS_FOR_BITS = tuple(name for name in PACKAGES if name not in ("h5py", "snakemake"))
"""Packages of which another version may compute other bits."""

WIDTHS = ("sse4_2", "avx", "avx2", "avx512f")
"""Instruction sets by which libraries choose their kernels, narrowest first."""

_NAMED = ("fma", "bf16", "vnni", "fp16", "amx")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def cpu_fields() -> dict[str, str]:
    """Return what the kernel says of the first core, by name; nothing where it says nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


@cache
def cpu() -> dict[str, Any]:
    """Return ``cpu`` (its name), ``vendor`` and ``isa`` (sets of instructions that choose kernels)."""
    fields = cpu_fields()
    flags = fields.get("flags", "").split()
    chosen = [flag for flag in flags if flag in WIDTHS or flag.startswith(("avx512", *_NAMED))]
    name = fields.get("model name") or platform.processor() or "unknown"
    return {"cpu": name, "vendor": fields.get("vendor_id", platform.machine()), "isa": sorted(set(chosen))}


def gpu_name() -> str | None:
    """Return the GPU's name; asks torch only where a job has already imported it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return None


def _tf32() -> bool | None:
    """Whether products of matrices may be rounded to TF32; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)


def _libraries() -> list[str]:
    """Return the linear algebra loaded so far, each as one text with its version and kernels."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:  # the library alone is installed, without what the workflow needs
        pools = []
    else:
        pools = threadpool_info()
    found = []
    for pool in pools:
        if pool["user_api"] == "blas":
            owner = Path(pool["filepath"]).parent.name.removesuffix(".libs")
            kernels = pool.get("architecture", "")
            found.append(f"{pool['internal_api']} {pool['version']} {kernels} ({owner})")
    torch = sys.modules.get("torch")
    if torch is not None:
        said = torch.__config__.show()
        for mark in ("Math Kernel Library Version", "MKL-DNN", "CPU capability usage:"):
            line = next((line for line in said.splitlines() if mark in line), "")
            if line:
                found.append(f"torch: {line.strip(' -')}")
    return sorted(set(found))


def kernel_class(numerics: str, threads: int) -> str:
    """Return what two results must share to be expected to have the same bits, versions apart.

    ``portable`` where portable numerics are in force, whatever the CPU; else the GPU, or the CPU's make, its widest
    instruction set and the number of threads.
    """
    if numerics == "portable" and not missing():
        return "portable"
    gpu = gpu_name()
    if gpu is not None:
        return gpu
    about = cpu()
    width = next((name for name in reversed(WIDTHS) if name in about["isa"]), "unknown")
    tiles = "+amx" if any(flag.startswith("amx") for flag in about["isa"]) else ""
    capped = ", capped" if any(os.environ.get(name) for name in PORTABLE if not name.endswith("THREADS")) else ""
    return f"{about['vendor']} {width}{tiles}, {threads} thread{'s' if threads != 1 else ''}{capped}"


def segment(threads: int, numerics: str, commit: str) -> dict[str, Any]:
    """Return what one stretch of a job runs on; a job that is resumed has several.

    Args:
        threads: given to the job.
        numerics: of the artefact.
        commit: of the repository.
    """
    return {
        "class": kernel_class(numerics, threads),
        "numerics": numerics,
        **cpu(),
        "gpu": gpu_name(),
        "tf32": _tf32(),
        "threads": threads,
        "blas": _libraries(),
        "environment": {name: os.environ[name] for name in PORTABLE if os.environ.get(name)},
        "system": platform.platform(),
        "versions": versions(),
        "commit": commit,
    }


def differing_versions(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return the packages that may change bits of which two segments had other versions, as ``name 1 / 2``."""
    return [
        f"{name} {first[name]} / {second[name]}"
        for name in COUNTS_FOR_BITS
        if name in first and name in second and first[name] != second[name]
    ]
