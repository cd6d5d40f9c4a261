"""A user's own code in a study, ``package.module:function``, named by its source and what that imports of its project.

The source is found and searched, never run: planning imports nothing of a user's. What it reads when it runs (files,
the environment, modules whose names it computes) and packages installed beside it are not part of its name.

:mod:`lossatlas.workflow.closure` follows the imports of lossatlas itself in the same way.
"""

import ast
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path
from typing import Any

from pydantic import model_validator

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Spec, key, mistake
from lossatlas.specs.yaml import nearest

PACKAGE = __name__.partition(".")[0]
"""This package, whose code the versions of steps name, also where it lies beside a user's."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders whose packages belong to different projects."""

SUFFIXES = sorted(all_suffixes(), key=lambda suffix: suffix != ".py")
"""Endings of a module's file."""

# ---------------------------------------------------------------------------------------------------------------------
# imports


@dataclass(frozen=True)
class Module:
    """A module where it was found.

    Attributes:
        file: its source, or compiled code; None for a folder without ``__init__.py``.
        folders: of a package, which hold its submodules.
    """

    file: Path | None
    folders: tuple[Path, ...] = ()


Find = Callable[[str], Module | None]
"""Dotted name -> module, None for one that does not belong to the project."""

_NAMES = r"(\([^)]*\)|[^\n;]+)"
_FROM = re.compile(rf"(?:^|[;:])[ \t\f]*from\b[ \t]*([.\w \t]*?)\bimport\b[ \t]*{_NAMES}", re.MULTILINE)
_FROM_DOTS = re.compile(rf"(?:^|[;:])[ \t\f]*from\b[ \t]*([. \t]+)import\b[ \t]*{_NAMES}", re.MULTILINE)
_IMPORT = re.compile(r"(?:^|[;:])[ \t\f]*import[ \t]+([^\n;]+)", re.MULTILINE)
_CALLED = re.compile(r"\b(?:import_module|__import__)\(\s*[\"']([\w.]+)[\"']")
_WORD = re.compile(r"(?:^|[(,])\s*([\w.]+|\*)", re.MULTILINE)
_COMMENT = re.compile(r"#[^\n]*|\\\n")


@lru_cache(maxsize=4096)
def _statements(file: Path, changed: int, size: int) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Return what a source imports: (dots, module, names), ``import a.b`` as (0, "a.b", ()), wherever it stands.

    The text is searched, not parsed, which takes a tenth of the time; a sentence that looks like an import counts as one.
    """
    text = _COMMENT.sub(" ", file.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n"))
    found = [(0, name, ()) for names in _IMPORT.findall(text) for name in _WORD.findall(names)]
    found += [(0, name, ()) for name in _CALLED.findall(text)]
    for pattern in (_FROM, _FROM_DOTS):
        for origin, names in pattern.findall(text):
            where = re.sub(r"\s", "", origin)
            module = where.lstrip(".")
            found.append((len(where) - len(module), module, tuple(_WORD.findall(names))))
    return tuple(dict.fromkeys(found))


def _imports(name: str, module: Module) -> Iterator[str]:
    """Yield the dotted names that a module may import; of ``from a import b`` both ``a`` and ``a.b``."""
    if module.file is None or module.file.suffix != ".py":
        return
    about = module.file.stat()
    package = name if module.folders else name.rpartition(".")[0]
    for dots, where, words in _statements(module.file, about.st_mtime_ns, about.st_size):
        parents = package.split(".")[: len(package.split(".")) - max(dots - 1, 0)] if dots else []
        origin = ".".join([*parents, where] if where else parents)
        yield origin
        for word in words:
            yield f"{origin}.{word}"


def follow(start: Iterable[str], find: Find) -> dict[str, Path]:
    """Return name -> file of modules and of all that they import, directly or not, with their packages, by name."""
    todo, seen, found = list(start), set[str](), {}
    while todo:
        name = todo.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if name.endswith(".*"):
            package = find(name[:-2])
            todo += [f"{name[:-2]}.{below}" for below in (_below(package) if package else ())]
            continue
        todo.append(name.rpartition(".")[0])
        module = find(name)
        if module is not None:
            todo.extend(_imports(name, module))
            if module.file is not None:
                found[name] = module.file
    return dict(sorted(found.items()))


def _below(package: Module) -> Iterator[str]:
    """Yield the names of a package's submodules, which ``import *`` may bring along."""
    for folder in package.folders:
        for path in folder.iterdir():
            name = path.name.partition(".")[0]
            if name.isidentifier() and name != "__init__" and inside([folder], name):
                yield name


def inside(folders: Iterable[Path], name: str) -> Module | None:
    """Return the module of a name, without dots, in the first folder that has it; None where none has."""
    portions = []
    for folder in folders:
        package = folder / name
        for suffix in SUFFIXES:
            if (file := package / f"__init__{suffix}").is_file():
                return Module(file, (package,))
        for suffix in SUFFIXES:
            if (file := folder / f"{name}{suffix}").is_file():
                return Module(file)
        if package.is_dir():
            portions.append(package)
    return Module(None, tuple(portions)) if portions else None


def below(module: Module | None, names: Iterable[str]) -> Module | None:
    """Return the submodule that some names, one below the other, lead to."""
    for name in names:
        module = inside(module.folders, name) if module else None
    return module


def digest(files: Mapping[str, Path]) -> str:
    """Return the SHA-256 of the names and bytes of modules; where they lie does not count."""
    total = hashlib.sha256()
    for name, file in sorted(files.items()):
        total.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# a user's code


def split(named: str) -> tuple[str, str]:
    """Return module and function of ``package.module:function``."""
    module, colon, function = named.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return module, function
    raise LossatlasError(f"got {named!r}; expected 'package.module:function'")


def code_digest(named: str) -> str:
    """Return the SHA-256 of the source of ``package.module:function`` and of all that it imports of its project.

    Its project is its own top-level package and, unless that is installed, the modules that lie beside it. Once a
    process has imported the module, the digest stays what it was: that is the code it runs.

    Raises:
        LossatlasError: there is no such module or function, or it has no source.
    """
    module, function = split(named)
    if module in _DIGESTS and module in sys.modules:
        return _DIGESTS[module]
    find = _project(module)
    found = find(module)
    if found is None or found.file is None:
        raise LossatlasError(_missing(module, find))
    _check_function(named, function, found)
    _DIGESTS[module] = digest(follow([module], find))
    return _DIGESTS[module]


_DIGESTS: dict[str, str] = {}
"""Digest of each module when it was last asked for."""


def load(named: str, sha256: str) -> Any:
    """Import what ``package.module:function`` names, after a check that its source is the one that was planned.

    Raises:
        LossatlasError: there is no such module or function, or its source is another.
        ImportError: it cannot be imported.
    """
    module, function = split(named)
    checked(named, sha256)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return getattr(importlib.import_module(module), function)


def checked(named: str, sha256: str | None) -> str:
    """Return :func:`code_digest`, which must be the one given, if any."""
    found = code_digest(named)
    if sha256 not in (None, found):
        raise LossatlasError(
            f"the source of {named!r} and what it imports of its project has SHA-256 {found}, not {sha256}; if it was "
            "edited after planning, run the same command again; if a study says so, correct `source_sha256` there"
        )
    return found


def _project(module: str) -> Find:
    """Return how modules of the project of a user's module are found."""
    top = module.partition(".")[0]
    importlib.invalidate_caches()
    first = _top(top)
    roots = () if first is None else tuple((first.folders or (first.file,))[i].parent for i in _portions(first))
    shared = [root for root in roots if root.name not in INSTALLED and root != _LIBRARY]

    def find(name: str) -> Module | None:
        head, *rest = name.split(".")
        if head == top:
            return below(first, rest)
        if head in sys.stdlib_module_names or head == PACKAGE:
            return None
        return below(inside(shared, head), rest)

    return find
