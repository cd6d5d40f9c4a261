"""The exact Gram matrix of a cloud of weight vectors, from one streaming pass over HDF5.

n points of R^D with n << D span at most n - 1 dimensions, so the (n, n) matrix of inner products of the rows, taken
relative to the reference row 0, holds the whole Euclidean geometry of the cloud. With x_i = theta_i - theta_0 and
r = theta_0 the file keeps ::

    gram[i, j]       = x_i . x_j          (n, n) float64
    cross[i]         = x_i . r            (n,)   float64
    reference_norm2  = r . r              float64

from which follow distances, norms, cosine distances, uncentred inner products and isometric coordinates.
Subtracting the reference first is what keeps the digits: a cloud of radius 1 at distance 1e4 from the origin would
lose eight of sixteen digits in theta_i . theta_j, and loses none in x_i . x_j.

What remains is the cancellation in |x_i - x_j|^2 = gram[i, i] + gram[j, j] - 2 gram[i, j] for pairs that are much
nearer to each other than to the reference. Pairs closer than 1e-4 of their distance from the reference ("near pairs";
most clouds have none) are therefore measured again relative to one of themselves, from their rows alone, and stored
beside the Gram matrix (``near_pairs`` (m, 2), ``near_distances2`` (m,)).
"""

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from lossatlas.arrays import Array
from lossatlas.clouds.files import copy_table, distances2_of, first_line, unreadable
from lossatlas.errors import LossatlasError
from lossatlas.files.clock import Clock
from lossatlas.files.hdf5 import create, table_in
from lossatlas.files.state import State
from lossatlas.specs.registry import Job

logger = logging.getLogger(__name__)


DEFAULT_MEMORY_BYTES = 1 << 30
"""Memory for the buffers of one pass, matrices of size (n, n) included."""

NEAR = 1e-8
"""A pair is near when |x_i - x_j|^2 <= NEAR (|x_i|^2 + |x_j|^2). The Gram matrix is good to some 1e-15 of its scale, so
distances of pairs that are not near are good to about 1e-7 relative, usually far better."""

SUMS = "sums.npz"
"""Name of the sums over the columns so far in a job's state."""

_MAX_COLUMNS = 32768
_ROWS_AT_ONCE = 64


def gram(job: Job) -> None:
    """Reduce the points of ``cloud`` to their Gram matrix; resumes by blocks of columns."""
    state = State(job.state, job.provenance)
    compute(job.file("cloud"), job.output, job.provenance, state=state)
    state.remove()


def compute(
    points_path: str | os.PathLike[str],
    output_path: str | os.PathLike[str],
    provenance: Mapping[str, Any],
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: Callable[[float], None] | None = None,
    state: State | None = None,
) -> None:
    """Reduce a points file to its Gram file in one pass over ``/theta``.

    The rows are read in blocks of columns, the reference row is subtracted in float64, and the products are
    accumulated in float64 by BLAS (dsyrk). No (n, D) array is ever held. Near pairs, if any, cost further reads of
    their own rows. The result appears whole or not at all (:func:`lossatlas.files.hdf5.create`). Bit-identical for a
    given machine, number of BLAS threads and ``memory_bytes``.

    Args:
        points_path: HDF5 file with ``/theta`` (n, D) floating point, plain or virtual, and ``/table``.
        output_path: the gram file to write; its folder must exist.
        provenance: JSON-serialisable description of what makes this file, stored as attribute ``provenance``.
        memory_bytes: upper limit of the buffers of the pass.
        progress: called with the fraction done, after each block.
        state: of the unfinished job, where the sums so far are kept from time to time; None = nowhere.

    Raises:
        LossatlasError: the file is missing, truncated, has no usable ``/theta``, has fewer than two rows or holds a
            NaN or an infinity, or the result cannot be written.
    """
    points = Path(points_path)
    with _open_points(points) as file:
        theta = _theta(file, points)
        try:
            gram, cross, norm2 = _stream(theta, file, points, memory_bytes, progress, state)
            pairs, distances2 = _near_pairs(theta, gram, memory_bytes)
        except OSError as error:
            raise LossatlasError(unreadable(points, error)) from error

        with create(Path(output_path), "gram", provenance) as target:
            target.create_dataset("gram", data=gram)
            target.create_dataset("cross", data=cross)
            target.create_dataset("near_pairs", data=pairs)
            target.create_dataset("near_distances2", data=distances2)
            target.attrs["reference_norm2"] = norm2
            target.attrs["dimension"] = int(theta.shape[1])
            copy_table(file, target)
            if "history" in file:
                copy_table(file, target, "history")


# ---------------------------------------------------------------------------------------------------------------------
# the pass


def _open_points(path: Path) -> h5py.File:
    if not path.is_file():
        raise LossatlasError(f"{path}: no such points file; compute or pull it first")
    try:
        # Without a chunk cache, whole and partial chunks are read straight into our buffer.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise LossatlasError(unreadable(path, error)) from error


def _theta(file: h5py.File, path: Path) -> h5py.Dataset:
    try:
        theta = file.get("theta")
    except (KeyError, OSError) as error:
        raise LossatlasError(unreadable(path, error)) from error
    if not isinstance(theta, h5py.Dataset) or theta.ndim != 2 or theta.dtype.kind != "f":
        found = ", ".join(sorted(file)) or "nothing"
        raise LossatlasError(
            f"{path}: has no dataset /theta of n rows of floating-point numbers (found: {found}); "
            "give the points.h5 of a run or a cloud"
        )
    if theta.shape[0] < 2 or theta.shape[1] < 1:
        raise LossatlasError(
            f"{path}: /theta has shape {theta.shape}; an embedding needs at least 2 rows: record more points"
        )
    if theta.is_virtual:
        _check_sources(theta, path)
    return theta


def _check_sources(theta: h5py.Dataset, path: Path) -> None:
    """HDF5 reads a virtual dataset whose source is gone as fill values, silently: look before reading."""
    for source in theta.virtual_sources():
        if source.file_name == ".":
            continue
        target = path.parent / source.file_name
        try:
            with h5py.File(target, "r") as part:
                shape = part[source.dset_name].shape
        except (OSError, KeyError) as error:
            raise LossatlasError(
                f"{path}: its part {target} is missing or unreadable ({first_line(error)}); "
                "compute or pull that file again"
            ) from error
        if source.src_space.shape:
            needed = tuple(int(last) + 1 for last in source.src_space.get_select_bounds()[1])
        else:  # the whole source
            first, last = source.vspace.get_select_bounds()
            needed = tuple(int(stop - start) + 1 for start, stop in zip(first, last, strict=True))
        if len(shape) != len(needed) or any(have < want for have, want in zip(shape, needed, strict=True)):
            raise LossatlasError(
                f"{path}: its part {target} has shape {shape}, at least {needed} is expected; gather the cloud again"
            )


def _block_columns(n: int, dimension: int, memory_bytes: int) -> int:
    """Columns a block: a power of two of at most 32768 (a chunk of the file), as many as the memory allows."""
    matrices = 3 * 8 * n * n
    per_column = 8 * (n + 2) + 4 * min(n, _ROWS_AT_ONCE)
    columns = _MAX_COLUMNS
    while columns > 256 and matrices + columns * per_column > memory_bytes:
        columns //= 2
    return min(columns, dimension)


def _aligned(rows: int, columns: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Uninitialised (rows, columns) array at a 64-byte boundary: the same summation order in every process."""
    size = rows * columns * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(rows, columns)


def _runs(rows: NDArray[np.intp], longest: int) -> Iterator[tuple[int, int, int]]:
    """Yield (offset, first row, end row) of stretches of consecutive rows, none longer than ``longest``."""
    offset = 0
    while offset < len(rows):
        stop = offset + 1
        while stop < len(rows) and stop - offset < longest and rows[stop] == rows[stop - 1] + 1:
            stop += 1
        yield offset, int(rows[offset]), int(rows[offset]) + stop - offset
        offset = stop


def _blocks(
    theta: h5py.Dataset, rows: NDArray[np.intp], columns: int, begin: int = 0
) -> Iterator[tuple[int, Array, Array]]:
    """Yield (end column, block, first row) with block (len(rows), width) float64 = those rows minus the first of them.

    The arrays are reused from block to block.
    """
    n, dimension = len(rows), theta.shape[1]
    buffer = np.empty((min(n, _ROWS_AT_ONCE), columns), dtype=theta.dtype)
    space, first = _aligned(1, n * columns)[0], _aligned(1, columns)[0]
    for start in range(begin, dimension, columns):
        stop = min(start + columns, dimension)
        width = stop - start
        block = space[: n * width].reshape(n, width)
        for offset, begin, end in _runs(rows, _ROWS_AT_ONCE):
            count = end - begin
            part = buffer[:count] if width == columns else np.empty((count, width), dtype=theta.dtype)
            theta.read_direct(part, np.s_[begin:end, start:stop])
            if offset == 0:
                first[:width] = part[0]
            np.subtract(part, first[:width], out=block[offset : offset + count])
        yield stop, block, first[:width]


def _accumulate(total: Array, block: Array) -> Array:
    """Add block block^T to the upper triangle of ``total`` (n, n), Fortran order, in place."""
    # block^T is Fortran-ordered without a copy; dsyrk does half the work of dgemm.
    return blas.dsyrk(1.0, block.T, beta=1.0, c=total, trans=1, overwrite_c=1)


def _mirrored(upper: Array) -> Array:
    full = np.triu(upper)
    return full + np.triu(full, 1).T


def _stream(
    theta: h5py.Dataset,
    file: h5py.File,
    path: Path,
    memory_bytes: int,
    progress: Callable[[float], None] | None,
    state: State | None,
) -> tuple[Array, Array, float]:
    n, dimension = theta.shape
    columns, clock = _block_columns(n, dimension, memory_bytes), Clock()
    kept = None if state is None else state.load(SUMS, _unpacked)
    if kept is None or int(kept["columns"]) != columns:
        kept = {"upper": np.zeros((n, n)), "cross": np.zeros(n), "norm2": np.zeros(()), "stop": np.zeros((), np.int64)}
    upper, cross, norm2 = np.asfortranarray(kept["upper"]), kept["cross"], float(kept["norm2"])
    with np.errstate(invalid="ignore", over="ignore"):
        for stop, block, reference in _blocks(theta, np.arange(n), columns, int(kept["stop"])):
            upper = _accumulate(upper, block)
            cross += block @ reference
            norm2 += float(reference @ reference)
            bad = np.flatnonzero(~np.isfinite(np.diagonal(upper)))
            if len(bad) or not np.isfinite(norm2):
                row = int(bad[0]) if np.isfinite(norm2) else 0
                raise LossatlasError(_not_finite(file, path, row))
            if progress is not None:
                progress(stop / dimension)
            if state is not None and stop < dimension and clock.due():
                with clock.committing():
                    sums = {"upper": upper, "cross": cross, "norm2": np.array(norm2)}
                    state.write(SUMS, _packed({**sums, "stop": np.array(stop), "columns": np.array(columns)}))
    return _mirrored(upper), cross, norm2


def _packed(arrays: Mapping[str, NDArray[Any]]) -> memoryview:
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **arrays)
    return sink.getbuffer()


def _unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(data)) as saved:
        return {name: saved[name] for name in saved.files}


def _not_finite(file: h5py.File, path: Path, row: int) -> str:
    try:
        table = table_in(file)
        entries = ", ".join(f"{name}={table[name].iloc[row]}" for name in table.columns)
    except (OSError, KeyError, IndexError, ValueError):
        entries = ""
    where = f"row {row}" + (f" ({entries})" if entries else "")
    remedy = "that run diverged: lower its learning rate or leave it out"
    return f"{path}: /theta holds a NaN or an infinity in {where}; {remedy}"


# ---------------------------------------------------------------------------------------------------------------------
# near pairs


def _stars(pending: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Cover the pending pairs by stars: a centre and rows near it, every pair within a star counted as covered.

    Args:
        pending: (n, n) symmetric, diagonal False.

    Returns:
        Arrays of rows, the centre first.
    """
    pending = pending.copy()
    stars = []
    degree = pending.sum(axis=1)
    while degree.any():
        centre = int(np.argmax(degree))
        star = np.concatenate([[centre], np.flatnonzero(pending[centre])])
        inside = pending[np.ix_(star, star)]
        degree[star] -= inside.sum(axis=1)
        pending[np.ix_(star, star)] = False
        stars.append(star)
    return stars


def _near_pairs(theta: h5py.Dataset, gram: Array, memory_bytes: int) -> tuple[NDArray[np.int64], Array]:
    """Measure the near pairs again, each relative to a row near both.

    A star is at least 1e4 times smaller than its distance from the reference, so its own Gram matrix, relative to its
    centre, resolves pairs that much nearer; pairs nearer still are pending for the next round, in a star of their own.
    Every round settles at least the pairs with the centres, exactly, so the rounds end.

    Returns:
        Pairs (m, 2), i < j, in order, and their squared distances (m,).
    """
    distances2, scale = distances2_of(gram)
    near = distances2 <= NEAR * scale
    np.fill_diagonal(near, False)
    if not near.any():
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    pending = near.copy()
    exact = np.zeros_like(gram)
    while pending.any():
        stars = _stars(pending)
        logger.info("measuring %d near pairs again in %d groups", int(pending.sum()) // 2, len(stars))
        for star in stars:
            order = np.concatenate([star[:1], np.sort(star[1:])])
            m = len(order)
            upper = np.zeros((m, m), order="F")
            for _, block, _ in _blocks(theta, order, _block_columns(m, theta.shape[1], memory_bytes)):
                upper = _accumulate(upper, block)
            local, local_scale = distances2_of(_mirrored(upper))
            settled = (local > NEAR * local_scale) | (local_scale == 0.0)
            settled[0], settled[:, 0] = True, True
            local[0] = local[:, 0] = np.diagonal(upper)
            grid = np.ix_(order, order)
            settled &= pending[grid]
            exact[grid] = np.where(settled, local, exact[grid])
            pending[grid] &= ~settled
    pairs = np.argwhere(np.triu(near, 1))
    return pairs.astype(np.int64), exact[pairs[:, 0], pairs[:, 1]]
