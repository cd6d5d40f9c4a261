"""Artefacts and the hash that names them: a digest of everything the artefact depends on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lossatlas.numerics import Numerics


def canonical(value: Any) -> Any:
    """Return a JSON value in one canonical form: 1.0 and 1 are the same number, mappings have sorted text keys."""
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def digest(value: Any) -> str:
    """Return the SHA-256 hex digest of a JSON value's canonical form."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Described(dict):
    """The parameter of a cheap rule: what a script needs, shown (and compared by Snakemake) as a name and a digest.

    Snakemake tells a changed parameter by its ``repr`` and prints it; the whole mapping would fill the screen. Heavy
    rules take the :class:`Artefact` itself, of which Snakemake keeps no record: its path says all that can change.
    """

    def __init__(self, name: str, content: Mapping) -> None:
        """Take a mapping and the name to show it by."""
        super().__init__(content)
        self.name = name

    def __repr__(self) -> str:
        return f"{self.name} ({digest(dict(self))[:10]})"

    def __reduce__(self) -> tuple:
        return Described, (self.name, dict(self))


@dataclass(frozen=True, eq=False)
class Artefact:
    """One thing the workflow makes, and what it is made from.

    Attributes:
        kind: folder below ``results/``.
        label: what a person reads in its path; it is part of the spec, not of the study that asks for it.
        spec: resolved parameters, without those of its inputs.
        inputs: role -> artefacts it is made from, in order.
        numerics: under which it and all it is made from are computed (:mod:`lossatlas.numerics`).
        version, file, run, linked, exact: of its :class:`lossatlas.specs.registry.Step`, which makes it.
    """

    kind: str
    label: str
    spec: dict
    inputs: dict[str, tuple["Artefact", ...]] = field(default_factory=dict)
    numerics: Numerics = field(kw_only=True)
    version: int = field(kw_only=True)
    file: str = field(kw_only=True)
    run: str = field(kw_only=True)
    linked: bool = field(default=False, kw_only=True)
    exact: bool = field(default=False, kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its kind, code version, spec, inputs' hashes and numerics: all it depends on."""
        parts = {
            "kind": self.kind,
            "version": self.version,
            "spec": self.spec,
            "inputs": self.input_hashes(),
        }
        if not self.exact:
            parts["numerics"] = self.numerics
        return digest(parts)

    @property
    def hash(self) -> str:
        """The first ten hex digits of its fingerprint, which name it."""
        return self.fingerprint[:10]

    def input_hashes(self) -> dict[str, list[str]]:
        """Return role -> hashes of the inputs."""
        return {role: [made.hash for made in inputs] for role, inputs in self.inputs.items()}

    @property
    def id(self) -> str:
        """Return the name of its folder, label-hash."""
        return f"{self.label}-{self.hash}"

    @cached_property
    def path(self) -> str:
        """The path of its file relative to the working directory."""
        return str(Path("results") / self.kind / self.id / self.file)

    def paths(self, role: str) -> list[str]:
        """Return the files of one role's inputs."""
        return [made.path for made in self.inputs.get(role, ())]

    def files(self) -> list[str]:
        """Return every file that reading it takes: its own, and those it refers to."""
        sources = [path for role in self.inputs for path in self.paths(role)] if self.linked else []
        return [self.path, *sources]

    def describe(self) -> dict:
        """Return what provenance and the index keep of it."""
        return {
            "kind": self.kind,
            "label": self.label,
            "hash": self.hash,
            "version": self.version,
            **({} if self.exact else {"numerics": self.numerics}),
            "spec": self.spec,
            "inputs": self.input_hashes(),
        }

    def ancestry(self) -> tuple["Artefact", ...]:
        """Return everything it is made from, each once and after all that it is made from, then itself."""
        return self._ancestry

    @cached_property
    def _ancestry(self) -> tuple["Artefact", ...]:
        direct = (made for inputs in self.inputs.values() for made in inputs)
        return (*{part.path: part for made in direct for part in made.ancestry()}.values(), self)
