"""Files of weights that a study names: which they are, in which order, and their bytes. Light: opens none as weights.

:mod:`lossatlas.models.checkpoints` reads what is in them.
"""

import glob
import hashlib
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from lossatlas.errors import LossatlasError

PICKLED = (".pt", ".pth", ".ckpt", ".bin")
"""Endings of what ``torch.save`` wrote."""

TENSORS = ".safetensors"
INDEX = ".index.json"
"""Ending of the file that says which tensor lies in which shard."""

EVERY = (*PICKLED, TENSORS, INDEX)

WHOLE = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""What transformers libraries call the weights in a folder of one network; the first that is there is taken."""


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file's name, or what lies in a folder, says that it holds the weights of one network."""
    if path.is_dir():
        return any((path / name).is_file() for name in WHOLE)
    return path.name.endswith(EVERY)


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Return what sorts paths as a person counts: ``epoch_2`` before ``epoch_10``."""
    pieces = re.findall(r"\d+|\D+", str(path))
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)


def checkpoints(named: str | Path | Iterable[str | Path]) -> list[Path]:
    """Return the checkpoints that a folder, a pattern such as ``run/epoch_*.pt`` or a list of files names.

    Those of a folder or a pattern are in natural order, those of a list as they stand there. In a folder, a subfolder
    of one network counts as one, and the shards that an index names do not count beside it.

    Raises:
        LossatlasError: there are none.
    """
    if not isinstance(named, str | Path):
        return [path for one in named for path in checkpoints(one)]
    path = Path(named).expanduser()
    if path.is_dir() and not is_checkpoint(path):
        found = [one for one in path.iterdir() if is_checkpoint(one) and not one.name.startswith(".")]
        shards = {shard for one in found if one.name.endswith(INDEX) for shard in files(one)[1:]}
        found = sorted((one for one in found if one not in shards), key=natural)
        if not found:
            raise LossatlasError(f"{path}: a folder without checkpoints; they end in {', '.join(EVERY)}")
        return found
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted((Path(one) for one in glob.glob(str(path)) if is_checkpoint(Path(one))), key=natural)
        if not found:
            raise LossatlasError(f"{path}: no checkpoint fits this pattern; they end in {', '.join(EVERY)}")
        return found
    files(path)
    return [path]


def files(path: Path) -> list[Path]:
    """Return the files that one checkpoint consists of: itself; of an index it and its shards, in natural order.

    Raises:
        LossatlasError: it is missing, is no checkpoint by its name, or its index or one of the shards is not right.
    """
    if path.is_dir():
        whole = [path / name for name in WHOLE if (path / name).is_file()]
        if not whole:
            raise LossatlasError(f"{path}: a folder; give a file in it, or one of {', '.join(WHOLE)} there")
        return files(whole[0])
    if not path.is_file():
        raise LossatlasError(f"{path}: no such file; give the checkpoint's path relative to the working directory")
    if not path.name.endswith(EVERY):
        raise LossatlasError(f"{path}: not a checkpoint by its name; expected one of {', '.join(EVERY)}")
    if not path.name.endswith(INDEX):
        return [path]
    try:
        named = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise LossatlasError(f"{path}: not an index of shards; expected JSON with `weight_map`: name -> file") from None
    shards = sorted((path.parent / str(name) for name in named), key=natural)
    if lacking := [shard for shard in shards if not shard.is_file()]:
        raise LossatlasError(f"{lacking[0]}: no such file; {path.name} names it ({len(lacking)} of {len(shards)} lack)")
    return [path, *shards]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a checkpoint: of a single file its bytes, else over the names and digests of its files.

    Raises:
        LossatlasError: as :func:`files`.
    """
    found = files(path)
    try:
        digests = [_digest(file) for file in found]
    except OSError as error:
        raise LossatlasError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions") from error
    if len(found) == 1:
        return digests[0]
    total = hashlib.sha256()
    for file, digest in zip(found, digests, strict=True):
        total.update(f"{file.name}\0{digest}\n".encode())
    return total.hexdigest()


def checked(path: Path, given: str | None) -> str:
    """Return :func:`sha256`, which must be the one given, if any.

    Raises:
        LossatlasError: it is another, or as :func:`files`.
    """
    found = sha256(path)
    if given not in (None, found):
        raise LossatlasError(
            f"{path}: its SHA-256 is {found}, not {given}: the file is another one; if it was replaced after planning, "
            "run the same command again; if the study says so, correct `sha256` there"
        )
    return found


def _digest(file: Path) -> str:
    about = file.stat()
    return _digest_of(file.absolute(), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _digest_of(file: Path, changed: int, size: int) -> str:
    """Return the SHA-256 of a file's bytes; once for a plan, which asks again and again."""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
