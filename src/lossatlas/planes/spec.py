"""Lines, planes, curvature and descent: settings, artefacts, figures and measures. Light."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Tag, model_validator

from lossatlas.claims.spec import Measure
from lossatlas.clouds.spec import path_gram
from lossatlas.draw.spec import Columns, Figure, Table
from lossatlas.planes.defaults import LEAST, PRODUCTS, TOLERANCE
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, unique
from lossatlas.specs.registry import Entry, Step, View, Work
from lossatlas.specs.study import Study, only
from lossatlas.train.spec import Count, Index, OnNetwork, Precision, network_spec, run, run_spec, run_work, sized

REACH = 0.5
"""How far along a line sharpness is looked for, in units of its direction: if scaled, half of a filter's norm."""

Normalise = Literal["none", "layer", "filter"]
SharpnessOfLine = Literal["rise", "worst", "curvature"]
Positive = Annotated[float, key("A number above 0.", gt=0)]
Directions = Annotated[list[Index], AfterValidator(unique("give each direction once"))]


def _form(raw: Any) -> str:
    """Return whether one value is meant, or a list of them."""
    return "each" if isinstance(raw, list) else "one"


def _form_of_range(raw: Any) -> str:
    """Return whether one range [low, high] is meant, or a list of them."""
    return _form(raw[0]) if isinstance(raw, list) and raw else "one"


Several = Annotated[
    list[Normalise], key("Under each of these.", min_length=1), AfterValidator(unique("give each once"))
]
Normalisations = Annotated[Annotated[Normalise, Tag("one")] | Annotated[Several, Tag("each")], Discriminator(_form)]
Side = Annotated[int, key("Points of a side.", ge=2)]
Sides = Annotated[list[Side], key("Points of each side.", min_length=2, max_length=2)]
Grid = Annotated[Annotated[Side, Tag("one")] | Annotated[Sides, Tag("each")], Discriminator(_form)]
Counts = Annotated[list[Count], key("Points of each side.", min_length=2, max_length=2)]
AnyGrid = Annotated[Annotated[Count, Tag("one")] | Annotated[Counts, Tag("each")], Discriminator(_form)]
Range = Annotated[list[float], key("Coordinates of the first and the last point.", min_length=2, max_length=2)]
Ranges = Annotated[list[Range], key("Range of each coordinate.", min_length=2, max_length=2)]
Limits = Annotated[Annotated[Range, Tag("one")] | Annotated[Ranges, Tag("each")], Discriminator(_form_of_range)]


def _with_train(parts: list[str]) -> list[str]:
    if "train" not in parts:
        raise mistake("", f"{parts!r} lacks train, which is always measured; write [train, test] or [train]")
    return parts


Parts = Annotated[
    list[Literal["train", "test"]], AfterValidator(unique("name each part once")), AfterValidator(_with_train)
]

# ---------------------------------------------------------------------------------------------------------------------
# probes


class Probe(Spec):
    """A measurement at points of lines or of a plane through the end of a run."""

    word: ClassVar[str]
    """Its kind in a study."""

    run: str | None = key("Name of the run.", None)
    replica: int | None = key("Replica of the runs; their first by default.", None, ge=0)
    examples: int | None = key("Most examples of each part; null = all.", None, ge=1)
    grain: int | None = key("Rows (or lines) per job; null = all.", None, ge=1)


class Losses(Probe):
    """What losses on lines and on planes have in common."""

    run: str = key("Name of the run through whose end it goes.")
    parts: Parts = key("Parts of the data.", ["train"], min_length=1)
    precision: Precision = key("Of the network; points are float64.", "float32")
    batch: int = key("Most examples in a chunk.", 250, ge=1)
    at_loss: float | None = key(
        "Through the first recorded epoch whose training loss is at most this (the last where none is), so that "
        "networks are compared at one training loss; null = through the end.",
        None,
        quiet=True,
        gt=0,
    )


class Rescale(Spec):
    """Other weights of the same function, through which the lines go in place of the run's own."""

    how: Literal["filters", "layers", "units"] = key(
        "What gets a factor: every filter in front of a batch norm, every layer as a whole, or what every batch norm "
        "gives out, which the next layer then takes by as much less.",
    )
    seed: int = key("Of the factors.", 0, ge=0)
    spread: float = key("They lie between 1 / spread and spread, evenly on a logarithmic scale.", 10.0, gt=1)


class LineProbe(Losses):
    """Losses along lines through the end of a run: random directions, or the segment to the end of another run."""

    word: ClassVar[str] = "line"

    to: str | None = key("Name of the run whose end is at 1; null = random directions.", None)
    seeds: Directions = key("One random direction each.", [0], min_length=1)
    normalise: Normalisations = key(
        "Normalisation of the directions; a list measures under each.", ["filter"], source="Li et al. 2018, section 4"
    )
    scale: dict[Normalise, Positive] = key(
        "Normalisation -> factor of its directions, 1 by default: without a normalisation a weight moves by a standard "
        "normal number.",
        {},
    )
    limits: Range = key("Coordinates of the first and the last point.", [-1.0, 1.0])
    grid: int = key("Points of a line.", 51, ge=1)
    batch_norm: Literal["stored", "recompute", "interpolate"] | None = key(
        "Batch-norm statistics. stored: those of the minimum, the default of random lines. recompute: computed anew at "
        "each point. interpolate: mixed like the weights, the default with `to`.",
        None,
    )

    rescale: Rescale | None = key(
        "Rescale the network first, so that its function stays; null = leave it.", None, quiet=True
    )

    @model_validator(mode="after")
    def _fits(self) -> "LineProbe":
        if self.rescale is not None and (self.to is not None or self.batch_norm not in (None, "stored")):
            raise mistake("rescale", "goes with random lines and stored batch-norm statistics")
        if self.at_loss is not None and self.to is not None:
            raise mistake("at_loss", "goes with random directions: a segment joins the ends of two runs")
        if self.to is None and self.batch_norm == "interpolate":
            raise mistake("batch_norm", "`interpolate` goes with `to`: a line through one minimum")
        return self


class PlaneProbe(Losses):
    """Losses on a plane through the end of a run."""

    word: ClassVar[str] = "plane"

    axes: Literal["random", "pca", "path_random", "path_start"] = key(
        "random: two normalised directions. pca: principal axes of the run's recorded path. path_random, path_start: "
        "two random ones, or one from the end to the initialisation and a random one, over the range of the path.",
        "random",
    )
    seeds: Directions = key("Of the random directions.", [0, 1], min_length=2, max_length=2)
    normalise: Normalise = key("Normalisation of two random directions.", "filter", source="Li et al. 2018, section 4")
    limits: Limits = key("Range of both coordinates, or of each, along random directions.", [-1.0, 1.0])
    margin: float = key("Share of a path's range added on each side.", 0.15, ge=0)
    grid: Grid = key("Points a side, or of each side.", 51)
    batch_norm: Literal["stored", "recompute"] | None = key(
        "Batch-norm statistics. stored: those of the minimum, the default. recompute: computed anew at each point.",
        None,
    )

    @model_validator(mode="after")
    def _fits(self) -> "PlaneProbe":
        if self.at_loss is not None and self.axes != "random":
            raise mistake("at_loss", "goes with random directions: a plane of a path goes through its end")
        return self


class CurvatureProbe(Probe):
    """Ends of the spectrum of the training loss's Hessian by Lanczos, at the end of a run or over a plane."""

    word: ClassVar[str] = "curvature"

    plane: str | None = key("Name of a plane probe; its points.", None)
    run: str | None = key("Name of a run; its end alone.", None)
    replica: int | None = key("Replica of the run; the plane's by default, or its first.", None, ge=0)
    grid: AnyGrid | None = key("Points a side, or of each side; the plane's by default.", None)
    limits: Limits | None = key("As of a plane; the plane's by default.", None)
    examples: int | None = key("Most training examples; the plane's by default, or all.", None, ge=1)
    precision: Precision | None = key("Of the network; the plane's by default, or float32.", None)
    batch: int | None = key("Most examples in a chunk; the plane's by default, or 250.", None, ge=1)
    grain: int | None = key("Rows per job; the plane's by default, or all.", None, ge=1)
    tolerance: float = key("Residual of both eigenpairs over the larger eigenvalue's magnitude.", TOLERANCE, gt=0)
    products: int = key("Most Hessian-vector products a point.", PRODUCTS, ge=1)
    least: int = key("Fewest products a start.", LEAST, quiet=True, ge=1)
    each: bool = key(
        "Tolerance relative to each end of the spectrum (to no less than a tenth of the larger), not to the larger.",
        False,
        quiet=True,
    )
    starts: int = key(
        "First vectors, of which those after the first are used where the two ends are more than tenfold apart.",
        1,
        quiet=True,
        ge=1,
    )
    over: Literal["all", "weights"] = key(
        "Of the Hessian in all parameters, or in the weights alone, without biases and batch norm.",
        "all",
        quiet=True,
        source="the authors' code, hess_vec_prod.py: weights",
    )
    seed: int = key("Of the first vector.", 0, ge=0)
    trace: int = key("Probe vectors of Hutchinson's estimate of the trace; 0 = none.", 0, ge=0)
    density: list[Count] | None = key(
        "[probe vectors, steps] of the spectral density; null = none.", None, min_length=2, max_length=2
    )

    @model_validator(mode="after")
    def _one(self) -> "CurvatureProbe":
        if self.least > self.products:
            raise mistake("least", f"{self.least} products, but `products` allows {self.products}")
        if (self.plane is None) == (self.run is None):
            raise mistake("", "give either plane (a probe of that kind) or run")
        return self

    def on(self, plane: PlaneProbe | None) -> PlaneProbe:
        """Return the plane whose points are measured: one of the study with this probe's own keys, or a run's end."""
        asked = ("replica", "examples", "grain", "grid", "limits", "precision", "batch")
        own = {name: value for name in asked if (value := getattr(self, name)) is not None}
        if plane is None:
            assert self.run is not None
            plane = PlaneProbe(run=self.run)
            own |= {"grid": [1, 1], "limits": [0.0, 0.0]}
        return plane.model_copy(update={**own, "parts": ["train"]})


class DescentProbe(Spec):
    """How recorded trainings descend: their steps against the gradient of what is descended, and its noise."""

    plane: str = key("Name of a plane probe of the recorded path, in which steps are projected too.")
    examples: int | None = key("Most training examples of a gradient, as whole minibatches; null = all.", None, ge=1)
    seed: int = key("Of the minibatches.", 0, ge=0)


class TrustProbe(Spec):
    """Is the picture of a slice right? Other directions, batch-norm policy, examples, grid and range beside it."""

    of: str = key("Name of a line or plane probe.")
    directions: int = key("Other random directions to look along.", 5, ge=1)
    normalise: Normalise | None = key("Which lines of a probe that has several normalisations; null = its first.", None)
    seed: int = key("Of the directions and of halves of the examples.", 0, ge=0)


# ---------------------------------------------------------------------------------------------------------------------
# artefacts


class SliceJob(OnNetwork):
    """What names a job on a slice: a run's network on its examples, what spans the slice, and its points.

    ``seeds``: of the run. ``slice``: ``kind`` (``lines``, ``segment``, ``plane``, ``path``) and its ``directions``, or
    for a path ``axes`` (``pca``, ``random``, ``start``), ``seeds`` and ``drops`` (epochs at which the learning rate was
    lowered); of lines through a rescaled network also ``rescaled`` (``how``, ``seed``, ``spread``). ``x``, ``y``: [low,
    high, number] of the coordinates; a path gives low and high itself, with ``margin``.
    """

    resample: dict[str, Any] | None = key("As of a run.", None, quiet=True)
    scale: str = key("As of a run.", "standard", quiet=True)
    seeds: dict[str, int]
    examples: int | None
    parts: list[str]
    batch_norm: str
    slice: dict[str, Any]
    x: list[int | float | None]
    y: list[int | float | None] | None = key("As `x`, of a plane; of lines there is none.", None, quiet=True)
    margin: float | None = key("Share of a path's range added on each side; of others there is none.", None, quiet=True)
    at_loss: float | None = key(
        "Training loss of the recorded epoch that is the centre; null = the last.", None, quiet=True
    )


class DescentJob(SliceJob):
    """What names a descent.

    ``gradient``: ``batch``, ``augment``, ``criterion`` and ``weight_decay`` of the recipe, most ``examples`` of a pass
    and the ``seed`` of its minibatches; None = only the gradient at recorded statistics.
    """

    gradient: dict[str, Any] | None = key("Of the loss that is descended.", None, quiet=True)


class TileJob(SliceJob):
    """What names a tile. ``measure``: ``kind`` (``losses``, ``curvature``) and its settings; ``rows``: first, stop."""

    measure: dict[str, Any]
    rows: list[int]


class TrustJob(SliceJob):
    """What names the checks of a slice: ``directions`` (how many others), ``normalise`` and ``seed`` of its probe."""

    directions: int
    normalise: str | None
    seed: int


class GridJob(Spec):
    """What names a grid: its tiles alone."""


def tile_work(made: Artefact) -> Work:
    """Return the work of a tile.

    A Hessian-vector product counts as three gradients, 9 forward passes (forward and backward 3, their derivative 6); a
    point of a curvature map as all the products it may take, and it keeps a Krylov basis in float64. Recomputed
    batch-norm statistics are one more pass.
    """
    net, train, test, size = sized(made)
    spec, about = made.spec, made.spec["measure"]
    points = (spec["rows"][1] - spec["rows"][0]) * int(spec["x"][2])
    seen = min(train, spec["examples"] or train)
    if about["kind"] == "losses":
        tested = min(test, spec["examples"] or test) if "test" in spec["parts"] else 0
        flops = net.flops * points * (seen * _passes(spec) + tested)
        return Work(net.parameters, points, net.layers, points, flops, train, test, size)
    probes, steps = about["density"] or (0, 0)
    products = points * (about["products"] * about.get("starts", 1) + about["trace"] + probes * steps)
    flops = net.flops * 9.0 * products * seen
    vectors = 2.0 * about["products"]
    return Work(net.parameters, points, net.layers, products, flops, train, test, size, vectors=vectors)


def descent_work(made: Artefact) -> Work:
    """Return the work of a descent: a gradient at each recorded point, four losses around its projection.

    And a gradient for each minibatch, where what is descended is looked at.
    """
    net, train, test, size = sized(made)
    spec, (path,) = made.spec, made.inputs["run"]
    rows, seen = run_work(path).rows, min(train, spec["examples"] or train)
    flops = net.flops * (3.0 + 4 * _passes(spec)) * rows * seen
    each = 5
    if about := spec.get("gradient"):
        batch, passed = min(about["batch"] or train, train), min(train, about["examples"] or train)
        minibatches = max(1, passed // batch)
        each += minibatches
        flops += net.flops * 3.0 * rows * minibatches * batch
    return Work(net.parameters, rows, net.layers, each * rows, flops, train, test, size)


def trust_work(made: Artefact) -> Work:
    """Return the work of a slice's checks: four losses a direction, and about as many again for the other questions."""
    net, train, test, size = sized(made)
    spec = made.spec
    points = 4 * (spec["directions"] + 2) + 40
    flops = net.flops * points * min(train, spec["examples"] or train) * _passes(spec)
    return Work(net.parameters, points, net.layers, points, flops, train, test, size)


def _passes(spec: Mapping) -> int:
    """Return the passes over the training examples that their loss takes."""
    return 2 if spec["batch_norm"] == "recompute" else 1


TILES = Step(
    "tiles",
    "tile",
    "grid.h5",
    "lossatlas.planes.jobs.tile:tile",
    TileJob,
    ("data", "run", "to", "gram"),
    gpu=True,
    work=tile_work,
)
GRIDS = Step("grids", "assemble", "grid.h5", "lossatlas.planes.jobs.assemble:assemble", GridJob, ("tiles",))
TRUSTS = Step(
    "trusts",
    "trust",
    "trust.h5",
    "lossatlas.planes.jobs.trust:trust",
    TrustJob,
    ("data", "run", "to", "gram"),
    gpu=True,
    work=trust_work,
)
DESCENTS = Step(
    "descents",
    "descent",
    "descent.h5",
    "lossatlas.planes.jobs.descent:descent",
    DescentJob,
    ("data", "run", "gram"),
    gpu=True,
    work=descent_work,
)

# ---------------------------------------------------------------------------------------------------------------------
# planning


def grid(study: Study, name: str, where: str, replica: int | None = None) -> Artefact:
    """Return what a probe of kind line, plane or curvature measures: a tile, or the grid of several.

    Args:
        study: its study.
        name: of the probe.
        where: place of the name in the study, for messages.
        replica: of its run, in place of the probe's own; None = that one.
    """
    if replica is None:
        (made,) = study.made("probes", name, Probe, where)
        return made
    spec = study.entry("probes", name, Probe, where)
    return _planned(study, name, spec.model_copy(update={"replica": replica}))[0]


def grids(study: Study, name: str, where: str) -> list[Artefact]:
    """Return what a probe of kind line, plane or curvature measures at every replica of its run."""
    spec = study.entry("probes", name, Probe, where)
    if spec.run is None:
        raise study.error(where, f"probe {name!r} is not of one run")
    replicas = run_spec(study, spec.run, f"probes.{name}.{spec.word}.run").replicas
    return [grid(study, name, where, replica) for replica in replicas]


def descent(study: Study, name: str, where: str) -> Artefact:
    """Return the angles between the steps of a recorded path and the gradient; ``name`` is a plane of that path."""
    spec, inputs = _of_path(study, name, where)
    return DESCENTS.make(spec["label"], spec, **inputs)


def descents(study: Study, name: str, where: str) -> list[Artefact]:
    """Return what a probe of kind descent measures, for every replica of the run of its plane."""
    probe = study.entry("probes", name, DescentProbe, where)
    at = f"probes.{name}.descent.plane"
    plane = study.entry("probes", probe.plane, PlaneProbe, at)
    found = []
    for replica in run_spec(study, plane.run, at).replicas:
        spec, inputs = _of_path(study, probe.plane, at, replica)
        recipe = only(inputs["run"]).spec["recipe"]
        about = {part: recipe[part] for part in ("batch", "augment", "criterion", "weight_decay")}
        spec["gradient"] = {
            **about,
            "examples": probe.examples,
            "seed": derive(study.seed, "descent", probe.seed, replica),
        }
        found.append(DESCENTS.make(spec["label"], spec, **inputs))
    return found


def trust(study: Study, name: str, where: str) -> Artefact:
    """Return the checks of the slice that a probe of kind trust names."""
    probe = study.entry("probes", name, TrustProbe, where)
    at = f"probes.{name}.trust"
    (made,) = study.made("probes", probe.of, Losses, f"{at}.of")
    tile = made if made.kind == TILES.kind else made.inputs["tiles"][0]
    spec = {part: value for part, value in tile.spec.items() if part not in ("rows", "measure")}
    told = [entry["normalise"] for entry in spec["slice"].get("directions", [])]
    if probe.normalise is not None and probe.normalise not in told:
        raise study.error(f"{at}.normalise", f"{probe.of!r} has no lines under {probe.normalise!r}")
    if spec["batch_norm"] == "interpolate":
        raise study.error(f"{at}.of", f"{probe.of!r} mixes batch-norm statistics; ask about one with `recompute`")
    if "rescaled" in spec["slice"]:
        raise study.error(f"{at}.of", f"{probe.of!r} goes through a rescaled network; ask about the network itself")
    seed = derive(study.seed, "trust", probe.seed)
    spec |= {"directions": probe.directions, "normalise": probe.normalise, "seed": seed}
    return TRUSTS.make(spec["label"], spec, **tile.inputs)


def _of_path(study: Study, name: str, where: str, replica: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return spec and inputs of what is measured on a recorded path in one of its planes."""
    plane, at = study.entry("probes", name, PlaneProbe, where), f"probes.{name}.plane"
    if plane.axes == "random":
        raise study.error(f"{at}.axes", "a descent needs a plane of its path: pca, path_random or path_start")
    changes: dict[str, Any] = {"grid": 2, "margin": 0.0, "parts": ["train"]}
    if replica is not None:
        changes["replica"] = replica
    return _plane(study, plane.model_copy(update=changes), at)


def _planned(study: Study, name: str, spec: Probe) -> list[Artefact]:
    where = f"probes.{name}.{spec.word}"
    if isinstance(spec, LineProbe):
        return [_line(study, spec, where)]
    if isinstance(spec, PlaneProbe):
        return [_losses(study, spec, where)]
    assert isinstance(spec, CurvatureProbe)
    return [_curvature(study, spec, where)]


def _line(study: Study, probe: LineProbe, where: str) -> Artefact:
    """Return losses along lines: random ones through a minimum, or the segment to another minimum."""
    made = run(study, probe.run, probe.replica, f"{where}.run")
    _chosen(study, probe, made, where)
    inputs = {"data": made.inputs["data"], "run": (made,)}
    if probe.to is None:
        how = [probe.normalise] if isinstance(probe.normalise, str) else probe.normalise
        chosen = [(each, seed) for each in how for seed in probe.seeds]
        directions = [_direction(study, each, seed, probe.scale.get(each, 1.0)) for each, seed in chosen]
        cut: dict[str, Any] = {"kind": "lines", "directions": directions}
        if probe.rescale is not None:
            cut["rescaled"] = {**probe.rescale.hashed(), "seed": derive(study.seed, "rescale", probe.rescale.seed)}
    else:
        other = run(study, probe.to, probe.replica, f"{where}.to")
        if other.spec["model"] != made.spec["model"] or other.inputs["data"][0].hash != made.inputs["data"][0].hash:
            raise study.error(f"{where}.to", f"{probe.to!r} has another network or data than {probe.run!r}")
        inputs["to"] = (other,)
        cut = {"kind": "segment", "directions": []}
    spec = _spec(made, probe, cut, "interpolate" if probe.to else "stored")
    spec |= {"x": [*probe.limits, probe.grid], "measure": {"kind": "losses"}}
    return _tiles(spec, inputs, max(len(cut["directions"]), 1), probe.grain)


def _losses(study: Study, probe: PlaneProbe, where: str) -> Artefact:
    """Return losses on a plane: random directions at a minimum, or a plane of the path that led there."""
    spec, inputs = _plane(study, probe, where)
    return _tiles({**spec, "measure": {"kind": "losses"}}, inputs, spec["y"][2], probe.grain)


def _curvature(study: Study, probe: CurvatureProbe, where: str) -> Artefact:
    """Return the ends of the Hessian's spectrum (and trace, and density) at a run's minimum or over a plane."""
    over = None if probe.plane is None else study.entry("probes", probe.plane, PlaneProbe, f"{where}.plane")
    plane = probe.on(over)
    spec, inputs = _plane(study, plane, where)
    about = {part: getattr(probe, part) for part in ("tolerance", "products", "trace", "density")}
    # Younger keys name an artefact only where they differ from what was done before them.
    about |= {part: value for part in _CARE if (value := probe.hashed().get(part)) is not None}
    spec["measure"] = {"kind": "curvature", **about, "seed": derive(study.seed, "lanczos", probe.seed)}
    return _tiles(spec, inputs, spec["y"][2], plane.grain)


_CARE = ("least", "each", "starts", "over")
"""Quiet keys of a curvature probe."""


def _plane(study: Study, probe: PlaneProbe, where: str) -> tuple[dict[str, Any], dict[str, tuple[Artefact, ...]]]:
    """Return spec and inputs of a plane, without its measure."""
    made = run(study, probe.run, probe.replica, f"{where}.run")
    _chosen(study, probe, made, where)
    inputs: dict[str, tuple[Artefact, ...]] = {"data": made.inputs["data"], "run": (made,)}
    counts = [probe.grid] * 2 if isinstance(probe.grid, int) else probe.grid
    if probe.axes == "random":
        limits: Any = probe.limits if isinstance(probe.limits[0], list) else [probe.limits] * 2
        directions = [_direction(study, probe.normalise, seed, 1.0) for seed in probe.seeds]
        cut: dict[str, Any] = {"kind": "plane", "directions": directions}
        sides: dict[str, Any] = {"x": [*limits[0], counts[0]], "y": [*limits[1], counts[1]]}
    else:
        inputs["gram"] = (path_gram(study, probe.run, made, f"{where}.run"),)
        recipe = made.spec["recipe"]
        drops = [round(share * recipe["epochs"]) for share in recipe["milestones"]]
        cut = {"kind": "path", "axes": probe.axes.removeprefix("path_"), "drops": drops}
        if probe.axes != "pca":
            cut["seeds"] = [derive(study.seed, "direction", seed) for seed in probe.seeds]
        sides = {"x": [None, None, counts[0]], "y": [None, None, counts[1]], "margin": probe.margin}
    return {**_spec(made, probe, cut, "stored"), **sides}, inputs


def _direction(study: Study, normalise: str, seed: int, scale: float) -> dict[str, Any]:
    """Return a random direction: equal seeds are the same Gaussian draw for every network of one size."""
    number = derive(study.seed, "direction", seed)
    return {"normalise": normalise, "number": seed, "seed": number, "scale": scale}


def _chosen(study: Study, probe: LineProbe | PlaneProbe, made: Artefact, where: str) -> None:
    """Refuse a choice among recorded epochs where there is only one."""
    if probe.at_loss is not None and made.spec["record"]["epochs"] != "all":
        raise study.error(
            f"{where}.at_loss", f"{probe.run!r} keeps its end alone; write `record: {{epochs: all}}` there"
        )


def _spec(made: Artefact, probe: LineProbe | PlaneProbe, cut: Mapping[str, Any], batch_norm: str) -> dict[str, Any]:
    """Return the keys of :class:`SliceJob` but for its coordinates; ``batch_norm`` where the probe says nothing."""
    spec = network_spec([made], probe.precision, probe.batch)
    spec |= {"seeds": made.spec["seeds"], "examples": probe.examples, "parts": list(probe.parts), "slice": dict(cut)}
    if probe.at_loss is not None:
        spec["at_loss"] = probe.at_loss
    return {**spec, "batch_norm": probe.batch_norm or batch_norm}


def _tiles(spec: dict[str, Any], inputs: Mapping[str, Any], rows: int, grain: int | None) -> Artefact:
    """Return the one tile of a slice, or the grid gathered from tiles of ``grain`` rows."""
    size = rows if grain is None else grain
    bounds = [[start, min(start + size, rows)] for start in range(0, rows, size)]
    parts = [TILES.make(spec["label"], {**spec, "rows": part}, **inputs) for part in bounds]
    return parts[0] if len(parts) == 1 else GRIDS.make(spec["label"], {}, tiles=parts)


def _trust(study: Study, name: str, spec: TrustProbe) -> list[Artefact]:
    return [trust(study, name, f"probes.{name}.trust")]


def _descents(study: Study, name: str, spec: DescentProbe) -> list[Artefact]:
    return descents(study, name, f"probes.{name}.descent")


LINE = Entry("probes", "line", LineProbe, _planned)
PLANE = Entry("probes", "plane", PlaneProbe, _planned)
TRUST = Entry("probes", "trust", TrustProbe, _trust)
ALONG = Entry("probes", "descent", DescentProbe, _descents)
CURVATURE = Entry("probes", "curvature", CurvatureProbe, _planned)
GRID = View("grid", lambda study, name, where: (grid(study, name, where),), "lossatlas.planes.files:Grid.load")
ALL_GRIDS = View("grids", grids, "lossatlas.planes.files:Grid.load")
DESCENT = View("descent", lambda study, name, where: (descent(study, name, where),), "lossatlas.planes.files:descent")
TRUST_VIEW = View("trust", lambda study, name, where: (trust(study, name, where),), "lossatlas.planes.files:Trust.load")
ALL_DESCENTS = View("descents", descents, "lossatlas.planes.files:descent")

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

GridName = Annotated[str, Refers("grid")]
GridsName = Annotated[str, Refers("grids")]
PathName = Annotated[str, Refers("path_gram")]

_TITLE = "Title above the panel; {model} stands for the network."


class Segment(Spec):
    """A panel of lines."""

    line: GridName = key("Name of a line probe with `to`.")
    title: str = key(_TITLE, "")
    ends: list[str | int | float] = key("What lies at 0 and at 1, in two words.", [])

    @model_validator(mode="after")
    def _two(self) -> "Segment":
        if len(self.ends) not in (0, 2):
            raise mistake("ends", f"{self.ends!r} is not a list of two; write [what lies at 0, at 1]")
        return self


class Lines(Figure):
    """Loss and accuracy along the segments between two minima."""

    kind: Literal["lines"] = "lines"
    draw: ClassVar[str] = "lossatlas.planes.figures.lines:compose"
    panels: list[Segment] = key("One segment each.", min_length=1)
    columns: Columns


class PlanePanel(Spec):
    """A panel of losses on a plane."""

    plane: GridName = key("Name of a plane probe of the study.")
    title: str = key(_TITLE, "")
    trust: Annotated[str | None, Refers("trust")] = key(
        "Name of a trust probe of the plane, whose verdict stands below the title; null = none.", None
    )
    paper: float | None = key("Test error (%) that the paper prints for it; null = none.", None)


Levels = Annotated[list[Positive], key("Losses of the labelled lines, the same in all panels.", min_length=1)]
Shown = Annotated[list[Positive], key("Losses of both ends of the colours.", min_length=2, max_length=2)]
LEVELS = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
"""Losses of lines: the authors' own are 0.1 to 10 in steps of 0.5 (plot_2D.py), dense above and bare below."""
FINE = [0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.1, 1.6, 2.2, 3.2, 4.5, 6.4, 9.0]
"""The same for paths, whose angle with the lines is what is looked at: steps of the root of two."""
SHOWN = [0.1, 20.0]


class Contours(Figure):
    """Loss on planes through minima as contours on one logarithmic scale, with the test error of each minimum."""

    kind: Literal["contours"] = "contours"
    draw: ClassVar[str] = "lossatlas.planes.figures.contours:compose"
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "surface"
    panels: list[PlanePanel] = key("One plane each.", min_length=1)
    part: Literal["train", "test"] = key("Part of the data.", "train")
    levels: Levels = LEVELS
    shown: Shown = SHOWN
    columns: Columns


class Relief(Figure):
    """Loss on planes through minima in three dimensions: a picture, an interactive page, and a VTK file."""

    kind: Literal["relief"] = "relief"
    draw: ClassVar[str] = "lossatlas.planes.figures.relief:compose"
    formats: ClassVar[tuple[str, ...] | None] = ("png", "html", "vtp")
    interactive: ClassVar[Literal["", "surface", "embedding"]] = "surface"
    panels: list[PlanePanel] = key("One plane each.", min_length=1)
    columns: Columns


class MapPanel(PlanePanel):
    """A panel of curvature over a plane."""

    map: GridName = key("Name of a curvature probe over the plane.")


class CurvatureMaps(Figure):
    """|lambda_min / lambda_max| of the Hessian over planes, below their contours."""

    kind: Literal["curvature"] = "curvature"
    draw: ClassVar[str] = "lossatlas.planes.figures.curvature:compose"
    panels: list[MapPanel] = key("One curvature map each.", min_length=1)
    levels: Levels = LEVELS
    shown: Shown = SHOWN


class PathPlanes(Figure):
    """Recorded trainings projected on planes, over the contours of the loss there."""

    kind: Literal["pathplanes"] = "pathplanes"
    draw: ClassVar[str] = "lossatlas.planes.figures.pathplanes:compose"
    panels: list[PlanePanel] = key("One plane of a path each.", min_length=1)
    levels: Levels = FINE
    shown: Shown = SHOWN
    columns: Columns


class SharpSeries(Spec):
    """One network of figure sharpness, in all replicas."""

    line: GridsName = key("Name of a line probe; all replicas of its run.")
    path: Annotated[str | None, Refers("path_gram")] = key(
        "Name of a run with all its epochs, for the growth of the weights; null = none.", None
    )
    label: str = key("Label of the network.")


class Sharpness(Figure):
    """Losses along random lines under no, layer and filter normalisation, growth and histogram of the weights."""

    kind: Literal["sharpness"] = "sharpness"
    draw: ClassVar[str] = "lossatlas.planes.figures.sharpness:compose"
    series: list[SharpSeries] = key("One network each.", min_length=1)


class InvarianceRow(Spec):
    """A row of panels: one way of rescaling a network."""

    original: GridName = key("Name of a line probe through the network as it was trained.")
    copies: Annotated[list[str], Refers("grid")] = key(
        "Names of line probes of the same directions through rescaled copies.", min_length=1
    )
    title: str = key("What is rescaled.")


class Invariance(Figure):
    """Losses along the same random lines through a network and through copies of the same function."""

    kind: Literal["invariance"] = "invariance"
    draw: ClassVar[str] = "lossatlas.planes.figures.invariance:compose"
    rows: list[InvarianceRow] = key("One way of rescaling each.", min_length=1)


def _titled(raw: Any, by: str) -> Any:
    """Return a row with its title, that of what it shows by default."""
    if isinstance(raw, Mapping) and not raw.get("title") and by in raw:
        return {**raw, "title": raw[by]}
    return raw


class ScatterGroup(Spec):
    """Networks of one recipe in figure sharpness_scatter."""

    line: GridsName = key("Name of a line probe; all replicas of its run.")
    family: str = key("What its colour says, such as the architecture.")
    kind: str = key("What its marker says, such as the batch size.", "")


class SharpnessScatter(Figure):
    """Sharpness of many networks under each normalisation against their test errors."""

    kind: Literal["sharpness_scatter"] = "sharpness_scatter"
    draw: ClassVar[str] = "lossatlas.planes.figures.scatter:compose"
    groups: list[ScatterGroup] = key("One recipe each.", min_length=1)
    by: SharpnessOfLine = key("Measure of sharpness.", "rise")
    reach: float = key("How far along a line to look, in units of its direction.", REACH, gt=0)


class SharpRow(Spec):
    """One network of table sharpness, in all replicas."""

    line: GridsName = key("Name of a line probe; all replicas of its run.")
    curvature: Annotated[str | None, Refers("grids")] = key("Name of a curvature probe of that run; null = none.", None)
    paper: float | None = key("Test error (%) that the paper prints for it; null = none.", None)
    title: str = key("Name of the row; the line's by default.", "")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return _titled(raw, "line")


class SharpnessTable(Table):
    """Test error and sharpness of networks under each normalisation, with their rank correlations."""

    kind: Literal["sharpness_table"] = "sharpness_table"
    draw: ClassVar[str] = "lossatlas.planes.figures.sharpness:tabulate"
    rows: list[SharpRow] = key("One network each, in all replicas.", min_length=1)
    reach: float = key("How far along a line the measures look, in units of its direction.", REACH, gt=0)


class TrustRow(Spec):
    """One slice."""

    trust: Annotated[str, Refers("trust")] = key("Name of a trust probe.")
    title: str = key("Name of the row; the probe's by default.", "")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return _titled(raw, "trust")


class TrustTable(Table):
    """Whether the pictures of slices are right: a row a question, with its number and criterion."""

    kind: Literal["trust_table"] = "trust_table"
    draw: ClassVar[str] = "lossatlas.planes.figures.points:tabulate_trust"
    rows: list[TrustRow] = key("One slice each.", min_length=1)


class HessianRow(Spec):
    """One network of table hessian_table, in all replicas."""

    curvature: GridsName = key("Name of a curvature probe; over a plane, its point nearest to the run's end.")
    title: str = key("Name of the row; the probe's by default.", "")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return _titled(raw, "curvature")


class HessianTable(Table):
    """Smallest and largest eigenvalue of the training loss's Hessian where runs ended, and its trace."""

    kind: Literal["hessian_table"] = "hessian_table"
    draw: ClassVar[str] = "lossatlas.planes.figures.points:tabulate_hessians"
    rows: list[HessianRow] = key("One network each, in all replicas.", min_length=1)


class BarrierRow(Spec):
    """One straight line between the ends of two runs."""

    line: GridName = key("Name of a line probe with `to`, over limits that hold 0 and 1.")
    title: str = key("Name of the row; the line's by default.", "")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return _titled(raw, "line")


class BarrierTable(Table):
    """Losses at the ends of straight lines between networks, and what the lines climb between them."""

    kind: Literal["barrier_table"] = "barrier_table"
    draw: ClassVar[str] = "lossatlas.planes.figures.points:tabulate_barriers"
    rows: list[BarrierRow] = key("One line each.", min_length=1)


class VarianceRow(Spec):
    """One recorded path."""

    run: PathName = key("Name of a run with all its epochs.")
    planes: Annotated[list[str], Refers("grid")] = key(
        "Names of plane probes of that path besides its principal one.", []
    )
    title: str = key("Name of the row; the run's by default.", "")

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return _titled(raw, "run")


class VarianceTable(Table):
    """Share of each recorded path's variance that two principal axes and other planes hold."""

    kind: Literal["variance_table"] = "variance_table"
    draw: ClassVar[str] = "lossatlas.planes.figures.pathplanes:tabulate"
    rows: list[VarianceRow] = key("One recorded path each.", min_length=1)


# ---------------------------------------------------------------------------------------------------------------------
# measures

Grids = Annotated[tuple[Reference, ...], Accepts("grid", "grids")]


class NetworkAccuracy(Measure):
    """Smallest accuracy of the networks behind lines, planes or maps; one that is not finite counts as 0."""

    measure: ClassVar[str] = "network_accuracy"
    run: ClassVar[str] = "lossatlas.planes.measures:network_accuracy"
    networks: Grids = key("Lines, planes or maps of the networks.")
    quantity: Literal["train_accuracy", "test_accuracy"] = key("Which accuracy.", "train_accuracy")


class NegativeCurvature(Measure):
    """Share of a plane's points with |lambda_min / lambda_max| above a threshold: `first` less `second`."""

    measure: ClassVar[str] = "negative_curvature"
    run: ClassVar[str] = "lossatlas.planes.measures:negative_curvature"
    first: Grids = key("Curvature maps over planes.")
    second: Grids = key("Maps they are compared with.")
    above: float = key("The threshold.", 0.1)


class TowardsCentre(Measure):
    """Share of a plane's points whose negative gradient leads nearer to its centre: `first`, or less `second`.

    An entry is a plane of every replica; several entries are planes of the same networks, each of which counts by its
    mean over them.
    """

    measure: ClassVar[str] = "towards_centre"
    run: ClassVar[str] = "lossatlas.planes.measures:towards_centre"
    first: Grids = key("Planes of some networks.")
    second: Grids = key("Planes of those they are compared with; none = the first alone.", ())


class RegionSize(Measure):
    """Share of a plane that is joined to its centre below a loss: `first`, or less `second`; entries as above."""

    measure: ClassVar[str] = "region_size"
    run: ClassVar[str] = "lossatlas.planes.measures:region_size"
    first: Grids = key("Planes of some networks.")
    second: Grids = key("Planes of those they are compared with; none = the first alone.", ())
    level: float = key("The loss that bounds the region, the same for all networks.", gt=0)


class Partition(Measure):
    """How much more of the low region around the centre leads to it than of the rest of a plane, in shares."""

    measure: ClassVar[str] = "partition"
    run: ClassVar[str] = "lossatlas.planes.measures:partition"
    first: Grids = key("Planes of some networks; entries as of `towards_centre`.")
    level: float = key("The loss that bounds the region.", gt=0)


class LossSpread(Measure):
    """Largest over smallest training loss of the networks behind lines, planes or maps."""

    measure: ClassVar[str] = "loss_spread"
    run: ClassVar[str] = "lossatlas.planes.measures:loss_spread"
    networks: Grids = key("Lines, planes or maps of the networks.")


class Bent(Measure):
    """Share of a plane's inner points at which its surface is not convex: `first` less `second`."""

    measure: ClassVar[str] = "bent"
    run: ClassVar[str] = "lossatlas.planes.measures:bent"
    first: Grids = key("Planes.")
    second: Grids = key("Planes they are compared with.")


class Flattening(Measure):
    """Rank correlation of the median rise of the loss within `reach` with a plane's place; replicas are the units."""

    measure: ClassVar[str] = "flattening"
    run: ClassVar[str] = "lossatlas.planes.measures:flattening"
    planes: Grids = key("Planes, in the order in which they should get flatter.")
    reach: float = key("Distance from the minimum, in units of the plane's directions.", REACH, gt=0)


class OfSharpness(Measure):
    """How sharp a line is."""

    by: SharpnessOfLine = key(
        "rise: mean rise of the loss at `reach` on both sides. worst: largest rise within it over 1 + the loss. "
        "curvature: second difference at the minimum.",
        "rise",
        alias="measure",
    )
    reach: float = key("How far along a line to look, in units of its direction.", REACH, gt=0)


class SharpnessRank(OfSharpness):
    """Rank correlation of sharpness under `of` with the test error, less the best of those `against`.

    Networks of one entry of `lines` were trained alike; entries are the units.
    """

    measure: ClassVar[str] = "sharpness_rank"
    run: ClassVar[str] = "lossatlas.planes.measures:sharpness_rank"
    lines: Grids = key("Random lines of all networks.")
    of: Normalise = key("Normalisation of the directions.", "filter")
    against: list[Normalise] = key("Normalisations it is compared with; [] = none.", [])
    least: int = key("Networks needed.", 8, ge=1)
    reaches: list[Positive] | None = key(
        "Distances of which every normalisation takes the one where it ranks best, by its absolute value; null = "
        "`reach` for all.",
        None,
        min_length=1,
    )
    level: Literal["all", "between", "within"] = key(
        "all: of the networks. between: of the recipes' means. within: of the networks' differences from them.", "all"
    )
    trained: float | None = key(
        "Training accuracy that a network needs to be counted; null = none is left out.", None, gt=0, le=1
    )
    holding: Literal["train_loss"] | None = key(
        "What is held fixed: the correlation is that of what its ranks leave of the ranks; null = nothing.", None
    )


class SharpnessRatio(OfSharpness):
    """Sharpness of `first` over that of `second`: means of networks' medians over directions."""

    measure: ClassVar[str] = "sharpness_ratio"
    run: ClassVar[str] = "lossatlas.planes.measures:sharpness_ratio"
    first: Grids = key("Random lines of some networks.")
    second: Grids = key("Lines of those they are compared with.")
    normalise: Normalise = key("Normalisation of the directions.", "filter")


class RescalingGap(Measure):
    """How far curves through rescaled copies of networks lie from those through the networks, in their rises."""

    measure: ClassVar[str] = "rescaling_gap"
    run: ClassVar[str] = "lossatlas.planes.measures:rescaling_gap"
    original: Grids = key("Lines through networks.")
    copies: Grids = key("The same lines through rescaled copies, as many as there are networks in each entry.")
    normalise: Normalise = key("Normalisation of the directions.", "filter")


class SegmentSharpness(Measure):
    """How much sharper a segment looks around its second end than around its first: ratio of the rises there."""

    measure: ClassVar[str] = "segment_sharpness"
    run: ClassVar[str] = "lossatlas.planes.measures:segment_sharpness"
    lines: Grids = key("Lines from one minimum to another, beyond both.")
    reach: float = key("Distance from each end, in units of the segment.", 0.25, gt=0)


class NormGrowth(Measure):
    """Growth of the weights' norm in a training, end over start: `first`, or its ratio to `second`."""

    measure: ClassVar[str] = "norm_growth"
    run: ClassVar[str] = "lossatlas.planes.measures:norm_growth"
    first: Annotated[tuple[Reference, ...], Accepts("path_gram", "path_grams")] = key("Runs with all their epochs.")
    second: Annotated[tuple[Reference, ...], Accepts("path_gram", "path_grams")] = key("Runs they are compared with.")


class PathShare(Measure):
    """Share of a path's variance in its first principal axes: the smallest or the largest among paths."""

    measure: ClassVar[str] = "path_share"
    run: ClassVar[str] = "lossatlas.planes.measures:path_share"
    paths: Annotated[tuple[Reference, ...], Accepts("path_gram", "path_grams")] = key("Runs with all their epochs.")
    axes: int = key("Principal axes.", 2, ge=1)
    statistic: Literal["min", "max", "mean"] = key("Over the paths.", "min")
    less: Literal["walk"] | None = key(
        "walk: less the share of a random walk with the path's own step lengths; null = the share itself.", None
    )


class PlaneShare(Measure):
    """Share of a path's variance in a plane that is not its principal one: the largest among planes."""

    measure: ClassVar[str] = "plane_share"
    run: ClassVar[str] = "lossatlas.planes.measures:plane_share"
    planes: Grids = key("Planes of recorded paths.")


class ConvexRatio(Measure):
    """Median |lambda_min / lambda_max| where a plane looks convex, or that less it elsewhere; mean of networks."""

    measure: ClassVar[str] = "convex_ratio"
    run: ClassVar[str] = "lossatlas.planes.measures:convex_ratio"
    maps: Grids = key("Curvature maps over planes.")
    relative_to: Literal["other"] | None = key("other: less the median elsewhere; null = by itself.", None)


When = Literal["early", "late", "after", "change"]
Window = Annotated[
    When,
    key(
        "early, late: the first and the last steps before the learning rate drops. after: the first steps after its "
        "first drop. change: late less early."
    ),
]
Descents = Annotated[tuple[Reference, ...], Accepts("descent", "descents")]


class OfSteps(Measure):
    """Which steps of recorded trainings."""

    descents: Descents = key("Descents along recorded paths, or planes of these.")
    until: float | None = key(
        "Share of the training that is looked at; null = until the learning rate first drops, of probes `descent`.",
        1.0,
        gt=0,
        le=1,
    )
    share: float = key("Share of the steps until then that is early, and late.", 1 / 3, gt=0, le=1)


class DescentAngle(OfSteps):
    """Mean angle (or its distance from `about`) of steps with the negative gradient: early, late, late less early."""

    measure: ClassVar[str] = "descent_angle"
    run: ClassVar[str] = "lossatlas.planes.measures:descent_angle"
    when: Window = key("Which of the steps.", "early")
    space: Literal["plane", "full", "batch", "total", "turn"] = key(
        "plane: with the gradient of the drawn loss in the plane of the path. full: with that in the whole space. "
        "batch: with that of the loss which is descended, of minibatches. total: the same with weight decay. turn: "
        "with the step before.",
        "plane",
    )
    about: float = key("Degrees from which the distance is taken; 0 = the angle itself.", 0.0)
    uphill: bool = key("Count steps uphill, at more than 90 degrees.", True)
    second: Descents = key("Paths whose value is taken off, replica by replica; none = the first alone.", ())


class UphillShare(OfSteps):
    """Share of steps that go uphill: at more than 90 degrees from the negative gradient."""

    measure: ClassVar[str] = "uphill_share"
    run: ClassVar[str] = "lossatlas.planes.measures:uphill_share"
    when: Window = key("Which of the steps.", "late")
    space: Literal["plane", "full", "batch", "total"] = key("As of `descent_angle`.", "plane")


class PathKink(OfSteps):
    """How much nearer to the way to its end a path turns when the learning rate first drops, beyond a random walk's.

    Mean angle of the late steps with the way to the end less that of the first step after the drop, less the same of
    independent steps of the same lengths.
    """

    measure: ClassVar[str] = "path_kink"
    run: ClassVar[str] = "lossatlas.planes.measures:path_kink"


class GradientNoise(OfSteps):
    """Log10 of a minibatch's gradient noise over the squared gradient: late less early, mean over paths."""

    measure: ClassVar[str] = "gradient_noise"
    run: ClassVar[str] = "lossatlas.planes.measures:gradient_noise"
