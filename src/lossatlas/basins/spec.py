"""Basins: what a study says of volumes, slices, boundaries and their figures and claims, and the artefacts. Light."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from lossatlas.basins.defaults import BLOCK, LLC_FACTORS, MARKER
from lossatlas.claims.spec import Measure
from lossatlas.data.spec import prepared
from lossatlas.draw.spec import Columns, Figure
from lossatlas.planes.spec import Normalise
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, unique
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study
from lossatlas.train.spec import (
    OnNetwork,
    Precision,
    Replicas,
    network_spec,
    parts,
    probe_work,
    run_spec,
    runs,
    sized,
    sweep,
)

CUTOFF = 0.1
"""Training loss that bounds a basin (Huang et al. 2020, section 5)."""

Cutoff = Annotated[float, key("A training loss.", gt=0)]
Width = Annotated[float, key("A standard deviation.", gt=0)]

# ---------------------------------------------------------------------------------------------------------------------
# minima


class Minima(Spec):
    """Which minima a probe looks at: members of a sweep or the ends of runs, of certain values and replicas."""

    sweep: str | None = key("Name of the sweep whose end points are the minima.", None)
    runs: list[str] | None = key("Names of the runs whose ends are the minima.", None, min_length=1)
    values: list[float] | None = key("Values of the swept parameter; null = all.", None, min_length=1)
    replicas: Replicas | None = key("Replicas of the sweep or of the runs; null = all.", None, min_length=1)
    precision: Precision = key("Type in which the networks are evaluated.", "float32")
    batch: int = key("Most examples in a chunk.", 500, ge=1)
    grain: int = key("Minima per job.", 5, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> "Minima":
        if (self.sweep is None) == (self.runs is None):
            raise mistake("", "give either sweep or runs")
        return self


class MinimumSpec(Spec):
    """What names a minimum in a job."""

    source: int = key("Which of the files of points.")
    row: int = key("Its row there; -1 = the last.")
    run: str = key("Name of the sweep or run.")
    value: float = key("Of the swept parameter.")
    replica: int = key("Its replica.")
    parameter: str = key("Name of the swept parameter.")
    seeds: dict[str, int] = key("Role -> seed of its replica.")


class OnMinima(OnNetwork):
    """What names a job on minima of one network (:func:`lossatlas.basins.jobs.minima.minima`)."""

    members: list[MinimumSpec]


Sources = tuple[Sequence[Artefact], list[dict[str, Any]]]
"""Artefacts with points, and the members that are asked for; their ``source`` counts the artefacts."""


def _jobs(
    study: Study, step: Step, probe: Minima, own: Mapping[str, Any], where: str, data: Artefact | None = None
) -> list[Artefact]:
    """Return the artefacts of a probe on minima, ``grain`` minima a job.

    Args:
        study: the study.
        step: that makes them.
        probe: which minima.
        own: keys of the step's spec besides those of :class:`OnMinima`.
        where: place of the probe, for messages.
        data: to look at in place of the minima's own.
    """
    sources = [_of_sweep(study, probe, where)] if probe.runs is None else _of_runs(study, probe, probe.runs, where)
    found = []
    for points, members in sources:
        spec = {**network_spec(points, probe.precision, probe.batch), **own}
        for chosen in parts(members, probe.grain):
            used = sorted({member["source"] for member in chosen})
            renumbered = [{**member, "source": used.index(member["source"])} for member in chosen]
            files = [points[i] for i in used]
            own_data = files[0].inputs["data"] if data is None else data
            found.append(step.make(spec["label"], {**spec, "members": renumbered}, data=own_data, points=files))
    return found


def _of_sweep(study: Study, probe: Minima, where: str) -> Sources:
    """Return the parts of a sweep and those of its members that are asked for."""
    assert probe.sweep is not None
    made = sweep(study, probe.sweep, f"{where}.sweep")
    members = [
        {
            "source": i,
            "row": row,
            "run": probe.sweep,
            "value": member["value"],
            "replica": member["replica"],
            "parameter": part.spec["parameter"] or part.spec.get("origin") or "none",
            "seeds": member["seeds"],
        }
        for i, part in enumerate(made)
        for row, member in enumerate(part.spec["members"])
        if not member["held_out"]
        and _wanted(member["value"], probe.values)
        and _wanted(member["replica"], probe.replicas)
    ]
    if not members:
        raise study.error(where, f"no member of sweep {probe.sweep!r} has these values and replicas")
    return made, members


def _of_runs(study: Study, probe: Minima, names: Sequence[str], where: str) -> list[Sources]:
    return [_of_run(study, probe, name, where) for name in names]


def _of_run(study: Study, probe: Minima, name: str, where: str) -> Sources:
    """Return the replicas of a run and their ends."""
    made, numbers = runs(study, name, f"{where}.runs"), run_spec(study, name, f"{where}.runs").replicas
    members = [
        {
            "source": i,
            "row": -1,
            "run": name,
            "value": run.spec["recipe"].get("beta", 0.0),
            "replica": replica,
            "parameter": "beta",
            "seeds": run.spec["seeds"],
        }
        for i, (run, replica) in enumerate(zip(made, numbers, strict=True))
        if _wanted(replica, probe.replicas)
    ]
    if not members:
        raise study.error(f"{where}.replicas", f"run {name!r} has none of the replicas {probe.replicas}")
    return made, members


def _wanted(value: Any, among: Sequence[Any] | None) -> bool:
    return among is None or value in among


def _own(settings: type[Spec], probe: Spec) -> dict[str, Any]:
    """Return the keys of a probe that its settings have."""
    return {name: value for name, value in probe.hashed().items() if name in settings.model_fields}


# ---------------------------------------------------------------------------------------------------------------------
# volume


class Basin(Spec):
    """How the basin around a minimum is measured."""

    cutoffs: Annotated[list[Cutoff], AfterValidator(unique("give each cutoff once"))] = key(
        "Training losses that bound the basin.", [CUTOFF], source="Huang et al. 2020, section 5", min_length=1
    )
    directions: int = key("Random directions.", 3000, source="Huang et al. 2020, section 5", ge=4)
    pilot: int = key(
        "Directions that find the size of the basin, from which the others are walked outwards.", BLOCK, ge=1, le=BLOCK
    )
    examples: int | None = key("Measure the basin on the first so many training examples; null = on all.", None, ge=1)
    normalise: Normalise = key(
        "Of the directions: with the norms of the weights, so that a radius is a multiple of them; none: unit vectors, "
        "so that a radius is a distance.",
        "filter",
        source="Huang et al. 2020, section 5",
    )
    match: float | None = key(
        "Training loss to which the outputs of each network are scaled; null = as it is.", None, gt=0
    )
    profiles: int = key("Directions along which the loss is kept.", 12, ge=1)
    reach: float = key("Largest step of these profiles.", 0.5, gt=0)


class VolumeProbe(Minima, Basin):
    """Basins around minima: radii along random directions and log-volume (lossatlas.basins.radii)."""


class VolumeJob(OnMinima, Basin):
    """What names basins of minima."""

    master: int = key("Master seed of the study, from which the directions are drawn.")


CROSSING_EVALUATIONS = 13
"""Evaluations of the loss a direction of a volume probe takes on its way out; 9 more close each cutoff's bracket."""

PILOT_EVALUATIONS = 30
"""Evaluations along a pilot direction: factors of two from 1e-10 to a radius of about 0.1."""


def _volume_work(made: Artefact) -> Work:
    """Return the work of basins: crossings on some training examples, each minimum on all of both parts."""
    net, train, test, size = sized(made)
    spec, members = made.spec, len(made.spec["members"])
    each = CROSSING_EVALUATIONS + len(spec["cutoffs"]) * 9
    rows = members * (spec["directions"] * each + spec["pilot"] * PILOT_EVALUATIONS)
    seen = min(train, spec["examples"] or train)
    flops = net.flops * (rows * seen + members * (train + test))
    return Work(net.parameters, rows, net.layers, 0, flops, train, test, size)


VOLUME = Step(
    "volumes",
    "volume",
    "volume.h5",
    "lossatlas.basins.jobs.volume:volume",
    VolumeJob,
    ("data", "points"),
    gpu=True,
    work=_volume_work,
)


def _volume(study: Study, name: str, probe: VolumeProbe) -> list[Artefact]:
    return _jobs(study, VOLUME, probe, {**_own(Basin, probe), "master": study.seed}, f"probes.{name}.volume")


VOLUME_PROBE = Entry("probes", "volume", VolumeProbe, _volume)
VOLUME_VIEW = View("volume", of("probes", VolumeProbe), "lossatlas.basins.files:Volumes.load")

# ---------------------------------------------------------------------------------------------------------------------
# mass


class GaussianMass(Spec):
    """How the Gaussian mass of the basin around a minimum is measured."""

    cutoff: float = key("Training loss that bounds the basin.", CUTOFF, gt=0)
    widths: Annotated[list[Width], AfterValidator(unique("give each width once"))] = key(
        "Standard deviations of the Gaussian, in steps.", [0.05, 0.1], min_length=1
    )
    absolute: float | None = key(
        "Length of a step in every weight; null = the root mean square weight of its filter.", None, gt=0
    )
    chains: int = key("Hamiltonian chains.", 32, ge=4)
    burn: int = key("Moves a rung before it is measured.", 15, ge=1)
    moves: int = key("Moves a rung that are measured.", 30, ge=8)
    rays: int = key("Rays of the lower bound.", 200, ge=1)
    ladder: bool = key(
        "Walk the ladder; without it there are rays, labels under the Gaussian and the cone alone.", True
    )
    reverse: bool = key("Walk the ladder back, too, which shows chains that are not in equilibrium.", True)


class MassProbe(Minima, GaussianMass):
    """Gaussian mass of basins: an estimate by a ladder of tethers between bounds (lossatlas.basins.ladder)."""


class MassJob(OnMinima, GaussianMass):
    """What names Gaussian masses of minima."""

    master: int = key("Master seed of the study, from which everything random is drawn.")


MASS_RUNGS = 16
"""Rungs of a ladder to a width of 0.1 of a swiss-roll minimum (12 to 28 at 0.05 to 0.2)."""

MASS_STEPS = 7
"""Gradients of a Hamiltonian move (4 to 12)."""


def _mass_work(made: Artefact) -> Work:
    """Return the work of masses: gradients of every chain on every rung, losses at the neighbours' widths, rays."""
    net, train, test, size = sized(made)
    spec, members = made.spec, len(made.spec["members"])
    ladders = 0 if not spec["ladder"] else 2 if spec["reverse"] else 1
    moves = MASS_RUNGS * (spec["burn"] + spec["moves"]) * ladders + len(LLC_FACTORS) * (
        2 * spec["burn"] + spec["moves"]
    )
    gradients = members * moves * MASS_STEPS * spec["chains"]
    losses = MASS_RUNGS * ladders * 2 * spec["moves"] * spec["chains"] + 2 * spec["rays"] * 22
    rows = gradients + members * losses
    return Work(net.parameters, rows, net.layers, 0, net.flops * (rows + 2 * gradients) * train, train, test, size)


MASSES = Step(
    "masses",
    "mass",
    "mass.h5",
    "lossatlas.basins.jobs.mass:mass",
    MassJob,
    ("data", "points"),
    gpu=True,
    work=_mass_work,
)


def _mass(study: Study, name: str, probe: MassProbe) -> list[Artefact]:
    return _jobs(study, MASSES, probe, {**_own(GaussianMass, probe), "master": study.seed}, f"probes.{name}.mass")


MASS_PROBE = Entry("probes", "mass", MassProbe, _mass)
MASS_VIEW = View("mass", of("probes", MassProbe), "lossatlas.basins.files:Masses.load")

# ---------------------------------------------------------------------------------------------------------------------
# slices


class Slice(Spec):
    """A random plane through a minimum, spanned by two normalised directions."""

    grid: int = key("Points a side, odd.", 41, ge=3)
    reach: float = key("Steps to each side.", 1.0, gt=0)
    normalise: Normalise = key("Of the two directions.", "filter")

    @model_validator(mode="after")
    def _has_a_middle(self) -> "Slice":
        if self.grid % 2 == 0:
            raise mistake("grid", f"{self.grid} is even; the minimum is to be a point of it")
        return self


class SliceProbe(Minima, Slice):
    """Training loss on a random plane through each minimum."""


class SliceJob(OnMinima, Slice):
    """What names the losses on planes through minima."""

    master: int = key("Master seed of the study, from which the directions are drawn.")


SLICES = Step(
    "slices",
    "slices",
    "slice.h5",
    "lossatlas.basins.jobs.slices:slices",
    SliceJob,
    ("data", "points"),
    gpu=True,
    work=lambda made: probe_work(made, len(made.spec["members"]) * made.spec["grid"] ** 2),
)


def _slices(study: Study, name: str, probe: SliceProbe) -> list[Artefact]:
    return _jobs(study, SLICES, probe, {**_own(Slice, probe), "master": study.seed}, f"probes.{name}.slices")


SLICE_PROBE = Entry("probes", "slices", SliceProbe, _slices)
SLICE_VIEW = View("slices", of("probes", SliceProbe), "lossatlas.basins.files:Slices.load")

# ---------------------------------------------------------------------------------------------------------------------
# boundaries


class Square(Spec):
    """The grid on which classifiers of points in the plane are evaluated."""

    grid: int = key("Points a side.", 200, ge=2)
    margin: float = key("Share of the points' range added on each side.", 0.08, ge=0)


class BoundaryProbe(Minima, Square):
    """What classifiers of points in the plane decide on a grid."""

    data: str | None = key("Name of the run whose data are drawn and evaluated; null = the minima's own.", None)


class BoundaryJob(OnMinima, Square):
    """What names the decisions of minima."""


BOUNDARIES = Step(
    "boundaries",
    "boundaries",
    "boundary.h5",
    "lossatlas.basins.jobs.boundaries:boundaries",
    BoundaryJob,
    ("data", "points"),
    gpu=True,
    work=lambda made: probe_work(made, len(made.spec["members"])),
)


def _boundaries(study: Study, name: str, probe: BoundaryProbe) -> list[Artefact]:
    where, data = f"probes.{name}.boundaries", None
    if probe.data is not None:
        data = prepared(study, run_spec(study, probe.data, f"{where}.data").data, f"{where}.data")
    return _jobs(study, BOUNDARIES, probe, _own(Square, probe), where, data)


BOUNDARY_PROBE = Entry("probes", "boundaries", BoundaryProbe, _boundaries)
BOUNDARY_VIEW = View("boundaries", of("probes", BoundaryProbe), "lossatlas.basins.files:Boundaries.load")

# ---------------------------------------------------------------------------------------------------------------------
# figures

VolumeName = Annotated[str, Refers("volume")]


class AtCutoff(Spec):
    """What is said of basins at one cutoff."""

    cutoff: float = key("Training loss that bounds the basin.", CUTOFF, gt=0)


class Shown(Spec):
    """The minimum of a probe that a panel shows."""

    value: float | None = key("Swept value of the minimum; null = the first.", None)
    replica: int | None = key("Replica of the minimum; null = the first.", None)
    title: str = key("Title above the panel.", "")


class Basins(AtCutoff, Figure):
    """Accuracy, basin radius and log-volume against a swept value, and volume against accuracy at every cutoff."""

    kind: Literal["basins"] = "basins"
    draw: ClassVar[str] = "lossatlas.basins.figures.basins:compose"
    volume: VolumeName = key("Name of a volume probe of the study.")


class Group(Spec):
    """A row of minima."""

    volume: VolumeName = key("Name of a volume probe of the study.")
    value: float | None = key("Swept value of its minima; null = all.", None)
    title: str = key("Name of the row.")
    section: str = key("What the row is compared in.", "")


class Groups(AtCutoff, Figure):
    """Log-volume, radius, test accuracy and training loss of groups of minima, one dot a minimum."""

    kind: Literal["groups"] = "groups"
    draw: ClassVar[str] = "lossatlas.basins.figures.basins:groups"
    groups: list[Group] = key("One row each.", min_length=1)


class ProfilePanel(Shown):
    """A minimum of a volume probe."""

    volume: VolumeName = key("Name of a volume probe of the study.")


class Profiles(AtCutoff, Figure):
    """The loss along random directions from minima, with the cutoff and the basin beneath it."""

    kind: Literal["profiles"] = "profiles"
    draw: ClassVar[str] = "lossatlas.basins.figures.basins:profiles"
    panels: list[ProfilePanel] = key("One minimum each.", min_length=1)


class Contoured(Spec):
    """Slices with one contour."""

    cutoff: float = key("Training loss drawn as a contour of the slices.", CUTOFF)


class BoundaryPanel(Shown):
    """A minimum of a boundaries probe, and of a slices probe."""

    boundaries: Annotated[str, Refers("boundaries")] = key("Name of a boundaries probe of the study.")
    slices: Annotated[str | None, Refers("slices")] = key("Name of a slices probe of the study; null = none.", None)


Range = Annotated[list[float], key("Low and high.", min_length=2, max_length=2)]


class BoundaryFigure(Contoured, Figure):
    """Decision boundaries of classifiers in the plane, with the training points; slices of the loss below."""

    kind: Literal["boundaries"] = "boundaries"
    draw: ClassVar[str] = "lossatlas.basins.figures.boundaries:compose"
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "surface"
    panels: list[BoundaryPanel] = key("One minimum each.", min_length=1)
    classes: list[str | int | float] = key("What the classes are called.", ["blue class", "red class"])
    limits: list[Range] | None = key(
        "[[x low, high], [y low, high]] shown; null = the grid.", None, min_length=2, max_length=2
    )
    columns: Columns
    marker: float = key("Size of the training points; small ones leave a near boundary in sight.", MARKER, gt=0)

    @model_validator(mode="after")
    def _all_or_none(self) -> "BoundaryFigure":
        without = [i for i, panel in enumerate(self.panels) if panel.slices is None]
        if 0 < len(without) < len(self.panels):
            raise mistake(f"panels[{without[0]}].slices", "missing; give every panel one, or none")
        return self


class SlicePanel(Shown):
    """A minimum of a slices probe."""

    slices: Annotated[str, Refers("slices")] = key("Name of a slices probe of the study.")


class SliceFigure(Contoured, Figure):
    """Random planes through minima as contours of the loss."""

    kind: Literal["slices"] = "slices"
    draw: ClassVar[str] = "lossatlas.basins.figures.boundaries:slices"
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "surface"
    panels: list[SlicePanel] = key("One minimum each.", min_length=1)


class Minefield(Figure):
    """Iterates of a training and the poisoned minima found from them, embedded, with their distances in words."""

    kind: Literal["minefield"] = "minefield"
    draw: ClassVar[str] = "lossatlas.basins.figures.minefield:compose"
    cloud: Annotated[str, Refers("gram")] = key("Name of a cloud of kind ends.")
    embedding: str = key("Name of an embedding of the study.")

    def references(self) -> Iterator[Reference]:
        """Yield the cloud, and its embedding."""
        yield from super().references()
        yield Reference("embedding", (self.cloud, self.embedding), "embedding")


MassName = Annotated[str, Refers("mass")]


class MassGroup(Spec):
    """Minima whose Gaussian masses are drawn in one colour."""

    mass: MassName = key("Name of a mass probe of the study.")
    value: float | None = key("Swept value of its minima; null = all.", None)
    title: str = key("Name in the legend.")


class MassFigure(Figure):
    """Gaussian mass of basins against the width of the Gaussian, its bracket, what samples do, and the open cone."""

    kind: Literal["masses"] = "masses"
    draw: ClassVar[str] = "lossatlas.basins.figures.masses:compose"
    groups: list[MassGroup] = key("One colour each.", min_length=1, max_length=6)
    width: float = key("Width at which the bracket is drawn.", 0.1, gt=0)


class NearestFigure(Figure):
    """Paths of a training, the nearest bad minima found from them and clean trainings, with their true distances."""

    kind: Literal["nearest"] = "nearest"
    draw: ClassVar[str] = "lossatlas.basins.figures.nearest:compose"
    cloud: Annotated[str, Refers("gram")] = key(
        "Name of a cloud of kind ends: paths, searches, controls, settled ends."
    )


class MarginFigure(Figure):
    """Margins, islands and stability of labels of classifiers in the plane against a swept value."""

    kind: Literal["margins"] = "margins"
    draw: ClassVar[str] = "lossatlas.basins.figures.margins:compose"
    boundaries: Annotated[str, Refers("boundaries")] = key("Name of a boundaries probe of the study.")
    mass: Annotated[str | None, Refers("mass")] = key(
        "Name of a mass probe, for labels under perturbed weights; null = none.", None
    )


# ---------------------------------------------------------------------------------------------------------------------
# measures

Input = tuple[Reference, ...]
VolumeInput = Annotated[Input, Accepts("volume")]
Column = Literal["log10_volume", "log10_volume_distance", "radius_median", "radius_largest"]
MassInput = Annotated[Input, Accepts("mass")]


class BasinRank(Measure):
    """Spearman's rank correlation of two columns over minima, times `sign`; the worst of the cutoffs (null = all)."""

    measure: ClassVar[str] = "basin_rank"
    run: ClassVar[str] = "lossatlas.basins.measures:basin_rank"
    volume: VolumeInput = key("Basins.")
    x: Literal["test_accuracy", "gap", "value"] = key("First column.", "test_accuracy")
    y: Column = key("Second column.", "log10_volume")
    sign: Literal[1, -1] = key("By which the correlation is multiplied.", 1)
    cutoff: float | None = key("Training loss that bounds the basin; null = each that was measured.", None, gt=0)


class VolumeGap(AtCutoff, Measure):
    """Log10 volume of the minima `first` (of one swept value) less that of `second`, mean over replicas."""

    measure: ClassVar[str] = "volume_gap"
    run: ClassVar[str] = "lossatlas.basins.measures:volume_gap"
    first: VolumeInput = key("Basins.")
    second: VolumeInput = key("Basins that they are compared with.")
    first_value: float | None = key("Swept value of the minima `first`; null = all.", None)
    second_value: float | None = key("Swept value of the minima `second`; null = all.", None)
    column: Column | Literal["log10_volume_per_weight"] = key(
        "What is compared; per weight: over the number of weights that move, to compare networks of other sizes.",
        "log10_volume",
    )


class EffectiveDirections(AtCutoff, Measure):
    """Median effective number of directions behind the volumes."""

    measure: ClassVar[str] = "effective_directions"
    run: ClassVar[str] = "lossatlas.basins.measures:effective_directions"
    volume: VolumeInput = key("Basins.")


class LeastAccuracy(Measure):
    """Smallest accuracy among minima whose swept value is at most `up_to`."""

    measure: ClassVar[str] = "least_accuracy"
    run: ClassVar[str] = "lossatlas.basins.measures:least_accuracy"
    volume: VolumeInput = key("Basins.")
    quantity: Literal["train_accuracy", "test_accuracy"] = key("Which accuracy.", "train_accuracy")
    up_to: float = key("Largest swept value.", 1.0)


class OfMinefield(Measure):
    """A measure on the cloud of a run and of the minima of a sweep that started from its points."""

    cloud: Annotated[Input, Accepts("gram")] = key("A cloud of kind ends.")


class Poisoned(OfMinefield):
    """Of minima poisoned from the iterates of a run: least train or largest test accuracy; or where the run ends."""

    measure: ClassVar[str] = "poisoned"
    run: ClassVar[str] = "lossatlas.basins.measures:poisoned"
    quantity: Literal["train_accuracy", "test_accuracy", "sgd_test_accuracy"] = key("Which accuracy.", "train_accuracy")


class Proximity(OfMinefield):
    """Median distance of poisoned minima from their start over the distance between the run's ends."""

    measure: ClassVar[str] = "proximity"
    run: ClassVar[str] = "lossatlas.basins.measures:proximity"


class CircleFound(Measure):
    """Mean share right on the blue and on the inner red ring, or train accuracy, over replicas."""

    measure: ClassVar[str] = "circle_found"
    run: ClassVar[str] = "lossatlas.basins.measures:circle_found"
    boundaries: Annotated[Input, Accepts("boundaries")] = key("Decisions of networks trained on rings.")
    quantity: Literal["separation", "train_accuracy"] = key("What is measured.", "separation")
    statistic: Literal["mean", "min", "max"] = key("Over replicas.", "mean")


class MinimaGap(Measure):
    """A column of the minima `first` (of one swept value) less that of `second`, mean over replicas, paired."""

    measure: ClassVar[str] = "minima_gap"
    run: ClassVar[str] = "lossatlas.basins.measures:minima_gap"
    first: VolumeInput = key("Minima.")
    second: VolumeInput = key("Minima that they are compared with.")
    first_value: float | None = key("Swept value of the minima `first`; null = all.", None)
    second_value: float | None = key("Swept value of the minima `second`; null = all.", None)
    column: Literal["test_accuracy", "train_accuracy", "train_loss"] = key("What is compared.", "test_accuracy")


class RadiusSpread(AtCutoff, Measure):
    """Largest over median radius of minima of one swept value, median over replicas."""

    measure: ClassVar[str] = "radius_spread"
    run: ClassVar[str] = "lossatlas.basins.measures:radius_spread"
    volume: VolumeInput = key("Basins.")
    value: float | None = key("Swept value of the minima; null = all.", None)


class OfMass(Measure):
    """A measure on Gaussian masses at one width."""

    width: float = key("Width of the Gaussian.", 0.1, gt=0)


class MassGap(OfMass):
    """Log10 Gaussian mass of the minima `first` less that of `second`, mean over replicas, paired."""

    measure: ClassVar[str] = "mass_gap"
    run: ClassVar[str] = "lossatlas.basins.measures:mass_gap"
    first: MassInput = key("Basins.")
    second: MassInput = key("Basins that they are compared with.")
    first_value: float | None = key("Swept value of the minima `first`; null = all.", None)
    second_value: float | None = key("Swept value of the minima `second`; null = all.", None)


class MassAgreement(OfMass):
    """Largest difference of the ladders out and back, in natural logarithms, of each initialisation."""

    measure: ClassVar[str] = "mass_agreement"
    run: ClassVar[str] = "lossatlas.basins.measures:mass_agreement"
    mass: MassInput = key("Basins.")


class MassRank(OfMass):
    """Spearman's rank correlation of test accuracy and log mass, or labels kept under the Gaussian, over minima."""

    measure: ClassVar[str] = "mass_rank"
    run: ClassVar[str] = "lossatlas.basins.measures:mass_rank"
    mass: MassInput = key("Basins.")
    quantity: Literal["log10_mass", "label_stability"] = key("What is compared with test accuracy.", "log10_mass")


class OpenCones(Measure):
    """Share of minima from which the last layer can grow a thousandfold below the cutoff."""

    measure: ClassVar[str] = "open_cones"
    run: ClassVar[str] = "lossatlas.basins.measures:open_cones"
    mass: MassInput = key("Basins.")
    value: float | None = key("Swept value of the minima; null = all.", None)


class Nearest(Measure):
    """Of searches for a bad minimum from the iterates of several paths: one number a path."""

    measure: ClassVar[str] = "nearest"
    run: ClassVar[str] = "lossatlas.basins.measures:nearest"
    cloud: Annotated[Input, Accepts("gram")] = key("A cloud of kind ends: paths, searches, controls, settled ends.")
    quantity: Literal["distance", "found", "clean", "against_clean", "settled_accuracy", "sgd_test_accuracy"] = key(
        "distance: from a start to the nearest bad minimum found, over what SGD covers (median over starts). found: "
        "share of starts with one. clean: distance of a clean training of equal length, over the same. against_clean: "
        "the first over the second. "
        "settled_accuracy: test accuracy of bad minima after training without poison (median). sgd_test_accuracy: "
        "where SGD ends.",
        "distance",
    )


class MarginRank(Measure):
    """Spearman's rank correlation of the generalization gap and a number of decision boundaries, over minima."""

    measure: ClassVar[str] = "margin_rank"
    run: ClassVar[str] = "lossatlas.basins.measures:margin_rank"
    boundaries: Annotated[Input, Accepts("boundaries")] = key("Decisions in the plane.")
    quantity: Literal["margin", "islands", "stability"] = key("See lossatlas.basins.margins.", "margin")
    sign: Literal[1, -1] = key("By which the correlation is multiplied.", 1)


class LeastGap(Measure):
    """Test accuracy of the worst of the runs `better` less the mean of those `worse`."""

    measure: ClassVar[str] = "least_gap"
    run: ClassVar[str] = "lossatlas.basins.measures:least_gap"
    better: Annotated[Input, Accepts("runs", "run")] = key("Runs.")
    worse: Annotated[Input, Accepts("runs", "run")] = key("Runs that they are compared with.")
