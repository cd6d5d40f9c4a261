"""Which sources of the package a module runs through, and a digest of them: an edit anywhere below redraws."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lossatlas.specs import source

PACKAGE = Path(__file__).resolve().parent.parent
NAME = PACKAGE.name


@cache
def find(name: str) -> source.Module | None:
    """Return a module of ours, None for another name."""
    head, *rest = name.split(".")
    return source.below(source.Module(PACKAGE / "__init__.py", (PACKAGE,)), rest) if head == NAME else None


@cache
def imports(name: str, module: source.Module) -> tuple[str, ...]:
    """Return the names of ours that a module imports."""
    return tuple(found for found in source.imports(name, module) if find(found) is not None)


def sources(modules: Iterable[str]) -> dict[str, Path]:
    """Return name -> file of modules and of all that they import of this package, directly or not, by name."""
    return source.follow(modules, find, imports)


@cache
def digest(modules: tuple[str, ...], *more: Path) -> str:
    """Return a short digest of :func:`sources` of modules, and of other files."""
    total = hashlib.sha256(source.digest(sources(modules)).encode())
    for file in more:
        total.update(file.read_bytes())
    return total.hexdigest()[:10]
