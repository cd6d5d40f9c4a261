"""Results of a probe as files, and what a file of one says of itself."""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lossatlas.errors import LossatlasError

FORMATS = ("png", "html", "csv", "h5")
"""What a result is written as unless the command line says otherwise: those of them that it has."""

_TAG = re.compile(r'<script type="application/json" id="lossatlas">(.*?)</script>', re.DOTALL)


def write(result: Any, folder: Path, name: str, formats: list[str]) -> list[str]:
    """Write a result to ``folder/name.<format>``; return what to print, a line a file.

    Args:
        result: of a probe (:class:`lossatlas.own.result.Result`).
        folder: made where it is not there.
        name: of the files.
        formats: asked for; none = :data:`FORMATS`, as far as the result and the environment have them.

    Raises:
        LossatlasError: a format that the result does not have, or a folder that cannot be written to.
    """
    asked = formats or [one for one in FORMATS if one in result.formats]
    for one in asked:
        if one not in result.formats:
            raise LossatlasError(f"--format: got {one!r}; expected one of {', '.join(result.formats)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LossatlasError(f"{folder}: {error.strerror}; name another folder with --out") from None
    lines = []
    for one in asked:
        path = folder / f"{name}.{one}"
        if one == "html" and not formats and importlib.util.find_spec("plotly") is None:
            lines.append(f"{path}: not written, plotly is not installed (pip install 'lossatlas[3d]')")
            continue
        lines.append(str(result.save(path)))
    return lines


def told(path: Path) -> str:
    """Return what a probe's file says of itself; "" for any other file.

    Args:
        path: HDF5, CSV, PNG, SVG, PDF or HTML.
    """
    record = _record(path)
    if record is None:
        return ""
    network = record["network"]
    lines = [f"{path}: {record['method']} of {network.get('label', 'a network')}"]
    parts: dict[str, Any] = {
        "network": network,
        "settings": record["settings"],
        "verdict": {"outcome": record.get("verdict", {}).get("outcome")},
        "made": {name: record[name] for name in ("created", "seconds", "device", "lossatlas") if name in record},
        "versions": record["versions"],
    }
    for name, values in parts.items():
        lines.append(f"{name}:")
        lines += [f"  {key}: {value}" for key, value in values.items() if value not in (None, "", [], {})]
    lines += [f"note: {note}" for note in record.get("notes", ())]
    return "\n".join(lines)


def _record(path: Path) -> Mapping[str, Any] | None:
    """Return the record inside a file of a probe; None where it has none."""
    readers = {".h5": _hdf5, ".csv": _csv, ".png": _png, ".html": _html}
    if path.suffix not in readers or not path.is_file():
        return None
    try:
        found = json.loads(readers[path.suffix](path) or "null")
    except (OSError, ValueError):
        return None  # whoever asks next says what is wrong with it
    return found if isinstance(found, dict) and {"method", "network", "settings", "versions"} <= set(found) else None


def _hdf5(path: Path) -> str:
    import h5py

    with h5py.File(path, "r") as file:
        return str(file.attrs.get("provenance", ""))


def _csv(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        first = file.readline()
    return first.removeprefix("# ") if first.startswith("# {") else ""


def _png(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        return str(picture.info.get("lossatlas", ""))


def _html(path: Path) -> str:
    found = _TAG.search(path.read_text(encoding="utf-8", errors="replace"))
    return found[1].replace("<\\/", "</") if found else ""
