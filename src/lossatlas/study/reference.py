"""``docs/reference.md``: every key that a study, a preset and config.yaml may have, from the specs themselves."""

import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lossatlas.claims.spec import Claim, Statement
from lossatlas.draw.spec import Product
from lossatlas.specs.base import Accepts, Reference, Refers, Spec
from lossatlas.study import subjects
from lossatlas.study.config import ConfigFile, Preset

HEAD = """# Reference

Written by `make docs` from the specs in `src/lossatlas/*/spec.py`. A key without a default must be given. `-> volume`
after a type: the name of such a thing in the study. In an editor with a YAML language server the first line of every
study shows the same while typing. Pictures show a published figure of their kind, where there is one.
"""

_WORDS = {int: "integer", float: "number", str: "text", bool: "true/false", type(None): "null", Any: "anything"}


def _type(annotation: Any) -> str:
    """Return a type in words."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " \\| ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping of {_type(parts[1])}"
    if origin is tuple and parts[0] is Reference:
        return "reference"
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return getattr(annotation, "__name__", str(annotation))


def _limits(field: FieldInfo) -> str:
    """Return a field's limits in words."""
    signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
    found = [f"{sign} {getattr(m, name):g}" for m in field.metadata for name, sign in signs if hasattr(m, name)]
    return f" {' and '.join(found)}" if found else ""


def _row(name: str, field: FieldInfo) -> str:
    kinds = [mark for mark in field.metadata if isinstance(mark, Refers | Accepts)]
    named = "".join(f" -> {mark.what if isinstance(mark, Refers) else ' or '.join(mark.whats)}" for mark in kinds)
    if field.is_required():
        default = ""
    else:
        value = field.get_default(call_default_factory=True)
        default = "its defaults" if isinstance(value, Spec) else f"`{json.dumps(value, default=str)}`"
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    source = f" ({extra['source']})" if extra.get("source") else ""
    about = (field.description or "").replace("|", "\\|")
    return (
        f"| `{field.alias or name}` | {_type(field.annotation)}{_limits(field)}{named} | {default} | {about}{source} |"
    )


def _doc(spec: type) -> str:
    return inspect.cleandoc(spec.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _inner(annotation: Any) -> Iterator[type[Spec]]:
    """Yield the specs inside a type."""
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, Spec):
        yield annotation
    for part in get_args(annotation):
        yield from _inner(part)


class _Page:
    """The page, line by line; a spec that several hold stands there once."""

    def __init__(self) -> None:
        self.lines = [HEAD]
        self.known: set[type[Spec]] = set()

    def heading(self, text: str, level: int = 2) -> None:
        self.lines += [f"{'#' * level} {text}", ""]

    def keys(self, spec: type[Spec], skip: tuple[str, ...] = ()) -> None:
        """Write a spec's table, and after it those of the specs it holds."""
        fields = {name: field for name, field in spec.model_fields.items() if name not in skip}
        self.known.add(spec)
        self.lines += [_doc(spec), ""]
        if fields:
            self.lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
            self.lines += [*(_row(name, field) for name, field in fields.items()), ""]
        for field in fields.values():
            for inner in _inner(field.annotation):
                if inner not in self.known:
                    self.heading(inner.__name__, 4)
                    self.keys(inner)


def reference(pictures: Mapping[str, str] | None = None) -> str:
    """Return the page.

    Args:
        pictures: kind of figure -> path of its thumbnail, as the page names it.
    """
    page = _Page()
    for title, spec in (("config/config.yaml", ConfigFile), ("config/presets", Preset)):
        page.heading(title)
        page.keys(spec)
    page.heading("config/studies")
    page.lines += ["`title`, `reference` (text), `defaults` (keys merged under every run), and these sections:", ""]
    for (section, kind), entry in subjects.entries().items():
        page.heading(f"{section}: {kind}" if kind else section, 3)
        page.keys(entry.spec)
    for role in ("figure", "table"):
        page.heading(f"Kinds of {role}s")
        page.lines += ["Besides `kind`, `title`, `caption` and `paper_figure`:", ""]
        for name, product in subjects.products().items():
            if product.role == role:
                page.heading(f"{role}: {name}", 3)
                if pictures and name in pictures:
                    page.lines += [f"![A figure of kind {name}]({pictures[name]})", ""]
                page.keys(product, ("kind", *Product.model_fields))
    page.heading("Claims")
    page.keys(Claim)
    page.heading("Statements")
    page.keys(Statement)
    page.heading("Measures")
    page.lines += ["A claim writes a measure's references below `inputs`, its other keys below `parameters`.", ""]
    for name, measure in subjects.measures().items():
        page.heading(f"measure: {name}", 3)
        page.keys(measure)
    page.heading("Kinds of artefacts")
    page.lines += [
        "| kind | rule | file | made from | GPU | kept by DVC | function |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, step in subjects.steps().items():
        cells = (f"`{kind}`", f"`{step.rule}`", f"`{step.file}`", ", ".join(step.roles), "yes" if step.gpu else "")
        page.lines.append(f"| {' | '.join(cells)} | {'yes' if step.stored else ''} | `{step.run}` |")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(page.lines)).rstrip() + "\n"
