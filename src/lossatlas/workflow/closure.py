"""Which sources of the package a module runs through, and a digest of them: an edit anywhere below redraws."""

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
NAME = PACKAGE.name

_FROM = re.compile(rf"^\s*from ({NAME}[\w.]*) import (\([^)]*\)|[^\n]+)", re.MULTILINE)
_IMPORT = re.compile(rf"^\s*import ({NAME}[\w.]*)", re.MULTILINE)
_WORD = re.compile(r"(?:^|[(,])\s*(\w+)", re.MULTILINE)


@cache
def _file(module: str) -> Path | None:
    """Return the source of a module or package of ours, None for another name."""
    path = PACKAGE.parent / Path(*module.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


@cache
def _imports(file: Path) -> frozenset[Path]:
    """Return the files of ours that a source imports, wherever in it the statement stands.

    The text is searched, not parsed: it takes a tenth of the time, and planning waits for it.
    """
    text = file.read_text(encoding="utf-8")
    names = set(_IMPORT.findall(text))
    for module, what in _FROM.findall(text):
        names.add(module)
        names |= {f"{module}.{word}" for word in _WORD.findall(what.split("#")[0] if "(" not in what else what)}
    packages = {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 1)}
    return frozenset(found for name in names | packages if (found := _file(name)) is not None)


def sources(modules: Iterable[str]) -> list[Path]:
    """Return the files of modules and of all that they import of this package, directly or not, sorted."""
    todo = [file for module in modules if (file := _file(module)) is not None]
    seen: set[Path] = set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(_imports(file))
    return sorted(seen)


@cache
def digest(modules: tuple[str, ...], *more: Path) -> str:
    """Return a short digest of :func:`sources` of modules, and of other files."""
    total = hashlib.sha256()
    for file in (*sources(modules), *more):
        total.update(file.read_bytes())
    return total.hexdigest()[:10]
