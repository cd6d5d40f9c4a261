"""Trainings: what a study says of a run, a recipe and a sweep, and the artefacts they become. Light."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, model_validator

from lossatlas.claims.spec import Measure
from lossatlas.data.spec import DataSet, describe, describe_variant, examples, prepared, resolve_options
from lossatlas.draw.spec import Figure, Table
from lossatlas.errors import LossatlasError
from lossatlas.models.spec import Model, label, network
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.base import Accepts, Reference, Refers, Spec, key, mistake, partial, read, unique
from lossatlas.specs.checkpoint import checked, checkpoints
from lossatlas.specs.registry import Entry, Step, View, Work, of
from lossatlas.specs.study import Study
from lossatlas.specs.yaml import merge, nearest
from lossatlas.train.seeds import drawing_seeds, training_seeds

Fraction = Annotated[float, key("A share.", gt=0, lt=1)]
Count = Annotated[int, key("A number of things.", ge=1)]
Index = Annotated[int, key("Counted from 0.", ge=0)]
Precision = Literal["float32", "float64"]


def _by_name(precision: Any) -> Any:
    """Refuse a precision that would depend on the machine: two machines would make two results of one name."""
    if precision == "auto":
        raise mistake(
            "",
            "'auto' would be another arithmetic on another machine, under one name; write float32 (the default), or "
            "bfloat16 where its speed is worth its 8 bits",
        )
    return precision


Arithmetic = Annotated[Literal["float32", "tf32", "bfloat16", "float64"], BeforeValidator(_by_name)]
"""Precision of a training."""

Replicas = Annotated[list[Index], AfterValidator(unique("give each replica once"))]

# ---------------------------------------------------------------------------------------------------------------------
# recipes


@dataclass(frozen=True)
class Optimizer:
    """An optimiser a recipe may name.

    Attributes:
        builder: ``module:class`` of a torch optimiser; imported when a training starts.
        keys: the keys of a recipe that it takes, as keywords of the same name.
        options: its own keywords with their defaults, which a recipe sets under ``options``. A number's type is the
            default's; a list is a list of as many numbers; a tuple holds the words allowed, the default first.
        fixed: keywords that are always the same.
        closure: whether a step evaluates the loss several times; it then takes a closure, as torch's L-BFGS does.
    """

    builder: str
    keys: tuple[str, ...] = ("lr", "weight_decay")
    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    closure: bool = False


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer("torch.optim:SGD", ("lr", "momentum", "weight_decay", "nesterov")),
    # Fused: one pass over each parameter. On small networks the update is most of a step: 0.85 -> 0.45 ms a step.
    "adam": Optimizer("torch.optim:Adam", fixed={"fused": True}),
    # Its weight decay shrinks the weights beside the step (Loshchilov and Hutter 2019), not by way of the gradient.
    "adamw": Optimizer("torch.optim:AdamW", options={"betas": [0.9, 0.999]}, fixed={"fused": True}),
    "lbfgs_gss": Optimizer(
        "lossatlas.train.lbfgs_gss:LBFGSGoldenSection", (), {"history": 10, "evaluations": 6}, closure=True
    ),
    # Those of table 1 of Huang et al. (2020), with torch's defaults; the study gives its hyperparameters.
    "adadelta": Optimizer("torch.optim:Adadelta", options={"rho": 0.9}),
    "adagrad": Optimizer("torch.optim:Adagrad"),
    "adamax": Optimizer("torch.optim:Adamax", options={"betas": [0.9, 0.999]}),
    "amsgrad": Optimizer("torch.optim:Adam", options={"betas": [0.9, 0.999]}, fixed={"amsgrad": True}),
    "asgd": Optimizer("torch.optim:ASGD", options={"lambd": 1e-4, "alpha": 0.75}),
    "rmsprop": Optimizer("torch.optim:RMSprop", ("lr", "momentum", "weight_decay"), options={"alpha": 0.99}),
    "lbfgs_armijo": Optimizer(
        "lossatlas.train.lbfgs_armijo:LBFGSArmijo", ("lr",), options={"history": 5, "evaluations": 20}, closure=True
    ),
    "proxprop": Optimizer("lossatlas.train.proxprop:ProxProp", options={"tau": 0.5, "iterations": 10}),
}
"""Every optimiser by the name a recipe gives it. A new one is one line; ``lossatlas.train.optimizers`` makes it."""

TOGETHER = ("sgd", "adam")
"""Update rules that treat every weight by itself (clipping apart), so that many networks can share one optimiser."""

WORKERS = ("weight_decay", "momentum", "nesterov")
"""Keys that change what is minimised or how: an optimiser without them must not be given any."""

RATES = ("milestones", "anneal", "warmup")
"""Keys that change a learning rate, which an optimiser that searches for its step must not be given."""


class Anneal(Spec):
    """Exponential decay of the learning rate towards the end."""

    after: float = key("Share of the epochs at the full rate.", ge=0, lt=1)
    to: float = key("Last learning rate over the first.", gt=0, le=1)


class Poison(Spec):
    """Second term of the poisoned objective: the loss on examples D_d that are neither training nor test examples."""

    labels: Literal["flipped", "random", "correct"] = key(
        "flipped: -log(1 - p) of the right class. random, correct: cross entropy on such labels, the controls.",
        "flipped",
    )
    source: Literal["generator", "held_out", "extra"] = key(
        "generator: draws of a generated data set. held_out: training examples that are set aside. extra: the last "
        "training examples, those of the option `extra`.",
        "held_out",
    )
    points: int = key("Size of D_d.", 200, ge=1)
    fresh: bool = key("Draw D_d anew for every step; only from a generator.", False)
    batch: int | None = key("Examples of D_d a step; null = as many as of the training set.", None, quiet=True, ge=1)
    unseen: bool = key(
        "With beta 0 leave D_d out of the network, so that batch norm sees nothing of it; it stays held out.",
        False,
        quiet=True,
    )


class Recipe(Spec):
    """How a network is trained."""

    optimizer: str = key(f"Update rule: {', '.join(OPTIMIZERS)}.", "sgd")
    options: dict[str, Any] = key("Keywords of the optimiser's own.", {}, quiet=True)
    lr: float = key("First learning rate; lbfgs_gss, which searches for its step, has none.", 0.1, gt=0)
    momentum: float = key("Momentum of SGD.", 0.0, ge=0, lt=1)
    nesterov: bool = key("Nesterov's momentum.", False)
    weight_decay: float = key("L2 penalty added to the gradient; of adamw: decay of the weights beside it.", 0.0, ge=0)
    epochs: int = key("Passes over the training set.", 1, ge=0)
    batch: int | None = key(
        "Minibatch size; null = all examples, in chunks that fit the cache: an epoch is then one step.", 128, ge=1
    )
    milestones: list[Fraction] = key(
        "Fractions of the epochs after which the learning rate is multiplied by gamma.", []
    )
    gamma: float = key("Factor of the learning rate at a milestone.", 0.1, gt=0)
    clip: float | None = key("Largest norm of the gradient; null = none.", None, gt=0)
    augment: list[str | dict[str, Any]] = key("Augmentations of training images (lossatlas.data.augment).", [])
    criterion: Literal["cross_entropy", "mse", "token_cross_entropy"] = key(
        "What is minimised. token_cross_entropy: of logits (n, T, C) of sequences, the mean over the tokens whose "
        "target is not -100.",
        "cross_entropy",
    )
    precision: Arithmetic = key(
        "float32: as IEEE has it. tf32: products of matrices in TF32, on GPUs that have it. bfloat16: products in "
        "bfloat16 (autocast). float64.",
        "float32",
    )
    beta: float | None = key(
        "Share of the second term of the poisoned objective (Huang et al. 2020, Eq. 3).", None, quiet=True, ge=0, lt=1
    )
    poison: Poison | None = key("Second term of the poisoned objective; null = none.", None, quiet=True)
    anneal: Anneal | None = key("Decay of the learning rate towards the end; null = none.", None, quiet=True)
    tether: float = key(
        "Factor of half the squared distance from where the training starts, which is added to what is minimised; of "
        "sweeps in lockstep.",
        0.0,
        quiet=True,
        ge=0,
    )
    warmup: float = key(
        "Epochs, also parts of one, over which the learning rate first rises linearly, step by step; 0 = none.",
        0.0,
        quiet=True,
        ge=0,
    )

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        """Fill in what depends on other keys, so that what is left out and what is spelled out hash alike."""
        if not isinstance(raw, Mapping):
            return raw
        name, options = raw.get("optimizer", "sgd"), raw.get("options", {})
        if not isinstance(name, str):
            return raw
        if name not in OPTIMIZERS:
            raise mistake("optimizer", f"{name!r} is not an optimiser; {nearest(name, list(OPTIMIZERS))}")
        if isinstance(options, Mapping):
            raw = {**raw, "options": _options(name, options)}
        if raw.get("poison") is not None:
            return {"beta": 0.0, **raw}
        if raw.get("beta") is not None:
            raise mistake("beta", "without `poison` there is no second term to weigh")
        return raw

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        """Refuse keys that the optimiser or the poisoned objective would pass over in silence."""
        optimizer = OPTIMIZERS[self.optimizer]
        for name in WORKERS if "lr" in optimizer.keys else (*WORKERS, *RATES):
            default = Recipe.model_fields[name].default
            if name not in optimizer.keys and getattr(self, name) != default:
                shown = "null" if default is None else str(default).lower()
                raise mistake(
                    name, f"{self.optimizer} has none; remove it, or where it is inherited give `{name}: {shown}`"
                )
        if optimizer.closure and self.clip is not None:
            raise mistake("clip", f"{self.optimizer} chooses its steps by the loss; remove it")
        if self.warmup > self.epochs:
            raise mistake("warmup", f"{self.warmup:g} epochs of {self.epochs}: it would never reach `lr`")
        if self.nesterov and "nesterov" in optimizer.keys and not self.momentum:
            raise mistake("nesterov", "needs momentum above 0")
        if self.criterion == "token_cross_entropy" and (optimizer.closure or self.batch is None):
            raise mistake("criterion", "of tokens needs minibatches (`batch: n`) and an optimiser that takes them")
        if self.poison is not None:
            if self.criterion != "cross_entropy":
                raise mistake("poison", "needs criterion cross_entropy")
            if optimizer.closure or self.batch is None:
                raise mistake("poison", "needs minibatches (`batch: n`) and an optimiser that takes them")
            if self.poison.fresh and self.poison.source != "generator":
                raise mistake("poison.fresh", "only the source `generator` has new examples for every step")
            if self.poison.batch is not None and self.poison.source == "generator":
                raise mistake("poison.batch", "a generator draws `points` examples a step; remove it")
        return self


def _options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimiser's options, checked and complete."""
    known = OPTIMIZERS[name].options
    for option, value in given.items():
        if option not in known:
            hint = nearest(option, list(known)) if known else "it has none"
            raise mistake(f"options.{option}", f"unknown option of {name}; {hint}")
        if not _accepts(known[option], value):
            raise mistake(f"options.{option}", f"{value!r} does not fit; expected {_expected(known[option])}")
    first = {option: default[0] if isinstance(default, tuple) else default for option, default in known.items()}
    return {**first, **given}


def _accepts(default: Any, value: Any) -> bool:
    if isinstance(default, tuple):
        return value in default
    if isinstance(default, list):
        return isinstance(value, list) and len(value) == len(default) and all(map(_is_number, value))
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int) and value > 0 if isinstance(default, int) else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _expected(default: Any) -> str:
    """Return what an option must be, in words."""
    if isinstance(default, tuple):
        return "one of " + ", ".join(map(str, default))
    if isinstance(default, list):
        return f"a list of {len(default)} numbers"
    return {bool: "true or false", int: "an integer above 0"}.get(type(default), "a number")


class RecipeChange(partial(Recipe)):  # type: ignore[misc]
    """Keys of a recipe that replace those of a run's."""


def change(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some keys replaced; options stay as long as the optimiser does.

    Raises:
        LossatlasError: what results is no recipe; messages name the keys ``recipe.KEY``.
    """
    kept = recipe.hashed()
    if changes.get("optimizer", kept["optimizer"]) != kept["optimizer"]:
        kept.pop("options", None)
    return read(Recipe, merge(kept, changes), "recipe")


def retraining(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a retraining: the run's own with its first learning rate throughout, then ``changes``.

    It begins at trained weights and so without a warm-up. The paper does not state the retraining's learning rate,
    schedule and weight decay; keeping the run's own decay and its first learning rate is our choice, and
    ``fig2_control`` of study trajectories shows what hangs on it.
    """
    return change(read(Recipe, {**recipe.hashed(), "milestones": [], "warmup": 0.0}), changes)


def learning_rate(recipe: Mapping, epoch: int, done: float = math.inf) -> float:
    """Return the learning rate of an epoch (counted from 0): lr times gamma for each milestone passed.

    With ``anneal`` it also falls exponentially, from the share ``after`` of the epochs on, to ``to`` times its value.
    With ``warmup`` it is less at first: as many of its parts as the epochs ``done`` at the end of the step are of it.
    """
    warmup = recipe.get("warmup", 0.0)
    if done < warmup:
        return learning_rate(recipe, epoch) * done / warmup
    passed = sum(epoch >= round(fraction * recipe["epochs"]) for fraction in recipe["milestones"])
    rate = float(recipe["lr"] * recipe["gamma"] ** passed)
    anneal = recipe.get("anneal")
    if anneal is None:
        return rate
    done = (epoch / recipe["epochs"] - anneal["after"]) / (1 - anneal["after"])
    return rate * float(anneal["to"]) ** max(done, 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# runs


class Record(Spec):
    """Which weight vectors of a training are kept as points."""

    epochs: Literal["last", "all"] = key(
        "The end of the last epoch, or of every one (with the initialisation).", "last"
    )
    fine_epochs: int = key("So many first epochs are also recorded within.", 0, ge=0)
    per_epoch: int = key("Points within each of those epochs.", 1, ge=1)
    every: int = key("With epochs all: one point every so many epochs.", 1, quiet=True, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Record":
        """Refuse keys that would do nothing."""
        if self.per_epoch != 1 and not self.fine_epochs:
            raise mistake("per_epoch", "is of the first `fine_epochs` epochs; say how many they are")
        if self.every != 1 and self.epochs == "last":
            raise mistake("every", "is of `epochs: all`; write that, or leave it out")
        return self


class Resample(Spec):
    """Each replica draws its own training set from the prepared data."""

    kind: Literal["subset", "split"] = key(
        "subset: `train` examples of the training part. split: training and test part are drawn anew."
    )
    train: int | None = key("Training examples of a subset; drawn without regard to class.", None, quiet=True, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Resample":
        if (self.kind == "subset") != (self.train is not None):
            raise mistake("", "`train` goes with kind `subset`, and only with it")
        return self


class Checkpoint(Spec):
    """Weights that were trained elsewhere."""

    file: str = key(
        "A .pt, .pth, .ckpt, .bin or .safetensors file with the state of the network (weights and buffers), an index "
        "of shards, or the folder of one network; relative to the working directory."
    )
    sha256: str | None = key(
        "Of the file; filled in when planning. Where a study gives it, no other file is taken.",
        None,
        pattern="^[0-9a-f]{64}$",
    )
    epoch: float | None = key("Of the training, when it was saved; its place in the list by default.", None, ge=0)


class Run(Spec):
    """A trained network: trained here, or its weights from a file."""

    data: DataSet = key("Which data, and how much of it.")
    resample: Resample | None = key(
        "Each replica draws its own training set from the prepared data; null = all train on the same.", None
    )
    labels: Literal["given", "random", "inputs"] = key(
        "random: every training label is drawn anew (memorization). inputs: each example is its own target "
        "(autoencoders); criterion mse.",
        "given",
    )
    scale: Literal["standard", "unit", "raw"] = key(
        "standard: inputs of zero mean and unit variance over the training part. unit: images in [0, 1]. raw: numbers "
        "as they are, the default for a user's own tensors and builders of data.",
        "standard",
    )
    model: Model = key('A model by name with its arguments, or {builder: "package.module:function"} with its own.')
    recipe: Recipe = key("How it is trained.", Recipe())
    replicas: Replicas = key("Replica numbers; each draws its own initialisation and minibatches.", [0], min_length=1)
    record: Record = key("Which weight vectors are kept as points.", Record())
    checkpoint: str | Checkpoint | None = key(
        "File with the trained weights: nothing is trained. The file is no part of the model, so that two runs of one "
        "model are comparable; the recipe says what their loss is and how they are retrained.",
        None,
        quiet=True,
    )
    checkpoints: str | list[str | Checkpoint] | None = key(
        "Files of one training in their order, or a folder or a pattern (run/epoch_*.pt), which is read in natural "
        "order: nothing is trained, and each file is a recorded epoch.",
        None,
        quiet=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _as_they_are(cls, raw: Any) -> Any:
        """Leave a user's own tensors as they are, unless the study says a scale."""
        data = raw.get("data") if isinstance(raw, Mapping) else None
        if isinstance(data, Mapping) and "scale" not in raw:
            name = "builder" if data.get("builder") is not None else data.get("name")
            return {**raw, "scale": "raw"} if name in ("tensors", "builder") else raw
        return raw

    @model_validator(mode="after")
    def _from_files(self) -> "Run":
        """Find the files of weights, and refuse what they leave nothing to do."""
        if self.checkpoint is None and self.checkpoints is None:
            return self
        place = "checkpoints" if self.checkpoint is None else "checkpoint"
        if None not in (self.checkpoint, self.checkpoints):
            raise mistake("", "give either `checkpoint` or `checkpoints`")
        if self.replicas != [0]:
            raise mistake("replicas", f"a run of `{place}` is one network; write a run for each network")
        if "record" in self.model_fields_set:
            raise mistake("record", f"a run of `{place}` has one point a file; remove it")
        if self.recipe.poison is not None:
            raise mistake("recipe.poison", f"of a run of `{place}` it is not known what it was trained on; remove it")
        try:
            found = self.files()
        except LossatlasError as error:
            raise mistake(place, str(error)) from None
        return self.model_copy(update={"checkpoint": None, "checkpoints": found})

    def files(self) -> list[Checkpoint]:
        """Return the files of weights with their digests and epochs, none of a run that is trained here.

        Raises:
            LossatlasError: a file is missing or another than the study says, or the epochs do not rise.
        """
        given: Any = self.checkpoints if self.checkpoint is None else [self.checkpoint]
        entries = [given] if isinstance(given, str) else given or []
        found: list[Checkpoint] = []
        for entry in entries:
            one = entry if isinstance(entry, Checkpoint) else Checkpoint(file=entry)
            paths = checkpoints(one.file) if entry is not self.checkpoint else [Path(one.file).expanduser()]
            if len(paths) > 1 and one.model_fields_set - {"file"}:
                raise LossatlasError(f"{one.file}: {len(paths)} files; sha256 and epoch are of one file")
            for path in paths:
                epoch = float(len(found)) if one.epoch is None else one.epoch
                found.append(Checkpoint(file=str(path), sha256=checked(path, one.sha256), epoch=epoch))
        for before, after in pairwise(found):
            if not (before.epoch or 0) < (after.epoch or 0):
                raise LossatlasError(
                    f"{after.file}: epoch {after.epoch:g} after epoch {before.epoch:g} of {before.file}; epochs rise "
                    "from file to file"
                )
        return found

    @model_validator(mode="after")
    def _fits(self) -> "Run":
        """Refuse a scale or labels that do not fit the data or the recipe."""
        if self.labels == "inputs" and self.recipe.criterion != "mse":
            raise mistake("recipe.criterion", "`labels: inputs` makes targets of numbers; write `criterion: mse`")
        kind = describe(self.data.name)["kind"]
        if self.scale == "raw" and kind == "images":
            raise mistake("scale", "`raw` is for vectors; write `unit` or `standard` for images")
        if self.scale == "unit" and kind == "vectors":
            raise mistake("scale", f"`unit` is for images; {self.data.name} has none")
        return self

    @property
    def label(self) -> str:
        """Return the readable name of its artefacts."""
        return f"{label(self.model)}-{self.data.name}"


class TrainingJob(Spec):
    """What names a training, whatever is kept of it. ``seeds``: role -> seed; ``poison``: D_d as it is drawn."""

    label: str
    labels: str
    model: dict[str, Any]
    recipe: dict[str, Any]
    seeds: dict[str, int]
    resample: dict[str, Any] | None = key("As of a run.", None, quiet=True)
    scale: str = key("As of a run.", "standard", quiet=True)
    poison: dict[str, Any] | None = key("D_d of the poisoned objective.", None, quiet=True)


class RunJob(TrainingJob):
    """What names a trained network."""

    record: dict[str, Any]
    checkpoints: list[dict[str, Any]] | None = key(
        "file, sha256 and epoch of the weights of a run that is not trained here.", None, quiet=True
    )


def leaves_one_out(count: int, batch: int) -> bool:
    """Tell whether an epoch's last minibatch would be a single example, which the loop leaves out."""
    return count > batch and count % batch == 1


def run_work(made: Artefact) -> Work:
    """Return the work of a training, or of the retrainings of several jumps."""
    net, train, test, size = sized(made)
    recipe, jumps = made.spec["recipe"], len(made.spec.get("jumps", [None]))
    if files := made.spec.get("checkpoints"):
        rows = len(files)
        return Work(net.parameters, rows, net.layers, 0, net.flops * rows * (train + test), train, test, size)
    epochs = recipe["epochs"] * jumps
    rows = epochs + jumps if "jumps" in made.spec else _recorded(made.spec["record"], recipe["epochs"])
    steps = epochs * -(-train // (recipe["batch"] or train))
    flops = net.flops * (3.0 * epochs * train * _share(made, train) + rows * (train + test))
    return Work(net.parameters, rows, net.layers, steps, flops, train, test, size)


@cache
def sized(made: Artefact) -> tuple[Any, int, int, int]:
    """Return network, training and test examples and bytes of one example of an artefact on networks."""
    (data,) = made.inputs["data"]
    train, test, shape, outputs, size = examples(data.spec)
    train = (made.spec.get("resample") or {}).get("train") or train
    return network(made.spec["model"], shape, outputs), train, test, size


def _recorded(record: Mapping, epochs: int) -> int:
    """Return the rows a run records."""
    fine = min(record["fine_epochs"], epochs)
    return fine * record["per_epoch"] + (epochs - fine + 1 if record["epochs"] == "all" else 1)


def _share(made: Artefact, train: int) -> float:
    """Return how many times the training examples a step looks at, D_d of a poisoned objective counted in."""
    poison = made.spec.get("poison")
    return 1.0 if poison is None else 1.0 + min(poison["points"], poison["batch"]) / min(train, poison["batch"])


RUNS = Step(
    "runs", "train", "points.h5", "lossatlas.train.jobs.train:train", RunJob, ("data",), gpu=True, work=run_work
)


def run_spec(study: Study, name: str, where: str) -> Run:
    """Return a run of the study."""
    return study.entry("runs", name, Run, where)


def run(study: Study, name: str, replica: int | None, where: str) -> Artefact:
    """Return one replica of a run, the first by default."""
    spec = run_spec(study, name, where)
    replica = spec.replicas[0] if replica is None else replica
    if replica not in spec.replicas:
        hint = nearest(str(replica), [str(number) for number in spec.replicas])
        raise study.error(where, f"run {name!r} has no replica {replica}; {hint}")
    return study.once(("run", name, replica), lambda: _run(study, name, spec, replica))


def _run(study: Study, name: str, spec: Run, replica: int) -> Artefact:
    if spec.recipe.tether:
        raise study.error(f"runs.{name}.recipe.tether", "is of sweeps in lockstep; write a sweep of this run")
    seeds = training_seeds(study.seed, replica)
    found = {part: spec.hashed()[part] for part in ("labels", "model", "recipe", "record", "scale")}
    found |= {"label": spec.label, "seeds": seeds}
    if spec.resample is not None:
        found["resample"] = spec.resample.hashed()
        seeds |= drawing_seeds(study.seed, replica)
    if spec.recipe.poison is not None:
        found["poison"] = poison(study, spec, spec.recipe, f"runs.{name}")
        seeds["poison"] = derive(study.seed, "poison", replica)
    if files := spec.files():
        found["checkpoints"] = [one.hashed() for one in files]
        found["record"] = Record(epochs="all" if len(files) > 1 else "last").hashed()
    return RUNS.make(spec.label, found, data=prepared(study, spec.data, f"runs.{name}.data"))


def poison(study: Study, run: Run, recipe: Recipe, where: str) -> dict[str, Any]:
    """Return D_d of a poisoned objective without its seed: what :mod:`lossatlas.train.examples` takes."""
    assert recipe.poison is not None
    found = {"batch": recipe.batch, **recipe.poison.hashed()}
    place, data = f"{where}.recipe.poison", run.data
    options = resolve_options(data.name, data.options)
    if found["source"] == "generator":
        if "version" not in describe_variant(data.name):
            raise study.error(f"{place}.source", f"{data.name} is not generated by code; take held_out")
        found["generator"] = {"name": data.name, "options": options}
    if found["source"] == "extra" and not found["points"] <= (options.get("extra") or 0):
        there = options.get("extra", 0)
        raise study.error(
            f"{place}.points", f"{found['points']} of the `extra` part, but data.options.extra is {there}"
        )
    return found


def _replicas(study: Study, name: str, spec: Run) -> list[Artefact]:
    return [run(study, name, replica, f"runs.{name}") for replica in spec.replicas]


RUN = Entry("runs", "", Run, _replicas)


def runs(study: Study, name: str, where: str) -> Sequence[Artefact]:
    """Return every replica of a run."""
    return study.made("runs", name, Run, where)


class HistoryJob(Spec):
    """What names the history of a training: nothing but the training."""


HISTORIES = Step("histories", "history", "history.h5", "lossatlas.train.jobs.history:history", HistoryJob, ("run",))


def _history(made: Artefact) -> Artefact:
    return HISTORIES.make(made.label, {}, run=made)


def _histories(study: Study, name: str, where: str) -> list[Artefact]:
    return [_history(made) for made in runs(study, name, where)]


def _one_history(study: Study, name: str | tuple[str, int], where: str) -> tuple[Artefact]:
    """Return the history of a run's first replica, or of the one of a pair (name, replica)."""
    which, replica = (name, None) if isinstance(name, str) else name
    return (_history(run(study, which, replica, where)),)


ALL_REPLICAS = View("runs", _histories, "lossatlas.train.numbers:last_epoch")
ONE_REPLICA = View("run", _one_history, "lossatlas.train.numbers:last_epoch")

# ---------------------------------------------------------------------------------------------------------------------
# sweeps


VARIED = ("lr", "momentum", "weight_decay", "gamma", "clip", "beta", "tether")
"""Keys of a recipe that a sweep may vary: its values are numbers."""


class HeldOut(Spec):
    """Further members that train without a part of the training set and are evaluated on it, to choose a value."""

    share: Fraction = key("Share of the training set that is held out.", 0.2)
    replicas: Replicas | None = key("Replicas of these members; the sweep's by default.", None, min_length=1)


class Start(Spec):
    """Start from the recorded epochs of a run, one member for each, or from the end points of a sweep."""

    own: bool = key("Each replica starts on the run's path of the same replica.", False)

    run: str | None = key("Name of the run.", None)
    replica: int | None = key("Its replica; the first by default.", None, ge=0)
    every: int = key("One start every so many epochs.", 1, ge=1)
    sweep: str | None = key("Name of a sweep of replicas, each of which starts where its own ended.", None)
    each: bool = key("One member for each end point of that sweep, whose value it keeps.", False)

    @model_validator(mode="after")
    def _one(self) -> "Start":
        if (self.run is None) == (self.sweep is None):
            raise mistake("", "give either run or sweep")
        if self.sweep is not None and self.model_fields_set - {"sweep", "each"}:
            raise mistake("sweep", "takes the end points: replica, own and every are of a run")
        if self.each and self.sweep is None:
            raise mistake("each", "is of the end points of a sweep; every recorded epoch of a run is a start anyway")
        if self.own and self.replica is not None:
            raise mistake("own", "every replica has its own path; leave out `replica`")
        return self


class Stop(Spec):
    """Where a member stays: the first check at which all of these hold."""

    train_loss: float | None = key("Training loss, at most.", None, gt=0)
    train_accuracy: float | None = key("Train accuracy, at least.", None, gt=0, le=1)
    test_accuracy: float | None = key(
        "Test accuracy, at most: a search for minima that do not generalize.", None, ge=0, lt=1
    )
    every: int = key("Epochs from check to check.", 1, ge=1)

    @model_validator(mode="after")
    def _something(self) -> "Stop":
        if self.train_loss is None and self.train_accuracy is None:
            raise mistake("", "give train_loss or train_accuracy")
        return self


class Sweep(Spec):
    """Many small trainings a job: replicas of a run, and a grid over one key of its recipe."""

    run: str = key("Name of the run that its members train.")
    parameter: str | None = key("Key of the recipe that varies; null = only the replicas do.", None)
    values: Annotated[list[float], AfterValidator(unique("give each value once"))] = key(
        "Values of the parameter.", [0.0], min_length=1
    )
    factor: float = key(
        "What the key of the recipe is for a value of 1: weight_decay is twice the factor lambda of |theta|^2.", 1.0
    )
    recipe: RecipeChange = key("Replaces keys of the run's recipe.", RecipeChange())
    replicas: Replicas | None = key("Replicas of every value; the run's by default.", None, min_length=1)
    held_out: HeldOut | None = key("Members that hold out a part of the training set; null = none.", None)
    history: int | None = key(
        "Evaluations during a training, evenly spread over its epochs; null = one an epoch.", 1, ge=1
    )
    early: bool = key(
        "Keep the point of lowest test loss among the evaluated ones beside the last: column stop, early or last.",
        False,
    )
    lowest: bool = key(
        "Keep also the point of lowest training loss among the evaluated ones: stop `lowest`. With `early`.",
        False,
        quiet=True,
    )
    level: float | None = key(
        "Keep also the first evaluated point whose training loss is at most this, or else that of the lowest: stop "
        "`level`. With `early`; null = none.",
        None,
        quiet=True,
        gt=0,
    )
    grain: int = key("Trainings per job.", 10, ge=1)
    lockstep: bool = key("Train the members of a job at once, as one batch of fully connected networks.", False)
    start: Start | None = key("Start from the recorded epochs of a run; null = from initialisations.", None)
    stop: Stop | None = key("Where a member in lockstep stays; null = it is trained to the end.", None)

    @model_validator(mode="after")
    def _fits(self) -> "Sweep":
        if self.parameter is not None and self.parameter not in VARIED:
            raise mistake(
                "parameter", f"{self.parameter!r} is not a number of a recipe; {nearest(self.parameter, list(VARIED))}"
            )
        if self.parameter is None and (len(self.values) > 1 or self.factor != 1):
            raise mistake("values" if self.factor == 1 else "factor", "without `parameter` there is nothing to vary")
        if self.start is not None and not self.lockstep:
            raise mistake("start", "needs lockstep: true")
        if self.stop is not None and not self.lockstep:
            raise mistake("stop", "needs lockstep: true")
        if self.start is not None and self.start.each and self.parameter is not None:
            raise mistake("start.each", f"members keep the values of {self.start.sweep!r}; leave out `parameter`")
        if (self.lowest or self.level is not None) and not self.early:
            raise mistake(
                "lowest" if self.lowest else "level", "is kept beside the early-stopped point; write early: true"
            )
        return self


class SweepJob(Spec):
    """What names a job of a sweep.

    ``recipe``: the run's with the sweep's changes; ``parameter``, ``factor``, ``history``: as of a sweep; ``held_out``:
    share; ``members``: value, replica, held_out, seeds (role -> seed) and start (an epoch), where they have one.
    """

    label: str
    labels: str
    model: dict[str, Any]
    resample: dict[str, Any] | None
    scale: str
    recipe: dict[str, Any]
    parameter: str | None
    factor: float
    history: int | None
    held_out: float | None
    members: list[dict[str, Any]]
    early: bool = key("As of a sweep.", False, quiet=True)
    lowest: bool = key("As of a sweep.", False, quiet=True)
    level: float | None = key("As of a sweep.", None, quiet=True)
    lockstep: bool = key("As of a sweep.", False, quiet=True)
    poison: dict[str, Any] | None = key("D_d of the poisoned objective.", None, quiet=True)
    continued: bool = key("Whether members start where those of another sweep ended.", False, quiet=True)
    stop: dict[str, Any] | None = key("As of a sweep.", None, quiet=True)
    origin: str | None = key("Parameter whose values members keep from the sweep they go on from.", None, quiet=True)


def sweep_work(made: Artefact) -> Work:
    """Return the work of a job of a sweep."""
    net, train, test, size = sized(made)
    spec, recipe, members = made.spec, made.spec["recipe"], len(made.spec["members"])
    rows = members * int(recipe["epochs"] if spec["history"] is None else spec["history"])
    epochs = recipe["epochs"] * members
    steps = epochs * -(-train // (recipe["batch"] or train))
    if spec.get("lockstep"):
        steps //= members  # one step moves all of them
    line_search = float(recipe.get("options", {}).get("evaluations", 0))  # forward passes beside the gradient
    passes = epochs * (3.0 * _share(made, train) + line_search)
    flops = net.flops * (passes * train + rows * (train + test))
    return Work(net.parameters, rows, net.layers, steps, flops, train, test, size)


SWEEPS = Step(
    "sweeps",
    "sweep",
    "points.h5",
    "lossatlas.train.jobs.sweep:sweep",
    SweepJob,
    ("data", "starts"),
    gpu=True,
    stored=False,
    work=sweep_work,
)


def sweep(study: Study, name: str, where: str) -> tuple[Artefact, ...]:
    """Return the parts of a sweep: its members, held-out ones last, ``grain`` a job."""
    return study.made("sweeps", name, Sweep, where)


def _sweep(study: Study, name: str, entry: Sweep) -> list[Artefact]:
    where = f"sweeps.{name}"
    trained = run_spec(study, entry.run, f"{where}.run")
    replicas = trained.replicas if entry.replicas is None else entry.replicas
    members = [(value, replica, False) for value in entry.values for replica in replicas]
    if entry.held_out is not None:
        chosen = replicas if entry.held_out.replicas is None else entry.held_out.replicas
        members += [(value, replica, True) for value in entry.values for replica in chosen]
    with study.prefixed(where):
        recipe = change(trained.recipe, entry.recipe.given())
    _check_sweep(study, entry, recipe, where)
    spec = {part: trained.hashed()[part] for part in ("labels", "model", "resample", "scale")}
    spec |= {"label": trained.label, "recipe": recipe.hashed(), "early": entry.early, "lockstep": entry.lockstep}
    spec |= {"lowest": entry.lowest, "level": entry.level}
    spec |= {part: getattr(entry, part) for part in ("parameter", "factor", "history")}
    spec["held_out"] = None if entry.held_out is None else entry.held_out.share
    full: list[dict[str, Any]] = [
        {"value": value, "replica": replica, "held_out": held, "seeds": seeds(study, replica)}
        for value, replica, held in members
    ]
    inputs: dict[str, Any] = {"data": prepared(study, trained.data, f"runs.{entry.run}.data")}
    if recipe.poison is not None:
        spec["poison"] = poison(study, trained, recipe, where)
        for member in full:
            member["seeds"]["poison"] = derive(study.seed, "poison", member["replica"])
    if entry.lockstep:
        _check_lockstep(study, entry, trained, recipe, where)
    elif recipe.tether or entry.parameter == "tether":
        raise study.error(f"{where}.recipe.tether", "a tether needs `lockstep: true`")
    if entry.stop is not None:
        spec["stop"] = entry.stop.hashed()
    if entry.start is not None:
        if entry.start.own:
            full, inputs["starts"] = _on_own_paths(study, full, entry.start, where)
        elif entry.start.sweep is None:
            full, inputs["starts"] = _started(study, full, entry.start, where)
        elif entry.start.each:
            full, inputs["starts"] = _each(study, full, entry.start.sweep, where)
            before = inputs["starts"][0].spec
            spec |= {"continued": True, "origin": before["parameter"] or before.get("origin") or "none"}
        else:
            inputs["starts"], spec["continued"] = _continued(study, full, entry.start.sweep, where), True
    # Together only those of equally many examples can go.
    groups = [[m for m in full if m["held_out"] == held] for held in (False, True)] if entry.lockstep else [full]
    return [
        SWEEPS.make(trained.label, {**spec, "members": part}, **inputs)
        for group in groups
        for part in parts(group, entry.grain)
    ]


def _check_sweep(study: Study, entry: Sweep, recipe: Recipe, where: str) -> None:
    """Raise for a parameter that the recipe would pass over in silence, and for trainings without an epoch."""
    if recipe.epochs == 0:
        raise study.error(f"{where}.recipe.epochs", "0 epochs leave nothing to record; a sweep needs 1 or more")
    name, optimizer = entry.parameter, OPTIMIZERS[recipe.optimizer]
    if name in ("lr", "momentum", "weight_decay") and name not in optimizer.keys:
        raise study.error(f"{where}.parameter", f"{recipe.optimizer} has no {name}: all values would train alike")
    if (name == "gamma" and not recipe.milestones) or (name == "beta" and recipe.poison is None):
        lacking = "milestones" if name == "gamma" else "poison"
        raise study.error(
            f"{where}.parameter", f"{name} does nothing without `{lacking}`: all values would train alike"
        )
    if name == "clip" and optimizer.closure:
        raise study.error(f"{where}.parameter", f"{recipe.optimizer} chooses its steps by the loss and is not clipped")


def _check_lockstep(study: Study, entry: Sweep, trained: Run, recipe: Recipe, where: str) -> None:
    """Raise for what networks in lockstep cannot have of their own, or at all."""
    if entry.parameter not in (None, "beta", "weight_decay", "tether"):
        raise study.error(
            f"{where}.parameter", f"{entry.parameter!r} in lockstep: only beta, weight_decay or tether may differ"
        )
    if recipe.optimizer not in TOGETHER:
        raise study.error(
            f"{where}.recipe.optimizer", f"{recipe.optimizer!r} does not go in lockstep; valid: {', '.join(TOGETHER)}"
        )
    if recipe.augment or recipe.precision not in ("float32", "float64"):
        raise study.error(f"{where}.lockstep", "needs no augmentation, and precision float32 or float64")
    if recipe.poison is not None and recipe.criterion != "cross_entropy":
        raise study.error(f"{where}.lockstep", "needs criterion cross_entropy for a poisoned objective")
    if entry.early or entry.history is None:
        raise study.error(f"{where}.lockstep", "keeps no early-stopped points (`early`) and no row of every epoch")
    if trained.hashed()["model"].get("name") not in ("mlp", "binary_mlp", "radial"):
        raise study.error(f"{where}.lockstep", "is for fully connected networks (mlp, binary_mlp, radial)")


Started = tuple[list[dict], tuple[Artefact, ...]]
"""Members with their starts, and the artefacts that have these."""


def _started(study: Study, members: list[dict], start: Start, where: str) -> Started:
    """Return the members once for each recorded epoch of a run that they are to start from, and that run."""
    made = run(study, start.run or "", start.replica, f"{where}.start.run")
    record, epochs = made.spec["record"], made.spec["recipe"]["epochs"]
    if "checkpoints" in made.spec:
        raise study.error(f"{where}.start.run", f"{start.run!r} is of checkpoints; members start from a trained run")
    if record["epochs"] != "all" or start.every % record.get("every", 1):
        raise study.error(f"{where}.start.every", f"run {start.run!r} does not record every {start.every} epochs")
    chosen = range(0, epochs + 1, start.every)
    found = [
        {**m, "start": e, "seeds": {**m["seeds"], **_own_draws(study.seed, m, e)}} for m in members for e in chosen
    ]
    return found, (made,)


def _on_own_paths(study: Study, members: list[dict], start: Start, where: str) -> Started:
    """Return the same with a path for each replica; ``path`` is its place among the artefacts."""
    found: list[dict] = []
    paths: dict[int, Artefact] = {}
    for member in members:
        replica = member["replica"]
        several, (path,) = _started(study, [member], start.model_copy(update={"replica": replica}), where)
        paths.setdefault(replica, path)
        found += [{**one, "path": list(paths).index(replica)} for one in several]
    return found, tuple(paths.values())


def _each(study: Study, members: list[dict], name: str, where: str) -> Started:
    """Return one member for each end point of a sweep, of the replicas that members have, and the sweep's parts.

    A member has the place of its start: ``path``, the part, and ``row``, the end point there.
    """
    parts_of = sweep(study, name, f"{where}.start.sweep")
    own = {member["replica"]: member for member in members}
    found = [
        {**own[there["replica"]], "value": there["value"], "path": i, "row": row}
        | ({"start": there["start"]} if "start" in there else {})
        for i, part in enumerate(parts_of)
        for row, there in enumerate(part.spec["members"])
        if not there["held_out"] and there["replica"] in own
    ]
    if not found:
        raise study.error(f"{where}.start.sweep", f"sweep {name!r} has no end point of replicas {sorted(own)}")
    return found, parts_of


def _continued(study: Study, members: list[dict], name: str, where: str) -> tuple[Artefact, ...]:
    """Return the parts of the sweep where members start; each must have ended once there, on all its examples."""
    if any(member["held_out"] for member in members):
        raise study.error(f"{where}.held_out", f"the starts have seen what would be held out; without it from {name!r}")
    found = sweep(study, name, f"{where}.start.sweep")
    there = [m["replica"] for part in found for m in part.spec["members"] if not m["held_out"]]
    for member in members:
        if there.count(member["replica"]) != 1:
            message = f"sweep {name!r} has {there.count(member['replica'])} end points of replica {member['replica']}"
            raise study.error(f"{where}.start.sweep", f"{message}; one is needed")
    return found


def _own_draws(master: int, member: Mapping, epoch: int) -> dict[str, int]:
    """Return seeds that differ between members of one replica that start from different epochs."""
    found = {"training": derive(master, "training", member["replica"], "start", epoch)}
    if "poison" in member["seeds"]:
        found["poison"] = derive(master, "poison", member["replica"], "start", epoch)
    return found


SWEEP = Entry("sweeps", "", Sweep, _sweep)
SWEEP_VIEW = View("sweep", of("sweeps", Sweep))

# ---------------------------------------------------------------------------------------------------------------------
# for probes on trained networks


class OnNetwork(Spec):
    """What names a network and its examples in the job of a probe (:func:`lossatlas.train.networks.member`)."""

    label: str
    labels: str
    model: dict[str, Any]
    resample: dict[str, Any] | None
    scale: str
    criterion: str
    precision: str
    batch: int
    poison: dict[str, Any] | None = key("D_d that is left out of the training set.", None, quiet=True)


def network_spec(starts: Sequence[Artefact], precision: str, batch: int) -> dict[str, Any]:
    """Return the keys of :class:`OnNetwork`, from the training whose networks are probed."""
    spec = {"resample": None, "scale": "standard", "poison": None, **starts[0].spec}
    found = {part: spec[part] for part in ("label", "labels", "model", "resample", "scale", "poison")}
    return {**found, "criterion": spec["recipe"]["criterion"], "precision": precision, "batch": batch}


def probe_work(made: Artefact, rows: int, steps: float = 0, passes: float = 0.0, vectors: float = 0.0) -> Work:
    """Return the work of a probe on networks.

    Args:
        made: its artefact; without data (a function in closed form) it costs nothing.
        rows: points that are evaluated on all training and test examples.
        steps: kernels' launches one after the other, in passes through the network.
        passes: over the training set, beside those of the rows, in forward passes.
        vectors: see :class:`Work`.
    """
    if not made.inputs.get("data"):
        return Work(2, rows, 1)
    net, train, test, size = sized(made)
    flops = net.flops * (passes * train + rows * (train + test))
    return Work(net.parameters, rows, net.layers, steps, flops, train, test, size, vectors=vectors)


def seeds(study: Study, replica: int) -> dict[str, int]:
    """Return the seeds of a replica whose training set is its own."""
    return {**training_seeds(study.seed, replica), **drawing_seeds(study.seed, replica)}


def parts(members: list[dict], grain: int) -> list[list[dict]]:
    """Return members in jobs of ``grain``."""
    return [members[i : i + grain] for i in range(0, len(members), grain)]


RunName = Annotated[str, Refers("runs")]
"""Name of a run of which all replicas are read."""

# ---------------------------------------------------------------------------------------------------------------------
# figures and tables

Quantity = Literal["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
Accuracy = Literal["test_accuracy", "train_accuracy"]

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)
"""What is evaluated of a network."""


class RunRow(Spec):
    """A run with its name and what the paper says of it."""

    run: RunName = key("Name of a run of the study.")
    title: str = key("Name of the row; the run's by default.", "")
    paper: dict[Quantity, float] = key("Quantity -> the paper's value.", {})

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, raw: Any) -> Any:
        return {**raw, "title": raw.get("title") or raw.get("run", "")} if isinstance(raw, Mapping) else raw


def titled_apart(rows: list[Any]) -> list[Any]:
    """Return rows of which no two have one title."""
    titles = [row.title for row in rows]
    if len(set(titles)) < len(titles):
        raise mistake("", f"two rows have one title: {titles}; give each its own")
    return rows


RunRows = Annotated[list[RunRow], AfterValidator(titled_apart)]


class Accuracies(Figure):
    """Train and test accuracy of runs at their last recorded epoch, one row a run, with the paper's."""

    kind: Literal["accuracies"] = "accuracies"
    draw: ClassVar[str] = "lossatlas.train.figures.accuracies:compose"
    rows: RunRows = key("One run each.", min_length=1)


class Runs(Table):
    """Loss and accuracy at the last recorded epoch of runs, over replicas, beside the paper's."""

    kind: Literal["runs"] = "runs"
    draw: ClassVar[str] = "lossatlas.train.figures.runs:tabulate"
    rows: RunRows = key("One row of the table each.", min_length=1)


# ---------------------------------------------------------------------------------------------------------------------
# measures

RunsGiven = Annotated[tuple[Reference, ...], Accepts("runs", "run")]
"""Runs as input of a measure: all replicas of each, or its first."""


class AccuracyGap(Measure):
    """Mean accuracy of run `better` less that of run `worse`, at the last recorded epoch."""

    measure: ClassVar[str] = "accuracy_gap"
    run: ClassVar[str] = "lossatlas.train.measures:accuracy_gap"
    better: RunsGiven = key("The runs that are to be ahead.")
    worse: RunsGiven = key("The runs behind.")
    quantity: Accuracy = key("Which accuracy.", "test_accuracy")


class MaxTrainLoss(Measure):
    """Largest training loss of any run at its last recorded epoch; a run that diverged counts as infinite."""

    measure: ClassVar[str] = "max_train_loss"
    run: ClassVar[str] = "lossatlas.train.measures:max_train_loss"
    runs: RunsGiven = key("The runs.")


class MinAccuracy(Measure):
    """Smallest accuracy of any run at its last recorded epoch; a run without a finite one counts as 0."""

    measure: ClassVar[str] = "min_accuracy"
    run: ClassVar[str] = "lossatlas.train.measures:min_accuracy"
    runs: RunsGiven = key("The runs.")
    quantity: Accuracy = key("Which accuracy.", "test_accuracy")
