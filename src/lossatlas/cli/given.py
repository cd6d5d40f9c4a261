"""What the words of a command line name: data, and values with their ranges."""

from pathlib import Path
from typing import Any

from lossatlas.errors import LossatlasError

PAIRS = (("x", "y"), ("x_train", "y_train"))
"""Names of inputs and targets in a file: of a user, and of a study's own data (`lossatlas.data.own`)."""

EXPECTED = "expected a .pt or .npz file with x and y, or module:name of data or of a function that returns it"


def data(text: str) -> Any:
    """Return data that ``--data`` names, as :func:`lossatlas.load` takes it.

    Args:
        text: a ``.pt`` or ``.pth`` file (``torch.save`` of ``(x, y)`` or of a dict with x and y; read with
            ``weights_only``), an ``.npz`` file (``x``, ``y`` or ``x_train``, ``y_train``), or ``module:name`` of a
            ``DataLoader``, a ``Dataset``, a pair, or a function without arguments that returns one, imported from the
            working directory.

    Raises:
        LossatlasError: there is no such file or name, or it holds something else.
    """
    path = Path(text).expanduser()
    if path.suffix in (".pt", ".pth"):
        return _pair(_pickled(_there(path)), path)
    if path.suffix == ".npz":
        return _pair(_archive(_there(path)), path)
    if ":" in text:
        return _named(text)
    raise LossatlasError(f"--data: got {text!r}; {EXPECTED}")


def _there(path: Path) -> Path:
    if not path.is_file():
        raise LossatlasError(f"--data: {path}: no such file; {EXPECTED}")
    return path


def _pickled(path: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LossatlasError(
            f"--data: {path}: not readable as tensors ({first}); save torch.save((x, y), file), or name a function "
            "that returns the data, module:name"
        ) from None


def _archive(path: Path) -> dict[str, Any]:
    import zipfile

    import numpy as np

    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise LossatlasError(f"--data: {path}: not readable as .npz ({error}); save np.savez(file, x=x, y=y)") from None


def _pair(found: Any, path: Path) -> Any:
    """Return (inputs, targets) of what a file holds; a dict of several inputs as it is."""
    if isinstance(found, dict):
        for x, y in PAIRS:
            if {x, y} <= set(found):
                return found[x], found[y]
        return found
    if isinstance(found, tuple | list) and len(found) == 2:
        return tuple(found)
    raise LossatlasError(f"--data: {path}: holds {type(found).__name__}; expected (x, y) or a dict with x and y")


def _named(text: str) -> Any:
    from lossatlas.own.data import Examples
    from lossatlas.own.model import imported

    found = imported(text, "--data", "mynet:loader")
    is_data = isinstance(found, Examples) or hasattr(found, "__iter__") or hasattr(found, "__len__")
    try:
        return found() if isinstance(found, type) or (callable(found) and not is_data) else found
    except Exception as error:  # a user's function may raise anything
        line = " ".join(str(error).split())[:200]
        raise LossatlasError(f"--data: {text!r} raised {type(error).__name__}: {line}; {EXPECTED}") from error


def numbers(text: str | None, option: str) -> Any:
    """Return one number, two, or ``low:high`` pairs, from ``1``, ``1,0.5`` or ``-1:2,-1:1``; None stays None."""
    if text is None:
        return None
    try:
        parts = [
            tuple(float(end) for end in part.split(":")) if ":" in part else float(part) for part in text.split(",")
        ]
    except ValueError:
        raise LossatlasError(f"{option}: got {text!r}; expected a number, two with a comma, or low:high") from None
    return parts[0] if len(parts) == 1 and not isinstance(parts[0], tuple) else tuple(parts)
