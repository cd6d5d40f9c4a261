"""What two files of one kind hold, value by value: which datasets, columns or attributes differ, and by how much."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from lossatlas.files import checksum


@dataclass(frozen=True)
class Difference:
    """How one dataset, column or attribute of two files differs.

    Attributes:
        name: of the dataset or column.
        count, size: values that differ, of how many; 0, 0 where they cannot be compared value by value.
        largest: largest absolute difference; infinite where a value is a number in one file only.
        relative: it, divided by the largest magnitude among the first file's values.
        inexact: whether both hold floating-point numbers, which rounding may change; it changes no other.
    """

    name: str
    count: int = 0
    size: int = 0
    largest: float = np.inf
    relative: float = np.inf
    inexact: bool = False

    def __str__(self) -> str:
        if not self.size:
            return f"{self.name} differs"
        values = f"{self.count} of {self.size} values differ"
        return f"{self.name}: {values}, by at most {self.largest:.3g} ({self.relative:.3g} of the largest value)"


def differences(first: Path, second: Path) -> Iterator[Difference]:
    """Yield the differences in what two files of one kind hold, HDF5 or CSV; dates and seconds do not count."""
    if first.suffix == ".csv":
        yield from _csv_differences(first, second)
        return
    with h5py.File(first, "r") as a, h5py.File(second, "r") as b:
        yield from _group_differences(a, b, "")


def other_shapes(first: Path, second: Path) -> Iterator[Difference]:
    """Yield the differences of two HDF5 files in anything but numbers: names, shapes, types, texts of attributes."""
    with h5py.File(first, "r") as a, h5py.File(second, "r") as b:
        yield from (found for found in _group_differences(a, b, "", values=False) if not found.size)


def _csv_differences(first: Path, second: Path) -> Iterator[Difference]:
    if first.read_bytes() == second.read_bytes():
        return
    a, b = shared(*(pd.read_csv(path) for path in (first, second)))
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        yield Difference(f"rows and columns: {a.shape} and {b.shape}")
        return
    for name in a:
        found = _difference(str(name), a[name].to_numpy(), b[name].to_numpy())
        if found:
            yield found


def shared(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two tables; of two scorecards, the studies and columns that both have.

    A scorecard also shows studies of other runs and other machines' verdicts, which its run did not measure.
    """
    columns = [name for name in a if name in b]
    studies = set(a["study"]) & set(b["study"]) if {"study", "verdict", "preset"} <= set(columns) else ()
    if not studies:
        return a, b
    first, second = (one.loc[one["study"].isin(studies), columns].reset_index(drop=True) for one in (a, b))
    return first, second


def _group_differences(a: h5py.Group, b: h5py.Group, place: str, values: bool = True) -> Iterator[Difference]:
    skipped = {*checksum.NOT_CONTENT, checksum.SOURCES}
    names = sorted((set(a.attrs) | set(b.attrs)) - skipped)
    for name in names:
        found = _attribute_difference(f"attribute {place}{name}", a.attrs.get(name, ""), b.attrs.get(name, ""))
        if found:
            yield found
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b:
            yield Difference(f"{place}{name} (in one of them only)")
        elif isinstance(a[name], h5py.Group) != isinstance(b[name], h5py.Group):
            yield Difference(f"{place}{name} (a group in one of them only)")
        elif isinstance(a[name], h5py.Group):
            yield from _group_differences(a[name], b[name], f"{place}{name}/", values)
        elif (a[name].shape, a[name].dtype) != (b[name].shape, b[name].dtype):
            yield Difference(f"{place}{name}: {a[name].dtype} {a[name].shape} and {b[name].dtype} {b[name].shape}")
        elif values:
            yield from _dataset_differences(a[name], b[name], f"{place}{name}")


def _attribute_difference(name: str, a: Any, b: Any) -> Difference | None:
    """Compare two attributes: arrays as they are, JSON by the numbers in it where the rest is the same."""
    if isinstance(a, str) and isinstance(b, str):
        if a == b:
            return None
        first, second = _parsed(a), _parsed(b)
        if first is None or second is None or first[0] != second[0]:
            return Difference(name)
        a, b = first[1], second[1]
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.dtype.kind != y.dtype.kind:
        return Difference(name)
    found = _difference(name, x, y)
    return Difference(name) if found is not None and found.size <= 1 and not found.inexact else found


def _parsed(text: str) -> tuple[Any, list[float]] | None:
    """Return JSON with its floating-point numbers taken out, and these; None for any other text."""
    numbers: list[float] = []

    def kept(value: str) -> str:
        numbers.append(float(value))
        return "a number"

    try:
        return json.loads(text, parse_float=kept, parse_constant=kept), numbers
    except ValueError:
        return None


def _dataset_differences(a: h5py.Dataset, b: h5py.Dataset, name: str) -> Iterator[Difference]:
    """Compare two datasets in blocks of rows and merge what is found."""
    blocks = zip(checksum.blocks(a), checksum.blocks(b), strict=True)
    found = [part for part in (_difference(name, x, y) for x, y in blocks) if part]
    if found:
        largest = max(part.largest for part in found)
        scale = max((_scale(x) for x in checksum.blocks(a)), default=0.0)
        count, inexact = sum(part.count for part in found), all(part.inexact for part in found)
        yield Difference(name, count, a.size, largest, largest / scale if scale else np.inf, inexact)


def _difference(name: str, a: np.ndarray, b: np.ndarray) -> Difference | None:
    if a.dtype.kind not in "iufb" or b.dtype.kind not in "iufb":
        count = int(np.sum([x != y and not (x != x and y != y) for x, y in zip(a.ravel(), b.ravel(), strict=True)]))
        return Difference(name, count, a.size) if count else None
    x, y = a.astype(np.float64), b.astype(np.float64)
    differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
    if not differs.any():
        return None
    with np.errstate(invalid="ignore"):
        gaps = np.abs(x - y)[differs]
    largest = float(np.max(np.where(np.isnan(gaps), np.inf, gaps)))
    scale = _scale(x)
    inexact = a.dtype.kind == b.dtype.kind == "f"
    return Difference(name, int(differs.sum()), a.size, largest, largest / scale if scale else np.inf, inexact)


def _scale(values: np.ndarray) -> float:
    """Return the largest magnitude among the finite values; 0 where there is none."""
    if values.dtype.kind not in "iufb":
        return 0.0
    return float(np.max(np.abs(values.astype(np.float64)), where=np.isfinite(values), initial=0.0))
