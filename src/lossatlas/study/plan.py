"""From studies to the graph of artefacts, figures, tables and claims. Light: the Snakefile imports it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from lossatlas.data import spec as data_sets
from lossatlas.errors import LossatlasError
from lossatlas.models import spec as models
from lossatlas.numerics import Numerics
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Reference, Spec, read, references
from lossatlas.specs.yaml import nearest
from lossatlas.study import subjects
from lossatlas.study.config import Config
from lossatlas.study.read import StudyFile

S = TypeVar("S", bound=Spec)
T = TypeVar("T")


@dataclass(frozen=True)
class Product:
    """A figure, a table or the claims of a study.

    Attributes:
        study, name: where it stands in ``results/<figures|tables>/<study>/<name>``.
        spec: what to draw or measure, plain.
        code: modules that do it.
        inputs: what -> name -> artefacts, as :class:`lossatlas.specs.registry.Inputs` takes their files.
    """

    study: str
    name: str
    spec: dict
    code: tuple[str, ...]
    inputs: dict[str, dict[str, tuple[Artefact, ...]]] = field(default_factory=dict)

    @cached_property
    def artefacts(self) -> list[Artefact]:
        """All input artefacts, each once, in order."""
        every = (made for named in self.inputs.values() for parts in named.values() for made in parts)
        return list({made.path: made for made in every}.values())

    @cached_property
    def data_sets(self) -> list[str]:
        """The data behind it in words, each once."""
        every = (part for made in self.artefacts for part in made.ancestry() if part.kind == "data")
        return list(dict.fromkeys(data_sets.in_words(part.spec) for part in every))

    def paths(self) -> dict[str, dict[str, list[str]]]:
        """Return the inputs with every artefact replaced by the path of its file."""
        return {
            what: {name: [made.path for made in parts] for name, parts in named.items()}
            for what, named in self.inputs.items()
        }


class StudyPlan:
    """The artefacts and products of one study, resolved lazily by name (:class:`lossatlas.specs.study.Study`)."""

    def __init__(self, name: str, study: StudyFile, config: Config) -> None:
        """Resolve a study; a name that nothing defines is a :class:`LossatlasError`."""
        self.name, self.study, self.config = name, study, config
        self._once: dict[tuple, Any] = {}
        self.figures = {key: self._product("figures", key, spec) for key, spec in study.figures.items()}
        self.tables = {key: self._product("tables", key, spec) for key, spec in study.tables.items()}
        self.claims = self._claims()

    @property
    def seed(self) -> int:
        """Return the master seed."""
        return self.config.seed

    @property
    def numerics(self) -> Numerics:
        """Return the numerics under which it is computed."""
        return self.config.numerics

    @property
    def variants(self) -> Mapping[str, str]:
        """Return data set -> variant that replaces the studies' choice."""
        return self.config.variants

    def error(self, where: str, message: str) -> LossatlasError:
        """Return an error that names the study, the preset and the key."""
        return LossatlasError(f"study {self.name} (preset {self.config.preset}): {where}: {message}")

    @contextmanager
    def prefixed(self, where: str) -> Iterator[None]:
        """Put study, preset and key in front of every line of an error raised inside."""
        try:
            yield
        except LossatlasError as error:
            lines = [str(self.error(where, line)) for line in str(error).splitlines()]
            raise LossatlasError("\n".join(lines)) from None

    def entry(self, section: str, name: str, want: type[S], where: str) -> S:
        """Return an entry, which must be of a kind (:meth:`lossatlas.specs.study.Study.entry`)."""
        known = self.study.sections.get(section, {})
        if name not in known:
            raise self.error(where, f"{name!r} is not one of the study's {section}; {nearest(name, list(known))}")
        found, spec = known[name]
        if not isinstance(spec, want):
            kinds = [
                repr(e.kind)
                for (part, _), e in subjects.entries().items()
                if part == section and issubclass(e.spec, want)
            ]
            wanted = kinds[0] if len(kinds) == 1 else f"one of {', '.join(kinds)}"
            raise self.error(
                where, f"{section.removesuffix('s')} {name!r} is of kind {found.kind!r}, expected {wanted}"
            )
        return spec

    def made(self, section: str, name: str, want: type[Spec], where: str) -> tuple[Artefact, ...]:
        """Return the artefacts of an entry, planned once."""
        spec = self.entry(section, name, want, where)
        plan = self.study.sections[section][name][0].plan
        return self.once((section, name), lambda: tuple(plan(self, name, spec)))

    def get(self, what: str, name: Any, where: str) -> tuple[Artefact, ...]:
        """Return the artefacts behind a reference."""
        views = subjects.views()
        if what not in views:
            raise self.error(where, f"{what!r} is not a kind of reference; {nearest(what, list(views))}")
        single = name[0] if isinstance(name, tuple) and len(name) == 1 else name
        return self.once(("view", what, single), lambda: tuple(views[what].plan(self, single, where)))

    def once(self, key: tuple, make: Callable[[], T]) -> T:
        """Return what was made under this key before, or make it."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def _inputs(self, found: Iterable[Reference], where: str) -> dict[str, dict[str, tuple[Artefact, ...]]]:
        """Return the artefacts of references: what -> name -> artefacts."""
        inputs: dict[str, dict[str, tuple[Artefact, ...]]] = {}
        for one in found:
            place = f"{where}.{one.place}" if one.place else where
            inputs.setdefault(one.what, {})["/".join(one.name)] = self.get(one.what, one.name, place)
        return inputs

    def _loaders(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(subjects.views()[what].read for what in inputs)

    def _product(self, section: str, name: str, spec: Any) -> Product:
        where = f"{section}.{name}"
        spec.check(self, where)
        inputs = self._inputs(references(spec), where)
        if "{" in f"{spec.hashed()}":
            spec = read(type(spec), self._titled(spec, where), where)
        frame = "lossatlas.draw.draw"
        return Product(self.name, name, spec.hashed(), (spec.draw, frame, *self._loaders(inputs)), inputs)

    def _titled(self, spec: Spec, where: str) -> dict[str, Any]:
        """Return a spec as a mapping in whose titles the words of :data:`WORDS` are what its own references lead to."""

        def filled(value: Any, place: str) -> Any:
            if isinstance(value, Spec):
                return self._titled(value, place)
            if isinstance(value, list):
                return [filled(item, f"{place}[{i}]") for i, item in enumerate(value)]
            return value

        found = spec.hashed()
        for name, field_ in type(spec).model_fields.items():
            key = field_.alias or name
            value = getattr(spec, name)
            if isinstance(value, Spec | list):
                found[key] = filled(value, f"{where}.{key}") if key in found else value
            elif isinstance(value, str) and key in ("title", "caption"):
                for word, title in WORDS.items():
                    if word in value:
                        value = value.replace(word, self._behind(spec, word, title, f"{where}.{key}"))
                found[key] = value
        return found

    def _behind(self, spec: Spec, word: str, title: Callable[[Artefact], str | None], where: str) -> str:
        """Return the one title of what lies behind a spec's references."""
        inputs = self._inputs(references(spec), where)
        parts = (made for named in inputs.values() for many in named.values() for made in many)
        titles = {found for made in parts for part in made.ancestry() if (found := title(part)) is not None}
        if len(titles) != 1:
            raise self.error(where, f"{word}: there are {len(titles)} of them behind it; write the title out")
        return titles.pop()

    def _claims(self) -> Product:
        specs, found, code = [], [], ["lossatlas.claims.evaluate"]
        for judged in self.study.claims:
            where = f"claims.{judged.claim.id}"
            for measure in (judged.measure, *(spec for _, spec in judged.premises)):
                measure.check(self, where)
                code.append(measure.run)
                found += [Reference(one.what, one.name, f"{where}.inputs.{one.place}") for one in references(measure)]
            specs.append(judged.claim.hashed())
        inputs = self._inputs(found, "")
        code += self._loaders(inputs)
        spec = {"claims": specs, "statements": [one.hashed() for one in self.study.statements]}
        return Product(self.name, "claims", spec, tuple(dict.fromkeys(code)), inputs)


def _data_title(made: Artefact) -> str | None:
    if made.kind != "data":
        return None
    entry = data_sets.describe(made.spec["name"])
    return str(entry.get("short", entry["title"]))


def _model_title(made: Artefact) -> str | None:
    return models.title(made.spec["model"], made.label) if "model" in made.spec else None


def _examples_title(made: Artefact) -> str | None:
    """Return how many training examples there are, and how large images are where they are made smaller."""
    if made.kind != "data":
        return None
    train, size = made.spec.get("train"), made.spec.get("size")
    count = "all training examples" if train is None else f"{train:,} training examples"
    return count if size is None else f"{count} of {size} pixels"


WORDS: dict[str, Callable[[Artefact], str | None]] = {
    "{data}": _data_title,
    "{model}": _model_title,
    "{examples}": _examples_title,
}
"""Words of titles and captions, and what stands in their place."""


class Plan:
    """Everything a configuration asks for."""

    def __init__(self, config: Config) -> None:
        """Resolve all studies."""
        self.config = config
        self.studies = {name: StudyPlan(name, study, config) for name, study in config.studies.items()}
        self.artefacts: dict[tuple[str, str], Artefact] = {}
        for product in self.products():
            for made in product.artefacts:
                for part in made.ancestry():
                    known = self.artefacts.setdefault((part.kind, part.id), part)
                    if known.fingerprint != part.fingerprint:
                        raise LossatlasError(
                            f"results/{part.kind}/{part.id}: two artefacts of one name and different specs (ten digits "
                            f"of {known.fingerprint} and {part.fingerprint}); change a seed of one of them"
                        )

    def products(self) -> list[Product]:
        """Return all figures, tables and claims."""
        found = []
        for study in self.studies.values():
            found += [*study.figures.values(), *study.tables.values(), study.claims]
        return found

    def of_kind(self, kind: str) -> list[Artefact]:
        """Return all artefacts of a kind."""
        return [made for (found, _), made in self.artefacts.items() if found == kind]

    def artefact(self, kind: str, id: str) -> Artefact:
        """Return an artefact by its folder name; one no study asks for is a :class:`LossatlasError`."""
        if (kind, id) not in self.artefacts:
            raise LossatlasError(
                f"results/{kind}/{id}: no study of this configuration (preset {self.config.preset}) asks for it; "
                "see results/index.csv for what there is"
            )
        return self.artefacts[kind, id]

    def product(self, section: str, study: str, name: str) -> Product:
        """Return a figure, table or claims product; an unknown name is a :class:`LossatlasError` that lists them."""
        if study not in self.studies:
            raise LossatlasError(
                f"{study!r}: no such study in this configuration; {nearest(study, list(self.studies))}"
            )
        entries = getattr(self.studies[study], section)
        if name not in entries:
            raise LossatlasError(f"{study}: {name!r} is not one of its {section}; {nearest(name, list(entries))}")
        return entries[name]
