"""The only list of subjects, and what each declares in its ``spec.py``: steps, entries, views, figures, measures."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from lossatlas.claims.spec import Measure
from lossatlas.draw.spec import Product
from lossatlas.specs.registry import Entry, Inputs, Step, View

SUBJECTS = (
    "data",
    "models",
    "train",
    "clouds",
    "planes",
    "trajectories",
    "levelsets",
    "barriers",
    "basins",
    "solutions",
)
"""In the order in which they may import each other (the last five: none another)."""

T = TypeVar("T")


def modules() -> list[ModuleType]:
    """Return the ``spec.py`` of every subject."""
    return [import_module(f"lossatlas.{subject}.spec") for subject in SUBJECTS]


def _declared() -> Iterator[Any]:
    """Yield all that the modules themselves define, not what they import from each other."""
    for module in modules():
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ != module.__name__:
                continue
            yield value


def _unique(named: list[tuple[Any, T]], what: str) -> dict[Any, T]:
    found: dict[Any, T] = {}
    for name, one in named:
        if found.get(name, one) is not one:
            raise ValueError(f"two {what} are called {name!r}")
        found[name] = one
    return found


@cache
def steps() -> dict[str, Step]:
    """Return every kind of artefact by its name."""
    return _unique([(one.kind, one) for one in _declared() if isinstance(one, Step)], "kinds of artefacts")


@cache
def entries() -> dict[tuple[str, str], Entry]:
    """Return every YAML key by section and kind."""
    return _unique([((one.section, one.kind), one) for one in _declared() if isinstance(one, Entry)], "entries")


@cache
def views() -> dict[str, View]:
    """Return what a reference may name, by its word."""
    return _unique([(one.what, one) for one in _declared() if isinstance(one, View)], "views")


@cache
def products() -> dict[str, type[Product]]:
    """Return every kind of figure and table by its name."""
    found = [one for one in _declared() if isinstance(one, type) and issubclass(one, Product) and "draw" in vars(one)]
    return _unique([(one.name(), one) for one in found], "kinds of figures or tables")


@cache
def measures() -> dict[str, type[Measure]]:
    """Return every measure by its name."""
    found = [one for one in _declared() if isinstance(one, type) and issubclass(one, Measure) and "run" in vars(one)]
    return _unique([(one.measure, one) for one in found], "measures")


@cache
def loaders() -> dict[str, dict[str, Any]]:
    """Return what -> how its files are loaded, as :class:`Inputs` takes it."""
    return {what: {"read": view.read, "whole": view.whole} for what, view in views().items() if view.read}


def inputs(files: Mapping[str, Mapping[str, Any]]) -> Inputs:
    """Return the inputs of a figure or a measure from files: what -> name -> paths."""
    return Inputs(files, loaders())
