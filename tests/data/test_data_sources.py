"""Finding, verifying and reading the files of data sets; small files in the true formats stand in for the originals."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lossatlas.data import sources
from lossatlas.data import spec as catalogue
from lossatlas.errors import LossatlasError


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def table(monkeypatch):
    """A copy of the catalogue that a test may change; no environment, no network."""
    changed = deepcopy(catalogue._table())
    monkeypatch.setattr(catalogue, "_table", lambda: changed)
    monkeypatch.delenv("LOSSATLAS_DATA", raising=False)
    monkeypatch.setenv("LOSSATLAS_DOWNLOAD", "0")
    return changed


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder, table, compress=False):
    """Write five training and three test images in MNIST's layout, and put their checksums in the table."""
    generator = np.random.default_rng(0)
    arrays, checksums = {}, {}
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for prefix, n in (("train", 5), ("t10k", 3)):
        arrays[f"{prefix}-images-idx3-ubyte"] = generator.integers(0, 256, (n, 28, 28))
        arrays[f"{prefix}-labels-idx1-ubyte"] = generator.integers(0, 10, n)
    for name, array in arrays.items():
        content = idx(array)
        checksums[f"MNIST/raw/{name}"] = sha256(content)
        target = folder / "MNIST" / "raw" / (f"{name}.gz" if compress else name)
        target.write_bytes(gzip.compress(content) if compress else content)
    table["mnist"]["variants"]["original"]["files"] = [checksums]
    return arrays


def everything(part):
    return part.take(np.arange(len(part.y)))


@pytest.mark.parametrize("compress", [False, True])
def test_mnist_plain_or_gzipped(tmp_path, table, monkeypatch, compress):
    arrays = write_mnist(tmp_path / "there", table, compress)
    monkeypatch.setenv("LOSSATLAS_DATA", os.pathsep.join([str(tmp_path / "empty"), str(tmp_path / "there")]))
    opened = sources.open_source("mnist", "original", tmp_path, {})
    np.testing.assert_array_equal(everything(opened.parts["train"])[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(opened.parts["test"].y, arrays["t10k-labels-idx1-ubyte"])
    assert opened.parts["test"].y.dtype == np.int64


def test_what_dvc_provides_comes_before_the_environment(tmp_path, table, monkeypatch):
    write_mnist(tmp_path / "data", table)
    write_mnist(tmp_path / "there", table)
    monkeypatch.setenv("LOSSATLAS_DATA", str(tmp_path / "there"))
    found = sources.locate("mnist", "original", tmp_path, {})
    assert all(path.is_relative_to(tmp_path / "data") for path in found.values())


def test_downloads_are_the_last_resort_and_are_verified(tmp_path, table, monkeypatch):
    monkeypatch.setenv("LOSSATLAS_DOWNLOAD", "1")
    calls = []

    def fetch(dataset, folder, extra):
        calls.append((dataset, extra))
        write_mnist(folder, table)

    monkeypatch.setattr(sources, "_download", fetch)
    write_mnist(tmp_path / "throwaway", table)  # puts the checksums in the table
    found = sources.locate("mnist", "original", tmp_path, {})
    again = sources.locate("mnist", "original", tmp_path, {})
    assert found == again
    assert all(path.is_relative_to(tmp_path / "results" / "downloads" / "mnist") for path in found.values())
    assert calls == [("MNIST", False)]


def test_download_moves_a_whole_data_set_into_place(tmp_path, monkeypatch):
    from torchvision import datasets

    class Fake:
        def __init__(self, root, split="train", download=False):
            assert download
            Path(root, f"{split}_32x32.mat").write_text(split)

    monkeypatch.setattr(datasets, "SVHN", Fake)
    sources._download("SVHN", tmp_path / "svhn", False)
    assert sorted(os.listdir(tmp_path)) == ["svhn"]
    assert sorted(os.listdir(tmp_path / "svhn")) == ["test_32x32.mat", "train_32x32.mat"]
    sources._download("SVHN", tmp_path / "svhn", True)
    assert (tmp_path / "svhn" / "extra_32x32.mat").read_text() == "extra"


def test_a_failed_download_is_listed_and_leaves_nothing(tmp_path, table, monkeypatch):
    from torchvision import datasets

    def refuse(root, download):
        Path(root, "half").write_text("x")
        raise OSError("no route\nto host")

    monkeypatch.setenv("LOSSATLAS_DOWNLOAD", "1")
    monkeypatch.setattr(datasets, "MNIST", refuse)
    with pytest.raises(LossatlasError, match=r"torchvision's download \(OSError: no route to host\)"):
        sources.locate("mnist", "original", tmp_path, {})
    assert list((tmp_path / "results" / "downloads").iterdir()) == []


def test_a_missing_source_lists_what_was_tried_and_the_remedies(tmp_path, table, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("LOSSATLAS_DATA", os.pathsep.join([str(tmp_path / "here"), str(tmp_path / "nowhere")]))
    with pytest.raises(LossatlasError) as error:
        sources.open_source("cifar10", "bundled", tmp_path, {})
    text = str(error.value)
    for part in (
        "'cifar10'",
        "'bundled'",
        str(tmp_path / "data"),
        f"{tmp_path / 'here'} (no cifar10-bundled.zip)",
        f"{tmp_path / 'nowhere'} (no such folder)",
        "dvc pull",
        "LOSSATLAS_DATA",
        "another variant (original, jpeg)",
    ):
        assert part in text
    assert "\n" not in text
    with pytest.raises(LossatlasError) as error:
        sources.open_source("cifar100", None, tmp_path, {})
    assert "switched off" in str(error.value)
    assert "dvc pull" not in str(error.value)


def test_a_wrong_checksum_names_file_expected_and_found(tmp_path, table):
    write_mnist(tmp_path / "data", table)
    victim = tmp_path / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    expected = table["mnist"]["variants"]["original"]["files"][0]["MNIST/raw/t10k-images-idx3-ubyte"]
    content = bytearray(victim.read_bytes())
    sources.open_source("mnist", "original", tmp_path, {})
    content[-1] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(1, 1))
    with pytest.raises(LossatlasError) as error:
        sources.open_source("mnist", "original", tmp_path, {})
    for part in (str(victim), expected, sha256(bytes(content))):
        assert part in str(error.value)


def test_a_truncated_gzip_is_named(tmp_path, table):
    write_mnist(tmp_path / "data", table, compress=True)
    victim = tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.raises(LossatlasError, match=victim.name):
        sources.open_source("mnist", "original", tmp_path, {})


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name, key", [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_archive_or_unpacked(tmp_path, table, name, key, packed):
    generator = np.random.default_rng(0)
    layout = {
        "cifar10": ("cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], "test_batch"),
        "cifar100": ("cifar-100-python", ["train"], "test"),
    }
    folder, training, test = layout[name]
    batches = {}
    for batch in [*training, test]:
        data = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
        batches[batch] = {"data": data, key: generator.integers(0, 10, 4).tolist(), "coarse_labels": [0] * 4}
    contents = {f"{folder}/{batch}": pickle.dumps(value) for batch, value in batches.items()}
    root = tmp_path / "data"
    root.mkdir()
    archive = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}[name]
    if packed:
        with tarfile.open(root / archive, "w:gz") as tar:
            for path, content in contents.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        files = {archive: sha256((root / archive).read_bytes())}
    else:
        for path, content in contents.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(content)
        files = {path: f"md5:{hashlib.md5(content).hexdigest()}" for path, content in contents.items()}
    table[name]["variants"]["original"]["files"] = [{"absent": "sha256:0"}, files]
    opened = sources.open_source(name, "original", tmp_path, {})
    images = np.concatenate([batches[batch]["data"] for batch in training]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(everything(opened.parts["train"]), images)
    np.testing.assert_array_equal(opened.parts["test"].y, batches[test][key])
    assert len(opened.parts["train"].y) == 4 * len(training)


def test_svhn_with_and_without_extra(tmp_path, table):
    generator = np.random.default_rng(0)
    root = tmp_path / "data"
    root.mkdir()
    stored, sums = {}, {}
    for split, n in (("train", 6), ("test", 4), ("extra", 5)):
        stored[split] = generator.integers(0, 256, (32, 32, 3, n), dtype=np.uint8), np.arange(1, n + 1)[:, None] + 5
        savemat(root / f"{split}_32x32.mat", {"X": stored[split][0], "y": stored[split][1]})
        sums[f"{split}_32x32.mat"] = sha256((root / f"{split}_32x32.mat").read_bytes())
    entry = table["svhn"]["variants"]["original"]
    entry["extra"] = {"extra_32x32.mat": sums.pop("extra_32x32.mat")}
    entry["files"] = [sums]
    opened = sources.open_source("svhn", None, tmp_path, {"extra": 0})
    assert set(opened.parts) == {"train", "test"}
    np.testing.assert_array_equal(
        opened.parts["train"].y, [6, 7, 8, 9, 0, 1]
    )  # 10 stands for the digit 0, 11 is made up
    picture = opened.parts["train"].take(np.array([2]))[0]
    np.testing.assert_array_equal(picture, stored["train"][0][..., 2].transpose(2, 0, 1))
    assert set(sources.open_source("svhn", None, tmp_path, {"extra": None}).parts) == {"train", "test", "extra"}
    (root / "extra_32x32.mat").unlink()
    sources.open_source("svhn", None, tmp_path, {"extra": 0})
    with pytest.raises(LossatlasError, match=r"no extra_32x32\.mat"):
        sources.open_source("svhn", None, tmp_path, {"extra": 3})


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["zip", "tar.xz", "folder"])
def test_image_trees_are_the_same_packed_or_not(tmp_path, table, form):
    generator = np.random.default_rng(0)
    pictures = {
        f"{part}/{label}/{i}.png": generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for part in ("train", "test")
        for label in ("b", "a")
        for i in range(2)
    }
    root = tmp_path / "data"
    root.mkdir()
    if form == "zip":
        target = root / "toy.zip"
        with zipfile.ZipFile(target, "w") as archive:
            for name, picture in pictures.items():
                archive.writestr(name, png(picture))
    elif form == "tar.xz":
        target = root / "toy.tar.xz"
        with tarfile.open(target, "w:xz") as tar:
            for name, picture in pictures.items():
                info = tarfile.TarInfo(f"toy/{name}")
                info.size = len(png(picture))
                tar.addfile(info, io.BytesIO(png(picture)))
    else:
        target = root / "toy"
        for name, picture in pictures.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(png(picture))
    checksum = catalogue.tree_checksum(target) if form == "folder" else sha256(target.read_bytes())
    table["cifar10"]["variants"]["jpeg"]["files"] = [{target.name: checksum}]
    opened = sources.open_source("cifar10", "jpeg", tmp_path, {})
    assert opened.classes == ("a", "b")
    np.testing.assert_array_equal(opened.parts["train"].y, [0, 0, 1, 1])
    expected = np.stack([pictures[f"test/{label}/{i}.png"] for label in "ab" for i in range(2)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(everything(opened.parts["test"]), expected)
    np.testing.assert_array_equal(opened.parts["test"].take(np.array([3, 0])), expected[[3, 0]])


def test_a_package_with_other_arrays_is_refused(tmp_path, table):
    table["iris"]["variants"]["package"]["arrays"] = "0" * 64
    with pytest.raises(LossatlasError, match="scikit-learn's iris: checksum is aa06b800"):
        sources.open_source("iris", None, tmp_path, {"split": 0})


def test_balanced_order_is_balanced_at_every_length_and_a_permutation():
    y = np.repeat([0, 1, 2], [5, 9, 7])
    order = sources.balanced_order(y, np.random.default_rng(3))
    assert sorted(order) == list(range(21))
    for n in range(1, 16):  # until the smallest class runs out
        counts = np.bincount(y[order[:n]], minlength=3)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(order, sources.balanced_order(y, np.random.default_rng(3)))
    assert (order != sources.balanced_order(y, np.random.default_rng(4))).any()
