"""Barriers: low paths between minima and how far sets of minima lie apart, as a study says them. Light."""

from itertools import product
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, model_validator

from lossatlas.barriers.defaults import LR, PENALTY, POINTS, TERMS, Objective
from lossatlas.claims.spec import Measure
from lossatlas.clouds.spec import embed_work
from lossatlas.draw.spec import Columns, Figure
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, partial, unique
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study, only
from lossatlas.specs.yaml import nearest
from lossatlas.train.seeds import training_seeds
from lossatlas.train.spec import Index, OnNetwork, Precision, parts, probe_work, sized

PAPER = "Yu & Morozov, section II.3"

Part = Literal["train", "test"]
Pair = Annotated[list[str], key("Two names.", min_length=2, max_length=2)]
Point = Annotated[list[float], key("x and y.", min_length=2, max_length=2)]

# ---------------------------------------------------------------------------------------------------------------------
# paths

PathFunction = Literal["two_wells"]
PATH_FUNCTIONS: tuple[str, ...] = get_args(PathFunction)
"""Functions of two variables of :mod:`lossatlas.landscape.analytic` between whose points paths may be looked for."""


class Optimisation(Spec):
    """How a path is made and optimised."""

    terms: int = key("Sines of the series.", TERMS, ge=1, source=PAPER)
    points: int = key("Points of a path, both ends included.", POINTS, ge=3, source=PAPER)
    lr: float = key("Step size of Adam.", LR, gt=0, source="ours: the paper gives none, its authors' code 1e-3")
    steps: int = key("Steps of Adam.", 300, ge=1, source="ours: the paper gives none, its authors' code 100")
    decay: float = key(
        "Last step size of Adam over the first; it falls exponentially over all steps.", 1.0, quiet=True, gt=0, le=1
    )
    keep: Literal["last", "best"] = key(
        "The path that is measured: the current one, or that of the lowest sum of losses so far (needs all examples "
        "in every step).",
        "last",
        quiet=True,
        source="best: the authors' code",
    )
    dense: int = key(
        "Points at which heights are measured, for each interval between two points of the optimisation.",
        1,
        quiet=True,
        ge=1,
    )
    align: bool = key(
        "Match the hidden units of the second end to those of the first before anything else; fully connected "
        "networks.",
        False,
        quiet=True,
    )
    coefficients: bool = key("Keep the coefficients of each path at its last recorded step.", False, quiet=True)


class PathProbe(Optimisation):
    """Low paths between pairs of points (FourierPathFinder, lossatlas.barriers.pathfinder)."""

    cloud: str | None = key("Name of the cloud whose points are paired at random.", None)
    function: PathFunction | None = key(
        "A function of lossatlas.landscape.analytic in place of networks, with `ends`.", None
    )
    ends: list[Point] | None = key(
        "The two points of the function that a path joins.", None, min_length=2, max_length=2
    )
    pairs: int = key("Pairs drawn; no pair twice.", 300, ge=1, source=PAPER)
    seed: int = key("Replica of the drawing of pairs.", 0, ge=0)
    penalties: Annotated[
        list[Annotated[float, key("A factor.", ge=0)]], AfterValidator(unique("give each penalty once"))
    ] = key("Factors lambda of the squared step lengths; each gives a path.", [PENALTY], min_length=1, source=PAPER)
    objectives: Annotated[list[Objective], AfterValidator(unique("give each objective once"))] = key(
        "What is summed over the points: the loss as printed, or its square; each gives a path.",
        ["identity"],
        min_length=1,
    )
    record: list[Index] = key("Steps after which paths are measured; the first and the last always are.", [])
    fit: Part = key("Landscape on which paths are optimised; they are measured on both.", "train")
    minibatch: int | None = key("Examples of one gradient; null = all.", None, ge=1)
    precision: Precision = key("Of the network; paths are float64.", "float32")
    batch: int = key("Most examples in a chunk.", 500, ge=1)
    grain: int = key("Paths per job.", 10, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "PathProbe":
        if (self.cloud is None) == (self.function is None):
            raise mistake("", "give either cloud or function")
        late = [step for step in self.record if step > self.steps]
        if late:
            raise mistake("record", f"step {late[0]} is beyond the last, {self.steps}")
        if self.keep == "best" and self.minibatch is not None:
            raise mistake("keep", "the best of sums over different minibatches is none; write `minibatch: null`")
        if self.function is not None and self.align:
            raise mistake("align", "a function has no units")
        if self.function is not None and self.ends is None:
            raise mistake("ends", "missing; give the two points that a path joins")
        return self


class PathJob(partial(OnNetwork)):  # type: ignore[misc]
    """What names a job of a path probe, on a network or on a function: the keys that are given, and no others.

    ``record``: steps at which paths are measured; ``members``: pair, objective, penalty; ``seeds``: role -> seed.
    """

    label: str
    settings: Optimisation
    record: list[int]
    members: list[dict[str, Any]]
    seeds: dict[str, int] | None = None
    fit: Part = "train"
    minibatch: int | None = None
    function: PathFunction | None = None
    ends: list[Point] | None = None

    def hashed(self) -> dict[str, Any]:
        """Return the keys that were given: those of a network or those of a function."""
        return self.given()


def path_work(made: Artefact) -> Work:
    """Return the work of path probes: a gradient a point and step, and every recorded path on all examples."""
    spec, members = made.spec, len(made.spec["members"])
    if not made.inputs.get("data"):
        return probe_work(made, members)
    net, train, test, size = sized(made)
    points = spec["settings"]["points"]
    steps = spec["settings"]["steps"] * members * points
    fitted = train if spec["fit"] == "train" else test
    batch = min(spec["minibatch"] or fitted, fitted)
    measured = (points - 1) * spec["settings"].get("dense", 1) + 1
    count = members * len(spec["record"]) * measured
    flops = net.flops * (3.0 * steps * batch + count * (train + test))
    return Work(net.parameters, count, net.layers, steps, flops, train, test, size)


PATHS = Step(
    "paths",
    "path",
    "path.h5",
    "lossatlas.barriers.jobs.path:path",
    PathJob,
    ("cloud", "data"),
    gpu=True,
    work=path_work,
)


def _paths(study: Study, name: str, probe: PathProbe) -> list[Artefact]:
    """Return the parts of a path probe: its pairs under every objective and penalty, ``grain`` a job."""
    settings = Optimisation(**{part: getattr(probe, part) for part in Optimisation.model_fields}).hashed()
    spec: dict[str, Any] = {"settings": settings, "record": sorted({*probe.record, 0, probe.steps})}
    inputs: dict[str, Any] = {}
    pairs = [0]
    if probe.function is not None:
        spec |= {"function": probe.function, "ends": probe.ends, "label": probe.function.replace("_", "-")}
    else:
        network, inputs = _network(study, probe, f"probes.{name}.path")
        spec |= network
        pairs = list(range(probe.pairs))
    members = [
        {"pair": pair, "objective": objective, "penalty": penalty}
        for pair, objective, penalty in product(pairs, probe.objectives, probe.penalties)
    ]
    return [
        PATHS.make(spec["label"], {**spec, "members": part}, study.numerics, **inputs)
        for part in parts(members, probe.grain)
    ]


def _network(study: Study, probe: PathProbe, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the network whose losses a path is measured by, and the inputs: data and the cloud of its points.

    All points of the cloud must have one landscape: trained on the same examples and labels.
    """
    name, where = probe.cloud, f"{where}.cloud"
    cloud = only(study.get("cloud", name, where))
    trained = [part for part in cloud.ancestry() if "model" in part.spec]
    if not trained:
        raise study.error(where, f"{name!r} is not a cloud of networks")
    source = trained[0]
    kept = ("label", "labels", "model")
    same = {(part.input_hashes()["data"][0], str([part.spec[k] for k in kept])) for part in trained}
    if len(same) > 1:
        raise study.error(where, f"the points of {name!r} differ in network or data")
    if source.spec["labels"] == "random" or source.spec.get("resample") is not None:
        raise study.error(
            where,
            f"each replica of {name!r} has its own training set (labels or resample); a path needs one "
            "landscape for both ends",
        )
    spec = {
        **{part: source.spec[part] for part in kept},
        "resample": None,
        "scale": source.spec.get("scale", "standard"),
        "criterion": source.spec["criterion"] if "criterion" in source.spec else source.spec["recipe"]["criterion"],
        "seeds": {**training_seeds(study.seed, 0), "pairs": derive(study.seed, "pairs", probe.seed)},
        **{part: getattr(probe, part) for part in ("precision", "batch", "fit", "minibatch")},
    }
    return spec, {"data": source.inputs["data"], "cloud": (cloud,)}


PATH = Entry("probes", "path", PathProbe, _paths)
PATHS_VIEW = View("paths", of("probes", PathProbe), "lossatlas.barriers.files:load", whole=True)

# ---------------------------------------------------------------------------------------------------------------------
# kernels

Kernel = Literal["rbf", "linear", "poly", "sigmoid"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
"""Kernels of the separation; the RBF kernel is the paper's, 2 sigma^2 = D, the others scikit-learn's, gamma = 1 / D."""

Variant = Literal["trained", "equal_norms", "random_directions", "gaussian"]
VARIANTS: tuple[str, ...] = get_args(Variant)
"""What is projected (:mod:`lossatlas.barriers.separation`)."""

Score = Literal["pc1", "plane"]
SCORES: tuple[str, ...] = get_args(Score)
"""Where two sets are separated: along the first principal component, or along the best direction of the plane."""

Kernels = Annotated[list[Kernel], AfterValidator(unique("give each kernel once"))]


class Separation(Spec):
    """Two sets of points, the kernels under which they are projected, and the controls."""

    sets: Annotated[Pair, AfterValidator(unique("give two sets"))] = key("Names of two of its sets.")
    kernels: Kernels = key(
        "Kernels of the projections.", list(KERNELS), min_length=1, source="rbf: Yu & Morozov; the others scikit-learn"
    )
    sigmas: list[Annotated[float, key("A deviation.", gt=0)]] | None = key(
        "Standard deviations of the weights of the Gaussian control; null = without it.",
        None,
        min_length=2,
        max_length=2,
    )
    count: int = key("Vectors of each set of that control.", 48, ge=2)
    permutations: int = key("Random labellings behind a p-value.", 2000, ge=1)


class KernelsProbe(Separation):
    """How far kernel PCA separates two sets of points, and controls (lossatlas.barriers.separation).

    The controls have equal norms, random directions and Gaussian weights.
    """

    cloud: str = key("Name of a cloud of kind union.")
    seed: int = key("Replica of everything drawn.", 0, ge=0)


class SeparationJob(Separation):
    """What names a separation. ``seed``: of everything drawn."""

    seed: int


SEPARATIONS = Step(
    "separations",
    "separate",
    "separation.h5",
    "lossatlas.barriers.jobs.separate:separate",
    SeparationJob,
    ("gram",),
    version=2,  # with the sets' deviations
    work=embed_work,
)


def _kernels(study: Study, name: str, probe: KernelsProbe) -> list[Artefact]:
    """Return the separation of two sets of a union of clouds under kernel PCA."""
    where = f"probes.{name}.kernels"
    gram = only(study.get("gram", probe.cloud, f"{where}.cloud"))
    known = [part["cloud"] for part in gram.inputs["cloud"][0].spec.get("sets", [])]
    for label in probe.sets:
        if label not in known:
            raise study.error(f"{where}.sets", f"{label!r} is not a set of {probe.cloud!r}; {nearest(label, known)}")
    spec = {part: getattr(probe, part) for part in Separation.model_fields}
    seed = derive(study.seed, "kernels", probe.seed)
    return [SEPARATIONS.make(gram.label, {**spec, "seed": seed}, gram=gram)]


KERNELS_PROBE = Entry("probes", "kernels", KernelsProbe, _kernels)
KERNELS_VIEW = View("kernels", of("probes", KernelsProbe), "lossatlas.barriers.files:read_separation")

# ---------------------------------------------------------------------------------------------------------------------
# figures


class Panel(Spec):
    """What every panel has."""

    title: str = key("Title above the panel.", "")


class SetsPanel(Panel):
    """One network."""

    sets: Annotated[dict[str, str], Refers("paths")] = key("Name of the set -> name of a path probe of the study.")


class UnionPanel(Panel):
    """One network."""

    cloud: Annotated[str, Refers("gram")] = key("Name of a cloud of kind union.")
    sets: Pair = key("The two of its clouds that are drawn.")
    centres: Pair = key("The two of its clouds whose centroids' middle is the origin.")


class KernelsPanel(Spec):
    """One probe of kernels."""

    kernels: Annotated[str, Refers("kernels")] = key("Name of a kernels probe of the study.")
    title: str = key("Title of the row.", "")


class PathPlane(Figure):
    """Paths of a function of two variables over its contours, and the losses along them, a row an objective."""

    kind: Literal["path_plane"] = "path_plane"
    draw: ClassVar[str] = "lossatlas.barriers.figures.path_plane:compose"
    paths: Annotated[str, Refers("paths")] = key("Name of a path probe of the study, on a function.")


class OfSets(Figure):
    """What figures of the paths of sets of minima have in common."""

    panels: list[SetsPanel] = key("One network each.", min_length=1)
    part: Part = key("Landscape on which heights are measured.", "train")
    labels: dict[str, str] = key("Set -> shown label.", {})


class PathHeights(OfSets):
    """Histograms of the heights of optimised paths, one a set, a panel a network."""

    kind: Literal["path_heights"] = "path_heights"
    draw: ClassVar[str] = "lossatlas.barriers.figures.heights:compose_heights"
    step: int | None = key("Recorded step of the optimisation; null = the last.", None)
    columns: Columns


class PathConvergence(OfSets):
    """Path height, height above the higher end and the comparison of sets against optimisation steps."""

    kind: Literal["path_convergence"] = "path_convergence"
    draw: ClassVar[str] = "lossatlas.barriers.figures.heights:compose_convergence"
    compare: list[Pair] = key("Pairs [first, second] of sets: how often a path of the first is higher.", [])
    floor: float = key("Least value shown on the logarithmic axes.", 1e-6, gt=0)


class OfTwo(Figure):
    """What figures of two sets of weight vectors have in common."""

    labels: Pair = key("What the first and the second set are called.")


class Shells(OfTwo):
    """Histograms of the distances of two sets of points from their common centroid, a panel a network."""

    kind: Literal["shells"] = "shells"
    draw: ClassVar[str] = "lossatlas.barriers.figures.shells:compose_shells"
    panels: list[UnionPanel] = key("One network each.", min_length=1)
    columns: Columns


class KernelComponents(OfTwo):
    """Two sets of points under kernel PCA, a row a network, a column a kernel or control."""

    kind: Literal["kernels"] = "kernels"
    draw: ClassVar[str] = "lossatlas.barriers.figures.shells:compose_kernels"
    panels: list[KernelsPanel] = key("One probe of kernels each.", min_length=1)


class PhasePoint(Spec):
    """Two sets of one network."""

    kernels: Annotated[str, Refers("kernels")] = key("Name of a kernels probe of the study.")
    title: str = key("What the point is called.")


class KernelPhase(Figure):
    """Number of vectors against difference of widths: where PC 1 of the RBF kernel separates two isotropic sets."""

    kind: Literal["kernel_phase"] = "kernel_phase"
    draw: ClassVar[str] = "lossatlas.barriers.figures.phase:compose"
    points: list[PhasePoint] = key("One probe of kernels each; its Gaussian control is a second point.", min_length=1)


# ---------------------------------------------------------------------------------------------------------------------
# measures

PathsOf = Annotated[tuple[Reference, ...], Accepts("paths")]


class PlaneHeights(Measure):
    """Largest distance of the heights of paths on a function's plane from the paper's; exact, nothing is sampled."""

    measure: ClassVar[str] = "plane_heights"
    run: ClassVar[str] = "lossatlas.barriers.measures:plane_heights"
    paths: PathsOf = key("Path probes on a function.")
    of: Literal["optimised", "straight"] = key("The optimised paths, by lambda, or the straight one.", "optimised")
    objective: Objective = key("Objective of the optimised paths.", "squared")
    paper: list[float] = key("The paper's heights, by increasing lambda; of `straight` the one.", min_length=1)


class HigherBarriers(Measure):
    """How often a path of `first` is higher than one of `second`: 0.5 = no difference; units are disjoint pairs."""

    measure: ClassVar[str] = "higher_barriers"
    run: ClassVar[str] = "lossatlas.barriers.measures:higher_barriers"
    first: PathsOf = key("Path probes of the one set.")
    second: PathsOf = key("Path probes of the other set.")
    quantity: Literal["height", "excess"] = key("Path height, or height above the higher end.", "height")
    part: Part = key("Landscape on which it is measured.", "train")
    step: int | None = key("Recorded step of the optimisation; null = the last.", None)


class KernelSeparation(Measure):
    """How well two kernel principal components separate two sets: 0.5 = not at all, 1 = fully."""

    measure: ClassVar[str] = "kernel_separation"
    run: ClassVar[str] = "lossatlas.barriers.measures:kernel_separation"
    kernels: Annotated[tuple[Reference, ...], Accepts("kernels")] = key("A kernels probe.")
    best_of: Kernels = key("The best of these kernels counts.", ["rbf"], min_length=1, alias="parameters.kernels")
    variant: Variant = key("The vectors as trained, or a control.", "trained")
    score: Score | Literal["radius"] = key(
        "plane: along the best direction of two components. pc1: along the first. radius: by the distance from their "
        "origin in the plane, which tells two shells apart that no line does.",
        "plane",
    )


class OnShells(Measure):
    """What measures of two sets about the middle of two centroids have in common."""

    cloud: Annotated[tuple[Reference, ...], Accepts("gram")] = key("A cloud of kind union.")
    sets: Pair = key("The two of its clouds that are measured.")
    centres: Pair = key("The two of its clouds whose centroids' middle is the origin.")


class ShellOrder(OnShells):
    """How often a point of the first of `sets` is further from the middle of the centroids of `centres`."""

    measure: ClassVar[str] = "shell_order"
    run: ClassVar[str] = "lossatlas.barriers.measures:shell_order"


class CentroidsApart(OnShells):
    """Distance of two centroids over the spread of points about their middle, or over what chance alone gives."""

    measure: ClassVar[str] = "centroids_apart"
    run: ClassVar[str] = "lossatlas.barriers.measures:centroids_apart"
    relative_to: Literal["spread", "chance"] = key(
        "spread: the smaller standard deviation of the points' distances from the middle. chance: the distance that "
        "independent points about one centre give.",
        "spread",
    )
