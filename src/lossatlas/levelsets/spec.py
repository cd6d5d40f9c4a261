"""Level sets: what a study says of traversals, surfaces and averages, what is drawn and measured of them. Light."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Discriminator, model_validator

from lossatlas.claims.spec import Measure
from lossatlas.clouds.spec import gram_work
from lossatlas.draw.spec import Columns, Figure, Table
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.source import Code
from lossatlas.specs.study import Study, only
from lossatlas.train.spec import OnNetwork, Precision, Replicas, network_spec, parts, probe_work, seeds, sweep

FunctionName = Literal["circle"]
"""A landscape with a known answer that may be walked in place of networks (``lossatlas.landscape.analytic.NAMED``)."""

FUNCTIONS: tuple[str, ...] = get_args(FunctionName)

_PAPER = "Tahir & Katz 2021, section V-A"

# ---------------------------------------------------------------------------------------------------------------------
# directions of interest


class Norm2(Spec):
    """The squared norm of the weights."""

    kind: Literal["norm2"] = key("Which direction.", "norm2", source="Tahir & Katz 2021, section III")
    up: bool = key("Make it larger in place of smaller: a control.", False, quiet=True)


class Linear(Spec):
    """A linear function c . theta."""

    kind: Literal["linear"]
    coefficients: list[float] = key("c, as many numbers as the landscape has dimensions.")


class Random(Spec):
    """One random direction for the whole path, another for every replica."""

    kind: Literal["random"]
    seed: int = key("Number of the direction; the study's master seed and the replica go into the draw too.", 0)


class Walk(Spec):
    """A new random direction at every step."""

    kind: Literal["walk"]
    seed: int = key("Number of the walk; the study's master seed and the replica go into the draws too.", 0)


class Towards(Spec):
    """The squared distance from the start of another replica; where a level is given, from that start moved onto it."""

    kind: Literal["towards"]
    replica: int = key("Whose start.", 0, ge=0)
    shift: int | None = key(
        "The start of the replica so many further on, in place of `replica`: another target for every path.",
        None,
        quiet=True,
        ge=1,
    )
    aligned: bool = key(
        "Match the target's hidden units to those of the path's own start first (model mlp).", False, quiet=True
    )

    def target(self, replica: int) -> int:
        """Return the replica towards whose start the path of a replica goes."""
        return self.replica if self.shift is None else replica + self.shift


class Function(Code):
    """A user's own differentiable function of theta."""

    kind: Literal["function"]


def _default_kind(raw: Any) -> Any:
    return {"kind": "norm2", **raw} if isinstance(raw, Mapping) else raw


Interest = Annotated[
    Norm2 | Linear | Random | Walk | Towards | Function, Discriminator("kind"), BeforeValidator(_default_kind)
]
"""A direction of interest by its ``kind``; ``{}`` is ``norm2``. :mod:`lossatlas.levelsets.interest` makes it."""

# ---------------------------------------------------------------------------------------------------------------------
# traversals


class Settings(Spec):
    """How a level set is walked."""

    traversal: Literal["predictor", "conjugate"] = key(
        "predictor: the paper's path. conjugate: Riemannian conjugate gradients.", "predictor"
    )
    corrector: Literal["newton", "printed"] = key(
        "newton: corrections of Newton length. printed: the paper's, a unit direction with a step length of its own.",
        "newton",
    )
    step: float = key(
        "First step length of predictor and printed corrector, in units of theta.",
        1e-3,
        source="ours: the paper gives none, and any between 1e-6 and 1e-2 leads to the same path",
        gt=0,
    )
    threshold: float = key(
        "Change of direction between two steps, in degrees, from which the step shrinks.", 0.1, source=_PAPER, gt=0
    )
    grow: float = key("Factor of the step length after a smaller change.", 1.1, source=_PAPER, gt=0)
    shrink: float = key("Factor of the step length after a larger change.", 0.1, source=_PAPER, gt=0, lt=1)
    tolerance: Annotated[float, key("Largest |L - L0|.", gt=0)] | Literal["scaled", "paper"] = key(
        "Largest |L - L0|: a number, paper (1e-5) or scaled (min(1e-5, 5e-3 L0)).", "scaled"
    )
    corrections: int = key(
        "Most corrector steps in a row; a step that needs more is taken back and tried shorter.", 500, ge=1
    )
    steps: int = key("Predictor steps after which to stop.", 1000, ge=1)
    angle: float | None = key(
        "Stop when the gradients of loss and interest are so many degrees apart; null = never.", None
    )
    gradients: int | None = key(
        "Stop after so many gradients of the loss, predictor and corrector steps together; null = never.", None, ge=1
    )
    length: float | None = key(
        "Stop after a path of so great a length, the sum of its steps, each at most a hundredth of it; null = never.",
        None,
        quiet=True,
        gt=0,
    )
    longest: float | None = key(
        "Longest step, in units of theta; the loss half-way is then measured, too (column between). null = any.",
        None,
        quiet=True,
        gt=0,
    )


class OnPaths(Spec):
    """Keys of every probe here: whose paths, and how the network is evaluated."""

    replicas: Replicas | None = key("Replicas whose paths are taken; null = all.", None, min_length=1)
    precision: Precision = key("Of the network; points are float64.", "float32")


class InChunks(Spec):
    """Keys of probes that choose the chunks in which examples are evaluated."""

    batch: int = key("Most examples in a chunk of the full batch.", 500, ge=1)


class LevelsetProbe(OnPaths, InChunks, Settings):
    """Paths along a fixed training loss (:mod:`lossatlas.levelsets.traversal`)."""

    start: str | None = key("Name of the sweep whose end points are the starts.", None)
    function: FunctionName | None = key("A function in place of networks; its starts are random.", None)
    level: float | None = key("The level; null = the loss at the start. Of a function it must be given.", None)
    interest: Interest = key("Where to go while the loss stays.", Norm2())
    points: int = key("Points recorded of a path, evenly spread over its steps.", 101, ge=2)
    grain: int = key("Paths per job.", 1, ge=1)
    as_long_as: str | None = key(
        "Name of a level-set probe: stop where a path is as long as that of the same replica there.", None
    )

    @model_validator(mode="after")
    def _fits(self) -> "LevelsetProbe":
        if self.as_long_as is not None and (self.start is None or self.length is not None):
            raise mistake("as_long_as", "needs `start`, and is given in place of `length`")
        if self.traversal == "conjugate" and (self.length is not None or self.as_long_as is not None):
            raise mistake("traversal", "conjugate chooses its steps to reach a minimum; a length is for predictor")
        if (self.start is None) == (self.function is None):
            raise mistake("", "give either start (a sweep) or function")
        if self.function is not None and self.level is None:
            raise mistake("level", "missing; starts of a function are moved onto a level")
        return self


class LevelsetJob(Spec):
    """What names a job of traversals. ``members``: replica and seeds; ``interest`` with the master seed if it draws."""

    label: str
    interest: dict[str, Any]
    settings: Settings
    level: float | None
    points: int
    members: list[dict[str, Any]]


class NetworkLevelset(OnNetwork, LevelsetJob):
    """Traversals of networks."""


class FunctionLevelset(LevelsetJob):
    """Traversals of a function of :data:`FUNCTIONS`."""

    function: str


def levelset_work(made: Artefact) -> Work:
    """Return the work of traversals: a step is two full gradients, the predictor's and at most one of the corrector."""
    members = len(made.spec["members"])
    steps = 2 * made.spec["settings"]["steps"] * members
    return probe_work(made, members * made.spec["points"], steps, 3.0 * steps)


LEVELSETS = Step(
    "levelsets",
    "levelset",
    "points.h5",
    "lossatlas.levelsets.jobs.levelset:levelset",
    LevelsetJob,
    ("data", "starts", "reference"),
    version=2,
    gpu=True,
    stored=False,
    work=levelset_work,
)


def _levelset(study: Study, name: str, probe: LevelsetProbe) -> list[Artefact]:
    """Return the parts of a level-set probe: its replicas, ``grain`` a job."""
    interest = probe.interest.hashed()
    if isinstance(probe.interest, Random | Walk):
        interest["master"] = study.seed
    settings = Settings(**{part: getattr(probe, part) for part in Settings.model_fields})
    common: dict[str, Any] = {"interest": interest, "settings": settings, "level": probe.level, "points": probe.points}
    if probe.function is not None:
        members = [{"replica": r, "seeds": {"start": derive(study.seed, "start", r)}} for r in probe.replicas or [0]]
        common |= {"label": probe.function, "function": probe.function}
        return [
            LEVELSETS.make(probe.function, FunctionLevelset(**common, members=group), study.numerics)
            for group in parts(members, probe.grain)
        ]
    return _of_networks(study, name, probe, common)


def _of_networks(study: Study, name: str, probe: LevelsetProbe, common: Mapping[str, Any]) -> list[Artefact]:
    """Return the parts of a probe that starts from a sweep, each with those parts of the sweep it needs."""
    where = f"probes.{name}.levelset"
    starts = sweep(study, probe.start or "", f"{where}.start")
    network = network_spec(starts, probe.precision, probe.batch)
    replicas = probe.replicas or list(dict.fromkeys(m["replica"] for s in starts for m in s.spec["members"]))
    longs = [] if probe.as_long_as is None else list(study.get("levelset", probe.as_long_as, f"{where}.as_long_as"))
    found = []
    for group in parts([{"replica": r, "seeds": seeds(study, r)} for r in replicas], probe.grain):
        wanted = {int(member["replica"]) for member in group}
        wanted |= {probe.interest.target(r) for r in wanted} if isinstance(probe.interest, Towards) else set()
        sources = [s for s in starts if wanted & {m["replica"] for m in s.spec["members"]}]
        missing = wanted - {m["replica"] for s in sources for m in s.spec["members"]}
        if missing:
            raise study.error(f"{where}.replicas", f"sweep {probe.start!r} has no replica {min(missing)}")
        spec = NetworkLevelset(**network, **common, members=group)
        inputs: dict[str, Any] = {"data": starts[0].inputs["data"], "starts": sources}
        if longs:
            inputs["reference"] = [p for p in longs if wanted & {m["replica"] for m in p.spec["members"]}]
            unknown = {int(m["replica"]) for m in group} - {m["replica"] for p in longs for m in p.spec["members"]}
            if unknown:
                raise study.error(f"{where}.as_long_as", f"{probe.as_long_as!r} has no replica {min(unknown)}")
        found.append(LEVELSETS.make(spec.label, spec, **inputs))
    return found


LEVELSET = Entry("probes", "levelset", LevelsetProbe, _levelset)
LEVELSET_VIEW = View("levelset", of("probes", LevelsetProbe))

# ---------------------------------------------------------------------------------------------------------------------
# networks that differ by the order of their hidden units only


def is_odd(model: Mapping[str, Any]) -> bool:
    """Return whether a model's hidden units may change their sign: those of tanh, of which f(-x) = -f(x)."""
    return model.get("activation") == "tanh"


class Aligned(Spec):
    """A cloud of traversals, its networks matched to the first path's end by permuting hidden units (model mlp).

    A path is moved as a whole, as its end is; every network of a sweep by itself.
    """

    cloud: str = key("Name of a cloud of traversals.")


class AlignedJob(Spec):
    """What names an aligned cloud. ``odd``: hidden units may change their sign, too."""

    odd: bool


ALIGNED = Step(
    "aligned",
    "align",
    "points.h5",
    "lossatlas.levelsets.jobs.align:align",
    AlignedJob,
    ("cloud",),
    stored=False,
    work=gram_work,  # as for a Gram matrix, its rows go through memory once
)


def _aligned(study: Study, name: str, entry: Aligned) -> list[Artefact]:
    where = f"clouds.{name}.aligned.cloud"
    cloud = only(study.get("cloud", entry.cloud, where))
    path = _gathered(cloud).inputs["points"][0]
    if path.kind != LEVELSETS.kind or path.spec.get("model", {}).get("name") != "mlp":
        raise study.error(where, f"{entry.cloud!r} is not a cloud of traversals of a fully connected network (mlp)")
    return [ALIGNED.make(path.label, AlignedJob(odd=is_odd(path.spec["model"])), cloud=cloud)]


def _gathered(cloud: Artefact) -> Artefact:
    """Return a cloud as it was gathered, before its networks were aligned."""
    return cloud.inputs["cloud"][0] if cloud.kind == ALIGNED.kind else cloud


ALIGNED_CLOUD = Entry("clouds", "aligned", Aligned, _aligned)

# ---------------------------------------------------------------------------------------------------------------------
# losses on the plane of a cloud's paths, and at the average of their end points

Range = Annotated[list[float], key("Low and high.", min_length=2, max_length=2)]


class Grid(Spec):
    """Where on the plane the loss is evaluated."""

    grid: int = key("Points a side.", 100, ge=2)
    margin: float = key("Share of the paths' range added on each side.", 0.15, ge=0)
    limits: list[Range] | None = key(
        "[[x low, high], [y low, high]]; null = the paths' range.", None, min_length=2, max_length=2
    )


class SurfaceProbe(Grid, OnPaths):
    """Training loss on a grid: on the first two principal axes of a cloud's paths, or of a function."""

    cloud: str = key("Name of a cloud of traversals.")


class SurfaceJob(Grid):
    """What names a surface. ``replicas``: whose paths span the plane, null = all."""

    replicas: list[int] | None


class NetworkSurface(OnNetwork, SurfaceJob):
    """A surface of a network, the first replica's. ``members``: of the traversals."""

    members: list[dict[str, Any]]


class FunctionSurface(SurfaceJob):
    """A surface of a function of :data:`FUNCTIONS`, whose own axes are the plane."""

    function: str


def surface_work(made: Artefact) -> Work:
    """Return the work of a surface: a loss at every point of the grid."""
    return probe_work(made, made.spec["grid"] ** 2)


SURFACES = Step(
    "surfaces",
    "surface",
    "surface.h5",
    "lossatlas.levelsets.jobs.surface:surface",
    SurfaceJob,
    ("cloud", "gram", "data"),
    gpu=True,
    work=surface_work,
)


def _surface(study: Study, name: str, probe: SurfaceProbe) -> list[Artefact]:
    where = f"probes.{name}.surface"
    cloud = only(study.get("cloud", probe.cloud, f"{where}.cloud"))
    path = cloud.inputs["points"][0]
    if path.kind != LEVELSETS.kind:
        raise study.error(f"{where}.cloud", f"{probe.cloud!r} is not a cloud of traversals")
    _refuse_missing(study, probe, cloud, where)
    common: dict[str, Any] = {part: getattr(probe, part) for part in SurfaceJob.model_fields}
    if "function" in path.spec:
        function = FunctionSurface(**common, function=path.spec["function"])
        return [SURFACES.make(path.label, function, cloud=cloud)]
    network = network_spec(path.inputs["starts"], probe.precision, path.spec["batch"])
    spec = NetworkSurface(**common, **network, members=_walked(cloud))
    gram = study.get("gram", probe.cloud, where)
    return [SURFACES.make(path.label, spec, cloud=cloud, data=path.inputs["data"], gram=gram)]


def _walked(cloud: Artefact) -> list[dict[str, Any]]:
    """Return the members of a cloud's traversals, without those of the sweeps and of other traversals beside them."""
    points = cloud.inputs["points"]
    own = points[: len(points) - sum(other["files"] for other in cloud.spec.get("others", []))]
    return [m for part in own if part.kind == LEVELSETS.kind for m in part.spec["members"]]


def _refuse_missing(study: Study, probe: "SurfaceProbe | AverageProbe", cloud: Artefact, where: str) -> None:
    """Refuse replicas that no traversal of the cloud has."""
    known = [member["replica"] for member in _walked(cloud)]
    missing = sorted(set(probe.replicas or known) - set(known))
    if missing:
        there = ", ".join(map(str, known))
        raise study.error(
            f"{where}.replicas", f"cloud {probe.cloud!r} has no traversal of replica {missing[0]}; there are {there}"
        )


SURFACE = Entry("probes", "surface", SurfaceProbe, _surface)
SURFACE_VIEW = View("surface", of("probes", SurfaceProbe), "lossatlas.levelsets.files:Surface.load")


class AverageProbe(OnPaths, InChunks):
    """Losses at the average of the end points of a cloud's paths."""

    cloud: str = key("Name of a cloud of traversals.")


class AverageJob(OnNetwork):
    """What names an average. ``replicas``: whose end points, null = all; ``members``: of the traversals."""

    replicas: list[int] | None
    members: list[dict[str, Any]]


def average_work(made: Artefact) -> Work:
    """Return the work of an average: two points a replica, taken for one."""
    return probe_work(made, len(made.spec["members"]))


AVERAGES = Step(
    "averages",
    "average",
    "average.h5",
    "lossatlas.levelsets.jobs.average:average",
    AverageJob,
    ("cloud", "data"),
    gpu=True,
    work=average_work,
)


def _average(study: Study, name: str, probe: AverageProbe) -> list[Artefact]:
    where = f"probes.{name}.average.cloud"
    cloud = only(study.get("cloud", probe.cloud, where))
    path = _gathered(cloud).inputs["points"][0]
    if path.kind != LEVELSETS.kind or "function" in path.spec:
        raise study.error(where, f"{probe.cloud!r} is not a cloud of networks' traversals")
    _refuse_missing(study, probe, _gathered(cloud), where.removesuffix(".cloud"))
    network = network_spec(path.inputs["starts"], probe.precision, probe.batch)
    spec = AverageJob(**network, replicas=probe.replicas, members=_walked(_gathered(cloud)))
    return [AVERAGES.make(path.label, spec, cloud=cloud, data=path.inputs["data"])]


AVERAGE = Entry("probes", "average", AverageProbe, _average)
AVERAGE_VIEW = View("average", of("probes", AverageProbe), "lossatlas.levelsets.files:average")

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

Traversals = Annotated[str, Refers("gram")]
"""Name of a cloud of traversals whose Gram matrix is read."""

_CLOUD = "Name of a cloud of traversals of the study."


class SurfacePanel(Spec):
    """One surface."""

    surface: Annotated[str, Refers("surface")] = key("Name of a surface probe of the study.")
    title: str = key("Title above the panel.", "")
    replicas: Replicas | None = key("Whose paths are drawn; null = all.", None, min_length=1)
    show: Literal["path", "start"] = key("The whole paths, or their first points.", "path")
    objective: Range | None = key("Coefficients of a linear function shown as dashed contours; null = none.", None)


class SurfaceFigure(Figure):
    """Loss on a plane of weight space as contours, with the paths that span it, coloured by progress."""

    kind: Literal["surface"] = "surface"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.surface:compose"
    panels: list[SurfacePanel] = key("One surface each.", min_length=1)
    log: bool = key("Logarithmic colours.", True)
    scale: Range | None = key(
        "Losses at the ends of the colours, for figures to compare; null = the planes' own.", None
    )
    columns: Columns


class Chosen(Spec):
    """Keys of whatever compares traversals with weight decay at its best lambda."""

    choose: Literal["validation", "test"] = key(
        "Where the best lambda is chosen: on the part held out of the training set, or on the test set.", "validation"
    )


class TraversalPanel(Spec):
    """One cloud of traversals."""

    cloud: Traversals = key(_CLOUD)
    title: str = key("Title above the panel, or above its row.", "")


class Paths3d(Chosen, Figure):
    """Traversals in their first six principal axes, two three-dimensional panels a cloud, coloured by progress.

    With the mean end point and the mean weight-decay point.
    """

    kind: Literal["paths3d"] = "paths3d"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.paths3d:compose"
    panels: list[TraversalPanel] = key("One cloud of traversals each.", min_length=1)


class Along(Chosen, Figure):
    """Angle, norm, deviation of the loss over its tolerance, and change of test performance along traversals."""

    kind: Literal["along"] = "along"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.along:compose"
    cloud: Traversals = key(_CLOUD)


class Walks(Figure):
    """A quantity along traversals and others of the same replicas beside them, against the length of the path."""

    kind: Literal["walks"] = "walks"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.along:walks"
    panels: list[TraversalPanel] = key("One cloud of traversals each.", min_length=1)
    labels: dict[str, str] = key(
        "What is drawn and its name: `levelset` for the cloud's own traversals, and what it calls others.", min_length=1
    )
    quantity: Literal["test_loss", "distance"] = key(
        "Change of the test loss, or the distance from the target of walks towards one.", "test_loss"
    )


class Budget(Chosen, Figure):
    """Test performance against the number of examples whose gradient was taken: traversals and weight decay.

    Weight decay from initialisations with its last value drawn on, and that which goes on from the paths' starts.
    """

    kind: Literal["budget"] = "budget"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.budget:compose"
    panels: list[TraversalPanel] = key("One cloud of traversals with a sweep each.", min_length=1)
    columns: Columns


class PaperOfDecay(Spec):
    """What a row may quote of the paper; null = the paper does not say."""

    traversal: float | None = key("Test performance at the end of the traversals.", None)
    traversal_std: float | None = key("Its standard deviation over replicas.", None)
    decay: float | None = key("Test performance of training with weight decay.", None)
    decay_std: float | None = key("Its standard deviation over replicas.", None)
    lambda_: float | None = key("Its best lambda.", None, alias="lambda")


class DecayRow(Spec):
    """One cloud of traversals with a sweep."""

    cloud: Traversals = key(_CLOUD)
    title: str = key("Name of the row; the cloud's by default.", "")
    paper: PaperOfDecay = key("The paper's values.", PaperOfDecay())
    note: str = key("What to keep in mind.", "")

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and "cloud" in raw and not raw.get("title"):
            return {**raw, "title": raw["cloud"]}
        return raw


class DecayTable(Table):
    """Test performance at the end of traversals beside weight decay at its best lambda, chosen in two ways."""

    kind: Literal["decay_table"] = "decay_table"
    draw: ClassVar[str] = "lossatlas.levelsets.figures.decay_table:tabulate"
    rows: list[DecayRow] = key("One cloud of traversals with a sweep each.", min_length=1)


# ---------------------------------------------------------------------------------------------------------------------
# measures


class OfTraversals(Measure):
    """A measure of the paths of one task; the unit is the path."""

    cloud: Annotated[tuple[Reference, ...], Accepts("gram")] = key("A cloud of traversals.", max_length=1)


class StartLoss(OfTraversals):
    """Training loss at the start of the traversals, which they keep, mean over paths."""

    measure: ClassVar[str] = "start_loss"
    run: ClassVar[str] = "lossatlas.levelsets.measures:start_loss"


class AngleLeft(OfTraversals):
    """Share of the way to 180 degrees between grad L and grad R that is left at the end of a traversal."""

    measure: ClassVar[str] = "angle_left"
    run: ClassVar[str] = "lossatlas.levelsets.measures:angle_left"


class WalkedShare(OfTraversals):
    """Steps of a traversal over those of the paper; 1 where it came to an end of its own. The least of all paths."""

    measure: ClassVar[str] = "walked_share"
    run: ClassVar[str] = "lossatlas.levelsets.measures:walked_share"
    steps: int = key("Steps of the paper.", ge=1)


class StepsMended(OfTraversals):
    """Corrector steps, or steps taken back, per predictor step of a traversal, mean over paths."""

    measure: ClassVar[str] = "steps_mended"
    run: ClassVar[str] = "lossatlas.levelsets.measures:steps_mended"
    quantity: Literal["corrections", "rejected"] = key("What is counted.", "corrections")


class SamePath(OfTraversals):
    """How far another traversal of the same replicas is from the cloud's own, in the fall of a column at equal length.

    The largest difference of the column over the fall of the cloud's own path by the end of the shorter one.
    """

    measure: ClassVar[str] = "same_path"
    run: ClassVar[str] = "lossatlas.levelsets.measures:same_path"
    other: str = key("Name that the cloud gives the other traversal.")
    quantity: Literal["norm2", "test_loss", "angle"] = key("The column.", "norm2")


class ControlGap(OfTraversals):
    """A column on the paths less that on a control at the same replica, loss and length; the unit is the pair.

    The length is that of the shorter one of each pair.
    """

    measure: ClassVar[str] = "control_gap"
    run: ClassVar[str] = "lossatlas.levelsets.measures:control_gap"
    control: str = key("Name that the cloud gives the control.")
    quantity: Literal["test_loss", "test_accuracy", "norm2"] = key("The column.", "test_loss")


class RivalGap(OfTraversals):
    """How much better paths do on the test set than weight decay from their starts after as many gradients, in pairs.

    The lambda is the one that is best on the test set, which flatters weight decay.
    """

    measure: ClassVar[str] = "rival_gap"
    run: ClassVar[str] = "lossatlas.levelsets.measures:rival_gap"
    optimizer: Literal["sgd", "adam"] = key("Of weight decay.", "adam")
    source: str = key("The cloud's own traversals, or what it calls others.", "levelset")


class LeastMargin(Chosen, OfTraversals):
    """How far traversals fall below weight decay at worst, for any number of gradients, in standard deviations.

    The smallest over the recorded points of mean performance less that of weight decay after as many gradients, over
    the larger standard deviation of the two; weight decay stays where it ends.
    """

    measure: ClassVar[str] = "least_margin"
    run: ClassVar[str] = "lossatlas.levelsets.measures:least_margin"
    resolution: float = key(
        "Smallest deviation that counts: of accuracies one test example, below which no difference can be seen.",
        0.0,
        ge=0,
    )


class DistanceLeft(OfTraversals):
    """Share of the distance from another point that is left where walks towards it end; the unit is the pair of ends.

    Or the largest relative deviation of the loss half-way between two points of a walk.
    """

    measure: ClassVar[str] = "distance_left"
    run: ClassVar[str] = "lossatlas.levelsets.measures:distance_left"
    source: str = key("The cloud's own traversals, or what it calls others.", "levelset")
    quantity: Literal["distance", "between"] = key("Distance left, or the deviation between points.", "distance")


class PlaneLoss(Measure):
    """Loss of planes at the projections of their paths' points over the paths' own: mean, or of one plane over another.

    The unit is the path.
    """

    measure: ClassVar[str] = "plane_loss"
    run: ClassVar[str] = "lossatlas.levelsets.measures:plane_loss"
    surface: Annotated[tuple[Reference, ...], Accepts("surface")] = key("One plane, or two to compare.", max_length=2)


class EarlyFall(OfTraversals):
    """Share of a column's fall along a traversal that is done after a share of its steps."""

    measure: ClassVar[str] = "early_fall"
    run: ClassVar[str] = "lossatlas.levelsets.measures:early_fall"
    quantity: Literal["norm2", "test_loss"] = key("The column.", "norm2")
    after: float = key("Share of the steps.", 0.5, gt=0, lt=1)


class PathChange(OfTraversals):
    """A column at the end of a traversal against its start, mean over paths."""

    measure: ClassVar[str] = "path_change"
    run: ClassVar[str] = "lossatlas.levelsets.measures:path_change"
    quantity: Literal["norm2", "test_loss", "test_accuracy"] = key("The column.", "test_loss")
    contrast: Literal["difference", "ratio"] = key("End less start, or end over start.", "difference")
    source: str = key("The cloud's own traversals, or what it calls others.", "levelset")


class ShareBelow(OfTraversals):
    """Share of the recorded points of a traversal at which a column is below its value at the start."""

    measure: ClassVar[str] = "share_below"
    run: ClassVar[str] = "lossatlas.levelsets.measures:share_below"
    quantity: Literal["norm2", "test_loss"] = key("The column.", "test_loss")


class DecayGap(Chosen, OfTraversals):
    """How much better traversals do on the test set than weight decay at its best lambda, or than plain training."""

    measure: ClassVar[str] = "decay_gap"
    run: ClassVar[str] = "lossatlas.levelsets.measures:decay_gap"
    against: Literal["decay", "plain"] = key("Weight decay, or training without any.", "decay")
    optimizer: Literal["sgd", "adam"] = key("Of plain training.", "sgd")


class MeansApart(Chosen, OfTraversals):
    """Distance of the mean end point from the mean weight-decay point, in principal axes of the paths or in R^D.

    It is relative to the mean length of the paths' displacement there, or to the distance from the origin there.
    """

    measure: ClassVar[str] = "means_apart"
    run: ClassVar[str] = "lossatlas.levelsets.measures:means_apart"
    axes: int = key("Number of principal axes.", 6, ge=1)
    space: Literal["axes", "whole"] = key("The principal axes, or the whole of R^D.", "axes")
    relative_to: Literal["displacement", "origin"] = key(
        "The mean displacement of a path, or the distance of the mean end point from the origin.", "displacement"
    )


class EndsApart(OfTraversals):
    """Distance of the traversals' end points from one another over that from the origin: sqrt 2 = nothing in common."""

    measure: ClassVar[str] = "ends_apart"
    run: ClassVar[str] = "lossatlas.levelsets.measures:ends_apart"


class AverageLoss(Measure):
    """Loss at the average of the end points over that at the end points, each on its replica's own examples."""

    measure: ClassVar[str] = "average_loss"
    run: ClassVar[str] = "lossatlas.levelsets.measures:average_loss"
    average: Annotated[tuple[Reference, ...], Accepts("average")] = key("An average of end points.", max_length=1)
    part: Literal["train", "test"] = key("Whose loss.", "train")


class ExplainedVariance(OfTraversals):
    """Share of the variance of so many traversals along their two principal axes, mean over all sets of so many."""

    measure: ClassVar[str] = "explained_variance"
    run: ClassVar[str] = "lossatlas.levelsets.measures:explained_variance"
    traversals: int = key("How many traversals.", 10, ge=1)
