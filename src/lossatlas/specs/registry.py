"""What a subject declares: kinds of artefacts (`Step`), keys of a study (`Entry`), and what can be read (`View`).

One object each, in the subject's ``spec.py``; rules, resources, the SLURM profile, DVC stages, loaders, JSON schema and
reference follow from them or are compared with them. Light: no numerical library is imported here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.numerics import Numerics
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Spec
from lossatlas.specs.study import Study


@dataclass(frozen=True)
class Work:
    """What a job computes, from which :mod:`lossatlas.workflow.resources` sizes its request.

    Attributes:
        parameters: D, weights of a point.
        rows: points recorded, or evaluated.
        layers: of the network.
        steps: that launch kernels one after the other.
        flops: of all passes through networks.
        train, test: examples.
        bytes: of one example as stored.
        vectors: of D numbers in float32 that a job on networks keeps beside its usual eight.
        memory: bytes of matrices, for jobs without networks.
        seconds: of reading and arithmetic, for jobs without networks.
        minutes: asked for in any case.
    """

    parameters: int = 0
    rows: int = 0
    layers: int = 0
    steps: float = 0
    flops: float = 0.0
    train: int = 0
    test: int = 0
    bytes: int = 0
    vectors: float = 0.0
    memory: float = 0.0
    seconds: float = 0.0
    minutes: int = 30


def light(made: Artefact) -> Work:
    """Return the work of a job that asks for no more than any Python does."""
    return Work()


@dataclass(frozen=True, eq=False)
class Step:
    """A kind of artefact, and the rule that makes it.

    Attributes:
        kind: folder below ``results/``.
        rule: name of its Snakemake rule.
        file: of the artefact.
        run: ``module:function`` that makes it from a :class:`Job`.
        spec: what names it.
        roles: of its inputs.
        version: of its code; raised when the same spec gives other results: paths change, old artefacts stay.
        gpu: whether it computes on networks, so that a cluster gives it a GPU.
        array: whether its jobs go to SLURM as arrays.
        stored: whether DVC keeps it: what figures read is, what is large and read by none is not.
        linked: whether its file refers to its inputs' files, which reading it then takes too.
        exact: whether it has the same bits on every machine, so that numerics do not name it.
        work: what a job computes.
    """

    kind: str
    rule: str
    file: str
    run: str
    spec: type[Spec]
    roles: tuple[str, ...] = ()
    version: int = 1
    gpu: bool = False
    array: bool = False
    stored: bool = True
    linked: bool = False
    exact: bool = False
    work: Callable[[Artefact], Work] = light

    def make(
        self,
        label: str,
        spec: Spec | Mapping[str, Any],
        numerics: Numerics | None = None,
        /,
        **inputs: Artefact | Sequence[Artefact],
    ) -> Artefact:
        """Return an artefact of this kind.

        Args:
            label: what a person reads in its path.
            spec: resolved parameters; a mapping is checked as the step's spec.
            numerics: of what is made from nothing; anything else has those of what it is made from.
            **inputs: role -> what it is made from.
        """
        unknown = set(inputs) - set(self.roles)
        if unknown:
            raise ValueError(f"{self.kind}: no role {min(unknown)!r}; its roles: {', '.join(self.roles)}")
        named = spec if isinstance(spec, Spec) else self.spec.model_validate(spec)
        made = {role: (one,) if isinstance(one, Artefact) else tuple(one) for role, one in inputs.items()}
        known = {one.numerics for parts in made.values() for one in parts} | ({numerics} if numerics else set())
        if len(known) != 1:
            raise ValueError(f"{self.kind} {label}: numerics of its inputs and its own: {sorted(known)}; give one")
        return Artefact(
            self.kind,
            label,
            named.hashed(),
            made,
            numerics=known.pop(),
            version=self.version,
            file=self.file,
            run=self.run,
            linked=self.linked,
            exact=self.exact,
        )


@dataclass(frozen=True, eq=False)
class Entry:
    """One YAML key: an entry of a section of a study.

    Attributes:
        section: of the study, such as ``probes``.
        kind: the key inside an entry that says which it is; "" for a section of one kind.
        spec: what stands below it.
        plan: study, name, spec -> its artefacts.
    """

    section: str
    kind: str
    spec: type[Spec]
    plan: Callable[[Study, str, Any], Sequence[Artefact]]


@dataclass(frozen=True, eq=False)
class View:
    """What a figure, a claim or another entry may name, and how its files are read.

    Attributes:
        what: the word in references.
        plan: study, name (a tuple of them for an embedding), place -> artefacts.
        read: ``module:function`` that loads one file; of all files at once where ``whole``.
        whole: see ``read``.
    """

    what: str
    plan: Callable[[Study, Any, str], Sequence[Artefact]]
    read: str = ""
    whole: bool = False


def of(section: str, spec: type[Spec]) -> Callable[[Study, Any, str], Sequence[Artefact]]:
    """Return the plan of a view of a section's own entries."""

    def plan(study: Study, name: Any, where: str) -> Sequence[Artefact]:
        return study.made(section, name, spec, where)

    return plan


@dataclass(frozen=True)
class Job:
    """One job, with or without Snakemake.

    Attributes:
        spec: of the artefact.
        inputs: role -> files.
        output: the artefact's file.
        state: folder of the unfinished job; removed at its end.
        provenance: written into the output.
        root: the repository, for bundled files.
    """

    spec: Mapping[str, Any]
    inputs: Mapping[str, tuple[Path, ...]]
    output: Path
    state: Path
    provenance: Mapping[str, Any] = field(default_factory=dict)
    root: Path = Path()

    def file(self, role: str) -> Path:
        """Return the one file of a role."""
        (path,) = self.inputs[role]
        return path

    def maybe(self, role: str) -> Path | None:
        """Return the one file of a role, None where the artefact has none."""
        return next(iter(self.inputs.get(role, ())), None)

    def files(self, role: str) -> list[Path]:
        """Return the files of a role, in order."""
        return list(self.inputs.get(role, ()))


def resolve(name: str) -> Any:
    """Return what ``package.module:attribute`` names."""
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


class Inputs:
    """What a figure or a measure reads: files by what they are and how the study names them, each loaded once."""

    def __init__(
        self, files: Mapping[str, Mapping[str, Sequence[Any]]], views: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Take files and how they are loaded.

        Args:
            files: what -> name (several joined by ``/``) -> paths.
            views: what -> {``read``, ``whole``} of its :class:`View`.
        """
        self._files, self._views = files, views
        self._loaded: dict[tuple[str, str], list[Any]] = {}

    def files(self) -> list[Path]:
        """Return all files, each once."""
        every = (path for named in self._files.values() for paths in named.values() for path in paths)
        return [Path(path) for path in dict.fromkeys(every)]

    def paths(self, what: str, *name: str) -> list[Path]:
        """Return the files of something the study names."""
        try:
            return [Path(path) for path in self._files[what]["/".join(name)]]
        except KeyError:
            raise LossatlasError(f"no file of {what} {'/'.join(name)!r} was given: a fault of the workflow") from None

    def all(self, what: str, *name: str) -> list[Any]:
        """Return what its files hold, one object a file (or one in all, for a whole view)."""
        known = (what, "/".join(name))
        if known not in self._loaded:
            view, paths = self._views[what], self.paths(what, *name)
            load = resolve(view["read"])
            self._loaded[known] = [load(paths)] if view.get("whole") else [load(path) for path in paths]
        return self._loaded[known]

    def one(self, what: str, *name: str) -> Any:
        """Return what its one file holds."""
        (found,) = self.all(what, *name)
        return found

    def given(self, references: Sequence[Any]) -> list[Any]:
        """Return what the references of a claim's input hold, one after the other."""
        return [found for one in references for found in self.all(one.what, *one.name)]
