"""Classes of machines and versions that one ancestry mixes."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from harness import copy
from recorded import rewrite

from lossatlas.audit.ancestry import mixture
from lossatlas.audit.facts import Facts, Segment
from lossatlas.audit.integrity import MIXED, WHOLE, check
from lossatlas.study import subjects

HERE = Segment("AuthenticAMD avx512f, 1 thread", False, {"torch": "2.13.0", "numpy": "2.4.6", "h5py": "3.16.0"})
THERE = Segment("GenuineIntel avx512f+amx, 1 thread", False, HERE.versions)
GPU = Segment("NVIDIA H100 80GB HBM3", True, HERE.versions)
OTHER = Segment(HERE.kernels, False, {**HERE.versions, "torch": "2.12.0"})


def made(kind, *segments):
    return Facts(Path(f"results/{kind}/x-0123456789/file.h5"), kind=kind, segments=segments)


@pytest.mark.parametrize(
    "one, inputs, said",
    [
        (made("tiles", HERE), {"r": made("runs", HERE)}, ""),
        (made("tiles", HERE), {"r": made("runs", THERE)}, f"it and its input r were made on {HERE.kernels} / "),
        (made("tiles", HERE), {"r": made("runs", THERE), "s": made("runs", THERE)}, "1 more of its 2 inputs"),
        (made("tiles", HERE), {"r": made("runs", OTHER)}, "torch 2.13.0 / 2.12.0"),
        (made("runs", HERE), {"d": made("data", THERE)}, ""),  # data has the same bits everywhere
        (made("data", HERE, THERE), {}, ""),
        (made("runs", HERE, THERE), {}, f"stretches of its job ran on {HERE.kernels} / {THERE.kernels}"),
        (made("tiles", HERE), {"r": made("runs", HERE, THERE)}, ""),  # told of the run itself
        (made("tiles", HERE), {"r": made("runs")}, ""),  # an earlier version's, not recorded
        (made("grams", HERE), {"c": made("runs", GPU)}, ""),  # a Gram matrix never needs a GPU
        (made("tiles", HERE), {"r": made("runs", GPU)}, "NVIDIA"),  # a tile does
        (made("", THERE), {"r": made("runs", HERE)}, ""),  # a figure may be drawn anywhere
        (made("", HERE), {"r": made("runs", HERE), "s": made("runs", THERE)}, "its inputs r and s were made on"),
        (made("", HERE), {"r": made("runs", GPU), "g": made("grams", HERE), "d": made("data", THERE)}, ""),
        (made("", HERE), {"r": made("runs", GPU), "s": made("tiles", HERE)}, "its inputs r and s were made on"),
    ],
)
def test_what_counts_as_mixed(one, inputs, said):
    found = mixture(one, inputs)
    assert said in found
    assert bool(found) == bool(said)


def test_packages_that_compute_nothing_do_not_count():
    newer = Segment(HERE.kernels, False, {**HERE.versions, "h5py": "4.0.0"})
    assert not mixture(made("tiles", HERE), {"r": made("runs", newer)})


def recorded(path):
    """Return kind and inputs of an artefact, or of a product by the record beside it."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            record = json.loads(file.attrs["provenance"])
    else:
        record = json.loads(path.with_name(path.name.split(".")[0] + ".json").read_text())
    return record.get("kind"), set(record.get("inputs_sha256", {}))


def kind_of(name):
    return Path(name).parts[1]


def same_need(one, other):
    return subjects.steps()[one].gpu == subjects.steps()[other].gpu


def test_an_artefact_of_another_machine_is_found_among_others(built, tmp_path, rng):
    """Every artefact in turn said to be another machine's: it and what it is made from, and what is made from it."""
    steps = subjects.steps()
    folder = copy(built, tmp_path)
    files = sorted((folder / "results").glob("*/*/*.h5"))
    everything = [finding.path for finding in check([folder / "results"])]
    reached = 0
    for path in files:
        kind, inputs = recorded(path)
        if steps[kind].exact:
            continue
        name = path.relative_to(folder).as_posix()
        whole = path.read_bytes()
        rewrite(path, lambda record: record["segments"][0].update({"class": THERE.kernels}))
        computed = {one for one in inputs if not steps[kind_of(one)].exact}
        expected = {path} if computed else set()
        for other in everything:
            sort, made_from = recorded(other)
            alike = {one for one in made_from if not steps[kind_of(one)].exact and same_need(kind_of(one), kind)}
            # A picture is mixed if two of its inputs differ that need a GPU, or two that do not.
            if name in made_from and (sort in steps or len(alike) > 1):
                expected.add(other)
        states = {finding.path: finding for finding in check([folder / "results"])}
        assert {one for one in states if states[one].state == MIXED} == expected, name
        assert {states[one].state for one in states} <= {WHOLE, MIXED}
        assert all(THERE.kernels in states[one].reason for one in expected)
        reached += len(expected)
        path.write_bytes(whole)
    assert reached > len(files)


def test_command_counts_mixed_files_and_fails_only_if_strict(built, tmp_path):
    folder = copy(built, tmp_path)
    path = min((folder / "results/grams").glob("*/gram.h5"))
    rewrite(path, lambda record: record["segments"][0]["versions"].update(numpy="1.0.0"))
    for option, status in (((), 0), (("--strict",), 1)):
        command = [sys.executable, "-m", "lossatlas.fsck", "--jobs", "1", *option]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == status, done.stdout
        lines = done.stdout.splitlines()
        about = [line for line in lines if line.startswith(str(path.relative_to(folder)))]
        assert ": mixed classes: it and its input results/clouds/" in about[0]
        assert "numpy 1.0.0 / " in about[0]
        assert lines[-1].endswith(f" 0 bad, 0 without a checksum, {len(lines) - 1} mixed classes")
