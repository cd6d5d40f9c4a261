"""What made a file, the command that makes it again, and that it then comes out the same."""

import json
import shlex
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml
from harness import ROOT, checksums, copy
from recorded import reseal, rewrite

from lossatlas.audit import causes, origin
from lossatlas.audit.recompute import verify
from lossatlas.errors import LossatlasError
from lossatlas.study import subjects

FIGURE = "results/figures/tiny/norms"


def command(folder, *arguments):
    """Run ``python -m lossatlas.provenance`` in a folder."""
    words = [sys.executable, "-m", "lossatlas.provenance", *map(str, arguments)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def artefact(folder, kind, label=""):
    """Return an artefact of a build by kind and the beginning of its label."""
    return min((folder / "results" / kind).glob(f"{label}*/{subjects.steps()[kind].file}"))


# ---------------------------------------------------------------------------------------------------------------------
# what made it


def test_command_prints_what_made_a_file(built):
    path = artefact(built, "embeddings", "pca").relative_to(built)
    done = command(built, path)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    with h5py.File(built / path) as file:
        kept = json.loads(file.attrs["provenance"])
    for key in ("kind", "label", "hash", "commit", "device", "seconds", "spec", "inputs", "inputs_sha256", "numerics"):
        assert shown[key] == kept[key], key
    for told, segment in zip(shown["segments"], kept["segments"], strict=True):
        assert told == {**segment, "isa": " ".join(segment["isa"])}
    assert shown["made"] == kept["created"]
    assert shown["checksum"] == "whole"
    assert shown["seeds"] == {"seed": kept["spec"]["seed"]}
    assert shown["configuration"]["preset"] == "quick"


def test_what_earlier_versions_wrote_is_printed_as_they_wrote_it(built, tmp_path):
    folder = copy(built, tmp_path)
    path = artefact(folder, "runs")

    def age(record):
        for key in ("segments", "inputs_sha256", "numerics"):
            del record[key]
        record |= {"machine": {"processor": "x86_64"}, "threads": 1, "versions": {"torch": "1.0"}}

    rewrite(path, age)
    shown = yaml.safe_load(origin.describe(path, origin.read(path), ROOT))
    for key in ("segments", "inputs_sha256", "numerics"):
        assert shown[key] == "not recorded: an earlier version wrote it"
    assert (shown["machine"], shown["threads"], shown["versions"]) == ({"processor": "x86_64"}, 1, {"torch": "1.0"})
    assert shown["checksum"] == "whole"


def test_every_file_says_how_to_make_it_again(built):
    """The command is parsed and names the very file, or the numbers of a product."""
    files = [path for path in (built / "results").rglob("*") if path.suffix in (".h5", ".png", ".pdf", ".csv", ".json")]
    files = [path for path in files if "all" not in path.parts]
    assert {path.suffix for path in files} == {".h5", ".png", ".pdf", ".csv", ".json"}
    assert {path.parent.parent.name for path in files} >= {"data", "runs", "retrains", "clouds", "grams", "embeddings"}
    for path in files:
        words = shlex.split(origin.command(origin.read(path), ROOT, path.suffix))
        name = path.relative_to(built)
        beside = path.suffix == ".json" or path.name.endswith(".statements.csv")  # written with a product's numbers
        expected = name.with_name(name.name.split(".")[0] + ".csv") if beside else name
        assert words[0] == "snakemake"
        assert words[-1] == expected.as_posix()


def test_the_gallery_s_record_names_the_gallery(built):
    path = (built / "results/figures/all/index.json").relative_to(built)
    done = command(built, path)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert shlex.split(shown["again"])[-1] == "results/figures/all"
    assert shown["checksum"] == "whole"
    done = command(built, "--verify", path)
    assert (done.returncode, "a gallery computes nothing" in done.stderr) == (1, True)


def test_pictures_and_their_record_say_the_same(built):
    found = [origin.read(built / f"{FIGURE}.{kind}") for kind in ("png", "pdf", "csv", "json")]
    assert found[0]["created"].startswith("20")
    for one in found:  # each file is written a moment after the one before
        one.update(seconds=0, created="")
        one["segments"][-1]["seconds"] = 0
    assert all(other == found[0] for other in found[1:])


def test_text_in_pdf_is_unescaped(tmp_path, rng):
    """Any provenance text survives matplotlib's PDF strings, read without a PDF library."""
    from matplotlib.figure import Figure

    alphabet = [*list('()\\"{}[]:, abn017\n\t'), "\\n", "\\(", "é"]
    text = "".join(rng.choice(alphabet, size=300))
    kept = json.dumps({"commit": "x", "label": text})
    Figure().savefig(tmp_path / "a.pdf", metadata={"Keywords": kept})
    assert origin.read(tmp_path / "a.pdf")["label"] == text


def test_files_without_provenance(tmp_path):
    from matplotlib.figure import Figure

    for kind in ("png", "pdf"):
        Figure().savefig(tmp_path / f"a.{kind}")
    (tmp_path / "b.csv").write_text("x\n1\n")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = 1.0
    for name in ("a.png", "a.pdf", "b.csv", "c.h5"):
        done = command(tmp_path, name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"lossatlas: error: {name}: carries no provenance")
    (tmp_path / "d.h5").write_bytes(b"nothing")
    for name, message in (("d.h5", "not readable"), ("e.h5", "no such file")):
        with pytest.raises(LossatlasError, match=message):
            origin.read(tmp_path / name)


def test_old_file_is_found_among_presets_and_an_unknown_one_names_its_commit(built):
    raw = {"studies": ["trajectories"]}
    from lossatlas.specs.yaml import read_yaml
    from lossatlas.study.config import load
    from lossatlas.study.plan import Plan

    laptop = Plan(load({**read_yaml(ROOT / "config/config.yaml"), **raw, "preset": "laptop"}, ROOT))
    made = next(part for (kind, _), part in laptop.artefacts.items() if kind == "runs")
    old = {**made.describe(), "commit": "abc+"}
    assert origin.configuration(old, ROOT)["preset"] == "laptop"
    with pytest.raises(LossatlasError, match="no longer ask for it; `git checkout abc`"):
        origin.configuration({**old, "hash": "0123456789"}, ROOT)
    tiny = origin.read(artefact(built, "runs"))
    overridden = {**tiny["config"], "overrides": {"tiny": {"runs": {"path": {"recipe": {"epochs": 1}}}}}, "seed": 3}
    with pytest.raises(LossatlasError, match="no longer ask for it"):
        origin.configuration({**tiny, "config": overridden}, ROOT)
    words = origin.words({**origin.configuration(tiny, ROOT), **overridden}, ROOT)
    assert words[2:] == ["seed=3", 'overrides={"tiny": {"runs": {"path": {"recipe": {"epochs": 1}}}}}']


# ---------------------------------------------------------------------------------------------------------------------
# made again


@pytest.mark.parametrize(
    "kind, label, options",
    [
        ("clouds", "paths", []),  # from the data on: data, run, cloud
        ("retrains", "", ["--step"]),
        ("grams", "jumps", ["--step"]),
        ("embeddings", "pca", ["--step"]),
    ],
)
def test_artefact_made_again_is_bit_identical(built, kind, label, options):
    before = checksums(built)
    path = artefact(built, kind, label).relative_to(built)
    done = command(built, "--verify", *options, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{path}: bit-identical: what it holds came out the same when made again\n"
    assert checksums(built) == before


def test_figure_made_again_has_the_same_numbers(built):
    done = command(built, "--verify", "--step", f"{FIGURE}.png")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-identical: its numbers" in done.stdout


def test_a_wrong_result_is_found_and_measured(built, tmp_path):
    folder = copy(built, tmp_path)
    path = artefact(folder, "runs")

    def change(file):
        file["theta"][-1, 3] += 0.25
        file.attrs["layout"] = "[]"

    with h5py.File(path) as file:
        size, largest = file["theta"].size, np.abs(file["theta"][...]).max()
    reseal(path, change)
    with h5py.File(path) as file:
        largest = max(largest, np.abs(file["theta"][...]).max())
    done = command(folder, "--verify", "--step", path.relative_to(folder))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("points.h5: differs from its recomputation; they agree at level: different")
    assert lines[1].startswith("  compared: early losses (trainings: 1): relative differences up to 0.0e+00 at step 0")
    assert lines[1].endswith("; but attribute layout differs")
    assert lines[2] == f"  why not higher: {causes.NOTHING}"
    assert lines[3:] == [
        "  attribute layout differs",
        f"  theta: 1 of {size} values differ, by at most 0.25 ({0.25 / largest:.3g} of the largest value)",
        "  expected: bits, not reached",
    ]


def test_bad_files_and_missing_inputs_are_refused(built, tmp_path):
    folder = copy(built, tmp_path)
    gram = artefact(folder, "grams", "paths")
    shutil.rmtree(folder / "results/clouds")
    with pytest.raises(LossatlasError, match="missing; without --step it is made again, too"):
        verify(gram, ROOT, step=True)
    data = bytearray(gram.read_bytes())
    data[len(data) // 2] ^= 4
    gram.write_bytes(data)
    with pytest.raises(LossatlasError, match="its bytes are not those that were written"):
        verify(gram, ROOT)
    (folder / f"{FIGURE}.csv").unlink()
    with pytest.raises(LossatlasError, match=r"norms\.csv: missing; of a picture its numbers are compared"):
        verify(folder / f"{FIGURE}.png", ROOT)
