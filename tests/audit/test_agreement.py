"""At which level two results agree, and why not higher: trainings under other kernels, and what follows from them."""

import math
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from recorded import in_process, reseal, rewrite

from lossatlas.audit import agreement, causes
from lossatlas.audit.agreement import compare_files
from lossatlas.audit.nearness import BITS, CONCLUSIONS, DIFFERENT, FINGERPRINT, ROUNDING
from lossatlas.audit.trees import compare_trees, report
from lossatlas.claims.evaluate import COLUMNS
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.record import write_record

CAPS = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
EPOCHS = {"runs": {"path": {"recipe": {"epochs": 4}}}}  # 20 steps


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """Return a tree with data, a run, its cloud and its Gram matrix, made with this machine's kernels."""
    return in_process("tiny", tmp_path_factory.mktemp("free"), "grams/paths", EPOCHS)


@pytest.fixture(scope="module")
def capped(tmp_path_factory):
    """Return the same tree, made with kernels that every CPU has."""
    return in_process("tiny", tmp_path_factory.mktemp("capped"), "grams/paths", EPOCHS, **CAPS)


@pytest.fixture
def pair(free, capped, tmp_path):
    """Return copies of both trees, to change."""
    return [shutil.copytree(tree, tmp_path / name) for tree, name in ((free, "a"), (capped, "b"))]


def one(tree, kind):
    """Return the only artefact of a kind in a tree."""
    (found,) = (tree / "results" / kind).glob("*/*.h5")
    return found


def compare(pair, kind):
    return compare_files(*(one(tree, kind) for tree in pair))


def test_the_same_file_agrees_in_bits(pair):
    shutil.rmtree(pair[1])
    shutil.copytree(pair[0], pair[1])
    found = compare(pair, "runs")
    assert (found.level, found.expected, found.causes) == (BITS, BITS, ())
    assert found.reached


def test_data_has_the_same_bits_under_any_kernels(pair):
    found = compare(pair, "data")
    assert (found.level, found.expected, found.reached) == (BITS, BITS, True)


def test_a_training_under_other_kernels_agrees_to_rounding(pair):
    """Its early losses tell: its weights are another network's."""
    found = compare(pair, "runs")
    assert (found.level, found.expected, found.reached) == (ROUNDING, ROUNDING, True)
    assert "MKL_CBWR=COMPATIBLE" in found.causes[0]
    assert found.causes[0].startswith("class of machine: ")
    losses = [read_table(one(tree, "runs"), "points", "fingerprint")["loss"] for tree in pair]
    gaps = np.abs(losses[0] - losses[1]) / losses[0]
    assert 0 < gaps[2] < FINGERPRINT["float32"][10]
    with h5py.File(one(pair[0], "runs")) as a, h5py.File(one(pair[1], "runs")) as b:
        assert np.abs(a["theta"][-1] - b["theta"][-1]).max() > 0
    text = agreement.report(found, "title")
    assert text.startswith("title: rounding\n  compared: early losses (trainings: 1): relative differences up to ")
    assert "\n  why not higher: class of machine: " in text
    assert "\n  theta: " in text
    assert text.endswith("\n  expected: rounding")


@pytest.mark.parametrize("kind", ["clouds", "grams"])
def test_what_is_made_from_it_follows(pair, kind):
    """Beyond what its values alone would allow, as long as its inputs lie there."""
    for tree in pair:
        assert one(tree, kind)
    if kind == "grams":
        reseal(one(pair[1], kind), lambda file: file["gram"].write_direct(1.01 * file["gram"][...]))
    found = compare(pair, kind)
    assert found.level == ROUNDING
    assert found.causes[0].startswith("inputs: results/")
    if kind == "grams":
        assert "its inputs agree to rounding" in found.compared
        shutil.rmtree(pair[1] / "results/clouds")
        found = compare(pair, kind)
        assert (found.level, found.expected) == (DIFFERENT, "")
        assert found.causes[0].endswith(": not there as they were, to compare")
        assert not found.reached


def test_same_machine_and_inputs_but_other_values(pair):
    """What no record explains is said so, and is not what is to be expected."""
    shutil.rmtree(pair[1])
    shutil.copytree(pair[0], pair[1])
    reseal(one(pair[1], "grams"), lambda file: file["gram"].write_direct(1.01 * file["gram"][...]))
    found = compare(pair, "grams")
    assert (found.level, found.expected, found.reached) == (DIFFERENT, BITS, False)
    assert found.causes == (causes.NOTHING,)
    assert found.compared.startswith("values: gram: ")
    assert "limit 1e-06" in found.compared
    reseal(one(pair[1], "grams"), lambda file: file["gram"].write_direct((1 + 1e-9) / 1.01 * file["gram"][...]))
    found = compare(pair, "grams")
    assert (found.level, found.expected, found.reached) == (ROUNDING, BITS, False)


def scale_loss(path, step, factor):
    """Change the early loss of a training at a step."""

    def change(file):
        losses = file["fingerprint/loss"][...]
        losses[file["fingerprint/step"][...] == step] *= factor
        file["fingerprint/loss"][...] = losses

    reseal(path, change)


@pytest.mark.parametrize(
    "step, factor, doubt",
    [
        (0, 1 + 1e-5, "data, seeds or precision: the losses before the first step differ"),
        (10, 2.0, "optimiser or code: the losses agree at the start and differ at step 10"),
    ],
)
def test_early_losses_name_what_is_wrong(pair, step, factor, doubt):
    scale_loss(one(pair[1], "runs"), step, factor)
    found = compare(pair, "runs")
    assert (found.level, found.reached, found.causes[0]) == (DIFFERENT, False, doubt)


def test_another_precision_is_named(pair, tmp_path):
    """bfloat16 against float32, two names: more than rounding of float32, and the record says why."""
    changed = {"runs": {"path": {"recipe": {"epochs": 4, "precision": "bfloat16"}}}}
    coarse = in_process("tiny", tmp_path / "coarse", "grams/paths", changed)
    found = compare_files(one(pair[0], "runs"), one(coarse, "runs"))
    assert (found.level, found.expected) == (DIFFERENT, "")
    assert found.causes[0] == "precision: float32 / bfloat16"
    assert not found.reached


def change_segment(**values):
    def change(record):
        for segment in record["segments"]:
            segment.update(values)

    return change


def test_each_cause_is_named_by_the_records(pair):
    """Threads, versions, GPU and TF32, several stretches, a commit, data, records of earlier versions."""
    path = one(pair[1], "runs")
    whole = path.read_bytes()
    record = agreement.origin.read(one(pair[0], "runs"))
    same = record["segments"][0]

    def said(change):
        path.write_bytes(whole)
        rewrite(path, change_segment(**same))
        rewrite(path, lambda other: other.update(commit=record["commit"]))
        rewrite(path, change)
        return compare(pair, "runs").causes

    versions = {**same["versions"], "torch": "1.0"}
    torch = same["versions"]["torch"]
    assert said(lambda record: None) == (causes.NOTHING,)
    assert said(change_segment(threads=8)) == ("threads: 1 / 8",)
    assert said(change_segment(versions=versions)) == (f"versions: torch {torch} / 1.0",)
    assert said(change_segment(tf32=True)) == ("precision: TF32: not used / on",)
    assert said(change_segment(**{"class": "NVIDIA", "environment": {}})) == (
        f"class of machine: {same['class']} / NVIDIA",
    )
    assert said(lambda record: record["segments"].append({**same, "class": "NVIDIA"})) == (
        f"class of machine: {same['class']} / {same['class']} then NVIDIA",
    )
    assert said(lambda record: record.update(commit="abc")) == (f"code: commit {record['commit']} / abc",)
    assert said(lambda record: record.pop("segments")) == (
        "class of machine: not recorded by the second (an earlier version wrote it)",
    )
    data = one(pair[1], "data")
    reseal(data, lambda file: file.attrs.create("touched", 1.0))
    with h5py.File(data) as file:
        digest = str(file.attrs["content_sha256"])
    name = data.relative_to(pair[1]).as_posix()
    assert said(lambda record: record["inputs_sha256"].update({name: digest})) == (f"data: {name}: different",)


def test_an_earlier_version_s_training_has_no_early_losses(pair):
    """Its values are compared, which cannot tell rounding from anything else."""

    def age(file):
        del file["fingerprint"]

    for tree in pair:
        reseal(one(tree, "runs"), age)
    reseal(one(pair[1], "runs"), lambda file: file["theta"].write_direct(1.01 * file["theta"][...]))
    found = compare(pair, "runs")
    assert (found.level, found.expected) == (DIFFERENT, "")
    assert found.compared.startswith("values: theta: ")


def test_unlike_and_damaged_files_are_refused(pair):
    with pytest.raises(LossatlasError, match="compare two of one kind"):
        compare_files(one(pair[0], "runs"), one(pair[1], "grams"))
    with pytest.raises(LossatlasError, match="no such file"):
        compare_files(one(pair[0], "runs"), pair[1] / "points.h5")
    path = one(pair[1], "runs")
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(LossatlasError, match="its bytes are not those that were written"):
        compare(pair, "runs")


# ---------------------------------------------------------------------------------------------------------------------
# claims, and whole trees


NAMES = ("id", "ours", "low", "high", "verdict")


def write_table(path, table, machine, about):
    """Write a table with its record."""
    path.parent.mkdir(exist_ok=True, parents=True)
    table.to_csv(path, index=False)
    segments = [{"class": machine, "versions": {}, "threads": 1}]
    about = {"numerics": "native", "spec": {"claims": []}, "inputs_sha256": {}, "commit": "abc", **about}
    write_record(path.with_suffix(".json"), {**about, "segments": segments}, [path])
    return path


def write_claims(tree, machine, *rows, study="tiny"):
    """Write a table of claims with its record: id, ours, low, high and verdict of each."""
    table = pd.DataFrame([{"study": study, **dict(zip(NAMES, row, strict=True))} for row in rows], columns=COLUMNS)
    return write_table(tree / f"results/claims/{study}.csv", table, machine, {"study": study, "name": "claims"})


def write_scorecard(tree, *rows, **more):
    """Write a scorecard with its record: study, id, ours, low, high and verdict of each row, and more columns."""
    named = [dict(zip(("study", *NAMES), row, strict=True)) for row in rows]
    table = pd.DataFrame(named, columns=COLUMNS).assign(preset="quick", **more)
    return write_table(tree / "results/claims.csv", table, "AMD", {"kind": "scorecard"})


def test_claims_are_expected_to_agree_in_their_conclusions(tmp_path):
    tree, other = tmp_path / "a", tmp_path / "b"
    for folder in (tree, other):
        (folder / "results").mkdir(parents=True)
    first = write_claims(tree, "AMD", ("A", 1.0, 0.9, 1.1, "holds"), ("B", 3.0, math.nan, math.nan, "fails"))
    for machine, value, verdict, level, expected in (
        ("AMD", 1.05, "holds", CONCLUSIONS, BITS),
        ("Intel", 1.05, "holds", CONCLUSIONS, CONCLUSIONS),
        ("Intel", 1.0 + 1e-12, "holds", ROUNDING, CONCLUSIONS),
        ("Intel", 1.5, "holds", DIFFERENT, CONCLUSIONS),
        ("Intel", 1.0, "fails", DIFFERENT, CONCLUSIONS),
    ):
        rows = ("A", value, value - 0.1, value + 0.1, verdict), ("B", 3.0, math.nan, math.nan, "fails")
        found = compare_files(first, write_claims(other, machine, *rows))
        assert (found.level, found.expected) == (level, expected)
        assert found.reached == (level in (expected, ROUNDING))
        assert bool(found.disagree) == (level == DIFFERENT)


def test_of_scorecards_the_studies_and_columns_in_both_are_compared(tmp_path):
    ours, other = ("tiny", "A", 1.0, 0.9, 1.1, "holds"), ("own", "B", 3.0, math.nan, math.nan, "fails")
    full = write_scorecard(tmp_path / "a", ours, other, agree="yes")
    alone = write_scorecard(tmp_path / "b", ours)
    for first, second in ((full, alone), (alone, full)):
        found = compare_files(first, second)
        assert (found.level, found.compared) == (BITS, "claims of the studies in both: the same")
    for row, level in (
        (("tiny", "A", 1.0 + 1e-12, 0.9, 1.1, "holds"), ROUNDING),
        (("tiny", "A", 1.05, 0.9, 1.1, "holds"), CONCLUSIONS),
        (("tiny", "A", 1.0, 0.9, 1.1, "fails"), DIFFERENT),
        (("another", "A", 1.0, 0.9, 1.1, "holds"), DIFFERENT),
    ):
        assert compare_files(full, write_scorecard(tmp_path / "b", row)).level == level
    found = compare_files(full, write_scorecard(tmp_path / "b", ours, ("tiny", "C", *ours[2:])))
    assert found.disagree == ("tiny C: in one of them only",)


def test_trees_are_compared_kind_by_kind(pair):
    flips = ("A", 1.0, 0.9, 1.1, "holds"), ("A", 1.02, 0.9, 1.2, "fails")
    for tree, machine, row in zip(pair, ("AMD", "Intel"), flips, strict=True):
        write_claims(tree, machine, row)
    found = compare_trees(*pair)
    levels = {one.kind: one.level for one in found.found}
    assert levels == {"claims": DIFFERENT, "clouds": ROUNDING, "data": BITS, "grams": ROUNDING, "runs": ROUNDING}
    assert [one.kind for one in found.missed] == ["claims"]
    assert not found.reached
    text = report(found)
    assert "\n  inputs: agree to rounding (2)\n" in text
    assert "tiny A: holds, 1 [0.9, 1.1] / fails, 1.02 [0.9, 1.2]" in text
    rows = [line.split() for line in text.splitlines()[:6]]
    assert rows[0] == ["kind", "files", "bits", "rounding", "conclusions", "different", "not", "as", "expected"]
    assert ["runs", "1", "0", "1", "0", "0", "0"] in rows
    assert ["claims", "1", "0", "0", "0", "1", "1"] in rows
    write_claims(pair[1], "Intel", ("A", 1.02, 0.9, 1.2, "holds"))
    assert compare_trees(pair[0] / "results", pair[1], jobs=2).reached  # a tree, or the folder that has it
    shutil.rmtree(pair[1] / "results/grams")
    assert compare_trees(*pair).alone == (1, 0)


def test_a_damaged_file_in_a_tree_is_named_and_not_compared(pair):
    path = one(pair[1], "runs")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = compare_trees(*pair)
    assert {finding.path for finding in found.bad} == {path, one(pair[1], "clouds")}
    assert "runs" not in {one.kind for one in found.found}
    assert not found.reached
    assert f"{path}: BAD: its bytes are not those" in report(found)


def command(folder, *words):
    done = [sys.executable, "-m", "lossatlas.compare", *map(str, words)]
    return subprocess.run(done, cwd=folder, capture_output=True, text=True)


def test_command_says_the_level_and_whether_it_is_expected(pair, tmp_path):
    done = command(tmp_path, one(pair[0], "runs"), one(pair[1], "runs"))
    assert done.returncode == 0, done.stderr
    assert "agree at level: rounding\n" in done.stdout
    done = command(tmp_path, "a", "b", "--jobs", "1")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["kind", "files"])
    scale_loss(one(pair[1], "runs"), 0, 1.5)
    done = command(tmp_path, "a", "b")
    assert done.returncode == 1
    assert "not as expected:\n  results/runs/" in done.stdout
    done = command(tmp_path, "a", tmp_path)
    assert done.stderr.startswith("lossatlas: error: a and ")
    assert done.returncode == 1
