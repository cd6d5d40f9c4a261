"""What others read of lossatlas: one version, licence and name in all places, and a valid CITATION.cff."""

import json
import re
import tomllib

import yaml
from harness import ROOT

from lossatlas import __version__
from lossatlas.study.config import load

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CODEMETA = json.loads((ROOT / "codemeta.json").read_text())


def test_one_version_licence_and_list_of_words():
    newest = re.search(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert __version__ == PROJECT["version"] == CITATION["version"] == CODEMETA["version"] == newest[1]
    assert CITATION["date-released"] == CODEMETA["datePublished"] == newest[2]
    assert PROJECT["license"] == CITATION["license"] == CODEMETA["license"].rpartition("/")[2] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert PROJECT["keywords"] == CITATION["keywords"] == CODEMETA["keywords"]
    assert PROJECT["description"] == CODEMETA["description"]


def test_versions_of_the_changelog_fall():
    found = re.findall(r"^## (\d+)\.(\d+)\.(\d+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [tuple(map(int, one)) for one in found]
    assert versions
    assert versions == sorted(set(versions), reverse=True)


def test_the_citation_has_what_its_format_asks_for_and_every_study():
    """The keys that Citation File Format 1.2.0 requires; cffconvert --validate checks the rest, outside of the tests."""
    assert {"cff-version", "message", "title", "authors"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0"
    assert all({"type", "title", "authors"} <= set(one) for one in CITATION["references"])
    studies = yaml.safe_load((ROOT / "config/config.yaml").read_text())["studies"]
    assert {one["notes"] for one in CITATION["references"]} == {f"study {name}" for name in studies}
    told = load({"preset": "quick", "studies": studies, "seed": 0, "formats": ["png"]}, ROOT).studies
    for one in CITATION["references"]:
        study = told[one["notes"].removeprefix("study ")]
        assert one["title"].lower() in " ".join(study.reference.split()).lower()
        assert all(author["family-names"] in study.reference for author in one["authors"])
        assert f"({one['year']})" in study.reference


def test_the_catalog_is_told_what_the_workflow_takes():
    found = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert found["software-stack-deployment"] == {"conda": False, "singularity": False}
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    assert not re.search(r"^\s+(?:conda|container):", rules, re.MULTILINE)
    assert not re.search(r"^report:", (ROOT / "Snakefile").read_text(), re.MULTILINE)
    text = (ROOT / "config/README.md").read_text()
    keys = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert all(f"`{key}`" in text for key in keys), [key for key in keys if f"`{key}`" not in text]
