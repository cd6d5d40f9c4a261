"""YAML as studies and configuration are written: read, merged, misspelt words explained."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lossatlas.errors import LossatlasError


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml: a tenth of the time
    """YAML 1.2 floats: PyYAML's 1.1 reads ``1e-4`` as text."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
# The float pattern also matches integers, which must stay integers: they are tried first.
for _first in "-+0123456789":
    Loader.yaml_implicit_resolvers[_first].sort(key=lambda entry: entry[0] != "tag:yaml.org,2002:int")


def read_yaml(path: Path) -> Any:
    """Read a YAML file; a missing or malformed one is a :class:`LossatlasError` that names it."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except FileNotFoundError:
        raise LossatlasError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise LossatlasError(f"{path}: not text (byte {error.start} is not UTF-8); give a YAML file") from None
    except IsADirectoryError:
        raise LossatlasError(f"{path}: a folder; give a YAML file in it") from None
    except OSError as error:
        raise LossatlasError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    except yaml.YAMLError as error:
        raise LossatlasError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def parse(text: str) -> Any:
    """Return what a text means as YAML, the text itself where it means nothing."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError:
        return text


def merge(base: Any, change: Any) -> Any:
    """Return ``base`` with ``change`` merged in: mappings key by key, anything else replaced."""
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        merged = dict(base)
        for key, value in change.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    return change


def nearest(word: str, words: list[str]) -> str:
    """Return "; did you mean 'x'?" for a misspelt word, or the list of valid ones."""
    close = difflib.get_close_matches(str(word), [str(w) for w in words], n=1)
    return f"did you mean {close[0]!r}?" if close else "valid: " + ", ".join(map(str, words))
