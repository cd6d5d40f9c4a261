"""Clouds of weight vectors: points, Gram matrices, embeddings, scores, as a study and artefacts have them. Light.

For other subjects: :data:`CLOUDS` and :data:`GRAMS` with :func:`gram` and :func:`path_gram`; :func:`rows`,
:func:`dimension` and :func:`matrices` for the work of steps on Gram matrices; :class:`Look`, :class:`Motion` and
:class:`Panelled`, the keys of figures whose panels show clouds; :class:`Embedded`, a panel with an embedding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, ConfigDict, ValidationInfo, field_validator, model_validator

from lossatlas.claims.spec import Measure
from lossatlas.data.spec import prepared
from lossatlas.draw.spec import Columns, Figure, Labels, Table
from lossatlas.errors import LossatlasError
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, read, unique
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study, only
from lossatlas.specs.yaml import nearest
from lossatlas.train.spec import (
    Index,
    Replicas,
    probe_work,
    run,
    run_spec,
    run_work,
    runs,
    seeds,
    sized,
    sweep,
    sweep_work,
)

Number = int | float
"""Kept as it is written, so that what is shown of a setting is what the study says."""

Names = Annotated[list[str], AfterValidator(unique("name each once"))]

# ---------------------------------------------------------------------------------------------------------------------
# how many points, of how many weights

READ_BYTES = 2e8
"""Speed assumed of the shared file system, bytes/s."""

CPU_FLOPS = 2e10
"""Speed assumed of one core in float64 matrix products, FLOP/s."""

IMPORTED = 1000
"""Rows an imported file is taken to have: nothing is known of it before it is read."""


def import_work(made: Artefact) -> Work:
    """Return the work of an import: every row is evaluated."""
    return probe_work(made, IMPORTED)


def synthetic_work(made: Artefact) -> Work:
    """Return what is known of an artificial cloud."""
    spec = made.spec
    if spec["kind"] == "arms":
        rows = 1 + spec["directions"] * len(spec["steps"]) * (spec["epochs"] + 1)
    else:
        rows = spec["branches"] * spec["points"]
    return Work(int(spec["dimension"]), int(rows))


def _walked(made: Artefact) -> Work:
    """Return D and the recorded points of level-set traversals, whose step stands in a later subject."""
    dim = sized(made)[0].parameters if made.inputs.get("data") else 2
    return Work(dim, len(made.spec["members"]) * int(made.spec["points"]))


_POINTS: Mapping[str, Callable[[Artefact], Work]] = {
    "runs": run_work,
    "retrains": run_work,
    "sweeps": sweep_work,
    "levelsets": _walked,
    "imports": import_work,
    "synthetic": synthetic_work,
}
"""Kinds that make points."""


@cache
def rows(made: Artefact) -> int:
    """Return n, the number of points of an artefact, or of the cloud it is made from."""
    if made.kind in _POINTS:
        return _POINTS[made.kind](made).rows
    if made.kind != "clouds":
        return max(rows(part) for parts in made.inputs.values() for part in parts)
    if "best" in made.spec:
        return int(made.spec["best"]["count"])
    if "sets" in made.spec:
        return sum(int(part["spec"].get("best", {}).get("count", 1)) for part in made.spec["sets"])
    return sum(map(rows, made.inputs["points"])) + len(made.inputs.get("run", ()))


@cache
def dimension(made: Artefact) -> int:
    """Return D, the number of weights of the points of an artefact, or of the cloud it is made from."""
    if made.kind in _POINTS:
        return _POINTS[made.kind](made).parameters
    return max(dimension(part) for parts in made.inputs.values() for part in parts)


def matrices(made: Artefact, count: int, minutes: int = 30) -> Work:
    """Return the work of a step that holds ``count`` matrices (n, n) in float64, n of the cloud it is made from."""
    return Work(memory=8.0 * count * rows(made) ** 2, minutes=minutes)


MATRICES = 16
"""Matrices (n, n) that an embedding or its scores may hold: distances, kernels, operators and their powers."""


def gram_work(made: Artefact) -> Work:
    """Return the work of a Gram matrix: n rows of D float32 are read at most twice and multiplied, 2 n^2 D."""
    n, dim = rows(made), dimension(made)
    return replace(matrices(made, 4), seconds=2 * 4 * n * dim / READ_BYTES + 2.0 * n**2 * dim / CPU_FLOPS)


def embed_work(made: Artefact) -> Work:
    """Return the work of an embedding."""
    return matrices(made, MATRICES)


def scores_work(made: Artefact) -> Work:
    """Return the work of scores."""
    return matrices(made, MATRICES, minutes=60)


# ---------------------------------------------------------------------------------------------------------------------
# clouds


class CloudJob(Spec):
    """What names a cloud that is gathered from points files (:mod:`lossatlas.clouds.jobs.gather`)."""

    rows: Literal["last", "all"] | None = key("Which rows of jumps or of traversals and sweeps.", None, quiet=True)
    names: list[list[str | int]] | None = key("Run and replica of each file.", None, quiet=True)
    best: dict[str, Any] | None = key("count, stop: the members of sweeps that are taken.", None, quiet=True)
    sets: list[dict[str, Any]] | None = key("cloud, files, spec of each part of a union.", None, quiet=True)
    others: list[dict[str, Any]] | None = key("source, files of other traversals, the last in order.", None, quiet=True)


CLOUDS = Step(
    "clouds",
    "gather",
    "points.h5",
    "lossatlas.clouds.jobs.gather:gather_cloud",
    CloudJob,
    ("run", "points"),
    stored=False,
    linked=True,
)


class Paths(Spec):
    """The recorded points of whole trainings, together."""

    runs: list[str] = key("Names of runs.", min_length=1)
    replicas: Replicas | None = key("Which replicas of each run; all by default.", None, min_length=1)


def _paths(study: Study, name: str, entry: Paths) -> list[Artefact]:
    where = f"clouds.{name}.paths.runs"
    names: list[tuple[str, int]] = []
    for other in entry.runs:
        replicas = run_spec(study, other, where).replicas if entry.replicas is None else entry.replicas
        names += [(other, replica) for replica in replicas]
    runs = [run(study, other, replica, where) for other, replica in names]
    return [CLOUDS.make(f"paths-{runs[0].label}", {"names": [list(pair) for pair in names]}, points=runs)]


PATHS = Entry("clouds", "paths", Paths, _paths)


class Traversals(Spec):
    """The points of a level-set probe, with the end points of sweeps of the same network."""

    probe: str = key("Name of a level-set probe.")
    sweeps: list[str] = key("Names of sweeps.", [])
    others: dict[str, str] = key(
        "Further level-set probes on the same network, by the name that column `source` calls their points: controls.",
        {},
    )

    @field_validator("others")
    @classmethod
    def _named_apart(cls, others: dict[str, str]) -> dict[str, str]:
        if taken := {"levelset", "sweep"} & set(others):
            raise mistake("", f"{min(taken)!r} is what column `source` calls the cloud's own points; take another name")
        return others


def _traversals(study: Study, name: str, entry: Traversals) -> list[Artefact]:
    where = f"clouds.{name}.traversals"
    others = {source: study.get("levelset", probe, f"{where}.others") for source, probe in entry.others.items()}
    parts = [*study.get("levelset", entry.probe, f"{where}.probe")]
    parts += [made for other in entry.sweeps for made in sweep(study, other, f"{where}.sweeps")]
    spec: dict[str, Any] = {"rows": "all"}
    if others:
        spec["others"] = [{"source": source, "files": len(found)} for source, found in others.items()]
    further = [made for found in others.values() for made in found]
    return [CLOUDS.make(f"traversals-{parts[0].label}", spec, points=[*parts, *further])]


TRAVERSALS = Entry("clouds", "traversals", Traversals, _traversals)


class Ends(Spec):
    """The recorded points of runs with the end points of sweeps of the same network."""

    runs: list[str] = key("Names of runs.", [])
    sweeps: list[str] = key("Names of sweeps.", min_length=1)


def _ends(study: Study, name: str, entry: Ends) -> list[Artefact]:
    where = f"clouds.{name}.ends"
    parts = [made for other in entry.runs for made in runs(study, other, f"{where}.runs")]
    parts += [made for other in entry.sweeps for made in sweep(study, other, f"{where}.sweeps")]
    return [CLOUDS.make(f"ends-{parts[0].label}", {"rows": "all"}, points=parts)]


ENDS = Entry("clouds", "ends", Ends, _ends)


class Best(Spec):
    """The members of sweeps with the lowest training loss, in its order: at their end, or the lowest of their curve.

    It is the latter where the sweeps keep that point (``lowest``).
    """

    sweeps: Names = key("Names of sweeps of one network.", min_length=1)
    count: int | None = key("So many members; null = all.", None, ge=1)
    stop: Literal["last", "early", "lowest", "level"] = key(
        "The point of each member: its last one, that of lowest test loss, of lowest training loss, or the first at "
        "the sweep's `level` (which members are chosen does not depend on it).",
        "last",
    )


def _best(study: Study, name: str, entry: Best) -> list[Artefact]:
    where = f"clouds.{name}.best"
    parts = [part for other in entry.sweeps for part in sweep(study, other, f"{where}.sweeps")]
    if not all(part.spec.get("early") for part in parts):
        raise study.error(f"{where}.sweeps", "these keep no early-stopped points; write `early: true` in each sweep")
    if entry.stop in ("lowest", "level") and not all(part.spec.get(entry.stop) for part in parts):
        raise study.error(f"{where}.stop", f"the sweeps keep no such point; write `{entry.stop}` in each")
    members = sum(not member["held_out"] for part in parts for member in part.spec["members"])
    if entry.count is not None and entry.count > members:
        raise study.error(f"{where}.count", f"{entry.count} of {members} trainings; at most all of them")
    spec = {"best": {"count": entry.count or members, "stop": entry.stop}}
    return [CLOUDS.make(f"best-{parts[0].label}", spec, points=parts)]


BEST = Entry("clouds", "best", Best, _best)


class Union(Spec):
    """Clouds of one network together; column ``cloud`` of its table tells them apart."""

    clouds: Names = key("Names of clouds of sweeps, or of imported ones.", min_length=1)


def _union(study: Study, name: str, entry: Union) -> list[Artefact]:
    where = f"clouds.{name}.union.clouds"
    clouds = {other: only(study.get("cloud", other, where)) for other in entry.clouds}
    for other, made in clouds.items():
        if made.kind == IMPORTS.kind:
            continue
        if made.kind != "clouds" or set(made.inputs) != {"points"} or "names" in made.spec or "sets" in made.spec:
            raise study.error(where, f"{other!r} cannot be put together with others; only clouds of sweeps can")
    parts_of = {o: (made,) if made.kind == IMPORTS.kind else made.inputs["points"] for o, made in clouds.items()}
    sets = [
        {"cloud": o, "files": len(parts_of[o]), "spec": {} if made.kind == IMPORTS.kind else made.spec}
        for o, made in clouds.items()
    ]
    points = [part for parts in parts_of.values() for part in parts]
    return [CLOUDS.make(f"union-{points[0].label}", {"sets": sets}, points=points)]


UNION = Entry("clouds", "union", Union, _union)


class Imported(Spec):
    """Weight vectors from elsewhere."""

    file: str = key(
        "A .npy file of shape (n, D), in the order of the network's named parameters; relative to the working "
        "directory, or else to a folder of LOSSATLAS_DATA."
    )
    sha256: str = key("Of the file.", pattern="^[0-9a-f]{64}$")
    run: str = key("Name of the run whose network, data and criterion the vectors are for.")


class ImportJob(Spec):
    """What names imported vectors: the file, and the network and examples of their run."""

    file: str
    sha256: str
    label: str
    labels: str
    model: dict[str, Any]
    resample: dict[str, Any] | None
    scale: str
    criterion: str
    seeds: dict[str, int]


IMPORTS = Step(
    "imports",
    "import_points",
    "points.h5",
    "lossatlas.clouds.jobs.import_points:import_points",
    ImportJob,
    ("data",),
    version=2,  # with the columns of sweeps
    gpu=True,
    stored=False,
    work=import_work,
)


def _imported(study: Study, name: str, entry: Imported) -> list[Artefact]:
    theirs = run_spec(study, entry.run, f"clouds.{name}.imported.run")
    spec = {part: theirs.hashed()[part] for part in ("labels", "model", "resample", "scale")}
    spec |= {"label": theirs.label, "criterion": theirs.recipe.criterion, "seeds": seeds(study, theirs.replicas[0])}
    spec |= {"file": entry.file, "sha256": entry.sha256}
    return [IMPORTS.make(theirs.label, spec, data=prepared(study, theirs.data, f"runs.{entry.run}.data"))]


IMPORTED_POINTS = Entry("clouds", "imported", Imported, _imported)


class Tree(Spec):
    """An artificial tree of random-walk branches, PHATE's generator (:func:`lossatlas.clouds.jobs.synthesise.tree`)."""

    branches: int = key("Number of branches; every one starts at a random point of the first.", ge=1)
    points: int = key("Points of each branch.", ge=2)
    dimension: int = key("Dimension of the space.", ge=1)
    noise: Number = key("Standard deviation of the noise of a coordinate; the steps are uniform in [-1, 1].", ge=0)
    seed: int = key("Replica; trees that differ in noise alone are the same tree.", 0, ge=0)
    length: Number | None = key("Value of the column epoch at the tip of a branch; null = points - 1.", None, gt=0)


class TreeJob(Tree):
    """What names an artificial tree; ``seed`` is the derived one."""

    kind: Literal["tree"] = "tree"


SYNTHETIC = Step(
    "synthetic",
    "synthesise",
    "points.h5",
    "lossatlas.clouds.jobs.synthesise:synthesise",
    TreeJob,
    stored=False,
    work=synthetic_work,
)


def _tree(study: Study, name: str, entry: Tree) -> list[Artefact]:
    spec = {**entry.hashed(), "seed": derive(study.seed, "tree", entry.seed)}
    return [SYNTHETIC.make(f"tree-{entry.branches}x{entry.points}", spec, study.numerics)]


TREE = Entry("clouds", "tree", Tree, _tree)


class Arms(Spec):
    """Artificial retrainings that do as they are told (:func:`lossatlas.clouds.jobs.synthesise.arms`)."""

    directions: int = key("Number of directions, drawn at random.", ge=1)
    steps: list[Number] = key("Step sizes: lengths of the jumps over that of theta_o.", min_length=1)
    epochs: int = key("Points after each jump.", ge=1)
    dimension: int = key("Dimension of the space.", ge=2)
    left: Number = key(
        "Share of the jump that is left at the end, exponentially; 1 = it stays, above 1 it goes on.", gt=0
    )
    wander: Number = key("Length of a random walk of its own, by the end, over that of theta_o.", 0.0, ge=0)
    seed: int = key("Replica; arms that differ in `left` alone have the same directions and walks.", 0, ge=0)


class ArmsJob(Arms):
    """What names artificial retrainings; ``seed`` is the derived one."""

    kind: Literal["arms"] = "arms"


def _arms(study: Study, name: str, entry: Arms) -> list[Artefact]:
    spec = ArmsJob.model_validate({**entry.hashed(), "seed": derive(study.seed, "arms", entry.seed)})
    return [SYNTHETIC.make(f"arms-{entry.directions}x{len(entry.steps)}", spec, study.numerics)]


ARMS = Entry("clouds", "arms", Arms, _arms)

CLOUD_VIEW = View("cloud", of("clouds", Spec))

# ---------------------------------------------------------------------------------------------------------------------
# Gram matrices


class GramJob(Spec):
    """A Gram matrix is named by its cloud alone."""


GRAMS = Step("grams", "gram", "gram.h5", "lossatlas.clouds.jobs.gram:gram", GramJob, ("cloud",), work=gram_work)


def _gram_of(cloud: Artefact) -> Artefact:
    return GRAMS.make(cloud.label, {}, cloud=cloud)


def gram(study: Study, cloud: str, where: str) -> Artefact:
    """Return the Gram matrix of a cloud of the study."""
    return _gram_of(only(study.get("cloud", cloud, where)))


def path_gram(study: Study, name: str, run: Artefact, where: str) -> Artefact:
    """Return the Gram matrix of the recorded points of one training.

    Args:
        study: its study.
        name: of the run.
        run: one replica of it.
        where: place of the name in the study, for messages.
    """
    if run.spec["record"]["epochs"] != "all":
        raise study.error(where, f"{name!r} keeps no path; write `record: {{epochs: all}}` there")
    return _gram_of(CLOUDS.make(f"paths-{run.label}", {"names": [[name, 0]]}, points=run))


def _gram(study: Study, name: str, where: str) -> tuple[Artefact]:
    return (gram(study, name, where),)


def _path_gram(study: Study, name: str, where: str) -> tuple[Artefact]:
    return (path_gram(study, name, run(study, name, None, where), where),)


def _path_grams(study: Study, name: str, where: str) -> list[Artefact]:
    return [path_gram(study, name, made, where) for made in runs(study, name, where)]


_LOAD_GRAM = "lossatlas.clouds.files:Gram.load"

GRAM_VIEW = View("gram", _gram, _LOAD_GRAM)
PATH_GRAM_VIEW = View("path_gram", _path_gram, _LOAD_GRAM)
ALL_PATH_GRAMS = View("path_grams", _path_grams, _LOAD_GRAM)

# ---------------------------------------------------------------------------------------------------------------------
# embeddings

MethodName = Literal["phate", "tsne", "umap", "pca", "kpca", "random"]
Metric = Literal["euclidean", "cosine"]
Whole = Annotated[int, key("An integer of at least 1.", ge=1)]
Above = Annotated[Number, key("A number above 0.", gt=0)]
Auto = Literal["auto"]


class Parameters(Spec):
    """Settings of an embedding method.

    Attributes:
        metrics: the metrics it takes, the default first.
        seeded: whether the result depends on the seed.
    """

    metrics: ClassVar[tuple[Metric, ...]] = ("euclidean",)
    seeded: ClassVar[bool] = False


class Phate(Parameters):
    """PHATE, potential of heat diffusion (Moon et al. 2019)."""

    metrics: ClassVar[tuple[Metric, ...]] = ("euclidean", "cosine")
    seeded: ClassVar[bool] = True
    knn: Auto | Whole = key("Neighbours; auto: 5, at most n - 2.", "auto")
    decay: Number = key("Exponent of the kernel's tails.", 40, gt=0)
    t: Auto | Whole = key("Diffusion time; auto: knee of the entropy.", "auto")
    gamma: Number = key("1: log potential, 0: square root, -1: none.", 1, ge=-1)
    mds: Literal["metric", "classic", "nonmetric"] = key("Multidimensional scaling.", "metric")
    mds_solver: Literal["smacof", "sgd"] = key("Solver of metric scaling.", "smacof")
    mds_dist: Literal["euclidean", "cosine"] = key(
        "Distance between the diffusion potentials that is scaled.",
        "euclidean",
        quiet=True,
        source="cosine: the code of Horoi et al. 2022 (phate_tda_analysis.py)",
    )
    n_landmark: int | None = key("Landmarks, used when n is larger; null: none.", 2000, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Phate":
        if self.mds_solver != "smacof" and self.mds != "metric":
            raise mistake("mds_solver", f"it is for metric scaling, not for mds: {self.mds}; leave it out")
        return self


class Tsne(Parameters):
    """t-SNE, t-distributed stochastic neighbour embedding (van der Maaten and Hinton 2008)."""

    metrics: ClassVar[tuple[Metric, ...]] = ("euclidean", "cosine")
    seeded: ClassVar[bool] = True
    perplexity: Auto | Above = key("Effective number of neighbours; auto: min(30, (n - 1) / 3).", "auto")
    early_exaggeration: Number = key("Factor on the attractions at the start.", 12.0, ge=1)
    learning_rate: Auto | Above = key("Step of the descent; auto: max(n / 48, 50).", "auto")
    max_iter: int = key("Iterations, 250 of them with exaggeration.", 1000, ge=251)
    init: Literal["pca", "random"] = key("Start; pca: exact scores scaled to 1e-4.", "pca")
    angle: Number = key("Barnes-Hut approximation, at most 1; 0: exact.", 0.5, ge=0)


class Umap(Parameters):
    """UMAP, uniform manifold approximation (McInnes et al. 2018)."""

    metrics: ClassVar[tuple[Metric, ...]] = ("euclidean", "cosine")
    seeded: ClassVar[bool] = True
    n_neighbors: Auto | Annotated[int, key("An integer of at least 2.", ge=2)] = key(
        "Neighbours; auto: 15, at most n - 1.", "auto"
    )
    min_dist: Number = key("Least distance in the embedding.", 0.1, ge=0)
    spread: Number = key("Scale of the embedding.", 1.0, gt=0)
    n_epochs: int | None = key("Epochs; null: by size.", None, ge=1)
    learning_rate: Number = key("First learning rate.", 1.0, gt=0)
    negative_sample_rate: int = key("Repelled points an attracted one.", 5, ge=1)
    init: Literal["spectral", "pca", "random"] = key("Start; pca: exact scores.", "spectral")


class Pca(Parameters):
    """Scores of the two first principal components, exact."""


class Kpca(Parameters):
    """Kernel principal components (Schölkopf et al. 1998)."""

    kernel: Literal["rbf", "linear", "poly", "sigmoid"] = key("Kernel.", "rbf")
    gamma: Number | None = key("Scale of rbf, poly, sigmoid; null: 1 / D.", None, gt=0)
    two_sigma2: Literal["dimension"] | Above | None = key("rbf only: 1 / gamma; dimension: D.", None)
    degree: Number = key("Degree of poly.", 3, gt=0)
    coef0: Number = key("Constant of poly and sigmoid.", 1.0)

    @model_validator(mode="after")
    def _fits(self) -> "Kpca":
        if self.two_sigma2 is not None:
            if self.gamma is not None:
                raise mistake("gamma", "gamma and two_sigma2 = 1 / gamma are both given; leave one out")
            if self.kernel != "rbf":
                raise mistake("two_sigma2", "two_sigma2 belongs to the kernel rbf; use gamma instead")
        for name, kernels in {
            "gamma": ("rbf", "poly", "sigmoid"),
            "degree": ("poly",),
            "coef0": ("poly", "sigmoid"),
        }.items():
            if getattr(self, name) != Kpca.model_fields[name].default and self.kernel not in kernels:
                raise mistake(name, f"the kernel {self.kernel} has none; leave it out")
        return self


class RandomPlane(Parameters):
    """Projection onto a random plane of R^D."""

    seeded: ClassVar[bool] = True
    directions: Literal["orthonormal", "gaussian"] = key(
        "orthonormal: orthogonal projection onto a uniformly random plane. gaussian: x.d with d ~ N(0, I).",
        "orthonormal",
    )


METHODS: Mapping[str, type[Parameters]] = {
    "phate": Phate,
    "tsne": Tsne,
    "umap": Umap,
    "pca": Pca,
    "kpca": Kpca,
    "random": RandomPlane,
}
"""Every embedding method by name."""


class Embedding(Spec):
    """A method with its settings, which a figure applies to clouds; its parameters may also stand beside `method`."""

    model_config = ConfigDict(extra="allow")  # in the schema for editors; what is unknown to the method is refused
    method: MethodName = key("Embedding method.")
    metric: Metric = key("Distance between points; cosine is for phate, tsne and umap.", "euclidean")
    parameters: Phate | Tsne | Umap | Pca | Kpca | RandomPlane = key(
        "Those of the method, each at its default unless given.", {}, validate_default=True
    )
    seed: int = key("Replica of the method's random numbers.", 0, ge=0)
    minimum: bool = key(
        "Embed the minimum of a jump-and-retrain cloud with the others.",
        True,
        quiet=True,
        source="left out by the code of Horoi et al. 2022 (phate_tda_analysis.py)",
    )

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, raw: Any) -> Any:
        """Put the parameters that stand beside the method where the others are."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("parameters") or {}, Mapping):
            return raw
        inside, beside = dict(raw.get("parameters") or {}), {k: raw[k] for k in raw if k not in cls.model_fields}
        kept = {name: value for name, value in raw.items() if name in cls.model_fields}
        return {**kept, "parameters": {**inside, **beside}}

    @field_validator("parameters", mode="before")
    @classmethod
    def _of_the_method(cls, raw: Any, info: ValidationInfo) -> Parameters:
        if "method" not in info.data:
            return Pca()  # the method's mistake says it all
        method = info.data["method"]
        kind = METHODS[method]
        if isinstance(raw, Mapping):
            for name in raw:
                if name not in kind.model_fields:
                    hint = nearest(str(name), list(kind.model_fields)) if kind.model_fields else "it has none"
                    raise mistake(str(name), f"unknown parameter of {method}; {hint}")
        return kind.model_validate(raw)

    @field_validator("seed")
    @classmethod
    def _drawn(cls, seed: int, info: ValidationInfo) -> int:
        method = info.data.get("method")
        if seed and method is not None and not METHODS[method].seeded:
            raise mistake("", f"{method} draws no random numbers; leave it out")
        return seed

    @field_validator("metric")
    @classmethod
    def _taken(cls, metric: Metric, info: ValidationInfo) -> Metric:
        method = info.data.get("method")
        if method is not None and metric not in METHODS[method].metrics:
            raise mistake(
                "", f"{metric!r} is not available for {method}; {nearest(metric, list(METHODS[method].metrics))}"
            )
        return metric


class EmbeddingJob(Spec):
    """What names an embedding; ``seed`` is the derived one."""

    method: str
    metric: str
    parameters: dict[str, Any]
    seed: int
    minimum: bool = key("As of an embedding.", True, quiet=True)


EMBEDDINGS = Step(
    "embeddings",
    "embed",
    "embedding.h5",
    "lossatlas.clouds.jobs.embed:embed_cloud",
    EmbeddingJob,
    ("gram",),
    work=embed_work,
)


def _settings_alone(study: Study, name: str, entry: Embedding) -> list[Artefact]:
    """Return nothing: settings become an artefact with a cloud."""
    return []


EMBEDDING = Entry("embeddings", "", Embedding, _settings_alone)


def _embedding(study: Study, names: tuple[str, str], where: str) -> tuple[Artefact]:
    cloud, name = names
    entry = study.entry("embeddings", name, Embedding, where)
    spec = {**entry.hashed(), "seed": derive(study.seed, "embedding", entry.seed)}
    return (EMBEDDINGS.make(f"{entry.method}-{entry.metric}", spec, gram=gram(study, cloud, where)),)


EMBEDDING_VIEW = View("embedding", _embedding, "lossatlas.clouds.files:read_embedding")
"""Its name is a pair (cloud, embedding); its file is read as (Embedding, table)."""

# ---------------------------------------------------------------------------------------------------------------------
# scores

Score = Literal["demap", "continuity", "trustworthiness", "wholeness"]
SCORES: tuple[Score, ...] = get_args(Score)
"""Scores of an embedding (:mod:`lossatlas.clouds.scores`)."""

EXACT = "exact"
"""The method that stands for R^D itself among the scores: what a perfect isometry would get."""

Settings = Literal["defaults", "selected"]
SETTINGS: tuple[Settings, ...] = get_args(Settings)
"""Settings at which methods are compared: the library's, or those chosen on other clouds."""


Values = Annotated[
    list[Any], key("Values of a parameter.", min_length=1), AfterValidator(unique("give each value once"))
]


class Scoring(Spec):
    """Scores of embedding methods on a cloud, at their defaults and over a sweep."""

    cloud: str = key("Name of the cloud the methods are scored on.")
    truth: str | None = key(
        "Name of a cloud of the same points without noise, for the geodesic distances; the cloud itself by default.",
        None,
    )
    methods: dict[str, dict[str, Values]] = key(
        "Method -> parameter -> values to sweep ({} = defaults alone); every method that is swept has the same number "
        "of settings.",
        min_length=1,
    )
    metrics: Annotated[list[Metric], AfterValidator(unique("give each once"))] = key(
        "Each method is run under those it takes.", ["euclidean"], min_length=1
    )
    seeds: Annotated[list[Index], AfterValidator(unique("give each once"))] = key(
        "Of the embeddings; 0 is the seed of the study's own ones.", [0], min_length=1
    )
    demap_k: int = key(
        "Neighbours of the graph behind the geodesic distances.", 30, ge=1, source="the authors' own DEMaP"
    )
    trust_k: int = key("Neighbours that trustworthiness looks at.", 5, ge=1, source="scikit-learn")
    select_on: Names | None = key(
        "Other entries of scores, with equal methods, on whose clouds the best setting is chosen.", None, min_length=1
    )

    @model_validator(mode="after")
    def _fits(self) -> "Scoring":
        """Refuse unknown names, wrong values, and sweeps that give one method more attempts than another."""
        sizes: dict[str, int] = {}
        for name, sweep_ in self.methods.items():
            if name not in METHODS:
                raise mistake(f"methods.{name}", f"unknown method; {nearest(name, list(METHODS))}")
            for setting in _grid(sweep_):
                _check_setting(name, setting)
            sizes |= {name: len(_grid(sweep_))} if sweep_ else {}
        if len(set(sizes.values())) > 1:
            counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise mistake("methods", f"sweeps of different length ({counts}); give each the same number of settings")
        return self

    def settings(self) -> list[dict[str, Any]]:
        """Return {``method``, ``metric``, ``setting``} of a comparison; a setting has what differs from the defaults.

        Every method at its defaults, then its sweep (the product of its values), under each metric it takes; one that
        takes none of them under its own default.
        """
        found = []
        for name, sweep_ in self.methods.items():
            known = METHODS[name].metrics
            settings = [{}, *(_grid(sweep_) if sweep_ else [])]
            for metric in [metric for metric in self.metrics if metric in known] or [known[0]]:
                found += [{"method": name, "metric": metric, "setting": setting} for setting in settings]
        return found


def _grid(sweep_: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(sweep_, values, strict=True)) for values in product(*sweep_.values())]


def _check_setting(method: str, setting: Mapping[str, Any]) -> None:
    try:
        read(Embedding, {"method": method, **setting})
    except LossatlasError as error:
        place, _, message = str(error).splitlines()[0].partition(": ")
        raise mistake(f"methods.{method}.{place.removeprefix('parameters.')}", message) from None


class ScoresJob(Spec):
    """What names the scores on a cloud. ``settings``: method, metric, setting; ``seeds``: number and derived seed."""

    demap_k: int
    trust_k: int
    settings: list[dict[str, Any]]
    seeds: list[list[int]]


SCORES_STEP = Step(
    "scores",
    "scores",
    "scores.csv",
    "lossatlas.clouds.jobs.scores:scores",
    ScoresJob,
    ("gram", "truth"),
    version=2,
    work=scores_work,
)


def _scored(study: Study, name: str, entry: Scoring) -> list[Artefact]:
    where = f"scores.{name}"
    spec = {"demap_k": entry.demap_k, "trust_k": entry.trust_k, "settings": entry.settings()}
    spec["seeds"] = [[seed, derive(study.seed, "embedding", seed)] for seed in entry.seeds]
    inputs = {"gram": gram(study, entry.cloud, f"{where}.cloud")}
    if entry.truth is not None:
        inputs["truth"] = gram(study, entry.truth, f"{where}.truth")
    return [SCORES_STEP.make(inputs["gram"].label, spec, **inputs)]


SCORING = Entry("scores", "", Scoring, _scored)


def _scores(study: Study, name: str, where: str) -> list[Artefact]:
    """Return the scores to report, then those on which settings are chosen.

    The artefact of an entry holds every setting on its own cloud; choosing is left to those who read them.
    """
    entry = study.entry("scores", name, Scoring, where)
    found = [*study.made("scores", name, Scoring, where)]
    place = f"scores.{name}.select_on"
    for other in entry.select_on or []:
        theirs = study.entry("scores", other, Scoring, place)
        if theirs.cloud == entry.cloud:
            raise study.error(place, f"{other!r} scores the same cloud; settings are chosen on another one")
        if theirs.settings() != entry.settings():
            raise study.error(place, f"{other!r} has other methods or metrics; give both entries the same")
        found += study.made("scores", other, Scoring, place)
    return found


SCORES_VIEW = View("scores", _scores, "lossatlas.clouds.numbers:Scores.load", whole=True)

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

Color = Literal["direction", "run", "step", "epoch", "train_loss"]
GROUPED, RAMPED = ("direction", "run"), ("epoch", "train_loss")
"""Colours of groups of points, which get paler or darker by epoch; colours of a scale with limits."""


class Motion(Spec):
    """How the points of a panel look."""

    color: Color = key("What colours the points.", "direction")
    diamonds: bool = key("Diamonds at the jump points, shaded by step size.", True)
    lines: bool = key("Thin lines join a trajectory in epoch order.", True)


class Look(Motion):
    """How the points of a panel that stands still look."""

    hue: Literal["descending", "ascending"] = key(
        "Colours get whiter (descending, fig. 2) or darker (ascending) by epoch.", "descending"
    )


class Embedded(Spec):
    """A panel with an embedding of a cloud."""

    cloud: str = key("Name of a cloud of the study.")
    embedding: str = key("Name of an embedding of the study.")
    title: str = key("Title above the panel.", "")

    def references(self) -> Iterator[Reference]:
        """Yield the embedding, which both keys name."""
        yield Reference("embedding", (self.cloud, self.embedding), "embedding")


class Panel(Embedded, Look):
    """One embedding of one cloud; the keys of its look are those of the whole figure unless it has its own."""


class MovingPanel(Embedded, Motion):
    """One embedding of one cloud; the keys of its look are those of the whole figure unless it has its own."""


def _rising(limits: list[float] | None) -> list[float] | None:
    if limits is not None and not (len(limits) == 2 and limits[0] < limits[1]):
        raise mistake("", f"{limits!r} is not [low, high] with low < high")
    return limits


class Panelled(Figure):
    """A figure of panels that take the keys of their look from it; subclasses are also a :class:`Motion` or a Look."""

    panels: Sequence[Any]
    columns: Columns
    labels: Labels = key("Run label -> shown label, for color run; equal shown labels share a colour.", {})
    limits: Annotated[list[Number] | None, AfterValidator(_rising)] = key(
        "Colour limits [low, high] of a colour bar; null = all panels' range.", None
    )

    @model_validator(mode="after")
    def _inherit(self) -> "Panelled":
        look = {name: getattr(self, name) for name in Look.model_fields if name in type(self).model_fields}
        panels = [
            panel.model_copy(update={n: v for n, v in look.items() if n not in panel.model_fields_set})
            for panel in self.panels
        ]
        colors = {panel.color for panel in panels}
        if any(getattr(panel, "hue", "descending") != "descending" for panel in panels) and not colors & {*GROUPED}:
            raise mistake("hue", f"is of the colours {' and '.join(GROUPED)}, which no panel has; remove it")
        if self.limits is not None and not colors & {*RAMPED}:
            raise mistake("limits", f"is of the colours {' and '.join(RAMPED)}, which no panel has; remove it")
        if self.labels and "run" not in colors:
            raise mistake("labels", "is of the colour run, which no panel has; remove it")
        return self.model_copy(update={"panels": panels})


class EmbeddingFigure(Panelled, Look):
    """Panels of two-dimensional embeddings of clouds."""

    kind: Literal["embedding"] = "embedding"
    draw: ClassVar[str] = "lossatlas.clouds.figures.embedding:compose"
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "embedding"
    panels: list[Panel] = key(
        "One embedding of one cloud each; color, hue, diamonds, lines may be set per panel.", min_length=1
    )


class Animation(Panelled, Motion):
    """The panels of kind embedding in motion: dots with fading tails run along the trajectories, epoch by epoch."""

    kind: Literal["animation"] = "animation"
    draw: ClassVar[str] = "lossatlas.clouds.figures.animation:compose"
    formats: ClassVar[tuple[str, ...] | None] = ("png", "mp4", "gif")
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "embedding"
    panels: list[MovingPanel] = key(
        "One embedding of one cloud each; color, diamonds, lines may be set per panel.", min_length=1
    )
    fps: Literal[5, 10, 20, 25, 50] = key("Frames a second; a GIF counts in hundredths of a second.", 20)
    frames_per_epoch: int | None = key(
        "Frames an epoch; null = up to 16. Fewer where seconds_max asks for it.", None, gt=0
    )
    seconds_max: Number = key("The longest the picture may move, in seconds.", 12, gt=0)


class ScoresRow(Spec):
    """A cloud."""

    scores: Annotated[str, Refers("scores")] = key("Name of an entry of the study's scores.")
    title: str = key("Name of the row; the entry's by default.", "")

    @model_validator(mode="after")
    def _named(self) -> "ScoresRow":
        return self if self.title else self.model_copy(update={"title": self.scores})


class ScorePanels(Figure):
    """Scores of embedding methods on clouds as a picture: a column of panels a score, a row a metric."""

    kind: Literal["score_panels"] = "score_panels"
    draw: ClassVar[str] = "lossatlas.clouds.figures.score_panels:compose"
    rows: list[ScoresRow] = key("One cloud each.", min_length=1)
    show: Annotated[list[Score], AfterValidator(unique("show each once"))] = key(
        "Which scores.", ["demap", "continuity", "wholeness"], min_length=1
    )
    metrics: Annotated[list[Metric], AfterValidator(unique("show each once"))] = key(
        "Distances between points; those that no method was scored under are left out.",
        ["euclidean", "cosine"],
        min_length=1,
    )
    least: dict[Score, float] = key(
        "Score -> what R^D itself must reach on a cloud; elsewhere the cloud ranks nothing and is faint.",
        {},
    )

    @model_validator(mode="after")
    def _fits(self) -> "ScorePanels":
        titles = [row.title for row in self.rows]
        if len(set(titles)) < len(titles):
            raise mistake("rows", f"two rows have one title: {titles}; give each its own")
        for score in self.least:
            if score not in self.show:
                raise mistake(f"least.{score}", f"no panel shows it; {nearest(score, list(self.show))}")
        return self


class ScoresTable(Table):
    """Scores of embedding methods on clouds, at library defaults and at settings chosen on other clouds."""

    kind: Literal["scores"] = "scores"
    draw: ClassVar[str] = "lossatlas.clouds.figures.scores:tabulate"
    rows: list[ScoresRow] = key("One cloud each.", min_length=1)
    paper: dict[str, str | Number] = key("Method -> what the paper reads off its picture of it.", {})

    @model_validator(mode="after")
    def _titled(self) -> "ScoresTable":
        titles = [row.title for row in self.rows]
        if len(set(titles)) < len(titles):
            raise mistake("rows", f"two rows have one title: {titles}; give each its own")
        for name in self.paper:
            if name not in (*METHODS, EXACT):
                raise mistake(f"paper.{name}", f"not a method; {nearest(name, [*METHODS, EXACT])}")
        return self


# ---------------------------------------------------------------------------------------------------------------------
# measures


class BestMethod(Measure):
    """Score of an embedding method less that of the best other method, on each cloud (above 0: it is the best)."""

    measure: ClassVar[str] = "best_method"
    run: ClassVar[str] = "lossatlas.clouds.measures:best_method"
    scores: Annotated[tuple[Reference, ...], Accepts("scores")] = key("Scores on one cloud or on several.")
    score: Score = key("Which score.", "demap")
    method: MethodName = key("Embedding method.", "phate")
    metric: Metric = key("Distance between points; a method that does not take it counts under its own.", "euclidean")
    settings: Settings = key("Library defaults, or those chosen on other clouds.", "defaults")
    least: float | None = key(
        "Clouds on which R^D itself scores less are left out: there the score ranks nothing. null = none.", None
    )
