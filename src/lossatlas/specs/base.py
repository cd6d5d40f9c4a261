"""The one mechanism that reads, checks, defaults and hashes a spec: a pydantic model, strict, whose mistakes are lines.

A key is declared once, with its meaning, its default and its limits::

    class Basin(Spec):
        cutoffs: list[float] = key("Training losses that bound the basin.", [0.1], min_length=1)
        volume: Annotated[str, Refers("volume")] = key("Name of a volume probe of the study.")

Light: no numerical library is imported here.
"""

import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import nearest

S = TypeVar("S", bound="Spec")


@dataclass(frozen=True)
class Refers:
    """Marks a text as the name of something of the study: what :meth:`lossatlas.specs.study.Study.get` takes."""

    what: str


@dataclass(frozen=True)
class Reference:
    """A name in a spec.

    Attributes:
        what: is named, such as ``volume`` or ``gram``.
        name: the name; an embedding has two, its cloud's and its own.
        place: the key that holds it.
    """

    what: str
    name: tuple[str, ...]
    place: str = ""


def key(doc: str, default: Any = ..., *, quiet: bool = False, source: str = "", **limits: Any) -> Any:
    """Declare a key of a spec.

    Args:
        doc: one sentence on what it means, with its unit.
        default: its value where a study leaves it out; without one the key must be given.
        quiet: hash it only where it differs from its default. For keys younger than artefacts that are to keep their
            names; the default must do what the code did before there was the key.
        source: where the default is from: paper and section, or whose choice.
        **limits: of pydantic's ``Field``: gt, ge, lt, le, min_length, max_length, pattern, alias.
    """
    extra: dict[str, Any] = {name: value for name, value in (("quiet", quiet), ("source", source)) if value}
    return Field(default, description=doc, json_schema_extra=extra or None, **limits)


class Spec(BaseModel):
    """A mapping of a study's YAML, or what an artefact is named by: unknown keys refused, every default filled in."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,
        protected_namespaces=(),
        populate_by_name=True,
        allow_inf_nan=False,
    )

    def hashed(self) -> dict[str, Any]:
        """Return the mapping that names an artefact: plain values, quiet keys only where they differ."""
        found = {}
        for one in _keys_of(type(self)):
            value = getattr(self, one.name)
            if not (one.quiet and value == one.default):
                found[one.key] = _plain(value) if one.deep else value
        return found

    def given(self) -> dict[str, Any]:
        """Return only the keys that were given, here and below, as plain values: what a partial spec changes."""
        fields = type(self).model_fields
        values = {name: getattr(self, name) for name in fields if name in self.model_fields_set}
        return {
            fields[name].alias or name: value.given() if isinstance(value, Spec) else _plain(value)
            for name, value in values.items()
        }

    def references(self) -> Iterator[Reference]:
        """Yield the names this spec itself holds; a spec whose two keys make one name overrides this."""
        for one in _keys_of(type(self)):
            value = getattr(self, one.name)
            for what in one.refers:
                yield from _named(what, value, one.key)
            if isinstance(value, tuple):
                yield from (Reference(part.what, part.name, one.key) for part in value if isinstance(part, Reference))


@dataclass(frozen=True)
class _Key:
    """What is asked of a field again and again.

    Attributes:
        name, key: in Python and in YAML.
        quiet, default: see :func:`key`.
        deep: whether its type may hold specs or references, so that its value is not plain.
        refers: what its texts name, wherever in its type the mark stands: of itself, of a list's entries.
    """

    name: str
    key: str
    quiet: bool
    default: Any
    deep: bool
    refers: tuple[str, ...]


@cache
def _keys_of(spec: type["Spec"]) -> tuple[_Key, ...]:
    """Return the keys of a spec, in their order."""
    found = []
    for name, field in spec.model_fields.items():
        marks = [*field.metadata, *_metadata(field.annotation)]
        refers = tuple(dict.fromkeys(mark.what for mark in marks if isinstance(mark, Refers)))
        deep = any(isinstance(mark, Accepts) for mark in marks) or any(True for _ in _specs_in(field.annotation))
        default = field.get_default(call_default_factory=True)
        found.append(_Key(name, field.alias or name, _quiet(field), default, deep, refers))
    return tuple(found)


def _metadata(annotation: Any) -> Iterator[Any]:
    """Yield the marks inside a type."""
    if get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
    for part in get_args(annotation):
        yield from _metadata(part)


def _named(what: str, value: Any, place: str) -> Iterator[Reference]:
    if isinstance(value, str):
        yield Reference(what, (value,), place)
    elif isinstance(value, Mapping):
        for label, item in value.items():
            yield from _named(what, item, f"{place}.{label}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _named(what, item, f"{place}[{i}]")


def nested(spec: Spec, place: str = "") -> Iterator[tuple[str, Spec]]:
    """Yield a spec and all that it holds, outermost first, each with its place."""
    yield place, spec
    for one in _keys_of(type(spec)):
        if one.deep:
            yield from _nested(getattr(spec, one.name), _at(place, one.key))


def _nested(value: Any, place: str) -> Iterator[tuple[str, Spec]]:
    if isinstance(value, Spec):
        yield from nested(value, place)
    elif isinstance(value, Mapping):
        for label, item in value.items():
            yield from _nested(item, f"{place}.{label}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _nested(item, f"{place}[{i}]")


def references(spec: Spec, place: str = "") -> Iterator[Reference]:
    """Yield every name that a spec and what it holds refer to."""
    for where, part in nested(spec, place):
        for one in part.references():
            yield Reference(one.what, one.name, _at(where, one.place))


def _quiet(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("quiet"))


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.hashed()
    if isinstance(value, Reference):
        return {value.what: value.name[0] if len(value.name) == 1 else list(value.name)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@cache
def partial(spec: type[S]) -> type[S]:
    """Return a spec of the same keys of which none must be given: what :meth:`Spec.given` merges over another.

    Checks between keys do not run on it, since half a spec cannot be judged.
    """
    fields: dict[str, Any] = {}
    for name, field in spec.model_fields.items():
        optional = Field(None, description=field.description, alias=field.alias)
        annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        fields[name] = (annotation, optional)
    made: Any = create_model(f"Partial{spec.__name__}", __base__=Spec, __doc__=spec.__doc__, **fields)
    return made


class Accepts:
    """Marks an input of a measure: one reference such as ``{gram: cloud}``, or a list of them, of these kinds.

    The first stands in messages. A field is ``first: Annotated[tuple[Reference, ...], Accepts("gram")]``.
    """

    def __init__(self, *whats: str) -> None:
        """Take the words that a reference may have."""
        self.whats = whats

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Return the reader of the references."""
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return their form, for editors."""
        names = {what: {"description": f"Name of what {what} takes."} for what in self.whats}
        one = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": names,
            "additionalProperties": False,
        }
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}

    def _read(self, raw: Any) -> tuple[Reference, ...]:
        found = []
        for one in raw if isinstance(raw, list | tuple) and raw else [raw]:
            if isinstance(one, Reference):
                found.append(one)
                continue
            if not isinstance(one, Mapping) or len(one) != 1 or next(iter(one)) not in self.whats:
                raise mistake("", f"{one!r} is not of the kind it takes; write {{{self.whats[0]}: name}}")
            ((what, name),) = one.items()
            found.append(Reference(str(what), tuple(map(str, name)) if isinstance(name, list) else (str(name),)))
        return tuple(found)


# ---------------------------------------------------------------------------------------------------------------------
# mistakes


def mistake(place: str, message: str) -> PydanticCustomError:
    """Return the error that a spec's own check raises; ``place`` is the key below it, "" for itself."""
    return PydanticCustomError("mistake", "{message}", {"place": place, "message": message})


def read(spec: type[S], raw: Any, where: str = "") -> S:
    """Check a mapping and fill in its defaults.

    Args:
        spec: what it must be.
        raw: the mapping of the study's YAML, or a spec that was read already.
        where: prefix of the keys in messages, such as ``figures.fig2``.

    Raises:
        LossatlasError: one line for each mistake: key, what was found, what is allowed or the nearest valid key.
    """
    try:
        return spec.model_validate(raw)
    except ValidationError as error:
        raise LossatlasError("\n".join(explain(error, spec, raw, where))) from None


def explain(error: ValidationError, spec: type[Spec], raw: Any, where: str = "") -> list[str]:
    """Return one line for each mistake that pydantic found."""
    found: dict[str, list[str]] = {}
    for one in error.errors(include_url=False):
        path = _path(one["loc"], raw, one["type"] == "missing")
        inner = one.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            lines = explain(inner, spec, one["input"], _join(where, path))
            found.setdefault(_join(where, path), []).extend(line.partition(": ")[2] for line in lines)
            continue
        place, message = _explain(one, path, spec, raw)
        found.setdefault(_join(where, place), []).append(message)
    kept = {place: told for place, told in found.items() if not any(_inside(other, place) for other in found)}
    return [f"{place}: {_merged(told)}" if place else _merged(told) for place, told in kept.items()]


def _inside(other: str, place: str) -> bool:
    """Tell whether a mistake lies inside another place, which a union then reports a second time."""
    return bool(place) and other != place and (other.startswith(f"{place}[") or other.startswith(f"{place}."))


def _merged(told: list[str]) -> str:
    """Return one line of what the members of a union say of one value."""
    told = list(dict.fromkeys(told))
    pieces = [re.fullmatch(r"(.*), expected (.*)", one) for one in told]
    if len(told) > 1 and all(pieces):
        return f"{pieces[0][1]}, expected {' or '.join(piece[2] for piece in pieces)}"  # type: ignore[index]
    return "; or ".join(told)


def _path(loc: Sequence[Any], raw: Any, missing: bool) -> list[Any]:
    """Return a mistake's keys and indices without the tags that pydantic puts in for the members of a union."""
    path: list[Any] = []
    for i, part in enumerate(loc):
        if isinstance(raw, Spec):
            raw = raw.model_dump()
        if isinstance(part, int) and isinstance(raw, list | tuple):
            raw = raw[part] if part < len(raw) else None
        elif isinstance(raw, Mapping) and (part in raw or (missing and i == len(loc) - 1)):
            raw = raw.get(part)
        else:
            continue
        path.append(part)
    return path


def _join(where: str, path: Iterable[Any]) -> str:
    text = where
    for part in path:
        text = f"{text}[{part}]" if isinstance(part, int) else _at(text, str(part))
    return text


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where and name else where or name


_TYPES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("gt", "above {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "below {}"),
    "less_than_equal": ("le", "at most {}"),
}


def _explain(one: Any, path: list[Any], spec: type[Spec], raw: Any) -> tuple[list[Any], str]:
    """Return where a mistake is and what it is, in words."""
    kind, value, about = one["type"], one["input"], one.get("ctx", {})
    if kind == "mistake":
        return ([*path, about["place"]] if about["place"] else path), str(about["message"])
    if kind == "extra_forbidden":
        return path, f"unknown key; {nearest(str(path[-1]), _keys(spec, path[:-1], raw))}"
    if kind == "missing":
        return path, "missing"
    if kind == "literal_error":
        return path, f"{value!r} is not allowed; {nearest(str(value), _listed(about['expected']))}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = about.get("tag", "")
        name = str(about["discriminator"]).strip("'")
        words = f"{tag!r} is not known" if tag else "missing"
        return [
            *path,
            *([name] if name.isidentifier() else []),
        ], f"{words}; {nearest(tag, _listed(about['expected_tags']))}" if tag else words
    if kind == "finite_number":
        return path, f"{value!r} is not a finite number; give one"
    if kind in _TYPES:
        return path, f"{value!r} is of type {type(value).__name__}, expected {_TYPES[kind]}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return path, f"{value!r} is not allowed; give a value {words.format(f'{about[name]:g}')}"
    if kind in ("too_short", "too_long"):
        bound = f"at least {about['min_length']}" if kind == "too_short" else f"at most {about['max_length']}"
        return path, f"{about['actual_length'] or 'no'} entries; give {bound}"
    return path, f"{value!r}: {str(one['msg']).removeprefix('Value error, ')}"


def _listed(text: str) -> list[str]:
    """Return the words of pydantic's ``'a', 'b' or 'c'``."""
    return re.findall(r"'([^']*)'", text) or [word.strip() for word in re.split(r",| or ", text)]


def _keys(spec: type[Spec], path: Sequence[Any], raw: Any) -> list[str]:
    """Return the keys that a mapping inside a spec may have; of a union, those of the members that its words fit."""
    candidates: list[type[Spec]] = [spec]
    for part in path:
        raw = raw.get(part) if isinstance(raw, Mapping) else raw[part] if isinstance(raw, list | tuple) else None
        inner: list[type[Spec]] = []
        for one in candidates:
            for name, field in one.model_fields.items():
                if part in (name, field.alias):
                    inner += list(_specs_in(field.annotation))
        candidates = inner or candidates
    fitting = [one for one in candidates if _fits(one, raw)] or candidates
    return list(dict.fromkeys(field.alias or name for one in fitting for name, field in one.model_fields.items()))


def _fits(spec: type[Spec], raw: Any) -> bool:
    """Tell whether the words of a mapping are among those of a spec."""
    for name, field in spec.model_fields.items():
        if get_origin(field.annotation) is Literal and isinstance(raw, Mapping):
            word = raw.get(name, field.get_default())
            if word not in get_args(field.annotation):
                return False
    return True


def _specs_in(annotation: Any) -> Iterator[type[Spec]]:
    """Yield the specs inside a type."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, Spec):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, Annotated, list, dict, tuple):
        for part in get_args(annotation):
            yield from _specs_in(part)


def unique(doc: str) -> Callable[[list[Any]], list[Any]]:
    """Return a check that no entry of a list stands there twice."""

    def check(values: list[Any]) -> list[Any]:
        twice = [value for i, value in enumerate(values) if value in values[:i]]
        if twice:
            raise mistake("", f"{twice[0]!r} stands there twice; {doc}")
        return values

    return check
