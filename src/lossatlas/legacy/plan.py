"""From validated studies to the graph of artefacts, figures, tables and claims; imports no torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from lossatlas.data import spec as data_sets
from lossatlas.errors import LossatlasError
from lossatlas.legacy import claims, embed, figures, models, probes
from lossatlas.legacy import minima as plan_minima
from lossatlas.legacy import path as plan_path
from lossatlas.legacy import sets as plan_sets
from lossatlas.legacy import slices as plan_slices
from lossatlas.legacy.recipe import resolve, resolve_retraining
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import merge, nearest
from lossatlas.study.config import Config
from lossatlas.train.seeds import drawing_seeds, training_seeds

RECORD = {"epochs": "last", "fine_epochs": 0, "per_epoch": 1}
JUMP = {
    "seeds": [0, 1, 2, 3, 4],
    "steps": [0.25, 0.5, 0.75, 1.0],
    "normalise": "filter",
    "batch_norm": "recompute",
    "retrain": {},
    "grain": 4,
}
TREE: dict[str, Any] = {"seed": 0, "length": None}
SCORES: dict[str, Any] = {"metrics": ["euclidean"], "seeds": [0], "demap_k": 30, "trust_k": 5, "truth": None}
"""``demap_k`` 30 is the default of the authors' own DEMaP, ``trust_k`` 5 that of scikit-learn."""
DATA: dict[str, Any] = {"variant": None, "train": None, "test": None, "size": None, "seed": 0, "options": {}}


@dataclass(frozen=True)
class Product:
    """A figure, a table or the claims of a study.

    Attributes:
        study, name: where it stands in ``results/<figures|tables>/<study>/<name>``.
        spec: what to draw or measure.
        inputs: role -> artefact, list of artefacts, or mapping to them, as the figure kind defines.
    """

    study: str
    name: str
    spec: dict
    inputs: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def artefacts(self) -> list[Artefact]:
        """All input artefacts, each once, in order."""
        return list({made.path: made for made in _leaves(self.inputs)}.values())

    def paths(self) -> dict[str, Any]:
        """Return the inputs with every artefact replaced by the path of its file."""
        return _map_leaves(self.inputs, lambda made: made.path)


def _leaves(value: Any) -> Iterable[Artefact]:
    if isinstance(value, Artefact):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    else:
        for item in value:
            yield from _leaves(item)


def _map_leaves(value: Any, change: Callable[[Artefact], Any]) -> Any:
    if isinstance(value, Artefact):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_leaves(item, change) for key, item in value.items()}
    return [_map_leaves(item, change) for item in value]


class StudyPlan:
    """The artefacts and products of one study, resolved lazily by name."""

    def __init__(self, name: str, study: Mapping, config: Config) -> None:
        """Resolve a validated study; a name that nothing defines is a :class:`LossatlasError`."""
        self.name, self.study, self.config = name, study, config
        self._runs: dict[tuple[str, int], Artefact] = {}
        self._clouds: dict[str, Artefact] = {}
        self.figures = {key: self._product(key, spec) for key, spec in study.get("figures", {}).items()}
        self.tables = {key: self._product(key, spec) for key, spec in study.get("tables", {}).items()}
        self.claims = self._claims(study.get("claims", []))

    def error(self, key: str, message: str) -> LossatlasError:
        """Return an error that names the study, the preset and the key."""
        return LossatlasError(f"study {self.name} (preset {self.config.preset}): {key}: {message}")

    @contextmanager
    def prefixed(self, key: str) -> Iterator[None]:
        """Put study, preset and key in front of every line of an error raised inside."""
        try:
            yield
        except LossatlasError as error:
            lines = [str(self.error(key, line)) for line in str(error).splitlines()]
            raise LossatlasError("\n".join(lines)) from None

    def _entry(self, section: str, name: str, key: str) -> Any:
        entries = self.study.get(section, {})
        if name not in entries:
            raise self.error(key, f"{name!r} is not one of the study's {section}; {nearest(name, list(entries))}")
        return entries[name]

    def run_spec(self, name: str, key: str) -> dict:
        """Return a run with the study's defaults merged under it and every default filled in."""
        run = merge(self.study.get("defaults", {}), self._entry("runs", name, key))
        for part in ("data", "model"):
            if part not in run:
                raise self.error(f"runs.{name}.{part}", "missing, and not in defaults either")
        with self.prefixed(f"runs.{name}"):
            model = models.resolve(run["model"])
            recipe = resolve(run.get("recipe", {}))
        found = {
            "data": {**DATA, **run["data"]},
            "labels": run.get("labels", "given"),
            "model": model,
            "recipe": recipe,
            "replicas": run.get("replicas", [0]),
            "record": {**RECORD, **run.get("record", {})},
            "resample": run.get("resample"),
            "scale": run.get("scale", "standard"),
        }
        with self.prefixed(f"runs.{name}"):
            probes.check_drawing(found)
        return found

    def data(self, spec: Mapping, key: str) -> Artefact:
        """Return the artefact of prepared data."""
        with self.prefixed(key):
            name = spec["name"]
            variant = data_sets.variant_of(name, self.config.variants.get(name, spec["variant"]))
            options = data_sets.resolve_options(name, spec["options"])
            checksum = data_sets.source_checksum(name, variant, options)
        seed = derive(self.config.seed, "data", spec["seed"])
        spec = {**spec, "variant": variant, "options": options, "checksum": checksum, "seed": seed}
        return Artefact("data", f"{spec['name']}-{spec['variant']}", spec)

    def run(self, name: str, replica: int | None, key: str) -> Artefact:
        """Return one replica (the first by default) of a run."""
        spec = self.run_spec(name, key)
        replica = spec["replicas"][0] if replica is None else replica
        if replica not in spec["replicas"]:
            raise self.error(key, f"run {name!r} has no replica {replica}; {nearest(str(replica), spec['replicas'])}")
        if (name, replica) not in self._runs:
            data = self.data(spec["data"], f"runs.{name}.data")
            label = f"{model_label(spec['model'])}-{spec['data']['name']}"
            resolved = {part: spec[part] for part in ("labels", "model", "recipe", "record")}
            resolved |= {"label": label, "seeds": training_seeds(self.config.seed, replica)}
            if spec["resample"] is not None:
                resolved["resample"] = spec["resample"]
                resolved["seeds"] |= drawing_seeds(self.config.seed, replica)
            if spec["scale"] != "standard":
                resolved["scale"] = spec["scale"]
            if "poison" in spec["recipe"]:
                resolved["poison"] = self.poison(spec, f"runs.{name}")
                resolved["seeds"]["poison"] = derive(self.config.seed, "poison", replica)
            self._runs[name, replica] = Artefact("runs", label, resolved, {"data": (data,)})
        return self._runs[name, replica]

    def poison(self, run: Mapping, key: str) -> dict:
        """Return D_d of a run's poisoned objective, as :func:`lossatlas.train.examples.make_examples` takes it."""
        with self.prefixed(f"{key}.recipe.poison"):
            return probes.poison(run)

    def runs(self, name: str, key: str) -> list[Artefact]:
        """Return all replicas of a run."""
        return [self.run(name, replica, key) for replica in self.run_spec(name, key)["replicas"]]

    def cloud(self, name: str, key: str) -> Artefact:
        """Return the points of a cloud: gathered ones (kind ``clouds``) or artificial ones (``synthetic``)."""
        if name not in self._clouds:
            entry = self._entry("clouds", name, key)
            make: dict[str, Callable[[str, Mapping], Artefact]] = {
                "jump": self._jump_cloud,
                "paths": self._path_cloud,
                "traversals": partial(probes.traversals, self),
                "best": partial(plan_sets.best, self),
                "union": partial(plan_sets.union, self),
                "imported": partial(plan_sets.imported, self),
                "ends": partial(probes.ends, self),
                "tree": self._tree,
            }
            ((kind, settings),) = entry.items()
            self._clouds[name] = make[kind](name, settings)
        return self._clouds[name]

    def _jump_cloud(self, name: str, entry: Mapping) -> Artefact:
        jump = {**JUMP, **entry}
        key = f"clouds.{name}.jump"
        run = self.run(jump["run"], jump.get("replica"), f"{key}.run")
        shared = ("label", "labels", "model", "seeds", "resample", "scale", "poison")
        spec = {part: run.spec[part] for part in shared if part in run.spec}
        with self.prefixed(f"{key}.retrain"):
            spec["recipe"] = resolve_retraining(run.spec["recipe"], jump["retrain"])
        spec |= {"master": self.config.seed, "normalise": jump["normalise"], "batch_norm": jump["batch_norm"]}
        jumps = [[seed, step] for seed in jump["seeds"] for step in jump["steps"]]
        parts = [
            Artefact(
                "retrains",
                run.label,
                {**spec, "jumps": jumps[start : start + jump["grain"]]},
                {"data": run.inputs["data"], "run": (run,)},
            )
            for start in range(0, len(jumps), jump["grain"])
        ]
        return Artefact("clouds", f"jumps-{run.label}", {"rows": "last"}, {"run": (run,), "points": tuple(parts)})

    def _path_cloud(self, name: str, entry: Mapping) -> Artefact:
        key = f"clouds.{name}.paths.runs"
        names, runs = [], []
        for run in entry["runs"]:
            for replica in entry.get("replicas", self.run_spec(run, key)["replicas"]):
                names.append([run, replica])
                runs.append(self.run(run, replica, key))
        return Artefact("clouds", f"paths-{runs[0].label}", {"names": names}, {"points": tuple(runs)})

    def _tree(self, name: str, entry: Mapping) -> Artefact:
        tree = {**TREE, **entry}
        seed = derive(self.config.seed, "tree", tree["seed"])
        return Artefact(
            "synthetic", f"tree-{tree['branches']}x{tree['points']}", {"kind": "tree", **tree, "seed": seed}
        )

    def gram(self, cloud: str, key: str) -> Artefact:
        """Return the Gram matrix of a cloud."""
        made = self.cloud(cloud, key)
        return Artefact("grams", made.label, {}, {"cloud": (made,)})

    def embedding(self, cloud: str, name: str, key: str) -> Artefact:
        """Return an embedding of a cloud under named settings."""
        entry = dict(self._entry("embeddings", name, key))
        seed = derive(self.config.seed, "embedding", entry.pop("seed", 0))
        with self.prefixed(f"embeddings.{name}"):
            spec = {**embed.check(entry), "seed": seed}
        return Artefact("embeddings", f"{spec['method']}-{spec['metric']}", spec, {"gram": (self.gram(cloud, key),)})

    def scores(self, name: str, key: str) -> dict[str, Any]:
        """Return the scores to report and those on which settings are chosen: {``report``, ``select``}.

        The artefact of an entry holds every setting on its own cloud; choosing is left to those who read them.
        """
        entry = self._entry("scores", name, key)
        made = self._scores(name)
        chosen = [
            (other, self._entry("scores", other, f"scores.{name}.select_on")) for other in entry.get("select_on", [])
        ]
        for other, theirs in chosen:
            where = f"scores.{name}.select_on"
            if theirs["cloud"] == entry["cloud"]:
                raise self.error(where, f"{other!r} scores the same cloud; settings are chosen on another one")
            if self._scores(other).spec["settings"] != made.spec["settings"]:
                raise self.error(where, f"{other!r} has other methods or metrics; give both entries the same")
        return {"report": made, "select": [self._scores(other) for other, _ in chosen]}

    def _scores(self, name: str) -> Artefact:
        key = f"scores.{name}"
        entry = {**SCORES, **self._entry("scores", name, "scores")}
        with self.prefixed(key):
            settings = embed.settings(entry["methods"], entry["metrics"])
        spec = {part: entry[part] for part in ("demap_k", "trust_k")}
        spec["settings"] = settings
        spec["seeds"] = [[seed, derive(self.config.seed, "embedding", seed)] for seed in entry["seeds"]]
        gram = self.gram(entry["cloud"], f"{key}.cloud")
        inputs: dict[str, tuple[Artefact, ...]] = {"gram": (gram,)}
        if entry["truth"] is not None:
            inputs["truth"] = (self.gram(entry["truth"], f"{key}.truth"),)
        return Artefact("scores", gram.label, spec, inputs)

    def surface(self, name: str, key: str) -> Artefact:
        """Return a probe of the losses on a plane."""
        return probes.surface(self, name, key)

    def average(self, name: str, key: str) -> Artefact:
        """Return a probe of the losses at an average of weight vectors."""
        return probes.average(self, name, key)

    def paths(self, name: str, key: str) -> list[Artefact]:
        """Return the parts of a path probe."""
        return plan_path.paths(self, name, key)

    def kernels(self, name: str, key: str) -> Artefact:
        """Return a probe of how kernel PCA separates two sets of points."""
        return plan_path.kernels(self, name, key)

    def triangle(self, name: str, key: str) -> Artefact:
        """Return a probe of the losses on the plane through three points of a cloud."""
        return plan_sets.triangle(self, name, key)

    def volume(self, name: str, key: str) -> list[Artefact]:
        """Return a probe of basins around minima."""
        return plan_minima.volume(self, name, key)

    def slices(self, name: str, key: str) -> list[Artefact]:
        """Return a probe of the losses on planes through minima."""
        return plan_minima.slices(self, name, key)

    def boundaries(self, name: str, key: str) -> list[Artefact]:
        """Return a probe of decisions on the input plane."""
        return plan_minima.boundaries(self, name, key)

    def grid(self, name: str, key: str) -> Artefact:
        """Return a probe of losses or curvature on a slice: line, plane or curvature."""
        return plan_slices.grid(self, name, key)

    def descent(self, name: str, key: str) -> Artefact:
        """Return the angles between steps and gradients of the path that spans a plane."""
        return plan_slices.descent(self, name, key)

    def grids(self, name: str, key: str) -> list[Artefact]:
        """Return such a probe at every replica of its run."""
        return plan_slices.grids(self, name, key)

    def path_gram(self, name: str, key: str) -> Artefact:
        """Return the Gram matrix of the recorded points of a run's first replica."""
        return plan_slices.path_gram(self, name, self.run(name, None, key), key)

    def _product(self, name: str, spec: Mapping) -> Product:
        with self.prefixed(name):
            resolved = figures.resolve(spec)
        for i, panel in enumerate(resolved.get("panels", [])):
            place = f"{name}.panels[{i}].title"
            panel["title"] = panel["title"].replace("{data}", self._data_title(panel, place))
            if "{model}" in panel["title"]:
                panel["title"] = panel["title"].replace("{model}", plan_slices.model_title(self, panel["plane"], place))
        made = Product(self.name, name, resolved, figures.inputs(resolved, self, name))
        for part in ("title", "caption"):
            if "{data}" in resolved[part]:
                resolved[part] = resolved[part].replace("{data}", self._data_behind(made.artefacts, f"{name}.{part}"))
        return made

    def _data_behind(self, made: list[Artefact], key: str) -> str:
        """Return the short title of the one data set behind some artefacts."""
        names = {part.spec["name"] for one in made for part in one.ancestry() if part.kind == "data"}
        if len(names) != 1:
            raise self.error(key, f"{{data}}: there are {len(names)} data sets; write the title out")
        entry = data_sets.describe(names.pop())
        return str(entry.get("short", entry["title"]))

    def _data_title(self, panel: Mapping, key: str) -> str:
        """Return what ``{data}`` in a panel's title stands for: the data set of its cloud, which presets may change."""
        if "{data}" not in panel["title"]:
            return ""
        names = {made.spec["name"] for made in self.cloud(panel["cloud"], key).ancestry() if made.kind == "data"}
        if len(names) != 1:
            raise self.error(
                key, f"{{data}}: its cloud {panel['cloud']!r} has {len(names)} data sets; write the title out"
            )
        entry = data_sets.describe(names.pop())
        return str(entry.get("short", entry["title"]))

    def _claims(self, entries: list[Mapping]) -> Product:
        resolved, inputs = [], {}
        for entry in entries:
            key = f"claims.{entry['id']}"
            with self.prefixed(key):
                resolved.append(claims.resolve(entry))
            inputs[entry["id"]] = self.resolve_inputs(entry.get("inputs", {}), key)
            if resolved[-1]["measure"] in claims.PATH_MEASURES:
                self._check_paths(resolved[-1], key)
        return Product(self.name, "claims", {"claims": resolved}, inputs)

    def _check_paths(self, claim: Mapping, key: str) -> None:
        """Check that the runs a path measure compares are those of its clouds."""
        references = claim["inputs"]["cloud"]
        names: list[str] = []
        for reference in references if isinstance(references, list) else [references]:
            names += self.study["clouds"][reference["gram"]].get("paths", {}).get("runs", [])
        for side in ("first", "second"):
            run = claim["parameters"][side]
            if run not in names:
                raise self.error(
                    f"{key}.parameters.{side}", f"{run!r} is not a run of its cloud; {nearest(run, names)}"
                )

    def resolve_inputs(self, references: Mapping, key: str) -> dict[str, Any]:
        """Replace references (``{gram: cloud}``, ``{runs: name}``, ``{embedding: [cloud, name]}``) by artefacts."""
        return {role: self._reference(value, f"{key}.inputs.{role}") for role, value in references.items()}

    def _reference(self, value: Any, key: str) -> Any:
        if isinstance(value, list):
            return [self._reference(item, key) for item in value]
        kinds: dict[str, Callable[[Any], Any]] = {
            "gram": lambda name: self.gram(name, key),
            "run": lambda name: self.run(name, None, key),
            "runs": lambda name: self.runs(name, key),
            "embedding": lambda pair: self.embedding(pair[0], pair[1], key),
            "scores": lambda name: self.scores(name, key),
            "surface": lambda name: self.surface(name, key),
            "average": lambda name: self.average(name, key),
            "paths": lambda name: self.paths(name, key),
            "kernels": lambda name: self.kernels(name, key),
            "volume": lambda name: self.volume(name, key),
            "boundaries": lambda name: self.boundaries(name, key),
            "grid": lambda name: self.grid(name, key),
            "grids": lambda name: self.grids(name, key),
            "descent": lambda name: self.descent(name, key),
            "path_gram": lambda name: self.path_gram(name, key),
        }
        if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in kinds:
            forms = ", ".join(f"{{{kind}: name}}" for kind in kinds)
            raise self.error(key, f"{value!r} is not a reference; write one of {forms}")
        kind, name = next(iter(value.items()))
        return kinds[kind](name)


def model_label(spec: Mapping) -> str:
    """Return a short readable label of a model: wrn-10-2, resnet-20-noshort, mlp, or the builder's function name."""
    if "builder" in spec:
        return str(spec["builder"]).split(":")[-1]
    parts = [spec["name"], *(f"{spec[key]:g}" for key in ("depth", "width") if key in spec)]
    if spec["name"] == "resnet" and not spec["shortcut"]:
        parts.append("noshort")
    return "-".join(parts)


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
                    self.artefacts[part.kind, part.id] = part

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
