"""Solutions: what two optimisers found, its curvature, and the plane through three of it, as a study says. Light."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator

from lossatlas.claims.spec import Measure
from lossatlas.draw.spec import Figure, Table
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, unique
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study, only
from lossatlas.train.spec import Index, OnNetwork, Precision, network_spec, probe_work, sized

# ---------------------------------------------------------------------------------------------------------------------
# planes through three points


class Corners(Spec):
    """A grid on the plane through three points."""

    corners: Annotated[list[Index], AfterValidator(unique("give three different rows"))] = key(
        "Rows of the cloud; the first axis runs from the first to the second.", [0, 1, 2], min_length=3, max_length=3
    )
    grid: int = key("Points a side.", 41, ge=2)
    margin: float = key("Share of the corners' range added on each side.", 0.4, ge=0)


class TriangleProbe(Corners):
    """Training and test loss on the plane through three points of a cloud of sweeps."""

    cloud: str = key("Name of a cloud of sweeps.")
    precision: Precision = key("Of the network.", "float32")
    batch: int = key("Most examples in a chunk.", 500, ge=1)


class TriangleJob(OnNetwork, Corners):
    """What names a triangle. ``seeds``: role -> seed of a member of the sweep."""

    seeds: dict[str, int]


def triangle_work(made: Artefact) -> Work:
    """Return the work of a triangle: both losses at every point of its grid."""
    return probe_work(made, int(made.spec["grid"]) ** 2)


TRIANGLES = Step(
    "triangles",
    "triangle",
    "triangle.h5",
    "lossatlas.solutions.jobs.triangle:triangle",
    TriangleJob,
    ("cloud", "data"),
    gpu=True,
    work=triangle_work,
)


def _triangle(study: Study, name: str, probe: TriangleProbe) -> list[Artefact]:
    """Return the losses on the plane through three points of a cloud of sweeps."""
    where = f"probes.{name}.triangle"
    cloud = only(study.get("cloud", probe.cloud, f"{where}.cloud"))
    starts = cloud.inputs.get("points", ())
    if not starts or starts[0].kind != "sweeps":
        raise study.error(f"{where}.cloud", f"{probe.cloud!r} is not a cloud of sweeps")
    if any(part.spec["resample"] is not None for part in starts):
        raise study.error(f"{where}.cloud", f"each replica of {probe.cloud!r} has its own training set")
    points = cloud.spec["best"]["count"] if "best" in cloud.spec else 3
    if max(probe.corners) >= points:
        raise study.error(f"{where}.corners", f"{max(probe.corners)}: {probe.cloud!r} has {points} points, from 0")
    spec = network_spec(starts, probe.precision, probe.batch)
    spec |= {part: getattr(probe, part) for part in Corners.model_fields}
    spec["seeds"] = starts[0].spec["members"][0]["seeds"]
    return [TRIANGLES.make(spec["label"], spec, cloud=cloud, data=starts[0].inputs["data"])]


TRIANGLE = Entry("probes", "triangle", TriangleProbe, _triangle)
TRIANGLE_VIEW = View("triangle", of("probes", TriangleProbe), "lossatlas.solutions.files:Triangle.load")

# ---------------------------------------------------------------------------------------------------------------------
# curvature at points of a cloud

Scale = Literal["raw", "filter"]
SCALES: tuple[Scale, ...] = get_args(Scale)
"""Coordinates of a Hessian: the weights, or weights in units of their filter's root mean square."""


class Spectrum(Spec):
    """How the curvature of the training loss at a point is measured."""

    examples: int | None = key("The first so many training examples; null = all.", None, ge=1)
    tolerance: float = key(
        "Of the residuals of both ends, relative to the larger of the two magnitudes.", 1e-2, gt=0, lt=1
    )
    products: int = key("Most Hessian-vector products for both ends.", 80, ge=1)
    trace: int = key("Random vectors of signs behind a trace (Hutchinson).", 20, ge=1)


class HessiansProbe(Spectrum):
    """Both ends and the trace of the Hessian at points of a cloud, raw and filter-normalised."""

    cloud: str = key("Name of a cloud of sweeps, or of imported points.")
    count: int = key("The first so many of its points.", 48, ge=1)
    seed: int = key("Replica of everything drawn.", 0, ge=0)
    precision: Precision = key("Of the network.", "float64")
    batch: int = key("Most examples in a chunk.", 500, ge=1)
    grain: int = key("Points per job.", 4, ge=1)


class HessiansJob(OnNetwork, Spectrum):
    """What names a job of curvatures.

    ``rows``: of the cloud; ``seeds``: role -> seed of the network; ``draw``: seed of everything drawn.
    """

    rows: list[int]
    seeds: dict[str, int]
    draw: int


def hessians_work(made: Artefact) -> Work:
    """Return the work of curvatures: a product with a Hessian costs some six forward passes."""
    spec = made.spec
    _, train, _, _ = sized(made)
    count, share = len(spec["rows"]), min(spec["examples"] or train, train) / train
    taken = 2 * count * (spec["products"] + spec["trace"])
    return probe_work(made, count, steps=3.0 * taken, passes=6.0 * taken * share)


HESSIANS = Step(
    "hessians",
    "hessians",
    "hessians.h5",
    "lossatlas.solutions.jobs.hessians:hessians",
    HessiansJob,
    ("cloud", "data"),
    gpu=True,
    work=hessians_work,
)


def _hessians(study: Study, name: str, probe: HessiansProbe) -> list[Artefact]:
    """Return the curvature at points of a cloud, ``grain`` a job."""
    where = f"probes.{name}.hessians"
    cloud = only(study.get("cloud", probe.cloud, f"{where}.cloud"))
    starts = [part for part in cloud.ancestry() if "model" in part.spec]
    if not starts or cloud.kind not in ("clouds", "imports") or "sets" in cloud.spec:
        raise study.error(f"{where}.cloud", f"{probe.cloud!r} is not one cloud of sweeps or of imported points")
    if starts[0].spec.get("resample") is not None or starts[0].spec["labels"] == "random":
        raise study.error(f"{where}.cloud", f"each replica of {probe.cloud!r} has its own training set")
    have = cloud.spec["best"]["count"] if "best" in cloud.spec else None
    if have is not None and probe.count > have:
        raise study.error(f"{where}.count", f"{probe.count}: {probe.cloud!r} has {have} points")
    source = starts[0]
    members = source.spec.get("members")
    spec = {
        **{part: source.spec.get(part) for part in ("label", "labels", "model", "resample")},
        "scale": source.spec.get("scale", "standard"),
        "criterion": source.spec["criterion"] if "criterion" in source.spec else source.spec["recipe"]["criterion"],
        "precision": probe.precision,
        "batch": probe.batch,
        "seeds": members[0]["seeds"] if members else source.spec["seeds"],
        "draw": derive(study.seed, "hessians", probe.seed),
        **{part: getattr(probe, part) for part in Spectrum.model_fields},
    }
    rows = range(probe.count)
    groups = [list(rows[i : i + probe.grain]) for i in range(0, probe.count, probe.grain)]
    data = source.inputs["data"]
    return [HESSIANS.make(spec["label"], {**spec, "rows": group}, cloud=cloud, data=data) for group in groups]


HESSIANS_PROBE = Entry("probes", "hessians", HessiansProbe, _hessians)
HESSIANS_VIEW = View("hessians", of("probes", HessiansProbe), "lossatlas.solutions.files:hessians", whole=True)

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

SolutionSet = Literal["sgd_train", "lbfgs_train", "sgd_test", "lbfgs_test"]
SOLUTION_SETS: tuple[SolutionSet, ...] = get_args(SolutionSet)
"""The sets of solutions of one network: the end of training and the lowest test loss, by optimiser."""

Best = Annotated[str, Refers("gram")]
"""Name of a cloud ``best``."""

Number = int | float | None
"""As the paper prints it."""

Moments = Annotated[list[Number], key("Mean and standard deviation.", min_length=2, max_length=2)]


class Row(Spec):
    """One network."""

    title: str = key("Name of the network.")


class HistoriesRow(Row):
    """The sets of one network whose histories are drawn."""

    lbfgs: Best = key("Name of the cloud `best` of L-BFGS-GSS, at the end of training.")
    sgd: Best = key("Name of the cloud `best` of SGD, at the end of training.")


class LbfgsRow(Row):
    """The sets of L-BFGS-GSS of one network."""

    lbfgs_train: Best = key("Name of the cloud `best` of L-BFGS-GSS, at the end of training.")
    lbfgs_test: Best = key("Name of the cloud `best` of L-BFGS-GSS, stopped at the lowest test loss.")


class SetsRow(LbfgsRow):
    """The four sets of one network."""

    sgd_train: Best = key("Name of the cloud `best` of SGD, at the end of training.")
    sgd_test: Best = key("Name of the cloud `best` of SGD, stopped at the lowest test loss.")


class PaperLosses(Spec):
    """What the paper says of one network."""

    parameters: Number = key("Number of weights.", None)
    sgd_train: Number = key("Mean training loss of SGD's solutions.", None)
    lbfgs_train: Number = key("Mean training loss of L-BFGS-GSS's solutions.", None)
    sgd_test: Number = key("Mean test loss of SGD's solutions.", None)
    lbfgs_test: Number = key("Mean test loss of L-BFGS-GSS's solutions.", None)


class LossesRow(SetsRow):
    """One row of the table."""

    paper: PaperLosses = key("What the paper says.", PaperLosses())


class WeightsRow(SetsRow):
    """One network of the table."""

    paper: dict[SolutionSet, Moments] = key("Set -> [mean, standard deviation]: what the paper says.", {})


class PaperRun(Spec):
    """What the paper says of one optimiser's solutions of one network: what a learning rate is fitted to."""

    train_loss: float = key("Mean training loss at its lowest.", gt=0)
    test_loss: float = key("Mean test loss at its lowest.", gt=0)
    train_std: float = key("Standard deviation of the weights at the lowest training loss.", gt=0)
    test_std: float = key("Standard deviation of the weights at the lowest test loss.", gt=0)


class RatesRow(LbfgsRow):
    """One network of the table: a scan of learning rates, and the sets it is compared with."""

    end: Best = key("Name of the cloud `best` of the scan's members, at the end of training.")
    stop: Best = key("Name of the cloud `best` of the scan's members, stopped at the lowest test loss.")
    paper: PaperRun | None = key("What the rates are fitted to; null = nothing.", None)


class Costs(Spec):
    """Passes of the training set through the network, forward, that an epoch of each optimiser costs."""

    sgd: float = key("A gradient of every example: one pass forward, two back.", 3.0, gt=0)
    lbfgs: float = key("A gradient of every example and six losses.", 9.0, gt=0)


class Histories(Figure):
    """Training and test loss by epoch of the best runs of two optimisers, with the minima of a typical one."""

    kind: Literal["histories"] = "histories"
    draw: ClassVar[str] = "lossatlas.solutions.figures.solutions:histories"
    rows: list[HistoriesRow] = key("One network each.", min_length=1)
    x: Literal["epoch", "passes"] = key("Epochs, or what they cost: passes of the training set.", "epoch")
    costs: Costs = key("Passes an epoch.", Costs())


class Overview(Figure):
    """Sample inputs, a fully connected network, and its loss on the plane through three of its minima."""

    kind: Literal["overview"] = "overview"
    draw: ClassVar[str] = "lossatlas.solutions.figures.overview:compose"
    triangle: Annotated[str, Refers("triangle")] = key("Name of a triangle probe of the study.")
    part: Literal["train", "test"] = key("The loss shown.", "train")


class CurvaturePanel(Spec):
    """The sets of one network."""

    title: str = key("Name of the network.", "")
    sets: Annotated[dict[str, str], Refers("hessians")] = key("Name of the set -> name of a probe `hessians`.")


class Curvatures(Figure):
    """Curvature against training loss at the points of several sets of solutions, a column a network."""

    kind: Literal["curvatures"] = "curvatures"
    draw: ClassVar[str] = "lossatlas.solutions.figures.curvatures:compose"
    panels: list[CurvaturePanel] = key("One network each.", min_length=1)
    labels: dict[str, str] = key("Set -> shown label.", {})


class LossesTable(Table):
    """Mean training and test loss of two optimisers' solutions, at the end and stopped early, beside the paper's."""

    kind: Literal["losses_table"] = "losses_table"
    draw: ClassVar[str] = "lossatlas.solutions.figures.solutions:losses"
    rows: list[LossesRow] = key("One network each.", min_length=1)


class WeightsTable(Table):
    """Mean and standard deviation of the weights of two optimisers' solutions, beside the paper's."""

    kind: Literal["weights_table"] = "weights_table"
    draw: ClassVar[str] = "lossatlas.solutions.figures.solutions:weights"
    rows: list[WeightsRow] = key("One network each.", min_length=1)


class RatesTable(Table):
    """Losses of SGD at several learning rates, at the end and stopped early, those of L-BFGS-GSS, and the fit."""

    kind: Literal["rates_table"] = "rates_table"
    draw: ClassVar[str] = "lossatlas.solutions.figures.solutions:rates"
    rows: list[RatesRow] = key("One network each.", min_length=1)


# ---------------------------------------------------------------------------------------------------------------------
# measures

Cloud = Annotated[tuple[Reference, ...], Accepts("gram")]
Loss = Literal["train_loss", "test_loss"]


class OfSolutions(Measure):
    """What measures of a set of solutions have in common; the unit is the initialisation."""

    first: Cloud = key("A set of solutions.")


class SolutionLosses(OfSolutions):
    """Mean loss of one set of solutions over that of another."""

    measure: ClassVar[str] = "solution_losses"
    run: ClassVar[str] = "lossatlas.solutions.measures:solution_losses"
    second: Cloud = key("The set it is compared with.")
    quantity: Loss = key("Which loss.", "train_loss")


class BestRate(OfSolutions):
    """Mean loss of a set of solutions over that of a scan of learning rates at its best one."""

    measure: ClassVar[str] = "best_rate"
    run: ClassVar[str] = "lossatlas.solutions.measures:best_rate"
    scan: Cloud = key("All members of a sweep over the learning rate.")
    quantity: Loss = key("Which loss.", "test_loss")


class WeightSpread(OfSolutions):
    """Standard deviation of all weights of a set, their mean length or mutual distance, over that of another set."""

    measure: ClassVar[str] = "weight_spread"
    run: ClassVar[str] = "lossatlas.solutions.measures:weight_spread"
    second: Cloud = key("The set it is compared with.")
    quantity: Literal["std", "norm", "distance"] = key(
        "Deviation of the weights, length of the vectors, or mean distance from the others of the set.", "std"
    )


CurvatureOf = Annotated[tuple[Reference, ...], Accepts("hessians")]
Curvature = Literal["raw_max", "raw_trace", "filter_max", "filter_trace"]


class Sharper(Measure):
    """How often a point of `first` has a higher curvature than one of `second`; units are initialisations."""

    measure: ClassVar[str] = "sharper"
    run: ClassVar[str] = "lossatlas.solutions.measures:sharper"
    first: CurvatureOf = key("Probes `hessians` of the one set.")
    second: CurvatureOf = key("Probes `hessians` of the other set.")
    quantity: Curvature = key("Largest eigenvalue or trace, raw or filter-normalised.", "raw_max")


class HighestLoss(Measure):
    """Highest training loss of any solution of several sets: the premise that all were trained."""

    measure: ClassVar[str] = "highest_loss"
    run: ClassVar[str] = "lossatlas.solutions.measures:highest_loss"
    trained: Cloud = key("Sets of solutions.", min_length=1)
