"""Where the files of a data set are, whether they are the right ones, and how they are read.

A name is resolved in this order: what DVC has put under ``data/``; the folders in the environment variable
``LOSSATLAS_DATA``; what a package bundles; torchvision's download (into ``results/downloads/``, which git ignores; not
tried when ``LOSSATLAS_DOWNLOAD`` is 0). Every file is checked against ``datasets.yaml`` before it is read.
"""

import gzip
import hashlib
import os
import pickle
import shutil
import socket
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lossatlas.data import spec as catalogue
from lossatlas.data.images import area_average, decode_all
from lossatlas.errors import LossatlasError

DOWNLOAD_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Part:
    """One part (train, test, extra) of a source, read lazily.

    Attributes:
        y: labels int64 (n,), or regression targets float32 (n,).
        read: from row numbers and a target size (None: as it is) to inputs, uint8 (k, C, H, W) or float32 (k, d).
    """

    y: np.ndarray
    read: Callable[[np.ndarray, int | None], np.ndarray]

    def take(self, indices: np.ndarray, size: int | None = None) -> np.ndarray:
        """Return the inputs of the given rows, images reduced to ``size`` pixels a side."""
        return self.read(indices, size)


@dataclass(frozen=True)
class Opened:
    """A source whose files were found and verified: its parts by name, and class names where the files give them."""

    parts: dict[str, Part]
    classes: tuple[str, ...] | None = None


Files = Mapping[str, Path]
"""Where the catalogue's paths were found (a ``.gz`` may stand in for the plain file)."""


def open_source(name: str, variant: str | None, root: Path, options: Mapping[str, Any]) -> Opened:
    """Find, verify and open a data set that is not generated.

    Args:
        name: the data set.
        variant: its variant, None for the first.
        root: the repository, whose ``data/`` DVC fills.
        options: the data set's options, complete (:func:`lossatlas.data.spec.resolve_options`).

    Returns:
        The opened source; images are read when :meth:`Part.take` asks for them.

    Raises:
        LossatlasError: the source is nowhere, or a file has not the expected checksum.
    """
    entry = catalogue.describe_variant(name, variant)
    reader = READERS[entry["reader"]]
    if "files" not in entry:
        return reader({}, {**options, "entry": entry})
    return reader(locate(name, variant, root, options), options)


def locate(name: str, variant: str | None, root: Path, options: Mapping[str, Any]) -> dict[str, Path]:
    """Return where the verified files of a variant are, downloading them as the last resort.

    Raises:
        LossatlasError: with everything that was tried, or naming the file whose checksum is wrong.
    """
    entry = catalogue.describe_variant(name, variant)
    extra = entry.get("extra", {}) if options.get("extra", 0) != 0 else {}
    alternatives = [{**files, **extra} for files in entry["files"]]
    downloads = root / "results" / "downloads" / name
    tried = []
    for folder in [root / catalogue.DATA_FOLDER, *catalogue.search_folders(), downloads]:
        found = _find(folder, alternatives)
        if isinstance(found, dict):
            return found
        tried.append(found)
    if not catalogue.search_folders():
        tried.append("LOSSATLAS_DATA (not set)")
    if "download" not in entry:
        tried.append("no download is known for it")
    elif os.environ.get("LOSSATLAS_DOWNLOAD") == "0":
        tried.append("torchvision's download (switched off: LOSSATLAS_DOWNLOAD=0)")
    else:
        try:
            _download(entry["download"], downloads, bool(extra))
        except (OSError, RuntimeError) as error:
            tried.append(f"torchvision's download ({type(error).__name__}: {' '.join(str(error).split())})")
        else:
            found = _find(downloads, alternatives)
            if isinstance(found, dict):
                return found
            tried.append(found)
    variant = catalogue.variant_of(name, variant)
    others = [other for other in catalogue.describe(name)["variants"] if other != variant]
    remedies = ["run `dvc pull`"] if entry.get("tracked") else []
    remedies.append("set LOSSATLAS_DATA to a folder (torchvision root) that holds it")
    if others:
        remedies.append(f"choose another variant ({', '.join(others)})")
    raise LossatlasError(
        f"data set {name!r}, variant {variant!r}, was not found; tried: {'; '.join(tried)}. "
        f"Remedy: {', or '.join(remedies)}"
    )


def _find(folder: Path, alternatives: list[dict[str, str]]) -> dict[str, Path] | str:
    """Return the verified files of the first alternative that is complete in a folder, else what was looked for."""
    if not folder.is_dir():
        return f"{folder} (no such folder)"
    lacks = []
    for files in alternatives:
        found, missing = {}, []
        for name in files:
            candidates = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
            if candidates:
                found[name] = candidates[0]
            else:
                missing.append(name)
        if not missing:
            for name, path in found.items():
                verify(path, files[name])
            return found
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        lacks.append(f"{missing[0]}{more}")
    return f"{folder} (no {'; no '.join(lacks)})"


def verify(path: Path, expected: str) -> None:
    """Check a file's content (after gunzip of a ``.gz`` that is no archive) or a folder's tree checksum.

    Args:
        path: the file or folder.
        expected: ``sha256:HEX``, ``md5:HEX`` or ``tree:HEX``.

    Raises:
        LossatlasError: naming the file, the checksum found and the one expected; or that the file cannot be read.
    """
    algorithm = expected.partition(":")[0]
    stat = path.stat()
    try:
        found = _checksum(path, algorithm, stat.st_size, stat.st_mtime_ns)
    except (OSError, EOFError) as error:
        raise LossatlasError(f"{path}: cannot be read ({error}); replace it") from error
    if found != expected:
        raise LossatlasError(
            f"{path}: checksum is {found}, expected {expected}; the file is damaged or another version: replace it"
        )


@lru_cache(maxsize=64)
def _checksum(path: Path, algorithm: str, size: int, mtime: int) -> str:
    """Return ``algorithm:HEX`` of a file's content; size and time are there so that a changed file is read again."""
    if algorithm == "tree":
        return catalogue.tree_checksum(path)
    total = hashlib.new(algorithm, usedforsecurity=False)
    with _open(path) as file:
        while block := file.read(1 << 20):
            total.update(block)
    return f"{algorithm}:{total.hexdigest()}"


def _open(path: Path) -> Any:
    """Open a file for reading bytes, through gunzip when it is gzipped and no archive."""
    return gzip.open(path) if path.suffix == ".gz" and not path.name.endswith(".tar.gz") else open(path, "rb")


def _download(dataset: str, folder: Path, extra: bool) -> None:
    """Let torchvision fetch a data set into ``folder``; the folder appears whole, also when two jobs fetch at once."""
    from torchvision import datasets

    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        if dataset == "SVHN":
            wanted = ("train", "test", "extra") if extra else ("train", "test")
            for split in (split for split in wanted if not (folder / f"{split}_32x32.mat").exists()):
                datasets.SVHN(str(part), split=split, download=True)
        else:
            getattr(datasets, dataset)(str(part), download=True)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(path for path in part.rglob("*") if path.is_file()):
            target = folder / file.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        socket.setdefaulttimeout(timeout)
        shutil.rmtree(part, ignore_errors=True)


def array_part(x: np.ndarray, y: np.ndarray) -> Part:
    """Return a part of inputs in memory: uint8 images (n, C, H, W) or float32 vectors (n, d)."""

    def read(indices: np.ndarray, size: int | None) -> np.ndarray:
        rows = x[indices]
        return rows if size is None else area_average(rows, size)

    return Part(y, read)


def read_idx(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read MNIST's four idx files: a big-endian header (magic number 0x800 + number of axes, axes), then bytes."""

    def read(path: Path) -> np.ndarray:
        with _open(path) as file:
            content = file.read()
        axes = content[3]
        shape = np.frombuffer(content, ">u4", axes, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)

    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        x = read(files[f"MNIST/raw/{prefix}-images-idx3-ubyte"])[:, None]
        parts[part] = array_part(x, read(files[f"MNIST/raw/{prefix}-labels-idx1-ubyte"]).astype(np.int64))
    return Opened(parts)


def read_npz(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` from a bundled npz file."""
    (path,) = files.values()
    with np.load(path) as arrays:
        return Opened({p: array_part(arrays[f"x_{p}"], arrays[f"y_{p}"].astype(np.int64)) for p in ("train", "test")})


def read_cifar(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read CIFAR-10 or CIFAR-100 (fine labels) in the Python version, from the archive or the unpacked files."""
    first = next(iter(files.values()))
    batches: dict[str, bytes] = {}
    if first.name.endswith(".tar.gz"):
        with tarfile.open(first) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    batches[Path(member.name).name] = content.read()
    else:
        batches = {path.name: path.read_bytes() for path in files.values()}
    parts = {}
    for part, prefixes in (("train", ("data_batch", "train")), ("test", ("test",))):
        chosen = [batches[name] for name in sorted(batches) if name.startswith(prefixes)]
        loaded = [pickle.loads(content, encoding="latin1") for content in chosen]  # verified by checksum
        x = np.concatenate([batch["data"] for batch in loaded]).reshape(-1, 3, 32, 32)
        labels = [batch["fine_labels"] if "fine_labels" in batch else batch["labels"] for batch in loaded]
        parts[part] = array_part(x, np.concatenate(labels).astype(np.int64))
    return Opened(parts)


def read_svhn(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read SVHN's MATLAB files: ``X`` (32, 32, 3, n) and ``y`` (n, 1) with 10 for the digit 0."""
    from scipy.io import loadmat

    parts = {}
    for name, path in files.items():
        content = loadmat(path)
        images = content["X"]

        def read(indices: np.ndarray, size: int | None, images: np.ndarray = images) -> np.ndarray:
            x = np.ascontiguousarray(images[..., indices].transpose(3, 2, 0, 1))
            return x if size is None else area_average(x, size)

        parts[name.partition("_")[0]] = Part(content["y"].reshape(-1).astype(np.int64) % 10, read)
    return Opened(parts)


def tree_part(names: list[str], read: Callable[[str], bytes], classes: tuple[str, ...], channels: int) -> Part:
    """Return a part of image files ``PART/CLASS/FILE``, decoded when they are taken; the order is that of ``names``."""
    labels = {label: i for i, label in enumerate(classes)}
    y = np.array([labels[name.split("/")[1]] for name in names], np.int64)

    def take(indices: np.ndarray, size: int | None) -> np.ndarray:
        return decode_all(((names[i], read(names[i])) for i in indices), channels, size)

    return Part(y, take)


def read_image_tree(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read class-named folders of colour images from a tar or zip archive or an unpacked folder."""
    (path,) = files.values()
    contents: dict[str, bytes] = {}
    if path.is_dir():
        names = catalogue.tree_files(path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is not None:
                    contents[member.name.partition("/")[2]] = content.read()
    names = sorted(contents) if contents else names

    def read(name: str) -> bytes:
        return contents[name] if contents else (path / name).read_bytes()

    classes = tuple(sorted({name.split("/")[1] for name in names}))
    parts = {
        part: tree_part([name for name in names if name.startswith(f"{part}/")], read, classes, 3)
        for part in ("train", "test")
    }
    return Opened(parts, classes)


def read_folder(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read the user's own class-named image folders, ``PATH/train/CLASS/*`` and ``PATH/test/CLASS/*``.

    Raises:
        LossatlasError: a part is empty, a test class is not among the training classes, or the checksum is wrong.
    """
    folder = catalogue.folder_path(options["path"])
    if options["channels"] not in (1, 3):
        raise LossatlasError(f"data set 'folder': option `channels` is {options['channels']!r}, expected 1 or 3")
    if options["checksum"]:
        verify(folder, f"tree:{options['checksum'].removeprefix('tree:')}")
    names = catalogue.tree_files(folder)
    inside = {
        p: [name for name in names if name.startswith(f"{p}/") and name.count("/") == 2] for p in ("train", "test")
    }
    for part, members in inside.items():
        if not members:
            raise LossatlasError(
                f"{folder}: no images in {part}/CLASS/*; the folder must hold train/CLASS/* and test/CLASS/*"
            )
    classes = {part: {name.split("/")[1] for name in members} for part, members in inside.items()}
    if strange := sorted(classes["test"] - classes["train"]):
        raise LossatlasError(f"{folder}: class {strange[0]!r} is in test/ but not in train/")
    ordered = tuple(sorted(classes["train"]))

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    parts = {part: tree_part(members, read, ordered, options["channels"]) for part, members in inside.items()}
    return Opened(parts, ordered)


def balanced_order(y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return all row numbers in a random order whose every beginning has its classes balanced to within one.

    A class that runs out leaves its places to the others. The beginnings of one order are nested subsets.

    Args:
        y: labels (n,).
        generator: the source of randomness.

    Returns:
        int64 (n,), a permutation.
    """
    order = generator.permutation(len(y))
    shuffled = y[order]
    turn = np.empty(len(y), np.int64)
    for label in np.unique(y):
        members = np.flatnonzero(shuffled == label)
        turn[members] = np.arange(len(members))
    return order[np.argsort(turn, kind="stable")]


def arrays_checksum(x: np.ndarray, y: np.ndarray) -> str:
    """Return the sha256 of a package's arrays, as little-endian float64 and int64."""
    content = np.ascontiguousarray(x, "<f8").tobytes() + np.ascontiguousarray(y, "<i8").tobytes()
    return hashlib.sha256(content).hexdigest()


def _read_sklearn(name: str, options: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Load and verify a data set of scikit-learn; return x, y and the rows of the two parts, classes balanced."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    entry = options["entry"]
    found = arrays_checksum(bunch.data, bunch.target)
    if found != entry["arrays"]:
        raise LossatlasError(
            f"scikit-learn's {name}: checksum is {found}, expected {entry['arrays']}; "
            "install the scikit-learn of requirements.lock"
        )
    y = bunch.target.astype(np.int64)
    order = balanced_order(y, np.random.default_rng(options["split"]))
    count = entry["sizes"]["test"]
    return bunch.data, y, {"train": np.sort(order[count:]), "test": np.sort(order[:count])}


def read_digits(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read scikit-learn's digits as images: grey values 0..16 spread over 0..255, test classes balanced."""
    x, y, rows = _read_sklearn("digits", options)
    images = np.floor(x * (255 / 16) + 0.5).astype(np.uint8).reshape(-1, 1, 8, 8)
    return Opened({part: array_part(images[chosen], y[chosen]) for part, chosen in rows.items()})


def read_iris(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read scikit-learn's iris as float32 (n, 4) in centimetres, test classes balanced."""
    x, y, rows = _read_sklearn("iris", options)
    return Opened({part: array_part(x[chosen].astype(np.float32), y[chosen]) for part, chosen in rows.items()})


def read_auto_mpg(files: Files, options: Mapping[str, Any]) -> Opened:
    """Read the complete rows of Auto-MPG: six properties and the one-hot origin (USA, Europe, Japan); target raw mpg.

    The split is ``RandomState(split).permutation(392)[:314]``, the one the studies' numbers were compared with.
    """
    import pandas as pd

    (path,) = files.values()
    table = pd.read_csv(path, na_values="?").dropna()
    inputs = ["cylinders", "displacement", "horsepower", "weight", "acceleration", "model_year"]
    origin = table["origin"].to_numpy()[:, None] == np.arange(1, 4)
    x = np.concatenate([table[inputs].to_numpy(np.float64), origin], axis=1).astype(np.float32)
    y = table["mpg"].to_numpy(np.float32)
    order = np.random.RandomState(options["split"]).permutation(len(y))
    return Opened(
        {part: array_part(x[rows], y[rows]) for part, rows in (("train", order[:314]), ("test", order[314:]))}
    )


READERS: dict[str, Callable[[Files, Mapping[str, Any]], Opened]] = {
    "idx": read_idx,
    "npz": read_npz,
    "cifar": read_cifar,
    "svhn": read_svhn,
    "image_tree": read_image_tree,
    "folder": read_folder,
    "sklearn_digits": read_digits,
    "sklearn_iris": read_iris,
    "auto_mpg": read_auto_mpg,
}
"""Readers by their name in ``datasets.yaml``."""
