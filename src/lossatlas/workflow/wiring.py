"""The plan as the rules see it: input functions, parameters, resources, manifest. Nothing here imports torch."""

import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from snakemake.common import overwrite_function_params
from snakemake.exceptions import WorkflowError

from lossatlas import numerics
from lossatlas.data import spec as catalogue
from lossatlas.draw.spec import Figure
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.specs.artefact import Artefact, Described
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan, Product
from lossatlas.workflow import closure, resources, timeouts
from lossatlas.workflow.collector import paused

GALLERY = ("lossatlas.gallery.build",)
ALL = "all"
"""Folder of the gallery in ``results/figures``, where every study has one of its name."""


MADE_HERE = Path("results/made_here.json")
"""What :mod:`lossatlas.workflow.showcase` made on this machine just now; the gallery shows it where it is there."""


def code_digest(names: Iterable[str], *more: Path) -> str:
    """Return a short digest of all sources that functions (``module:function``) run through, and of other files.

    It is a parameter of the rule, so an edit anywhere below redraws.
    """
    return closure.digest(tuple(dict.fromkeys(name.partition(":")[0] for name in names)), *more)


def known(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose parameters Snakemake knows: it asks for them before each of its many calls."""
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


def load_plan(raw: Mapping, root: Path) -> "Wiring":
    """Load and resolve the configuration; a user's mistake becomes one clear WorkflowError."""
    try:
        with paused():
            config = load(raw, root)
        if config.data_path:  # jobs inherit it; it changes where data is found, never what it is
            known = os.environ.get("LOSSATLAS_DATA", "")
            os.environ["LOSSATLAS_DATA"] = os.pathsep.join([*config.data_path, *filter(None, [known])])
        if config.numerics == "portable":  # jobs inherit it, too
            numerics.apply()
        with paused():
            return Wiring(Plan(config), root)
    except LossatlasError as error:
        raise WorkflowError(str(error)) from None


class Wiring:
    """Input functions and parameters of the rules; errors are WorkflowErrors."""

    def __init__(self, plan: Plan, root: Path) -> None:
        """Wrap a resolved plan."""
        self.plan, self.root, self.config = plan, root, plan.config
        self.studies = list(plan.studies)
        self.own = [name for name in self.studies if name in plan.config.own]
        if ALL in plan.studies:
            raise LossatlasError(f"study {ALL!r}: the folder of the gallery has that name; rename it")
        self.machines = self._other_machines()

    def artefact(self, kind: str, id: str) -> Artefact:
        """Return an artefact by kind and folder name."""
        try:
            return self.plan.artefact(kind, id)
        except LossatlasError as error:
            raise WorkflowError(str(error)) from None

    def inputs_of(self, kind: str, role: str) -> Callable[[Any], list[str]]:
        """Return the input function of a heavy rule: the files of one role, or nothing once the artefact exists.

        An artefact is named by all it depends on and appears whole or not at all, so one that exists needs nothing.
        With its inputs left in the graph Snakemake would make it again when a missing ancestor is made for another
        job (a pulled run, when its data is prepared for a new retraining), whatever ``ancient`` says.
        """

        @known
        def files(wildcards: Any) -> list[str]:
            made = self.artefact(kind, wildcards.id)
            if Path(made.path).exists():
                return []
            if role == "sources":
                return self._tracked_files(made)
            return [path for source in made.inputs.get(role, ()) for path in self._needed(source)]

        return files

    @staticmethod
    def _needed(source: Artefact) -> list[str]:
        """Return the files of an input that have to be in the graph.

        What it refers to is made before it, and so needs no mention while it is to be made itself, or lies there: a
        cloud of a hundred files that a thousand jobs read would be a hundred thousand edges. A referred file that has
        gone from under a finished input is made again.
        """
        if not source.linked or not Path(source.path).exists():
            return [source.path]
        return [source.path, *(path for path in source.files()[1:] if not Path(path).exists())]

    def _tracked_files(self, made: Artefact) -> list[str]:
        """Return the bundled files that prepared data is made from, where DVC can fetch them.

        Without their pointers (another working directory, a copy without ``data/``) the job itself looks for the data
        and its error lists what was tried.
        """
        files = catalogue.tracked_files(made.spec["name"], made.spec["variant"])
        return [file for file in files if Path.cwd() == self.root and Path(f"{file}.dvc").exists()]

    def product(self, section: str, study: str, name: str) -> Product:
        """Return a figure, table or claims product."""
        try:
            if section == "claims" and study in self.plan.studies:
                return self.plan.studies[study].claims
            return self.plan.product(section, study, name)
        except LossatlasError as error:
            raise WorkflowError(str(error)) from None

    def files(self, section: str, study: str, name: str = "claims") -> list[str]:
        """Return the files a product is drawn from."""
        return [made.path for made in self.product(section, study, name).artefacts]

    def describe(self, section: str, study: str, name: str = "claims") -> Described:
        """Return what a product's script needs: spec, input files by role, and the digest of the code that draws it."""
        product = self.product(section, study, name)
        content: dict[str, Any] = {
            "study": study,
            "name": name,
            "preset": self.config.preset,
            "numerics": self.config.numerics,
            "spec": product.spec,
            "inputs": product.paths(),
            "views": {what: subjects.loaders()[what] for what in product.inputs},
            "artefacts": [f"{made.kind}/{made.id}" for made in product.artefacts],
            "code": code_digest(product.code),
            "made_by": product.code[0],
        }
        if section == "figures":
            content["data_sets"] = product.data_sets
        if section == "claims":
            content["judges"] = self.config.judges
        return Described(f"{study}/{name}", content)

    def resources(self, kind: str) -> dict[str, Callable[..., Any]]:
        """Return a rule's resource functions, sized from the spec of the job at hand, or of all of an array's jobs.

        Snakemake asks again for every job whenever it schedules one: each answer is worked out once. A job that ran
        into its time limit asks for the same again; one that failed otherwise for more memory.
        """
        array, cluster = self._array(kind), self.config.cluster

        @cache
        def answer(id: str, failures: int) -> dict[str, Any]:
            jobs = self.plan.of_kind(kind) if array else [self.artefact(kind, id)] if id else []
            try:
                asked = resources.request(kind, jobs, failures, cluster)
            except LossatlasError as error:
                raise WorkflowError(str(error)) from None
            partition = cluster.gpu_partition if asked["gpu"] else cluster.cpu_partition
            parts = resources.shards(jobs, cluster) if asked["gpu"] else 0
            if parts:
                asked["gpu"] = 0  # SLURM takes either, and of shards no kind
            model = cluster.gpu_model if asked["gpu"] else None
            where = {"slurm_partition": partition or "", "gpu_model": model or ""}
            return {**asked, **where, "gres": f"shard:{parts}" if parts else ""}

        def sized(name: str) -> Callable[..., Any]:
            @known
            def value(wildcards: Any, attempt: int = 1) -> Any:
                id = getattr(wildcards, "id", "")
                failures = max(attempt - 1 - timeouts.count(kind, id), 0)
                return answer("" if array else id, failures)[name]

            return value

        named = {
            "slurm_partition": cluster.cpu_partition or cluster.gpu_partition,
            "gpu_model": cluster.gpu_model,
            "gres": cluster.gpu_shards,
        }
        return {name: sized(name) for name in (*resources.NAMES, *(name for name, given in named.items() if given))}

    def allow_restarts(self, rules: Iterable[Any]) -> None:
        """Let the rules whose jobs are longer than any request is allowed to be resume as often as that takes."""
        kinds = {step.rule: kind for kind, step in subjects.steps().items()}
        for rule in rules:
            more = resources.restarts(self.plan.of_kind(kinds.get(rule.name, "")), self.config.cluster)
            if more:
                rule.restart_times = resources.RETRIES + more

    @staticmethod
    def _array(kind: str) -> bool:
        """Tell whether a kind's jobs go to SLURM as arrays, all tasks of which get what the first asks for."""
        step = subjects.steps().get(kind)
        return step is not None and step.array

    def figure_files(self, only: str | None = None) -> list[str]:
        """Return all figures in every format of their kind, and their numbers; those of one study."""
        return [
            f"results/figures/{study}/{name}.{kind}"
            for study, plan in self.plan.studies.items()
            if only in (None, study)
            for name, product in plan.figures.items()
            for kind in self.formats(product)
        ]

    def formats(self, product: Product) -> list[str]:
        """Return the files of a figure: its kind's own formats or the configured ones, and its numbers."""
        return [*_figure(product).files(self.config.formats), "csv"]

    def figures_of(self, kind: str | None) -> str:
        """Return the wildcard constraint on ``study`` that fits the figures of a kind with formats of its own.

        It looks ahead over ``study/figure``, since two studies may give one name to figures of different kinds.

        Args:
            kind: of figure; None = all that come in the configured formats, and names that no study has, so that a
                misspelt one meets the rule that says which there are.
        """
        own = {
            f"{study}/{name}": product.spec["kind"]
            for study, plan in self.plan.studies.items()
            for name, product in plan.figures.items()
            if _figure(product).formats is not None
        }
        names = "|".join(sorted(name for name, found in own.items() if kind in (None, found)))
        if kind is None:
            return rf"(?!(?:{names})\.)[A-Za-z0-9_]+" if names else "[A-Za-z0-9_]+"
        return rf"(?=(?:{names})\.)[A-Za-z0-9_]+" if names else "(?!)"

    def table_files(self, only: str | None = None) -> list[str]:
        """Return all tables; those of one study."""
        return [
            f"results/tables/{study}/{name}.csv"
            for study, plan in self.plan.studies.items()
            if only in (None, study)
            for name in plan.tables
        ]

    def targets(self) -> list[str]:
        """Return what is made where nothing is asked for: the gallery, or where all studies are a user's own, theirs.

        A study that lies outside ``config/studies`` has a page of its own, which no other study can change.
        """
        pages = [f"results/galleries/{study}/.built" for study in self.own]
        return pages if len(pages) == len(self.studies) else [f"results/figures/{ALL}/.built", *pages]

    def index(self) -> Described:
        """Return the rows of results/index.csv: every artefact with its spec and the products that ask for it."""
        asked: dict[tuple[str, str], list[str]] = {}
        for product in self.plan.products():
            for made in product.artefacts:
                for part in made.ancestry():
                    asked.setdefault((part.kind, part.id), []).append(f"{product.study}/{product.name}")
        rows = [
            {
                "kind": kind,
                "name": made.label,
                "hash": made.hash,
                "path": made.path,
                "asked_for_by": " ".join(dict.fromkeys(asked[kind, id])),
                "spec": _compact(made.spec),
                "inputs": _compact(made.input_hashes()),
            }
            for (kind, id), made in sorted(self.plan.artefacts.items())
        ]
        return Described("index", {"rows": rows})

    def _other_machines(self) -> dict[str, dict[str, str]]:
        """Return machine -> study -> digest of its claims there; tables that answer other questions are refused."""
        if not self.config.machines:
            return {}
        from lossatlas.claims import scorecard  # reads files: not for every plan

        asked = {study: self.describe("claims", study) for study in self.studies}
        found = scorecard.others(self.config.machines, asked)
        return {name: {study: table.digest for study, table in tables.items()} for name, tables in found.items()}

    def scorecard(self) -> Described:
        """Return which studies and other machines the scorecard shows; it is written again when they change."""
        content = {"studies": self.studies, "machines": dict(self.config.machines), "tables": self.machines}
        return Described("scorecard", content)

    def statements(self) -> Described:
        """Return the digest of the code that draws the scorecard."""
        return Described("statements", {"code": code_digest(("lossatlas.gallery.scorecard:compose",))})

    def manifest(self) -> Described:
        """Return what the gallery shows; the job adds commit, versions and the seconds each artefact took."""
        content = {
            "preset": self.config.preset,
            "scorecard": {kind: f"results/scorecard.{kind}" for kind in ("png", "pdf", "csv")},
            "made_here": str(MADE_HERE),
            "made_here_sha256": checksum.file_digest(MADE_HERE) if MADE_HERE.is_file() else "",
            "code": _gallery_code(),
            "studies": [self._study_manifest(name) for name in self.studies],
        }
        return Described("gallery", content)

    def manifest_of(self, study: str) -> Described:
        """Return what the gallery of one study of a user's own shows."""
        shown = {
            **self._study_manifest(study),
            "claims": f"results/claims/{study}.csv",
            "statements": f"results/claims/{study}.statements.csv",
        }
        content = {"preset": self.config.preset, "code": _gallery_code(), "studies": [shown]}
        return Described(f"gallery of {study}", {**content, "target": f"results/galleries/{study}"})

    def _study_manifest(self, name: str) -> dict:
        plan = self.plan.studies[name]
        return {
            "name": name,
            "title": plan.study.title,
            "reference": plan.study.reference,
            "figures": [self._entry("figures", product) for product in plan.figures.values()],
            "tables": [self._entry("tables", product) for product in plan.tables.values()],
            "claims": "results/claims.csv",
            "statements": "results/scorecard.csv",
        }

    def _entry(self, section: str, product: Product) -> dict:
        stem = f"results/{section}/{product.study}/{product.name}"
        kinds = self.formats(product) if section == "figures" else ["csv"]
        ancestors = {part.path: part for made in product.artefacts for part in made.ancestry()}
        return {
            "name": product.name,
            "title": product.spec["title"],
            "caption": product.spec["caption"],
            "paper_figure": product.spec.get("paper_figure", ""),
            "kind": product.spec["kind"],
            "interactive": _figure(product).interactive if section == "figures" else "",
            "command": f"snakemake --cores 2 --config {self.config.asked[product.study]} -- {stem}.{kinds[0]}",
            **{kind: f"{stem}.{kind}" for kind in kinds},
            "artefacts": [
                {"kind": p.kind, "label": p.label, "hash": p.hash, "path": p.path} for p in ancestors.values()
            ],
        }


def _gallery_code() -> str:
    """Return the digest of what makes the gallery, its templates, style and scripts with it."""
    folder = closure.PACKAGE / "gallery"
    return code_digest(GALLERY, *sorted(file for kind in ("j2", "css", "js") for file in folder.rglob(f"*.{kind}")))


def _figure(product: Product) -> type[Figure]:
    """Return a figure's kind."""
    kind = subjects.products()[product.spec["kind"]]
    assert issubclass(kind, Figure)
    return kind


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
