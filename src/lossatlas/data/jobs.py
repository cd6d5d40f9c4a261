"""Prepare a data set once for all jobs that use it (``data.h5``, described in ``docs/design.md``)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossatlas.data import spec as catalogue
from lossatlas.data.files import PARTS, Arrays, statistics
from lossatlas.data.generated import GENERATORS
from lossatlas.data.sources import Opened, Part, balanced_order, open_source
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create
from lossatlas.seeds import derive


def prepare(spec: Mapping[str, Any], output: Path, root: Path, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a data set, or a class-balanced part of it, to ``data.h5``; the file appears whole or not at all.

    Args:
        spec: ``name``; ``variant`` (null: the first); ``train`` and ``test``, numbers of rows (null: all, as they
            come); ``size``, pixels a side (null: as they are); ``seed`` of subsets and generated sets; ``options``.
        output: the file to write.
        root: the repository, whose ``data/`` DVC fills.
        provenance: JSON-able description of the job; the spec alone if not given.

    Raises:
        LossatlasError: unknown names or options, impossible numbers, missing or damaged sources.
    """
    name, variant = spec["name"], catalogue.variant_of(spec["name"], spec.get("variant"))
    about, entry = catalogue.describe(name), catalogue.describe_variant(name, variant)
    options = catalogue.resolve_options(name, spec.get("options"))
    size, seed = spec.get("size"), int(spec.get("seed") or 0)
    if size is not None and about["kind"] != "images":
        raise LossatlasError(f"data set {name!r} has no images: `size` must be null, found {size!r}")
    for key, value in (("train", spec.get("train")), ("test", spec.get("test")), ("size", size)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise LossatlasError(
                f"data set {name!r}: `{key}` must be a whole number from 1 up, or null; found {value!r}"
            )
    parts: dict[str, Arrays] = {}
    classes = tuple(about["classes"])
    if entry["reader"] in GENERATORS:
        for part in PARTS:
            count = spec.get(part) or entry["sizes"][part]
            parts[part] = GENERATORS[entry["reader"]](part, count, seed, options)
    else:
        opened = open_source(name, variant, root, options)
        classes = classes or opened.classes or ()
        _check_classes(name, classes, opened)
        for part in PARTS:
            parts[part] = _subset(name, part, opened.parts[part], spec.get(part), size, seed, about["task"])
        if options.get("extra", 0) != 0:
            extra = _subset(name, "extra", opened.parts["extra"], options["extra"], size, seed, about["task"])
            joined = [np.concatenate(pair) for pair in zip(parts["train"], extra, strict=True)]
            parts["train"] = (joined[0], joined[1])
    source = {
        "name": name,
        "variant": variant,
        "checksum": catalogue.source_checksum(name, variant, options),
        "title": about["title"],
        "about": entry["about"],
        "reference": about["reference"],
        "licence": about["licence"],
    }
    mean, std = statistics(parts["train"][0])
    with create(output, "data", provenance if provenance is not None else {"spec": dict(spec)}) as file:
        file.attrs["task"] = about["task"]
        file.attrs["classes"] = json.dumps(list(classes))
        file.attrs["source"] = json.dumps(source)
        file.attrs["mean"], file.attrs["std"] = mean, std
        for part, (x, y) in parts.items():
            file.create_dataset(f"{part}/x", data=x)
            file.create_dataset(f"{part}/y", data=y)


def _subset(name: str, part: str, source: Part, count: int | None, size: int | None, seed: int, task: str) -> Arrays:
    """Return inputs and labels of ``count`` rows drawn without replacement, classes balanced; all rows for None."""
    available = len(source.y)
    if count is None:
        rows = np.arange(available)
    elif count > available:
        raise LossatlasError(
            f"data set {name!r}: `{part}` is {count}, but there are only {available}; choose fewer, or null"
        )
    else:
        generator = np.random.default_rng(derive(seed, "subset", name, part))
        order = balanced_order(source.y, generator) if task == "classification" else generator.permutation(available)
        rows = order[:count]
    return source.take(rows, size), source.y[rows]


def _check_classes(name: str, classes: tuple[str, ...], opened: Opened) -> None:
    """Raise a LossatlasError when the files' class names are not those of the catalogue."""
    if opened.classes is not None and opened.classes != classes:
        raise LossatlasError(f"data set {name!r}: classes {list(opened.classes)}, expected {list(classes)}")
