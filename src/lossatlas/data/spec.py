"""Data sets: the committed table of them (``datasets.yaml``), what a study says of one, and its prepared data. Light.

The Snakefile asks for checksums while it builds the graph.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import yaml
from pydantic import field_validator, model_validator

from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Spec, key, mistake, read
from lossatlas.specs.registry import Step
from lossatlas.specs.source import Code, checked
from lossatlas.specs.study import Study
from lossatlas.specs.yaml import nearest

DATA_FOLDER = "data"
"""Folder of the repository that DVC fills."""


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    """Read ``datasets.yaml`` once."""
    text = Path(__file__).with_name("datasets.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def unknown(what: str, value: object, valid: Iterable[str]) -> LossatlasError:
    """Make the error for a name that is not in a list: one line with the nearest valid one and all of them."""
    every = f"valid: {', '.join(sorted(valid)) or 'none'}"
    hints = dict.fromkeys((nearest(str(value), sorted(valid)), every))
    return LossatlasError(f"{what} {value!r} is not known; {' '.join(hints)}")


def names() -> list[str]:
    """Return the names of all data sets."""
    return sorted(_table())


def _entry(name: str) -> dict[str, Any]:
    if name not in _table():
        raise unknown("data set", name, _table())
    return _table()[name]


def describe(name: str) -> dict[str, Any]:
    """Return the entry of a data set (a copy): title, reference, kind, task, classes, shape, options, variants.

    Raises:
        LossatlasError: no data set has this name.
    """
    return deepcopy(_entry(name))


def variant_of(name: str, variant: str | None) -> str:
    """Return the name of a variant, the data set's first one for None.

    Raises:
        LossatlasError: the data set has no such variant.
    """
    variants = _entry(name)["variants"]
    if variant is None:
        return next(iter(variants))
    if variant not in variants:
        raise unknown(f"variant of data set {name!r}", variant, variants)
    return variant


def describe_variant(name: str, variant: str | None = None) -> dict[str, Any]:
    """Return the entry of a variant (a copy): about, sizes, reader and where it comes from."""
    return deepcopy(_entry(name)["variants"][variant_of(name, variant)])


def resolve_options(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a data set's options with the given ones over the defaults.

    Raises:
        LossatlasError: an option that the data set does not have, or a value that is no number where one is needed.
    """
    table = _entry(name).get("options", {})
    given = dict(options or {})
    for option, value in given.items():
        if option not in table:
            raise unknown(f"option of data set {name!r}", option, table)
        default = table[option]["default"]
        wanted = (int,) if isinstance(default, int) else (int, float)
        nullable = default is None or table[option].get("nullable", False)
        is_number = isinstance(value, wanted) and not isinstance(value, bool) and value >= 0
        if default is not None and not is_number and not (nullable and value is None):
            kind = "a whole number from 0 up" if wanted == (int,) else "a number from 0 up"
            raise LossatlasError(
                f"option {option!r} of data set {name!r} is {value!r}, expected {kind}{' or null' if nullable else ''}"
            )
    return {option: given.get(option, entry["default"]) for option, entry in table.items()}


def tracked_files(name: str, variant: str | None = None) -> list[str]:
    """Return the files that DVC provides for a variant, relative to the repository; empty for other variants."""
    entry = describe_variant(name, variant)
    return [f"{DATA_FOLDER}/{path}" for path in entry["files"][0]] if entry.get("tracked") else []


def source_checksum(name: str, variant: str | None = None, options: Mapping[str, Any] | None = None) -> str:
    """Return what stands for the data's content in a spec hash; no file is read, except by ``folder``.

    Args:
        name: the data set.
        variant: its variant, None for the first.
        options: the spec's options; only ``folder`` uses them (``path``, ``checksum``).

    Returns:
        ``generated:VERSION``; ``package:NAME:SHA256`` (first 16 digits); otherwise the first 16 digits of a sha256 over
        the checksums of the variant's files, or of a folder's tree checksum.
    """
    entry = describe_variant(name, variant)
    if entry["reader"] == "tensors":
        settings = resolve_options(name, options)
        path = file_path(settings["path"])
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if settings["checksum"] not in (None, found):
            raise LossatlasError(f"{path}: its SHA-256 is {found}, not {settings['checksum']}; correct one of them")
        return found[:16]
    if entry["reader"] == "builder":
        settings = resolve_options(name, options)
        return checked(settings["builder"], settings["source_sha256"])[:16]
    if "version" in entry:
        return f"generated:{entry['version']}"
    if "arrays" in entry:
        return f"package:{entry['package']}:{entry['arrays'][:16]}"
    if entry["reader"] == "folder":
        settings = resolve_options(name, options)
        return (settings["checksum"] or tree_checksum(folder_path(settings["path"]))).removeprefix("tree:")[:16]
    files = {**entry["files"][0], **entry.get("extra", {})}
    return hashlib.sha256("\n".join(f"{path} {files[path]}" for path in sorted(files)).encode()).hexdigest()[:16]


def search_folders() -> list[Path]:
    """Return the folders that the environment variable ``LOSSATLAS_DATA`` names."""
    return [Path(part).expanduser() for part in os.environ.get("LOSSATLAS_DATA", "").split(os.pathsep) if part]


def file_path(path: str | None) -> Path:
    """Return where the file of a data set ``tensors`` is.

    Raises:
        LossatlasError: no path is given, it has another ending, or there is no such file.
    """
    if not path:
        raise LossatlasError("data set 'tensors' needs a `path`: a .pt or .npz file with x and y")
    if not str(path).endswith((".pt", ".pth", ".npz")):
        raise LossatlasError(f"data set 'tensors': {path} is neither .pt nor .npz; save torch.save({{'x': x, 'y': y}})")
    candidates = [Path(path).expanduser(), *(folder / path for folder in search_folders())]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise LossatlasError(
        f"data set 'tensors': no file {path}; tried {', '.join(map(str, candidates))}; correct `path` or set "
        "LOSSATLAS_DATA"
    )


def folder_path(path: str | os.PathLike[str] | None) -> Path:
    """Return where the image folder of a ``folder`` data set is.

    Raises:
        LossatlasError: no path is given, or there is no such folder.
    """
    if not path:
        raise LossatlasError(
            "data set 'folder' needs the option `path`: a folder that holds train/CLASS/* and test/CLASS/*"
        )
    candidates = [Path(path).expanduser(), *(folder / path for folder in search_folders())]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise LossatlasError(
        f"data set 'folder': no folder {path!s}; tried {', '.join(str(candidate) for candidate in candidates)}; "
        "correct the option `path` or set LOSSATLAS_DATA"
    )


def tree_files(folder: Path) -> list[str]:
    """Return the files below a folder, relative with ``/``, sorted; hidden files and folders are passed over."""
    found = []
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(path, name).relative_to(folder).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def tree_checksum(folder: Path, files: Sequence[str] | None = None) -> str:
    """Return ``tree:`` and a sha256 over the sorted names and the contents of the files below a folder."""
    total = hashlib.sha256()
    for name in tree_files(folder) if files is None else files:
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        total.update(f"{name}\0{content}\n".encode())
    return f"tree:{total.hexdigest()}"


# ---------------------------------------------------------------------------------------------------------------------
# prepared data of a study


class DataSet(Spec):
    """Which data, and how much of it."""

    name: str = key("Name of a data set (lossatlas.data).")
    variant: str | None = key(
        "Which source of it; null = what the preset or the key variants of config.yaml says.", None
    )
    train: int | None = key("Training examples; null = all.", None, ge=1)
    test: int | None = key("Test examples; null = all.", None, ge=1)
    size: int | None = key("Side in pixels that images are averaged down to; null = as they are.", None, ge=1)
    seed: int = key("Replica of the subset drawn.", 0, ge=0)
    options: dict[str, Any] | None = key(
        "Options of generated data sets and of a user's own; null = their defaults.", {}
    )
    path: str | None = key("File of the data set tensors, or folder of the data set folder.", None, quiet=True)
    builder: str | None = key(
        "In place of `name`: ``package.module:function`` that returns x and y, or those of both parts; further keys "
        "are its keywords.",
        None,
        quiet=True,
    )
    source_sha256: str | None = key("Of the builder's source; filled in when planning.", None, quiet=True)

    @model_validator(mode="before")
    @classmethod
    def _own(cls, raw: Any) -> Any:
        """Take what says where a user's own data are for options of the data sets of their kinds."""
        if not isinstance(raw, Mapping):
            return raw
        options = raw.get("options") or {}
        if not isinstance(options, Mapping):
            return raw
        if raw.get("builder") is not None:
            if raw.get("name", "builder") != "builder":
                raise mistake("builder", f"beside `name: {raw['name']}`; give one of them")
            known = {name: value for name, value in raw.items() if name in cls.model_fields}
            arguments = {name: value for name, value in raw.items() if name not in cls.model_fields}
            code = {name: known.pop(name) for name in ("builder", "source_sha256") if name in known}
            found = {**code, "arguments": arguments or None, **options}
            raw = {**known, "name": "builder", "options": found}
        elif raw.get("path") is not None:
            if raw.get("name") not in ("tensors", "folder"):
                raise mistake("path", "is of the data sets tensors and folder; write `name: tensors`")
            raw = {**{n: value for n, value in raw.items() if n != "path"}, "options": {**options, "path": raw["path"]}}
        if raw.get("name") == "builder":
            raw = {**raw, "options": _named_by_source(raw.get("options", {}))}
        return raw

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in _table():
            raise mistake("", f"{name!r} is not a data set; {nearest(name, names())}")
        return name


def _named_by_source(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a builder of data with the digest of its source."""
    given = {name: options[name] for name in Code.model_fields if options.get(name) is not None}
    try:
        code = read(Code, given)
    except LossatlasError as error:
        raise mistake("", str(error).splitlines()[0]) from None
    return {**options, **code.hashed()}


class DataJob(Spec):
    """What names prepared data: the data set, the checksum of its source and the seed of the subset."""

    name: str
    variant: str
    train: int | None
    test: int | None
    size: int | None
    seed: int
    options: dict[str, Any]
    checksum: str


DATA = Step("data", "data", "data.h5", "lossatlas.data.jobs:prepare", DataJob, exact=True)


def prepared(study: Study, data: DataSet, where: str) -> Artefact:
    """Return the artefact of prepared data."""
    from lossatlas.seeds import derive  # numpy, which nothing else here needs

    with study.prefixed(where):
        variant = variant_of(data.name, data.variant or study.variants.get(data.name))
        options = resolve_options(data.name, data.options)
        checksum = source_checksum(data.name, variant, options)
    spec = {**data.hashed(), "variant": variant, "options": options, "checksum": checksum}
    return DATA.make(f"{data.name}-{variant}", {**spec, "seed": derive(study.seed, "data", data.seed)}, study.numerics)


def in_words(spec: Mapping[str, Any]) -> str:
    """Return what prepared data is, for the foot of a figure: its name, and its sizes where they are known."""
    entry = _entry(spec["name"])
    sizes = describe_variant(spec["name"], spec["variant"])["sizes"]
    train, test = (spec[part] or sizes[part] for part in ("train", "test"))
    said = [str(entry.get("short", entry["title"]))]
    said += [f"{train:,} training and {test:,} test examples"] if train and test else []
    said += [f"{spec['size']} x {spec['size']} pixels"] if spec["size"] else []
    return ", ".join(said)


def examples(spec: Mapping[str, Any]) -> tuple[int, int, tuple[int, ...], int, int]:
    """Return training and test examples, shape, network outputs and bytes of one example of prepared data."""
    about = _entry(spec["name"])
    sizes = describe_variant(spec["name"], spec["variant"])["sizes"]
    train, test = (spec[part] or sizes[part] or 50_000 for part in ("train", "test"))
    train += (spec.get("options") or {}).get("extra") or 0
    shape = tuple(about["shape"] or (3, 32, 32))
    if len(shape) == 3 and spec["size"]:
        shape = (shape[0], spec["size"], spec["size"])
    classes = about.get("classes")
    outputs = 1 if about["task"] == "regression" else len(classes) if isinstance(classes, list) else int(classes or 10)
    return train, test, shape, outputs, prod(shape) * (1 if len(shape) == 3 else 4)
