"""The job of a separation probe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossatlas.barriers.separation import separate
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table


def probe(spec: Mapping[str, Any], gram_file: Path, output: Path, provenance: Mapping) -> None:
    """Make separation.h5: ``/table`` the scores, ``/points`` the projections.

    Args:
        spec: resolved spec (:func:`lossatlas.legacy.path.kernels`).
        gram_file: Gram matrix of a union of clouds.
        output: the file to make.
        provenance: written into it.
    """
    gram = Gram.load(gram_file)
    if "cloud" not in gram.table:
        raise LossatlasError(f"{gram_file}: its cloud has no sets; give a cloud of kind `union`")
    scores, points = separate(gram, spec)
    with create(output, "separation", provenance) as file:
        write_table(file, scores)
        write_table(file, points, "points")
