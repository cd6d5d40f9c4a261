"""The committed table of data sets: names, checksums, errors, and that the Snakefile can import it cheaply."""

import hashlib
import re
import subprocess
import sys

import pytest

from lossatlas.data import spec as catalogue
from lossatlas.data.generated import GENERATORS
from lossatlas.data.sources import READERS
from lossatlas.errors import LossatlasError

OWN = ("tensors", "builder")

ALL = [(name, variant) for name in catalogue.names() for variant in catalogue.describe(name)["variants"]]


def test_names_are_those_of_the_plan():
    assert set(catalogue.names()) == {
        "mnist", "cifar10", "cifar100", "svhn", "digits", "iris", "auto-mpg", "swissroll", "rings", "folder",
        "tensors", "builder",
    }  # fmt: skip


def test_import_needs_neither_torch_nor_numpy():
    code = (
        "import sys, lossatlas.data.spec as c; c.source_checksum('mnist'); "
        "print([m for m in ('torch', 'numpy', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name, variant", ALL)
def test_entries_are_complete(name, variant):
    about, entry = catalogue.describe(name), catalogue.describe_variant(name, variant)
    assert about["kind"] in ("images", "vectors", "tensors")
    assert about["task"] in ("classification", "regression")
    assert about["reference"]
    assert entry["reader"] in (*READERS, *GENERATORS, *OWN)
    assert {"train", "test"} <= set(entry["sizes"])
    for files in [*entry.get("files", []), entry.get("extra", {})]:
        for checksum in files.values():
            assert re.fullmatch(r"(sha256|tree):[0-9a-f]{64}|md5:[0-9a-f]{32}", checksum)
            assert set(checksum.partition(":")[2]) != {"0"}


def test_class_names():
    for name, count in (("mnist", 10), ("cifar10", 10), ("cifar100", 100), ("svhn", 10), ("iris", 3), ("auto-mpg", 0)):
        classes = catalogue.describe(name)["classes"]
        assert len(classes) == len(set(classes)) == count
        assert classes == sorted(classes)
        assert all(isinstance(label, str) for label in classes)


def test_checksums_differ_between_contents_and_have_the_documented_forms():
    sums = {
        (name, variant): catalogue.source_checksum(name, variant)
        for name, variant in ALL
        if name not in ("folder", *OWN)
    }
    assert sums["swissroll", "generated"] == "generated:1"
    assert re.fullmatch(r"package:scikit-learn:[0-9a-f]{16}", sums["iris", "package"])
    plain = [value for (name, _), value in sums.items() if name not in ("swissroll", "rings", "iris", "digits")]
    assert all(re.fullmatch(r"[0-9a-f]{16}", value) for value in plain)
    assert len(set(plain)) == len(plain)


def test_checksum_is_made_of_the_file_checksums(monkeypatch):
    table = {"toy": {"variants": {"a": {"reader": "npz", "files": [{"b.npz": "sha256:1", "a.npz": "sha256:2"}]}}}}
    monkeypatch.setattr(catalogue, "_table", lambda: table)
    expected = hashlib.sha256(b"a.npz sha256:2\nb.npz sha256:1").hexdigest()[:16]
    assert catalogue.source_checksum("toy") == catalogue.source_checksum("toy", "a") == expected
    table["toy"]["variants"]["a"]["files"][0]["a.npz"] = "sha256:3"
    assert catalogue.source_checksum("toy") != expected


def test_tracked_files():
    assert catalogue.tracked_files("mnist", "bundled") == ["data/mnist-bundled.npz"]
    assert catalogue.tracked_files("cifar10", "bundled") == ["data/cifar10-bundled.zip"]
    assert catalogue.tracked_files("auto-mpg") == ["data/auto-mpg.csv"]
    for name, variant in (("mnist", "original"), ("cifar10", "jpeg"), ("iris", None), ("rings", None)):
        assert catalogue.tracked_files(name, variant) == []


def test_descriptions_are_copies():
    catalogue.describe("mnist")["classes"].clear()
    assert len(catalogue.describe("mnist")["classes"]) == 10


@pytest.mark.parametrize(
    "call, near, listed",
    [
        (lambda: catalogue.describe("cifar-10"), "did you mean 'cifar10'", "swissroll"),
        (lambda: catalogue.source_checksum("minst"), "did you mean 'mnist'", "auto-mpg"),
        (lambda: catalogue.tracked_files("mnist", "orginal"), "did you mean 'original'", "bundled"),
        (lambda: catalogue.resolve_options("swissroll", {"nois": 1}), "did you mean 'noise'", "degrees"),
        (lambda: catalogue.resolve_options("iris", {"xyz": 1}), "'xyz'", "split"),
    ],
)
def test_unknown_names_are_one_line_with_the_nearest_and_all(call, near, listed):
    with pytest.raises(LossatlasError) as error:
        call()
    text = str(error.value)
    assert near in text
    assert listed in text
    assert "\n" not in text


def test_options_have_defaults():
    assert catalogue.resolve_options("swissroll", {"noise": 0.1}) == {"noise": 0.1, "degrees": 600.0}
    assert catalogue.resolve_options("mnist") == {}


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("iris", {"split": "a"}, "'split' of data set 'iris' is 'a', expected a whole number from 0 up"),
        ("iris", {"split": 1.5}, "expected a whole number"),
        ("iris", {"split": None}, "is None"),
        ("swissroll", {"noise": -1}, "expected a number from 0 up"),
        ("svhn", {"extra": "all"}, "expected a whole number from 0 up or null"),
    ],
)
def test_option_values_are_checked(name, options, words):
    with pytest.raises(LossatlasError) as error:
        catalogue.resolve_options(name, options)
    assert words in str(error.value)
    assert catalogue.resolve_options("svhn", {"extra": None}) == {"extra": None}


def test_tree_checksum_sees_names_and_contents_and_passes_hidden_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "y").write_bytes(b"2")
    first = catalogue.tree_checksum(tmp_path)
    lines = "".join(f"{n}\0{hashlib.sha256(c).hexdigest()}\n" for n, c in (("a/x", b"1"), ("y", b"2")))
    assert first == f"tree:{hashlib.sha256(lines.encode()).hexdigest()}"
    (tmp_path / ".hidden").write_bytes(b"3")
    assert catalogue.tree_checksum(tmp_path) == first
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "z")
    renamed = catalogue.tree_checksum(tmp_path)
    (tmp_path / "a" / "z").write_bytes(b"4")
    assert len({first, renamed, catalogue.tree_checksum(tmp_path)}) == 3


def test_folder_checksum_is_given_or_computed(tmp_path, monkeypatch):
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "x").write_bytes(b"1")
    computed = catalogue.source_checksum("folder", None, {"path": str(tmp_path / "mine")})
    assert computed == catalogue.tree_checksum(tmp_path / "mine").removeprefix("tree:")[:16]
    monkeypatch.setenv("LOSSATLAS_DATA", str(tmp_path))
    assert catalogue.source_checksum("folder", None, {"path": "mine"}) == computed
    assert catalogue.source_checksum("folder", None, {"path": "nowhere", "checksum": "tree:" + "ab" * 32}) == "ab" * 8
    with pytest.raises(LossatlasError, match="nowhere"):
        catalogue.source_checksum("folder", None, {"path": "nowhere"})
    with pytest.raises(LossatlasError, match="needs the option `path`"):
        catalogue.source_checksum("folder")
