"""Make the small files of real images that come with the repository: ``python -m lossatlas.data.bundle SOURCE OUTPUT``.

SOURCE holds ``MNIST/raw/``, ``cifar10-jpeg.tar.xz`` and ``auto-mpg.csv``. The files are the same byte for byte
whenever and wherever they are made (fixed order and times, nothing compressed): ``datasets.yaml`` has their checksums.

* ``mnist-bundled.npz``: arrays ``x_train`` (3000, 1, 28, 28), ``y_train``, ``x_test`` (1000, 1, 28, 28), ``y_test``;
* ``cifar10-bundled.zip``: ``train/CLASS/NUMBER.jpg`` and ``test/...``, 300 and 150 a class, the JPEG bytes as they are;
* ``auto-mpg.csv``: a copy.
"""

import argparse
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lossatlas.data import spec as catalogue
from lossatlas.data.sources import read_idx, verify

MNIST_COUNTS = {"train": 300, "test": 100}
CIFAR10_COUNTS = {"train": 300, "test": 150}
"""Images of each class: the first ones of the source's order, which is not sorted by anything but class."""


def write_zip(output: Path, members: Mapping[str, bytes]) -> None:
    """Write an uncompressed zip file whose bytes depend on the members alone."""
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)


def first_of_each_class(y: np.ndarray, count: int) -> np.ndarray:
    """Return the indices, ascending, of the first ``count`` entries of each class of ``y`` (n,)."""
    return np.sort(np.concatenate([np.flatnonzero(y == label)[:count] for label in np.unique(y)]))


def bundle_mnist(source: Path, output: Path) -> None:
    """Write ``mnist-bundled.npz`` from the original files below ``source``."""
    files = {name: source / name for name in catalogue.describe_variant("mnist", "original")["files"][0]}
    for name, expected in catalogue.describe_variant("mnist", "original")["files"][0].items():
        verify(files[name], expected)
    opened = read_idx(files, {})
    members = {}
    for part, count in MNIST_COUNTS.items():
        images = opened.parts[part]
        chosen = first_of_each_class(images.y, count)
        for name, array in ((f"x_{part}", images.take(chosen)), (f"y_{part}", images.y[chosen])):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            members[f"{name}.npy"] = buffer.getvalue()
    write_zip(output / "mnist-bundled.npz", members)


def bundle_cifar10(source: Path, output: Path) -> None:
    """Write ``cifar10-bundled.zip`` from ``cifar10-jpeg.tar.xz`` below ``source``."""
    archive = source / "cifar10-jpeg.tar.xz"
    verify(archive, catalogue.describe_variant("cifar10", "jpeg")["files"][0][archive.name])
    images: dict[str, bytes] = {}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            _, _, name = member.name.partition("/")
            part, _, rest = name.partition("/")
            if member.isfile() and int(Path(rest).stem) < CIFAR10_COUNTS[part]:
                content = tar.extractfile(member)
                assert content is not None
                images[name] = content.read()
    write_zip(output / "cifar10-bundled.zip", dict(sorted(images.items())))


def main() -> None:
    """Make the three files and print their sizes and checksums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with MNIST/raw, cifar10-jpeg.tar.xz and auto-mpg.csv")
    parser.add_argument("output", type=Path, help="folder for the bundled files")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    bundle_mnist(arguments.source, arguments.output)
    bundle_cifar10(arguments.source, arguments.output)
    shutil.copyfile(arguments.source / "auto-mpg.csv", arguments.output / "auto-mpg.csv")
    for name in ("mnist-bundled.npz", "cifar10-bundled.zip", "auto-mpg.csv"):
        content = (arguments.output / name).read_bytes()
        print(f"{name}: {len(content)} bytes, sha256:{hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
