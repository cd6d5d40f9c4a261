"""Jump and retrain, and the paths of whole trainings: settings, artefacts, figures and measures. Light."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from lossatlas.claims.spec import Measure
from lossatlas.clouds.spec import CLOUDS, Look, Panelled, Paths, gram, gram_work
from lossatlas.draw.spec import Columns, Figure, Labels, Table
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, unique
from lossatlas.specs.registry import Entry, Step, View
from lossatlas.specs.study import Study, only
from lossatlas.specs.yaml import nearest
from lossatlas.train.spec import (
    Index,
    RecipeChange,
    RunName,
    TrainingJob,
    leaves_one_out,
    retraining,
    run,
    run_spec,
    run_work,
    sized,
    titled_apart,
)

StepSize = Annotated[float, key("A number of at least 0.", ge=0)]
GramName = Annotated[str, Refers("gram")]
Grams = Annotated[tuple[Reference, ...], Accepts("gram")]


# ---------------------------------------------------------------------------------------------------------------------
# jump and retrain


class Displacement(Spec):
    """How a minimum is left (:func:`lossatlas.trajectories.jobs.retrain.jump_point`)."""

    normalise: Literal["filter", "layer", "none"] = key(
        "Normalisation of the directions (Li et al. 2018).", "filter", source="Horoi et al. 2021, section 4"
    )
    batch_norm: Literal["recompute", "keep"] = key(
        "Batch-norm statistics after the jump: recomputed on the training examples, or those of the minimum.",
        "recompute",
    )
    orders: Literal["own", "shared"] = key(
        "Minibatch orders and augmentation: each jump has its own, or the step sizes of a direction share theirs.",
        "own",
        quiet=True,
        source="shared: the code of Horoi et al. 2022 seeds a retraining by its direction alone (jump_retrain.py)",
    )


class Jump(Displacement):
    """Jump and retrain around the end of a run."""

    run: str = key("Name of the run whose minimum is jumped from.")
    replica: int | None = key("Replica of that run; its first by default.", None, ge=0)
    seeds: Annotated[list[Index], AfterValidator(unique("give each direction once"))] = key(
        "One random direction each.", [0, 1, 2, 3, 4], min_length=1, source="Horoi et al. 2021, section 4"
    )
    steps: Annotated[list[StepSize], AfterValidator(unique("give each step size once"))] = key(
        "Step sizes along the normalised direction; 0 retrains from the minimum itself, the null of all the others.",
        [0.25, 0.5, 0.75, 1.0],
        min_length=1,
        source="Horoi et al. 2021, section 4",
    )
    retrain: RecipeChange = key(
        "Replaces keys of the run's recipe; its first learning rate, decay and augmentation by default, no milestones.",
        RecipeChange(),
    )
    grain: int = key("Jumps per job.", 4, ge=1)


class RetrainJob(TrainingJob, Displacement):
    """What names the retrainings of one job: the run's own keys, but for its record, and the jumps.

    ``master``: seed of the directions; ``jumps``: number of the direction and step size of each.
    """

    master: int
    jumps: list[tuple[int, float]]


RETRAINS = Step(
    "retrains",
    "retrain",
    "points.h5",
    "lossatlas.trajectories.jobs.retrain:retrain",
    RetrainJob,
    ("data", "run"),
    gpu=True,
    array=True,
    stored=False,
    work=run_work,
)


def _jump_cloud(study: Study, name: str, entry: Jump) -> list[Artefact]:
    where = f"clouds.{name}.jump"
    left = run(study, entry.run, entry.replica, f"{where}.run")
    before = run_spec(study, entry.run, f"{where}.run").recipe
    with study.prefixed(f"{where}.retrain"):
        recipe = retraining(before, entry.retrain.given())
    if recipe.poison != before.poison:
        raise study.error(f"{where}.retrain.poison", "a retraining keeps the D_d of its run; leave it out")
    spec = {part: value for part, value in left.spec.items() if part not in ("record", "checkpoints")}
    if recipe.poison is not None:
        spec["poison"] = {**spec["poison"], "batch": recipe.batch}
    spec |= {"recipe": recipe.hashed(), "master": study.seed}
    spec |= {name: value for name, value in entry.hashed().items() if name in Displacement.model_fields}
    jumps = [(seed, step) for seed in entry.seeds for step in entry.steps]
    parts = [
        RETRAINS.make(left.label, {**spec, "jumps": jumps[i : i + entry.grain]}, data=left.inputs["data"], run=left)
        for i in range(0, len(jumps), entry.grain)
    ]
    return [CLOUDS.make(f"jumps-{left.label}", {"rows": "last"}, run=left, points=parts)]


JUMP = Entry("clouds", "jump", Jump, _jump_cloud)


class SharesJob(Spec):
    """What names the shares of a cloud: the recipe of its retrainings, and their steps an epoch."""

    recipe: dict[str, Any]
    steps: int


SHARES_STEP = Step(
    "shares",
    "shares",
    "shares.csv",
    "lossatlas.trajectories.jobs.shares:shares",
    SharesJob,
    ("gram", "cloud"),
    work=lambda made: gram_work(made.inputs["gram"][0]),
)


def _shares(study: Study, name: str, where: str) -> tuple[Artefact]:
    """Return the shares of a jump-and-retrain cloud."""
    study.entry("clouds", name, Jump, where)
    cloud = only(study.get("cloud", name, where))
    retrained = cloud.inputs["points"][0]
    recipe, train = retrained.spec["recipe"], sized(retrained)[1]
    batch = recipe["batch"] or train
    steps = -(-train // batch) - leaves_one_out(train, batch)
    spec = {"recipe": recipe, "steps": steps}
    return (SHARES_STEP.make(cloud.label, spec, gram=gram(study, name, where), cloud=cloud),)


SHARES_VIEW = View("shares", _shares, "lossatlas.trajectories.numbers:read_shares")

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

RETURNS = ("outwardness", "return_fraction", "direction_left", "cosine")
"""Quantities of a table of kind ``returns_table``."""

RETURNS_COLUMNS = (*(f"{name}_{part}" for name in RETURNS for part in ("mean", "low", "high", "n")), "paper")
"""Its columns after the row's title, the row's own columns and the step size."""

FROM_GRAM = ("norm", "distance")
"""Quantities of ``curves`` that come from a Gram matrix."""


class Series(Spec):
    """One line of curves, or several where a column splits it."""

    run: RunName | None = key("Name of a run of the study (all its replicas).", None)
    cloud: GramName | None = key("Name of a cloud of the study.", None)
    label: str = key("Label of the line; equal labels are replicas of one line.")

    @model_validator(mode="after")
    def _one(self) -> "Series":
        if (self.run is None) == (self.cloud is None):
            raise mistake("", "give either run or cloud")
        return self


def _limits(limits: list[float | None]) -> list[float | None]:
    low, high = limits if len(limits) == 2 else (None, None)
    if (low is None and high is None) or (low is not None and high is not None and low >= high):
        raise mistake("", f"{limits!r} is not [low, high] with low < high, one of which may be null")
    return limits


class Curves(Figure):
    """Lines of table columns, or of norms from a Gram matrix, with a band over replicas."""

    kind: Literal["curves"] = "curves"
    draw: ClassVar[str] = "lossatlas.trajectories.figures.curves:compose"
    series: list[Series] = key("One run or cloud each.", min_length=1)
    x: str = key("Column on the horizontal axis.", "epoch")
    y: str | list[str] = key(
        "Column, or `norm` (L2 norm of the weights) or `distance` (from a training's own start, or from the minimum of "
        "jumps); a list makes panels."
    )
    only: dict[str, Any] = key("Column -> the value it must have, for rows that are to be drawn.", {})
    group: str | None = key("Column that splits a series into lines (run, seed, step).", None)
    labels: Labels = key("Value of the group column -> shown label; equal shown labels are replicas.", {})
    log: Literal["none", "x", "y", "both"] = key("Logarithmic axes.", "none")
    centre: Literal["mean", "median"] = key("Line over replicas.", "mean")
    band: Literal["minmax", "std", "quartiles", "none"] = key("Band over replicas.", "minmax")
    columns: Columns
    names: Labels = key("Column -> name of its axis.", {})
    limits: dict[str, Annotated[list[float | None], AfterValidator(_limits)]] = key(
        "Quantity -> [low, high] of its axis, null = as the numbers have it. Where lines leave the panel, it is told.",
        {},
    )

    @property
    def quantities(self) -> list[str]:
        """Return what is drawn, a panel each."""
        return [self.y] if isinstance(self.y, str) else self.y

    @model_validator(mode="after")
    def _fits(self) -> "Curves":
        if not self.y:
            raise mistake("y", "empty; name a column, `norm` or `distance`")
        if set(self.quantities) & set(FROM_GRAM) and any(one.run is not None for one in self.series):
            raise mistake("y", f"{self.quantities!r} needs clouds: write `cloud: name` in place of `run: name`")
        for name in self.names:
            if name not in (self.x, *self.quantities):
                raise mistake(f"names.{name}", f"no axis shows it; {nearest(name, [self.x, *self.quantities])}")
        for name, (low, _) in self.limits.items():
            if name not in self.quantities:
                raise mistake(f"limits.{name}", f"no panel shows it; {nearest(name, self.quantities)}")
            if low is not None and low <= 0 and self.log in ("y", "both"):
                raise mistake(f"limits.{name}", f"{low:g} is not positive; the axis is logarithmic")
        return self


class ReturnsPanel(Look):
    """One cloud, with an embedding or without; the keys of its look are those of the whole figure unless it has any."""

    cloud: GramName = key("Name of a jump-and-retrain cloud of the study.")
    embedding: str | None = key("Name of an embedding of the study; null = none.", None)
    title: str = key("Title above the panel.", "")

    def references(self) -> Iterator[Reference]:
        """Yield the cloud, and the embedding, which two keys name."""
        yield from super().references()
        if self.embedding is not None:
            yield Reference("embedding", (self.cloud, self.embedding), "embedding")


class Returns(Panelled, Look):
    """Jump-and-retrain clouds beside each other.

    Their embedding, and by epoch and step size the distance from theta_o over the jump's and the cosine with the jump.
    """

    kind: Literal["returns"] = "returns"
    draw: ClassVar[str] = "lossatlas.trajectories.figures.returns:compose"
    panels: list[ReturnsPanel] = key(
        "One cloud each, with an embedding or none of them; color, hue, diamonds, lines may be set per panel.",
        min_length=1,
    )

    @property
    def embedded(self) -> bool:
        """Return whether the panels have embeddings."""
        return self.panels[0].embedding is not None

    @model_validator(mode="after")
    def _fits(self) -> "Returns":
        without = [i for i, panel in enumerate(self.panels) if panel.embedding is None]
        if 0 < len(without) < len(self.panels):
            raise mistake(f"panels[{without[0]}].embedding", "missing; give every panel one, or none")
        return self


class ReturnsRow(Spec):
    """One cloud of a table of returns."""

    cloud: GramName = key("Name of a jump-and-retrain cloud of the study.")
    title: str = key("Name of the row; the cloud's by default.", "")
    group: dict[str, Any] = key("Columns of its own: name -> value; the same names in every row.", {})
    paper: str | int | float | dict[str, Any] | None = key(
        "What the paper says of it over all steps, or step size (or `all`) -> what it says.", None
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Fill in the title; a step size is text, whether YAML or JSON was read."""
        if not isinstance(raw, Mapping):
            return raw
        found = {**raw, "title": raw.get("title") or raw.get("cloud", "")}
        if isinstance(raw.get("paper"), Mapping):
            found["paper"] = {_step_name(step): said for step, said in raw["paper"].items()}
        return found

    @model_validator(mode="after")
    def _fits(self) -> "ReturnsRow":
        for name in self.group:
            if name in ("row", "step", *RETURNS_COLUMNS):
                raise mistake(f"group.{name}", "a column of the table; call it otherwise")
        for step in self.paper if isinstance(self.paper, dict) else ():
            if step != "all" and not _is_number(step):
                raise mistake(f"paper.{step}", "not a step size; write a number or `all`")
        return self


def _step_name(step: Any) -> str:
    return f"{step:g}" if isinstance(step, int | float) and not isinstance(step, bool) else str(step)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class SharesPoint(Spec):
    """One cloud of a figure of shares."""

    cloud: Annotated[str, Refers("shares")] = key("Name of a jump-and-retrain cloud of the study.")
    group: str = key("Clouds of one group share a marker and a line of the legend.")


class SharesFigure(Figure):
    """What is left of the jump and of theta_o at the end of retrainings, against what weight decay alone leaves."""

    kind: Literal["shares"] = "shares"
    draw: ClassVar[str] = "lossatlas.trajectories.figures.shares:compose"
    points: list[SharesPoint] = key("One cloud each.", min_length=1)


class ReturnsTable(Table):
    """How far retrainings go and come back, by cloud and step size: mean and range over directions."""

    kind: Literal["returns_table"] = "returns_table"
    draw: ClassVar[str] = "lossatlas.trajectories.figures.returns:tabulate"
    rows: Annotated[list[ReturnsRow], AfterValidator(titled_apart)] = key("One cloud each.", min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> "ReturnsTable":
        names = list(self.rows[0].group)
        for i, row in enumerate(self.rows):
            if list(row.group) != names:
                raise mistake(f"rows[{i}].group", f"columns {list(row.group)}, but those of the first row are {names}")
        return self


# ---------------------------------------------------------------------------------------------------------------------
# measures on retrainings


class Retrainings(Spec):
    """Which retrainings of clouds are measured."""

    steps: list[float] | None = key("Step sizes; null = all.", None, min_length=1)
    seeds: list[int] | None = key("Directions; null = all.", None, min_length=1)


class Kept(Retrainings):
    """How the direction that is kept is told."""

    quantity: Literal["cosine", "left", "half"] = key(
        "cosine: of the last displacement with the jump. left: the jump's share that is left along its direction. "
        "half: cosine at the first point where at most half of the jump is left along its direction, on the way back.",
        "cosine",
    )


class Sideways(Retrainings):
    """How lateral motion is told."""

    relative_to: Literal["jump", "radius"] = key(
        "Perpendicular to the jump, or to the radius at which the motion takes place.", "jump"
    )
    over: Literal["path", "displacement"] = key("Motion from epoch to epoch, or from the jump to the end.", "path")


class OverDirections(Retrainings):
    """What is made of the values of directions."""

    statistic: Literal["mean", "median", "min", "max"] = key(
        "Of the step sizes of a direction, then of the directions.", "mean"
    )


class OfTrajectories(OverDirections, Measure):
    """Measures with one value a trajectory; the mean over clouds of different initialisations."""

    cloud: Grams = key("Jump-and-retrain clouds; only jumps that all of them have count.")


class Outwardness(OfTrajectories):
    """Largest distance from theta_o during a retraining over the jump's: 1 = it never moves outward."""

    measure: ClassVar[str] = "outwardness"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_trajectories"


class ReturnFraction(OfTrajectories):
    """Last distance from theta_o over the jump's: 0 = back at theta_o, 1 = as far as it was thrown."""

    measure: ClassVar[str] = "return_fraction"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_trajectories"


class DirectionKept(Kept, OfTrajectories):
    """Cosine of the last displacement from theta_o with the jump, or the jump's share left along its direction."""

    measure: ClassVar[str] = "direction_kept"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_trajectories"


class Lateral(Sideways, OfTrajectories):
    """Share of the squared motion perpendicular to the jump, or to the radius at which the motion takes place."""

    measure: ClassVar[str] = "lateral"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_trajectories"


Of = Literal["outwardness", "return_fraction", "direction_kept", "lateral"]
"""Measures with one value a trajectory; those below compare them."""


class DecayShare(Measure):
    """Share left at the end (`of` the jump or of theta_o) less what decay alone leaves, exp(-lr wd steps / (1 - m)).

    Largest size of the difference over a cloud's jumps, then the mean over the clouds of an initialisation.
    """

    measure: ClassVar[str] = "decay_share"
    run: ClassVar[str] = "lossatlas.trajectories.measures:decay_share"
    cloud: Annotated[tuple[Reference, ...], Accepts("shares")] = key("Jump-and-retrain clouds.")
    of: Literal["jump", "theta"] = key("Share of the jump, or of theta_o.", "jump")
    initialisations: list[int] = key("Initialisation of each cloud, as a number.", min_length=1)

    def check(self, study: Study, where: str) -> None:
        """Raise where clouds and initialisations are not as many."""
        if len(self.initialisations) != len(self.cloud):
            message = f"{len(self.initialisations)} for {len(self.cloud)} clouds; give one each"
            raise study.error(f"{where}.parameters.initialisations", message)


class OfShares(Measure):
    """Measures on the shares of clouds, one cloud an initialisation; only jumps that all of them have count."""

    cloud: Annotated[tuple[Reference, ...], Accepts("shares")] = key("Jump-and-retrain clouds, one an initialisation.")
    quantity: Literal["angle", "radius"] = key(
        "Root mean square angle of the filters with theta_o's, which ignores their lengths; or the distance in R^D.",
        "angle",
    )


class AngleRatio(OfShares):
    """Largest or last distance from theta_o during a retraining over the jump's; less that of `second`, if given."""

    measure: ClassVar[str] = "angle_ratio"
    run: ClassVar[str] = "lossatlas.trajectories.measures:angle_ratio"
    second: Annotated[tuple[Reference, ...], Accepts("shares")] = key("Clouds to compare with, in the same order.", ())
    at: Literal["largest", "last"] = key("The largest distance on the way, or the last.", "largest")


class NullDistance(OfShares):
    """Last distance from theta_o when retrained from theta_o itself (step 0) over that when retrained from a jump."""

    measure: ClassVar[str] = "null_distance"
    run: ClassVar[str] = "lossatlas.trajectories.measures:null_distance"
    step_zero: Annotated[tuple[Reference, ...], Accepts("shares")] = key("Clouds of step 0, in the same order.")
    step: float = key("Step size of the jumps that are compared.", 1.0, gt=0)


class Contrast(Kept, Sideways, OverDirections, Measure):
    """A trajectory measure (`of`) in `first` against `second`: clouds, or step sizes of one cloud.

    As many clouds on both sides are pairs of one initialisation each. Only jumps that all clouds have are compared.
    """

    measure: ClassVar[str] = "contrast"
    run: ClassVar[str] = "lossatlas.trajectories.measures:contrast"
    first: Grams = key("Jump-and-retrain clouds.")
    second: Grams = key("Those they are compared with.")
    of: Of = key("What is measured of each trajectory.", "outwardness")
    contrast: Literal["difference", "ratio"] = key("How the two are compared.", "difference")
    first_steps: list[float] | None = key("Step sizes of `first`; null = `steps`.", None, min_length=1)
    second_steps: list[float] | None = key("Step sizes of `second`; null = `steps`.", None, min_length=1)


class Resemblance(Kept, Sideways, Retrainings, Measure):
    """How much further a trajectory measure (`of`) of `first` is from that of `like` than from that of `unlike`.

    Below 0: `first` resembles `like` more. The distance of two clouds is the root mean square, over step sizes, of the
    difference of their means over directions. The three lists belong together by their places, one initialisation each;
    only jumps that all clouds have are compared.
    """

    measure: ClassVar[str] = "resemblance"
    run: ClassVar[str] = "lossatlas.trajectories.measures:resemblance"
    first: Grams = key("Jump-and-retrain clouds.")
    like: Grams = key("Those they are said to resemble, in the same order.")
    unlike: Grams = key("Those they are said not to resemble, in the same order.")
    of: Of = key("What is measured of each trajectory.", "outwardness")

    @model_validator(mode="after")
    def _together(self) -> "Resemblance":
        counts = {name: len(getattr(self, name)) for name in ("first", "like", "unlike")}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise mistake("first", f"{found} clouds; give the same number to each, in the same order")
        return self


class OfFactors(Kept, Sideways, Measure):
    """Measures on crossed factors; their inputs are lists of equal length whose entries belong together."""

    of: Of = key("What is measured of each trajectory.", "return_fraction")
    initialisations: list[int] | None = key(
        "Initialisation of each entry, as a number: entries of one number are one unit. null = only entries around one "
        "minimum are.",
        None,
    )

    @model_validator(mode="after")
    def _paired(self) -> "OfFactors":
        fields = {field.alias or name: name for name, field in type(self).model_fields.items()}
        counts = {role: len(getattr(self, fields[role])) for role in self.roles()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{role} {count}" for role, count in counts.items())
            raise mistake(next(iter(counts)), f"{found} clouds; give the same number to each, in the same order")
        pairs = next(iter(counts.values()))
        if self.initialisations is not None and len(self.initialisations) != pairs:
            raise mistake("initialisations", f"{len(self.initialisations)} numbers for {pairs} entries; give one each")
        return self

    def check(self, study: Study, where: str) -> None:
        """Raise where clouds that belong together come from different replicas, or entries of one count as several."""
        fields = {field.alias or name: name for name, field in type(self).model_fields.items()}
        sides = {role: getattr(self, fields[role]) for role in self.roles()}
        found = [[_replica(study, one, f"{where}.inputs.{role}") for one in side] for role, side in sides.items()]
        known: dict[int, int] = {}
        for place, together in enumerate(zip(*found, strict=True)):
            replicas = {replica for replica in together if replica is not None}
            if len(replicas) > 1:
                told = ", ".join(map(str, sorted(replicas)))
                message = f"the clouds of place {place} start from replicas {told}; they belong together"
                raise study.error(f"{where}.inputs", message)
            number = place if self.initialisations is None else self.initialisations[place]
            for replica in replicas:
                if known.setdefault(replica, number) != number:
                    message = f"entries of replica {replica} are one initialisation; give them one number"
                    raise study.error(f"{where}.parameters.initialisations", message)


def _replica(study: Study, reference: Reference, where: str) -> int | None:
    """Return the replica whose minimum a cloud surrounds; None for clouds of another kind."""
    entry = study.entry("clouds", reference.name[0], Spec, where)
    if not isinstance(entry, Jump):
        return None
    return run_spec(study, entry.run, where).replicas[0] if entry.replica is None else entry.replica


class FactorEffect(OfFactors):
    """What a factor does to a trajectory measure (`of`): clouds `with` it less their partners `without`.

    The mean over initialisations, each by its pairs. Only jumps (seed and step) that all clouds have are compared.
    """

    measure: ClassVar[str] = "factor_effect"
    run: ClassVar[str] = "lossatlas.trajectories.measures:factor_effect"
    with_: Grams = key("Clouds with the factor.", alias="with")
    without: Grams = key("Their partners without it.")


class FactorRatio(OfFactors):
    """Size of the effect of with against without over that of good against bad, each averaged over the other.

    Above 1, the first factor does more to the trajectory measure `of`.
    """

    measure: ClassVar[str] = "factor_ratio"
    run: ClassVar[str] = "lossatlas.trajectories.measures:factor_ratio"
    good_with: Grams = key("Good minima, with the factor.")
    good_without: Grams = key("Good minima, without it.")
    bad_with: Grams = key("Bad minima, with it.")
    bad_without: Grams = key("Bad minima, without it.")


# ---------------------------------------------------------------------------------------------------------------------
# measures on whole trainings


class OfPaths(Measure):
    """Measures with one value a training, replica by replica; they compare two runs."""

    cloud: Grams = key("Clouds of whole trainings.")
    first: str = key("Name of a run of the clouds.")
    second: str = key("Name of the run it is compared with.")
    contrast: Literal["ratio", "difference"] = key("How the means over initialisations are compared.", "ratio")

    def check(self, study: Study, where: str) -> None:
        """Raise where a run that is compared is none of the clouds'."""
        _check_runs(study, self.cloud, {"first": self.first, "second": self.second}, where)


def _check_runs(study: Study, clouds: tuple[Reference, ...], given: Mapping[str, str], where: str) -> None:
    """Raise where a run (key -> its name) is none of the clouds'."""
    entries = [study.entry("clouds", one.name[0], Spec, f"{where}.inputs.cloud") for one in clouds]
    names = [name for entry in entries if isinstance(entry, Paths) for name in entry.runs]
    for place, name in given.items():
        if name not in names:
            message = f"{name!r} is not a run of its cloud; {nearest(name, names)}"
            raise study.error(f"{where}.parameters.{place}", message)


class WeightNorm(OfPaths):
    """L2 norm of the last weights, of run `first` against run `second`."""

    measure: ClassVar[str] = "weight_norm"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_paths"


class DistanceFromInit(OfPaths):
    """Distance of the last weights from the first, of run `first` against run `second`."""

    measure: ClassVar[str] = "distance_from_init"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_paths"


class PathLength(OfPaths):
    """Length of the path through the recorded points, of run `first` against run `second`."""

    measure: ClassVar[str] = "path_length"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_paths"


class Straightness(OfPaths):
    """Path length over displacement (1 = straight, larger = more winding), of run `first` against run `second`."""

    measure: ClassVar[str] = "straightness"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_paths"


class Smoothness(OfPaths):
    """Mean cosine of a path's motion with the next one, whole epochs only, of `first` against `second`."""

    measure: ClassVar[str] = "smoothness"
    run: ClassVar[str] = "lossatlas.trajectories.measures:of_paths"


class EndSpread(OfPaths):
    """Mean distance of an initialisation's last weights from those of the others, of `first` against `second`."""

    measure: ClassVar[str] = "end_spread"
    run: ClassVar[str] = "lossatlas.trajectories.measures:end_spread"


class PathPairs(Measure):
    """How alike two runs' trainings from one initialisation are, against trainings of theirs from different ones.

    `displacements`: cosine of what they moved, less that between different initialisations. `ends`: distance between
    their last weights, over that between different initialisations.
    """

    measure: ClassVar[str] = "path_pairs"
    run: ClassVar[str] = "lossatlas.trajectories.measures:path_pairs"
    cloud: Grams = key("Clouds of whole trainings.")
    first: str = key("Name of a run of the clouds.")
    second: str = key("Name of the other run.")
    of: Literal["displacements", "cosine", "ends"] = key(
        "What is compared; cosine: that of the displacements by itself, not less any other.", "displacements"
    )

    def check(self, study: Study, where: str) -> None:
        """Raise where a run that is compared is none of the clouds'."""
        _check_runs(study, self.cloud, {"first": self.first, "second": self.second}, where)


class PathAccuracy(Measure):
    """Smallest last accuracy of the trainings of `runs`; one that is not finite counts as 0."""

    measure: ClassVar[str] = "path_accuracy"
    run: ClassVar[str] = "lossatlas.trajectories.measures:path_accuracy"
    cloud: Grams = key("Clouds of whole trainings.")
    runs: list[str] = key("Names of runs of the clouds.", min_length=1)
    quantity: Literal["train_accuracy", "test_accuracy"] = key("Which accuracy.", "train_accuracy")

    def check(self, study: Study, where: str) -> None:
        """Raise where a run is none of the clouds'."""
        _check_runs(study, self.cloud, {f"runs[{i}]": name for i, name in enumerate(self.runs)}, where)
