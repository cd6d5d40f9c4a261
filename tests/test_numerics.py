"""Portable numerics: the caps are in force, and the same bits come out on this CPU and on emulated ones.

Emulation is by qemu-x86_64. It computes approximate instructions (rsqrtps, rcpps) exactly, unlike any real CPU, so
equal bits also say that none of them was used.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from frozen_bits import FROZEN, artefacts
from harness import ROOT, make

from lossatlas import numerics
from lossatlas.files import machine
from lossatlas.numerics import PORTABLE

PROBE = ROOT / "tests/tools/portable_probe.py"
THREADS = {name: value for name, value in PORTABLE.items() if name.endswith("THREADS")}
EMULATED = ["Haswell", "Skylake-Server", "EPYC-Milan"]
"""Intel's first with AVX2, and an Intel and an AMD with other caches; none has AVX-512 when emulated."""

TRAININGS = ["runs.resnet[0]", "runs.lstm[0]", "runs.lbfgs[0]"]
"""Of the frozen artefacts, each a whole training: convolutions, an LSTM, dense layers with L-BFGS."""

exhaustive = pytest.mark.skipif(not os.environ.get("LOSSATLAS_EXHAUSTIVE"), reason="set LOSSATLAS_EXHAUSTIVE=1")
needs_avx2 = pytest.mark.skipif(
    not {"avx2", "fma"} <= set(machine.cpu()["isa"]), reason="portable numerics need a CPU with AVX2 and FMA"
)
wider = pytest.mark.skipif("avx512f" not in machine.cpu()["isa"], reason="this CPU has nothing wider than AVX2")


def without_caps(**added):
    """Return the environment of these tests without portable numerics."""
    return {name: value for name, value in os.environ.items() if name not in PORTABLE} | added


@pytest.fixture(scope="module")
def qemu():
    """Return the command that runs a program on an emulated CPU, less its name."""
    command = shutil.which("qemu-x86_64")
    if command is None:
        pytest.skip("qemu-x86_64 is not installed (Debian's package qemu-user)")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)", said)
    # 7.2, of Debian 12, computes oneDNN's LSTM wrongly, by a factor of several; 10.0 does not.
    if version is None or int(version[1]) < 10:
        pytest.skip(f"{said.splitlines()[0]}: version 10 or newer is needed (Debian 12: from bookworm-backports)")
    return [command, "-cpu"]


def probe(environment, *arguments, emulated=()):
    """Return name -> digest as the probe finds them on this CPU, or on an emulated one."""
    command = [*emulated, sys.executable, PROBE, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if re.search(r" [0-9a-f]{64}$", line))


def differing(here, there):
    """Return the names whose digests differ."""
    assert here.keys() == there.keys()
    return [name for name in here if here[name] != there[name]]


# ---------------------------------------------------------------------------------------------------------------------
# the variables


def test_missing_names_each_variable_that_does_not_stand_as_it_should(rng):
    environment = {"HOME": "/"}
    assert numerics.missing(environment) == list(PORTABLE)
    numerics.apply(environment)
    assert numerics.missing(environment) == []
    assert environment == {"HOME": "/", **PORTABLE}
    left_out, changed = rng.choice(list(PORTABLE), 2, replace=False)
    del environment[left_out]
    environment[changed] += "0"
    assert set(numerics.missing(environment)) == {left_out, changed}


def test_without_an_environment_this_process_is_meant(monkeypatch):
    monkeypatch.delenv("MKL_CBWR")
    assert "MKL_CBWR" in numerics.missing()
    monkeypatch.setattr(os, "environ", {})
    numerics.apply()
    assert os.environ == PORTABLE


def test_it_can_be_asked_before_any_library_is_loaded():
    code = (
        "import sys, lossatlas.numerics as n; n.apply(); print({'numpy', 'torch', 'numba', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ---------------------------------------------------------------------------------------------------------------------
# what the libraries say

REPORT = """
import ctypes, json, pathlib
import numba, numpy, scipy.linalg, torch
from numba.core.registry import cpu_target
from numpy._core._multiarray_umath import __cpu_features__ as features
from threadpoolctl import threadpool_info

@numba.njit
def one():
    return 1

one()
torch.nn.functional.conv2d(torch.ones(32, 3, 8, 8), torch.ones(8, 3, 3, 3))
mkl = ctypes.CDLL(str(pathlib.Path(torch.__file__).parent / "lib/libtorch_cpu.so"))
asked = {"mkl": ("mkl_serv_cbwr_get", 1), "mkl vectors": ("mkl_vml_serv_cpu_detect",)}
print(json.dumps({
    "torch": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(),
    "numpy": [name for name in ("X86_V4", "AVX512_ICL", "AVX512_SPR") if features.get(name)],
    "openblas": sorted({pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}),
    "numba": cpu_target.target_context.codegen().magic_tuple()[1:],
    **{name: getattr(mkl, call)(*given) for name, (call, *given) in asked.items() if hasattr(mkl, call)},
}))
"""


def reported(environment):
    """Return what the libraries of a new process say of the kernels they chose."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT], env={**environment, "ONEDNN_VERBOSE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    isa = next(line.partition("cpu,isa:")[2] for line in said if "cpu,isa:" in line)
    return {**json.loads(last), "onednn": isa}


@needs_avx2
def test_the_libraries_say_that_they_are_capped():
    said = reported(without_caps(**PORTABLE))
    # MKL: 3 is its branch COMPATIBLE, 1 the vector functions without approximate instructions; absent on another build
    mkl = {"mkl": 3, "mkl vectors": 1}
    expected = {"torch": "AVX2", "threads": 1, "numpy": [], "numba": ["generic", ""], "onednn": "Intel AVX2"}
    assert said.pop("openblas") in (["Haswell"], [])
    assert said == {**expected, **{name: value for name, value in mkl.items() if name in said}}


@wider
def test_without_the_caps_they_say_something_else():
    said, capped = reported(without_caps(**THREADS)), reported(without_caps(**PORTABLE))
    assert [name for name in said if said[name] == capped[name]] == ["threads"]
    assert said["torch"].startswith("AVX512")


# ---------------------------------------------------------------------------------------------------------------------
# bits, here and on emulated CPUs


def asked(folder):
    """Write the trainings as jobs with outputs in a folder; return the file."""
    made = artefacts()
    listed = {}
    for name in TRAININGS:
        one = made[name]
        inputs = {role: [str(make(part, folder.parent)) for part in parts] for role, parts in one.inputs.items()}
        listed[name] = {"run": one.run, "spec": one.spec, "inputs": inputs, "output": str(folder / one.path)}
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps(listed))
    return folder / "jobs.json"


@needs_avx2
def test_the_same_bits_here_and_on_an_emulated_intel(qemu, tmp_path):
    environment = without_caps(**PORTABLE)
    here = probe(environment, "--jobs", asked(tmp_path / "here"))
    there = probe(environment, "--jobs", asked(tmp_path / "there"), emulated=[*qemu, "Haswell"])
    assert set(TRAININGS) < set(here)
    assert len(here) > 100
    assert differing(here, there) == []


@wider
def test_without_the_caps_they_differ(qemu):
    """The comparison can fail: the same operations, with kernels as each CPU chooses them."""
    given = without_caps(**THREADS), "--only", "matrix"
    assert differing(probe(*given), probe(*given, emulated=[*qemu, "Haswell"]))


@exhaustive
@needs_avx2
@pytest.mark.parametrize("cpu", EMULATED)
def test_artefacts_of_every_kind_have_the_same_bits(qemu, tmp_path, cpu):
    """Every frozen artefact, made here and on an emulated CPU, where numba compiles anew. About half an hour each."""
    found = []
    for name, emulated in (("here", []), ("there", [*qemu, cpu])):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(FROZEN / "vectors.npy", folder)
        environment = without_caps(**PORTABLE, NUMBA_CACHE_DIR=str(folder / "compiled"))
        command = [*emulated, sys.executable, ROOT / "tests/tools/frozen_bits.py", "--make", folder]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        made = json.loads((folder / "found.json").read_text())
        found.append({key: one["bits"] for key, one in made.items()})
    assert differing(*found) == []


@exhaustive
@needs_avx2
@pytest.mark.parametrize("cpu", EMULATED[1:])
def test_operations_have_the_same_bits_on_other_emulated_cpus(qemu, cpu):
    environment = without_caps(**PORTABLE)
    assert differing(probe(environment), probe(environment, emulated=[*qemu, cpu])) == []


def test_capped_are_kernels_whatever_gpus_a_process_sees(monkeypatch):
    for name, value in PORTABLE.items():
        monkeypatch.setenv(name, value)
    assert numerics.capped()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert numerics.capped()
    assert not numerics.portable()
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    assert not numerics.capped()
