"""Configuration: config.yaml, a preset and the study files, validated; every mistake is one line that names its key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import Loader, merge, nearest, read_yaml


@dataclass(frozen=True)
class Config:
    """What a run of the workflow is asked to build.

    Attributes:
        preset: name of the preset.
        seed: master seed.
        formats: figure formats besides CSV.
        studies: study name -> study with preset, variants and overrides merged in.
        variants: data set -> variant that replaces the preset's choice.
        data_path: folders searched for data sets before ``LOSSATLAS_DATA``.
    """

    preset: str
    seed: int
    formats: tuple[str, ...]
    studies: dict[str, dict]
    variants: dict[str, str]
    data_path: tuple[str, ...]


def _explain(error: jsonschema.ValidationError) -> list[str]:
    """Turn one schema violation into lines "key: what is wrong, what is allowed"."""
    where = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{where}." if where else ""
    allowed: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(instance, Mapping):
        known = list(schema.get("properties", {}))
        patterns = schema.get("patternProperties", {})
        unknown = [k for k in instance if k not in known and not any(re.search(p, str(k)) for p in patterns)]
        return [f"{prefix}{key}: unknown key; {nearest(key, known)}" for key in unknown]
    if error.validator == "required":
        missing = [key for key in allowed if key not in instance]
        return [f"{prefix}{key}: missing" for key in missing]
    if error.validator == "enum":
        return [f"{where}: {instance!r} is not allowed; {nearest(instance, allowed)}"]
    if error.validator == "type":
        found = type(instance).__name__
        return [f"{where}: {instance!r} is of type {found}, expected {allowed}"]
    return [f"{where}: {error.message}"]


def validate(document: Any, schema: Mapping, source: str) -> None:
    """Check a document against a JSON Schema; report all mistakes at once, one line each.

    Args:
        document: the parsed YAML.
        schema: JSON Schema, draft 2020-12.
        source: file name for the message, with the preset when one was merged in.

    Raises:
        LossatlasError: one line a mistake: file, key path, value, what is allowed.
    """
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(document), key=lambda e: [str(p) for p in e.absolute_path])
    lines = list(dict.fromkeys(line for error in errors for line in _explain(error)))
    if lines:
        raise LossatlasError("\n".join(f"{source}: {line}" for line in lines))


def _preset_file(preset: str, root: Path) -> Path:
    """Return the file of a preset given by name or, for a user's own, by path."""
    if preset.endswith((".yaml", ".yml")):
        return Path(preset)
    folder = root / "config" / "presets"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if preset not in names:
        raise LossatlasError(f"config/config.yaml: preset: {preset!r} is not a preset; {nearest(preset, names)}")
    return folder / f"{preset}.yaml"


def _study_file(name: str, root: Path) -> Path:
    """Return the file of a study given by name or, for a user's own, by path."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = root / "config" / "studies"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise LossatlasError(f"config/config.yaml: studies: {name!r} is not a study; {nearest(name, names)}")
    return folder / f"{name}.yaml"


def _typed(value: Any) -> Any:
    """Return a nested value with numbers and switches as such: ``--config`` hands nested ones over as text."""
    if isinstance(value, Mapping):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        parsed = yaml.load(value, Loader=Loader)
    except yaml.YAMLError:
        return value
    return parsed if isinstance(parsed, bool | int | float) or value in ("null", "~") else value


def load(raw: Mapping, root: Path) -> Config:
    """Load presets and studies named by a raw configuration (config.yaml plus ``--config``) and validate everything.

    Args:
        raw: the mapping Snakemake hands over.
        root: the repository.

    Returns:
        The validated configuration; studies carry the preset's sizes and the overrides.

    Raises:
        LossatlasError: names the file and key, and the nearest valid ones.
    """
    schemas = root / "config" / "schema"
    validate(dict(raw), read_yaml(schemas / "config.schema.yaml"), "config/config.yaml or --config")
    preset_file = _preset_file(str(raw["preset"]), root)
    preset = read_yaml(preset_file) or {}
    validate(preset, read_yaml(schemas / "preset.schema.yaml"), str(preset_file))
    schema = read_yaml(schemas / "study.schema.yaml")
    overrides = _typed(raw.get("overrides") or {})
    studies = {}
    for entry in raw["studies"]:
        path = _study_file(entry, root)
        study = read_yaml(path)
        name = path.stem
        source = f"{path} (preset {preset_file.stem})"
        study = merge(study, preset.get("studies", {}).get(name, {}))
        study = merge(study, overrides.get(name, {}))
        validate(study, schema, source)
        studies[name] = study
    return Config(
        preset=preset_file.stem,
        seed=int(raw["seed"]),
        formats=tuple(raw["formats"]),
        studies=studies,
        variants={**preset.get("variants", {}), **(raw.get("variants") or {})},
        data_path=tuple(raw.get("data_path") or ()),
    )
