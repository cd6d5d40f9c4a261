"""Crates of results: valid by an independent validator, true to the records, and a tree that fsck finds whole."""

import hashlib
import io
import json
import shutil
import sys
import zipfile
from importlib import resources

import pytest

from lossatlas import export
from lossatlas.audit import lineage
from lossatlas.audit.integrity import WHOLE, check
from lossatlas.errors import LossatlasError
from lossatlas.files.record import provenance_file

pytest.importorskip("rocrate", reason="rocrate is not installed (requirements.lock)")

from lossatlas.audit import crate as crates

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}
"""Terms of our crates that RO-Crate 1.1 maps elsewhere than 1.3, whose context the library rocrate brings."""


def exported(monkeypatch, out, *words):
    """Run the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words), "-o", str(out)])
    return export.main()


def metadata(out):
    """Return the entities of a crate by their ids."""
    with zipfile.ZipFile(out) as file:
        found = json.loads(file.read("ro-crate-metadata.json"))["@graph"]
    return {one["@id"]: one for one in found}


def ids(value):
    return {one["@id"] for one in (value if isinstance(value, list) else [value])}


@pytest.fixture
def figure(built):
    """Return a figure of the tiny study that hangs on trainings."""
    found = [path for path in sorted((built / "results/figures").glob("*/*.json")) if path.parent.name != "all"]
    (record,) = [path for path in found if "embedding" in path.read_text()][:1]
    return record.with_suffix(".csv")


@pytest.fixture
def offline(tmp_path):
    """Return the folder of a cache from which the validator takes RO-Crate's context: no test asks the network."""
    pytest.importorskip("rocrate_validator", reason="roc-validator is not installed (requirements.lock)")
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests_cache import CachedSession

    bundled = json.loads(resources.files("rocrate").joinpath("data/ro-crate.jsonld").read_text())
    text = json.dumps({"@context": {**bundled["@context"], **BIOSCHEMAS}}).encode()

    class Canned(HTTPAdapter):
        def send(self, request, **_):
            kind = {"Content-Type": "application/ld+json"}
            return self.build_response(
                request, urllib3.HTTPResponse(io.BytesIO(text), kind, 200, preload_content=False)
            )

    session = CachedSession(str(tmp_path / "cache"), expire_after=-1)
    session.mount("https://", Canned())
    session.get(CONTEXT)
    session.close()
    return tmp_path / "cache"


def issues(crate, cache):
    """Return what the validator finds that a Provenance Run Crate, and the profiles it extends, must not have."""
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=str(crate),
        profile_identifier="provenance-run-crate",
        requirement_severity=models.Severity.REQUIRED,
        offline=True,
        cache_path=str(cache),
    )
    return [f"{one.check.identifier}: {one.message}" for one in services.validate(settings).get_issues()]


def test_a_crate_is_valid_and_a_broken_one_is_not(figure, offline, tmp_path, monkeypatch):
    out = tmp_path / "figure.zip"
    assert exported(monkeypatch, out, figure, "--author", "A. Person", "--license", "CC-BY-4.0") == 0
    assert issues(out, offline) == []
    broken = tmp_path / "broken"
    shutil.unpack_archive(out, broken)
    file = broken / "ro-crate-metadata.json"
    found = json.loads(file.read_text())
    for one in found["@graph"]:
        if one["@type"] == "CreateAction":
            del one["instrument"]
    file.write_text(json.dumps(found))
    assert any("instrument" in one for one in issues(broken, offline))


def test_a_crate_says_what_the_records_say(figure, built, tmp_path, monkeypatch):
    out = tmp_path / "figure.zip"
    assert exported(monkeypatch, out, figure) == 0
    found = metadata(out)
    with zipfile.ZipFile(out) as file:
        assert len(set(file.namelist())) == len(file.namelist())
        for name in file.namelist():
            if name not in ("ro-crate-metadata.json", "README.md"):
                assert found[name]["sha256"] == hashlib.sha256(file.read(name)).hexdigest()
    todo, seen = [f"results/{figure.relative_to(built / 'results')}"], set()
    while todo:  # every job behind the figure, by the records on disk
        name = todo.pop()
        seen.add(name)
        record = crates.Made(name, {}, lineage.origin.read(built / name))
        action = found[f"#job/{name}"]
        assert ids(action.get("object", [])) == set(record.inputs)
        assert name in ids(action["result"])
        assert action["endTime"].replace("+00:00", "Z") == record.record["created"]
        assert float(found[action["resourceUsage"]["@id"]]["value"]) == record.record["seconds"]
        assert record.record["segments"][0]["versions"]["torch"] in action["description"]
        todo += set(record.inputs) - seen
    assert {one.removeprefix("#job/") for one in found if one.startswith("#job/")} == seen
    kinds = {name.split("/")[1] for name in seen}
    assert {"figures", "embeddings", "grams", "runs", "data"} <= kinds
    assert found["#configuration/preset"]["value"] == "quick"
    assert ids(found["./"]["mainEntity"]) == {"Snakefile"}
    assert {"workflow/rules/train.smk", "config/config.yaml", "studies/tiny.yaml"} <= set(found)


def test_an_unpacked_crate_is_a_tree_of_results(figure, built, tmp_path, monkeypatch):
    out = tmp_path / "figure.zip"
    assert exported(monkeypatch, out, figure) == 0
    shutil.unpack_archive(out, tmp_path / "unpacked")
    found = check([tmp_path / "unpacked/results"])
    assert {one.state for one in found} == {WHOLE}
    assert (tmp_path / "unpacked" / figure.relative_to(built)).read_bytes() == figure.read_bytes()


def test_what_is_not_in_the_tree_is_named_by_its_digest(figure, built, offline, tmp_path, monkeypatch):
    shutil.copytree(built / "results", tmp_path / "part/results", ignore=shutil.ignore_patterns("runs", "logs"))
    out = tmp_path / "part.zip"
    assert exported(monkeypatch, out, tmp_path / "part" / figure.relative_to(built)) == 0
    found = metadata(out)
    absent = {name: one for name, one in found.items() if name.startswith("#results/runs/")}
    assert absent
    inputs = {}
    for name in found:
        if name.startswith("#job/results/"):
            inputs |= lineage.origin.read(tmp_path / "part" / name.removeprefix("#job/")).get("inputs_sha256", {})
    for name, one in absent.items():
        assert one["identifier"] == f"sha256:{inputs[name.removeprefix('#')]}"
    assert issues(out, offline) == []


def test_files_that_are_not_what_was_written_make_no_crate(figure, built, tmp_path, monkeypatch, capsys):
    shutil.copytree(built / "results", tmp_path / "bad/results", ignore=shutil.ignore_patterns("logs"))
    name = next(one for one in lineage.lineage([figure]).jobs if "/grams/" in one.name).name
    with open(tmp_path / "bad" / name, "r+b") as file:
        file.seek(-9, 2)
        file.write(b"x")
    out = tmp_path / "bad.zip"
    assert exported(monkeypatch, out, tmp_path / "bad" / figure.relative_to(built)) == 1
    assert "SHA-256 differs" in capsys.readouterr().err
    assert not out.exists()


def test_what_cannot_be_exported_is_refused_in_one_line(figure, built, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other" / figure.relative_to(built)
    other.parent.mkdir(parents=True)
    shutil.copyfile(figure, other)
    shutil.copyfile(provenance_file(figure), provenance_file(other))
    (tmp_path / "own.csv").write_text("a,b\n1,2\n")
    (tmp_path / "there.zip").write_bytes(b"")
    for words, out, said in (
        ([figure, other], "a.zip", "another tree of results"),
        ([tmp_path / "own.csv"], "a.zip", "carries no provenance"),
        ([tmp_path / "gone.csv"], "a.zip", "no such file"),
        ([figure], "a.tar", "expected a name that ends in .zip"),
        ([figure], "there.zip", "lies there already"),
    ):
        assert exported(monkeypatch, tmp_path / out, *words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert not (tmp_path / "a.zip").exists()


def test_files_of_several_runs_are_not_one_crate(figure):
    (made,) = lineage.lineage([figure]).jobs[-1:]
    second = lineage.Made("results/claims/other.csv", {}, {**made.record, "preset": "laptop"})
    with pytest.raises(
        LossatlasError, match=r"results/claims/other.csv: its configuration is .* one crate has one run"
    ):
        crates.configuration([made, second])


def test_without_licence_or_author_none_is_made_up(figure, tmp_path, monkeypatch):
    out = tmp_path / "figure.zip"
    assert exported(monkeypatch, out, figure) == 0
    found = metadata(out)
    assert found["./"]["license"] == crates.NOT_LICENSED
    assert not [one for one in found.values() if one["@type"] == "Person"]


def test_the_first_of_two_stretches_begins_a_job():
    record = {"created": "2026-01-02T03:04:05Z", "seconds": 65}
    assert crates.span(record) == ("2026-01-02T03:03:00+00:00", "2026-01-02T03:04:05+00:00")
    stretches = [{"started": "2026-01-01T00:00:00Z"}, {"started": "2026-01-02T00:00:00Z"}]
    assert crates.span({**record, "segments": stretches})[0] == "2026-01-01T00:00:00+00:00"
