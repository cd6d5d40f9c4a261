"""The JSON Schemas that editors read: they take what the specs take, and refuse what a user mistypes."""

import jsonschema
import pytest
from harness import ROOT, STUDIES

from lossatlas.specs.yaml import merge, read_yaml
from lossatlas.study.left_out import without_left_out
from lossatlas.study.schema import schemas

SCHEMAS = schemas()
FILES = [*sorted((ROOT / "config/studies").glob("*.yaml")), *sorted(STUDIES.glob("*.yaml"))]


def complaints(document, name="study.schema.json"):
    """Return what a validator says of a document."""
    validator = jsonschema.Draft202012Validator(SCHEMAS[name])
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_schema_is_one(schema):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[schema])


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["quick", "laptop", "paper"])
def test_every_study_is_valid_in_an_editor(file, preset):
    sizes = read_yaml(ROOT / f"config/presets/{preset}.yaml").get("studies", {}).get(file.stem, {})
    own = read_yaml(file)
    assert complaints(without_left_out(merge(own, sizes), own.get("clouds", {}), file.name)) == []


def test_config_and_presets_are_valid_in_an_editor():
    assert complaints(read_yaml(ROOT / "config/config.yaml"), "config.schema.json") == []
    for file in (ROOT / "config/presets").glob("*.yaml"):
        assert complaints(read_yaml(file), "preset.schema.json") == []


@pytest.mark.parametrize(
    "change",
    [
        {"figuers": {}},
        {"runs": {"good": {"recipe": {"ephocs": 3}}}},
        {"runs": {"good": {"model": {"name": "wnr"}}}},
        {"clouds": {"good": {"jmup": {"run": "good"}}}},
        {"figures": {"fig1": {"pannels": []}}},
        {"figures": {"fig1": {"kind": "embeding"}}},
        {"claims": [{"id": "x", "sentence": "s", "measure": "outwardnes", "holds": {"op": ">", "value": 1}}]},
    ],
)
def test_what_is_mistyped_is_underlined(change):
    study = read_yaml(STUDIES / "tiny.yaml")
    assert complaints(study) == []
    assert complaints(merge(study, change))
