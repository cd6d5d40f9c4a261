"""A user's own code in a study, ``package.module:function``, named by its source and what that imports of its project.

The source is found and searched, never run: planning imports nothing of a user's. What it reads when it runs (files,
the environment, modules whose names it computes) and packages installed beside it are not part of its name.

:mod:`lossatlas.workflow.closure` follows the imports of lossatlas itself in the same way.
"""

import ast
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import PathFinder, all_suffixes
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Spec, key, mistake
from lossatlas.specs.yaml import nearest

PACKAGE = __name__.partition(".")[0]
"""This package, whose code the versions of steps name, also where it lies beside a user's."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders whose packages belong to different projects."""

LIBRARY = Path(ast.__file__).absolute().parent
"""Folder of Python's own modules."""

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

Imports = Callable[[str, Module], Iterable[str]]
"""Dotted name, module -> dotted names that it may import."""

_NAMES = r"(\([^)]*\)|[^\n;]+)"
_FROM = re.compile(rf"(?:^|[;:])[ \t\f]*from\b([.\w \t]*?)\bimport\b[ \t]*{_NAMES}", re.MULTILINE)
_IMPORT = re.compile(r"(?:^|[;:])[ \t\f]*import[ \t]+([^\n;]+)", re.MULTILINE)
_CALLED = re.compile(r"\b(?:import_module|__import__)\(\s*[\"']([\w.]+)[\"']")
_WORD = re.compile(r"(?:^|[(,])\s*([\w.]+|\*)", re.MULTILINE)
_NO_CODE = re.compile(r"#[^\n]*|\\\n|\r(?=\n)")


@lru_cache(maxsize=4096)
def _statements(file: Path, changed: int, size: int) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Return what a source imports: (dots, module, names), ``import a.b`` as (0, "a.b", ()), wherever it stands.

    The text is searched, not parsed, which takes a tenth of the time; a sentence that reads like an import is one.
    """
    text = _NO_CODE.sub(" ", file.read_bytes().decode("utf-8", "replace"))
    found = [(0, name, ()) for names in _IMPORT.findall(text) for name in _WORD.findall(names)]
    found += [(0, name, ()) for name in _CALLED.findall(text)]
    for origin, names in _FROM.findall(text):
        where = re.sub(r"\s", "", origin)
        module = where.lstrip(".")
        found.append((len(where) - len(module), module, tuple(_WORD.findall(names))))
    return tuple(dict.fromkeys(found))


def imports(name: str, module: Module) -> Iterator[str]:
    """Yield the dotted names that a module may import; of ``from a import b`` both ``a`` and ``a.b``."""
    if module.file is None or module.file.suffix != ".py":
        return
    about = module.file.stat()
    package = name.split(".") if module.folders else name.split(".")[:-1]
    for dots, where, words in _statements(module.file, about.st_mtime_ns, about.st_size):
        if dots > len(package):
            continue
        origin = ".".join([*package[: len(package) + 1 - dots], where] if dots else [where]).rstrip(".")
        yield from (origin, *(f"{origin}.{word}" for word in words))


def follow(start: Iterable[str], find: Find, imports: Imports = imports) -> dict[str, Path]:
    """Return name -> file of modules and of all that they import, directly or not, with their packages, by name."""
    todo, seen, found = list(start), set[str](), {}
    while todo:
        name = todo.pop()
        package, _, last = name.rpartition(".")
        if not last or name in seen:
            continue
        seen.add(name)
        todo.append(package)
        if last == "*":
            todo += [f"{package}.{below}" for below in _below(find(package))]
        elif (module := find(name)) is not None:
            todo += imports(name, module)
            if module.file is not None:
                found[name] = module.file
    return dict(sorted(found.items()))


def _below(package: Module | None) -> Iterator[str]:
    """Yield the names of a package's submodules, which ``import *`` may bring along."""
    for folder in package.folders if package else ():
        for name in {entry.partition(".")[0] for entry in _entries(folder)}:
            if name.isidentifier() and name != "__init__":
                yield name


def inside(folders: Iterable[Path], name: str) -> Module | None:
    """Return the module of a name, without dots, in the first folder that has it; None where none has."""
    portions = []
    for folder in folders:
        there, package = _entries(folder), folder / name
        inner = _entries(package) if name in there else frozenset()
        for suffix in SUFFIXES:
            if f"__init__{suffix}" in inner:
                return Module(package / f"__init__{suffix}", (package,))
        for suffix in SUFFIXES:
            if f"{name}{suffix}" in there:
                return Module(folder / f"{name}{suffix}")
        if name in there and package.is_dir():
            portions.append(package)
    return Module(None, tuple(portions)) if portions else None


@cache
def _entries(folder: Path) -> frozenset[str]:
    """Return the names in a folder, none where there is no such folder; forgotten when a project is looked up anew."""
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()


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


def locate(named: str) -> dict[str, Path]:
    """Return name -> file of the module of ``package.module:function`` and of all that it imports of its project.

    Its project is its own top-level package and, unless that is installed, the modules that lie beside it.

    Raises:
        LossatlasError: there is no such module or function, or it has no source.
    """
    module, function = split(named)
    find = _project(module)
    found = find(module)
    if found is None or found.file is None:
        raise LossatlasError(_missing(module, find))
    _check_function(module, function, found.file)
    return follow([module], find)


def code_digest(named: str) -> str:
    """Return the :func:`digest` of the files of :func:`locate`.

    Once a process has imported the module it stays what it was, whatever becomes of the files: that is what it runs.
    """
    module, _ = split(named)
    if module not in _DIGESTS or module not in sys.modules:
        _DIGESTS[module] = digest(locate(named))
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
    """Return how the modules of a user's project are found, from the name of one of them."""
    _entries.cache_clear()
    top = module.partition(".")[0]
    first = _top(top)
    roots = [path.parent for path in (first.folders or (first.file,)) if path] if first else []
    shared = [root for root in roots if root.name not in INSTALLED and root != LIBRARY]

    @cache
    def find(name: str) -> Module | None:
        head, *rest = name.split(".")
        if head == top:
            return below(first, rest)
        if head in sys.stdlib_module_names or head == PACKAGE:
            return None
        return below(inside(shared, head), rest)

    return find


def _top(name: str) -> Module | None:
    """Return the module or package of a name without dots, where jobs find it; the working directory comes last."""
    importlib.invalidate_caches()
    specs = (finder.find_spec(name, None) for finder in sys.meta_path)
    found = next(filter(None, specs), None) or PathFinder.find_spec(name, [str(Path.cwd())])
    if found is None:
        return None
    file = Path(found.origin).absolute() if found.has_location and found.origin else None
    folders = tuple(Path(folder).absolute() for folder in found.submodule_search_locations or ())
    return Module(file if file and file.is_file() else None, folders)


def _missing(module: str, find: Find) -> str:
    """Return the message for a module that is not there, or is not made of files."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        if find(name) is None:
            return (
                f"there is no module {name!r} on PYTHONPATH, among the installed packages or in the working directory; "
                "correct it, put its folder on PYTHONPATH or install it"
            )
    return f"{module!r} has no file of its own (a folder without __init__.py, a zip file, or built into Python)"


def _check_function(module: str, function: str, file: Path) -> None:
    """Raise where a source cannot be read as Python, or has nothing of a name at its top level."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        place = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise LossatlasError(f"{file}{place}: {getattr(error, 'msg', error)}; correct it") from None
    names = set(_names(tree.body))
    if not names & {function, "*", "__getattr__"}:
        near = nearest(function, sorted(name for name in names if not name.startswith("_")))
        raise LossatlasError(f"module {module!r} ({file}) has no function {function!r}; {near}")


def _names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind, those inside ``if``, ``try``, ``with`` and loops among them."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
        else:
            for node in ast.iter_child_nodes(statement):
                if isinstance(node, ast.stmt):
                    yield from _names([node])
                elif isinstance(node, ast.ExceptHandler | ast.match_case):
                    yield from _names(node.body)
                else:
                    stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                    yield from (name.id for name in stored)


# ---------------------------------------------------------------------------------------------------------------------
# in a study


def _there(builder: str) -> str:
    """Return the name of code that is there."""
    try:
        code_digest(builder)
    except LossatlasError as error:
        raise mistake("", str(error)) from None
    return builder


def _planned(given: str | None, info: ValidationInfo) -> str | None:
    """Fill in the digest of the builder's source, or compare it."""
    if "builder" not in info.data:
        return given
    try:
        return checked(info.data["builder"], given)
    except LossatlasError as error:
        raise mistake("", str(error)) from None


class Code(Spec):
    """A user's own code in a study."""

    builder: Annotated[str, AfterValidator(_there)] = key("``package.module:function``.")
    source_sha256: Annotated[str | None, AfterValidator(_planned)] = key(
        "Of its source and of what that imports of its project; filled in when planning. Where a study gives it, no "
        "other source is taken.",
        None,
        pattern="^[0-9a-f]{64}$",
        validate_default=True,
    )
