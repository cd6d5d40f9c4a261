"""JSON Schemas of a study, a preset and config.yaml for editors, written from what the subjects declare.

The schemas are for completion and hints while typing; what a study may say is checked by the specs themselves.
"""

from typing import Any

from pydantic.json_schema import models_json_schema

from lossatlas.claims.spec import Claim, Statement
from lossatlas.draw.spec import Product
from lossatlas.specs.base import Spec
from lossatlas.study import subjects
from lossatlas.study.config import ConfigFile, Preset
from lossatlas.study.read import NAME

REFERENCE = "#/$defs/{model}"


def study_schema() -> dict[str, Any]:
    """Return the schema of ``config/studies/<study>.yaml``."""
    known, products, measures = subjects.entries(), subjects.products(), subjects.measures()
    every: tuple[type[Spec], ...] = (
        *(entry.spec for entry in known.values()),
        *products.values(),
        *measures.values(),
        Claim,
        Statement,
    )
    named, shared = models_json_schema([(spec, "validation") for spec in every], ref_template=REFERENCE)
    refs = {model: schema for (model, _), schema in named.items()}
    run = _loose(refs[known["runs", ""].spec], shared["$defs"])
    sections: dict[str, Any] = {}
    for section in dict.fromkeys(section for section, _ in known):
        kinds = {kind: entry.spec for (part, kind), entry in known.items() if part == section}
        one = run if section == "runs" else refs[kinds[""]] if "" in kinds else _one_of(kinds, refs)
        sections[section] = _named(one)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "config/studies/<study>.yaml",
        "description": "A study is data: runs, clouds of weight vectors, probes, figures, tables and claims.",
        "type": "object",
        "additionalProperties": False,
        "required": ["title", "reference", "runs"],
        "properties": {
            "title": {"type": "string", "description": "Title in the gallery."},
            "reference": {"type": "string", "description": "The paper as it is cited in the gallery."},
            "defaults": {**run, "description": "Merged under every run."},
            **sections,
            "figures": _named(_kinds(products, refs, "figure")),
            "tables": _named(_kinds(products, refs, "table")),
            "claims": {"type": "array", "items": {"allOf": [refs[Claim], _measured(measures, refs)]}},
            "statements": {"type": "array", "items": refs[Statement]},
        },
        "$defs": shared["$defs"],
    }


def _loose(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of part of a mapping: nothing must be there, since defaults are merged under it.

    Of the members of a union of mappings any key may stand there, since which it is may be said in the defaults.
    """
    if "$ref" in schema:
        return _loose(defs[schema["$ref"].rsplit("/", 1)[1]], defs)
    members = [_loose(one, defs) for one in schema.get("oneOf", [])]
    if members:
        properties: dict[str, Any] = {}
        for one in members:
            properties |= {key: value for key, value in one["properties"].items() if key not in properties}
        names = [one["properties"]["name"]["const"] for one in members if "name" in one["properties"]]
        return {"type": "object", "properties": {**{key: {} for key in properties}, "name": {"enum": names}}}
    loose = {key: value for key, value in schema.items() if key not in ("required", "default")}
    if "properties" in schema:
        loose["properties"] = {key: _loose(value, defs) for key, value in schema["properties"].items()}
    if "anyOf" in schema:
        loose["anyOf"] = [_loose(one, defs) for one in schema["anyOf"]]
    return loose


def _named(entry: dict[str, Any]) -> dict[str, Any]:
    names = {"pattern": f"^{NAME.pattern}$"}
    return {"type": "object", "propertyNames": names, "additionalProperties": entry}


def _one_of(kinds: dict[str, type[Spec]], refs: dict[Any, Any]) -> dict[str, Any]:
    """Return the schema of a mapping of one key, which says the kind, to its settings."""
    properties = {kind: {**refs[spec], "description": _first_line(spec)} for kind, spec in kinds.items()}
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": properties,
    }


def _kinds(products: dict[str, type[Product]], refs: dict[Any, Any], role: str) -> dict[str, Any]:
    """Return the schema of figures or tables: by their key ``kind``."""
    names = [name for name, kind in products.items() if kind.role == role]
    chosen = [{"if": {"properties": {"kind": {"const": name}}}, "then": refs[products[name]]} for name in names]
    return {
        "type": "object",
        "required": ["kind", "title", "caption"],
        "properties": {"kind": {"enum": names}},
        "allOf": chosen,
    }


def _measured(measures: dict[str, Any], refs: dict[Any, Any]) -> dict[str, Any]:
    return {"properties": {"measure": {"enum": sorted(measures)}}}


def _first_line(spec: type[Spec]) -> str:
    return (spec.__doc__ or "").strip().splitlines()[0]


def schemas() -> dict[str, dict[str, Any]]:
    """Return file name -> schema."""
    found = {"study": study_schema()}
    for name, spec in (("config", ConfigFile), ("preset", Preset)):
        found[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **spec.model_json_schema()}
    return {f"{name}.schema.json": schema for name, schema in found.items()}
