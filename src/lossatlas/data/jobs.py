"""Prepare a data set once for all jobs that use it (``data.h5``, described in ``docs/design.md``)."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lossatlas.data import spec as catalogue
from lossatlas.data.dataset import PARTS, Arrays, statistics
from lossatlas.data.generated import GENERATORS
from lossatlas.data.own import own
from lossatlas.data.sources import Opened, Part, balanced_order, open_source
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job


def prepare(job: Job) -> None:
    """Write a data set, or a class-balanced part of it, to ``data.h5``; the file appears whole or not at all.

    Args:
        job: spec :class:`~lossatlas.data.spec.DataJob`: ``train`` and ``test``, numbers of rows (null: all, as they
            come); ``size``, pixels a side (null: as they are); ``seed`` of subsets and generated sets. Its root is the
            repository, whose ``data/`` DVC fills.

    Raises:
        LossatlasError: unknown names or options, impossible numbers, missing or damaged sources.
    """
    spec = job.spec
    name, variant = spec["name"], catalogue.variant_of(spec["name"], spec["variant"])
    about, entry = catalogue.describe(name), catalogue.describe_variant(name, variant)
    options = catalogue.resolve_options(name, spec["options"])
    if spec["size"] is not None and about["kind"] != "images":
        raise LossatlasError(f"data set {name!r} has no images: `size` must be null, found {spec['size']!r}")
    task = about["task"]
    if about["kind"] == "tensors":
        parts, classes, task = own(spec, options)
    elif entry["reader"] in GENERATORS:
        generate, sizes = GENERATORS[entry["reader"]], entry["sizes"]
        parts = {part: generate(part, spec[part] or sizes[part], spec["seed"], options) for part in PARTS}
        classes = tuple(about["classes"])
    else:
        parts, classes = _read(spec, about, open_source(name, variant, job.root, options), options)
    checksum = catalogue.source_checksum(name, variant, options)
    if checksum != spec["checksum"]:
        raise LossatlasError(
            f"data set {name!r}: its checksum is {checksum}, planned with {spec['checksum']}; the files were changed "
            "after planning: run the same command again"
        )
    source = {
        "name": name,
        "variant": variant,
        "checksum": checksum,
        "title": about["title"],
        "about": entry["about"],
        "reference": about["reference"],
        "licence": about["licence"],
    }
    mean, std = statistics(parts["train"][0])
    with create(job.output, "data", job.provenance) as file:
        file.attrs["task"] = task
        file.attrs["classes"] = json.dumps(list(classes))
        file.attrs["source"] = json.dumps(source)
        file.attrs["mean"], file.attrs["std"] = mean, std
        for part, (x, y) in parts.items():
            file.create_dataset(f"{part}/x", data=x)
            file.create_dataset(f"{part}/y", data=y)


def _read(
    spec: Mapping[str, Any], about: Mapping[str, Any], opened: Opened, options: Mapping[str, Any]
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Return the parts of a data set that files hold, ``extra`` rows behind the training part's, and its classes."""
    name, size, seed, task = spec["name"], spec["size"], spec["seed"], about["task"]
    classes = tuple(about["classes"]) or opened.classes or ()
    _check_classes(name, classes, opened)
    parts = {part: _subset(name, part, opened.parts[part], spec[part], size, seed, task) for part in PARTS}
    if options.get("extra", 0) != 0:
        extra = _subset(name, "extra", opened.parts["extra"], options["extra"], size, seed, task)
        joined = [np.concatenate(pair) for pair in zip(parts["train"], extra, strict=True)]
        parts["train"] = (joined[0], joined[1])
    return parts, classes


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
