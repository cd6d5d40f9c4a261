"""Solutions: what two optimisers found, and the plane through three of it, as a study says them. Light."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator

from lossatlas.claims.spec import Measure
from lossatlas.draw.spec import Figure, Table
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, unique
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study, only
from lossatlas.train.spec import Index, OnNetwork, Precision, network_spec, probe_work

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
    "lossatlas.solutions.jobs:triangle",
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


class RatesRow(LbfgsRow):
    """One network of the table: a scan of learning rates, and the sets it is compared with."""

    end: Best = key("Name of the cloud `best` of the scan's members, at the end of training.")
    stop: Best = key("Name of the cloud `best` of the scan's members, stopped at the lowest test loss.")


class Histories(Figure):
    """Training and test loss by epoch of the best runs of two optimisers, with the minima of a typical one."""

    kind: Literal["histories"] = "histories"
    draw: ClassVar[str] = "lossatlas.solutions.figures.solutions:histories"
    rows: list[HistoriesRow] = key("One network each.", min_length=1)


class Overview(Figure):
    """Sample inputs, a fully connected network, and its loss on the plane through three of its minima."""

    kind: Literal["overview"] = "overview"
    draw: ClassVar[str] = "lossatlas.solutions.figures.overview:compose"
    triangle: Annotated[str, Refers("triangle")] = key("Name of a triangle probe of the study.")
    part: Literal["train", "test"] = key("The loss shown.", "train")


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
    """Losses of SGD at several learning rates, at the end and stopped early, and those of L-BFGS-GSS."""

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
    """Standard deviation of all weights of a set of solutions, or their mean length, over that of another set."""

    measure: ClassVar[str] = "weight_spread"
    run: ClassVar[str] = "lossatlas.solutions.measures:weight_spread"
    second: Cloud = key("The set it is compared with.")
    quantity: Literal["std", "norm"] = key("Deviation of the weights, or length of the vectors.", "std")


class HighestLoss(Measure):
    """Highest training loss of any solution of several sets: the premise that all were trained."""

    measure: ClassVar[str] = "highest_loss"
    run: ClassVar[str] = "lossatlas.solutions.measures:highest_loss"
    trained: Cloud = key("Sets of solutions.", min_length=1)
