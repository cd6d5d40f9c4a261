"""A whole study made again under other conditions: portable numerics let none of them change a bit.

LOSSATLAS_EXHAUSTIVE=1 python -m pytest -s tests/workflow/test_rebuilt.py     # prints the table of docs/reliability.md
"""

import os

import pytest
from harness import ALL, checksums, environment, snakemake

from lossatlas.files.record import content_of

SHELL = {"LC_ALL": "C", "LANG": "tr_TR.UTF-8", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "4711", "COLUMNS": "40"}
KERNELS = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3",
    "NUMBA_CPU_NAME": "nehalem",
}
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "2")
MORE = [f"{rule}=2" for rule in ("train", "retrain", "gram", "embed")]
CONDITIONS = {
    "one job at a time": ({}, ("--cores", "1")),
    "another language, time zone, hash seed and home": (SHELL, ()),
    "other kernels in the user's shell": (KERNELS, ()),
    "two threads, in the shell and by `--set-threads`": (THREADS, ("--cores", "2", "--set-threads", *MORE)),
}


def results(folder):
    """Return path -> what tells results apart: the content of an artefact, the bytes of a CSV file."""
    found = checksums(folder)
    artefacts = {path: content_of(folder / path) for path in found if path.endswith(".h5")}
    return artefacts | {path: digest for path, digest in found.items() if path.endswith(".csv") and "index" not in path}


@pytest.mark.skipif(not os.environ.get("LOSSATLAS_EXHAUSTIVE"), reason="set LOSSATLAS_EXHAUSTIVE=1")
@pytest.mark.parametrize("name", CONDITIONS)
def test_a_study_made_again_has_the_same_bits(built, tmp_path, name):
    variables, options = CONDITIONS[name]
    changed = {**environment(), **variables, "HOME": str(tmp_path / "home")}
    assert changed != environment()
    done = snakemake(tmp_path, ALL, options=options, env=changed)
    assert done.returncode == 0, done.stdout
    first, second = results(built), results(tmp_path)
    same = [path for path in first if first[path] == second.get(path)]
    print(f"| {name} | {len(same)} of {len(first)} |")
    assert first == second
