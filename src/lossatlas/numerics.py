"""Numerics: ``portable`` caps kernels so that the same job gives the same bits on different CPUs; ``native`` does not.

Libraries pick their kernels by the CPU they run on, and kernels of other widths add in another order. Under
``portable`` each is told to use what x86-64 CPUs since 2013 have (AVX2 and FMA), with one thread. Libraries read these
variables when they are loaded, so they are set before that: by the Snakefile for all its jobs, by ``tests/conftest.py``
for tests that compare bits. What was shown to agree with what is in ``docs/reliability.md``.
"""

import os
from collections.abc import Mapping, MutableMapping
from typing import Literal

Numerics = Literal["portable", "native"]

PORTABLE: dict[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # The one branch of MKL's that does not ask who made the CPU (AVX2 is refused on CPUs that are not Intel's).
    "MKL_CBWR": "COMPATIBLE",
    # Its vector functions (torch's sqrt, atan, asin) go by another variable: otherwise they begin with approximate
    # reciprocals, of which Intel's and AMD's differ.
    "MKL_VML_DEBUG_CPU_TYPE": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "CUDA_VISIBLE_DEVICES": "",
    # UMAP's compiled loops; without it numba contracts and vectorises for the CPU at hand.
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Environment under which the bits of a result do not depend on the make of the CPU."""

CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""What cuBLAS reads when CUDA starts: each stream has a workspace, so that sums are in the same order again."""


def apply(environment: MutableMapping[str, str] | None = None) -> None:
    """Set :data:`PORTABLE` in an environment (this process's by default), before numerical libraries are loaded."""
    (os.environ if environment is None else environment).update(PORTABLE)


def missing(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the variables that do not stand in an environment as :data:`PORTABLE` says."""
    found = os.environ if environment is None else environment
    return [name for name, value in PORTABLE.items() if found.get(name) != value]


def portable() -> bool:
    """Return whether this process computes under :data:`PORTABLE`."""
    return not missing()


def capped() -> bool:
    """Return whether this process's kernels are those of :data:`PORTABLE`, whether or not it may see a GPU."""
    return {*missing()} <= {"CUDA_VISIBLE_DEVICES"}
