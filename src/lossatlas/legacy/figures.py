"""What a figure or table may say, and what it says by default.

Light on purpose (no matplotlib, NumPy or HDF5): the Snakefile checks every figure of every study with it.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Protocol

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import nearest

REQUIRED = object()
"""Default of a key that a spec must give."""


@dataclass(frozen=True)
class Key:
    """One key of a spec.

    Attributes:
        types: Python types its value may have.
        default: value when the spec leaves it out; ``REQUIRED`` when it may not.
        values: the only values allowed, or () for any.
        doc: what it means.
        items: keys of each entry, for a list of mappings.
    """

    types: tuple[type, ...]
    default: Any
    doc: str
    values: tuple[Any, ...] = ()
    items: "Mapping[str, Key] | None" = None


@dataclass(frozen=True)
class Kind:
    """A kind of figure or table.

    Attributes:
        role: ``figure`` or ``table``.
        doc: what it shows.
        keys: the keys of its spec besides :data:`COMMON`.
        formats: the files of a figure besides its CSV; None = the formats of ``config.yaml``.
    """

    role: str
    doc: str
    keys: Mapping[str, Key] = field(default_factory=dict)
    formats: tuple[str, ...] | None = None


COMMON: dict[str, Key] = {
    "kind": Key((str,), REQUIRED, "The kind of figure or table."),
    "title": Key((str,), "", "Title in the gallery."),
    "caption": Key((str,), "", "Caption in the gallery."),
    "paper_figure": Key((str,), "", "The figure or table of the paper it stands for."),
}
"""Keys that every figure and table has."""

COLORS = ("direction", "run", "step", "epoch", "train_loss")
HUES = ("descending", "ascending")

_LOOK = {
    "color": Key((str,), "direction", "What colours the points.", COLORS),
    "hue": Key((str,), "descending", "Colours get whiter (descending, fig. 2) or darker (ascending) by epoch.", HUES),
    "diamonds": Key((bool,), True, "Diamonds at the jump points, shaded by step size."),
    "lines": Key((bool,), True, "Thin lines join a trajectory in epoch order."),
}

_MOTION = {name: key for name, key in _LOOK.items() if name != "hue"}


def _panels(look: Mapping[str, Key]) -> Key:
    keys = {
        "cloud": Key((str,), REQUIRED, "Name of a cloud of the study."),
        "embedding": Key((str,), REQUIRED, "Name of an embedding of the study."),
        "title": Key((str,), "", "Title above the panel."),
        **{name: Key(key.types, None, key.doc, key.values) for name, key in look.items()},
    }
    doc = f"One embedding of one cloud each; {', '.join(look)} may be set per panel."
    return Key((list,), REQUIRED, doc, items=keys)


_PANELS: dict[str, Key] = {
    "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
    "labels": Key((dict,), {}, "Run label -> shown label, for color run; equal shown labels share a colour."),
    "limits": Key((list, type(None)), None, "Colour limits [low, high] of a colour bar; null = all panels' range."),
}

_SETS = Key(
    (list,),
    REQUIRED,
    "One network each.",
    items={
        "sets": Key((dict,), REQUIRED, "Name of the set -> name of a path probe of the study."),
        "title": Key((str,), "", "Title above the panel."),
    },
)
_TWO_LABELS = Key((list,), REQUIRED, "What the first and the second set are called.")
_UNIONS = Key(
    (list,),
    REQUIRED,
    "One network each.",
    items={
        "cloud": Key((str,), REQUIRED, "Name of a cloud of kind union."),
        "sets": Key((list,), REQUIRED, "The two of its clouds that are drawn."),
        "centres": Key((list,), REQUIRED, "The two of its clouds whose centroids' middle is the origin."),
        "title": Key((str,), "", "Title above the panel."),
    },
)

SOLUTION_SETS = ("sgd_train", "lbfgs_train", "sgd_test", "lbfgs_test")
"""The sets of solutions of one network: the end of training and the lowest test loss, by optimiser."""


def _solutions(*sets: str, paper: bool = True) -> Key:
    keys = {name: Key((str,), REQUIRED, f"Name of the cloud `best` that is its set {name}.") for name in sets}
    keys["title"] = Key((str,), REQUIRED, "Name of the network.")
    if paper:
        keys["paper"] = Key((dict,), {}, "Column, or set -> [mean, standard deviation]: what the paper says.")
    return Key((list,), REQUIRED, "One network each.", items=keys)


def _probe(kind: str) -> Key:
    return Key((str,), REQUIRED, f"Name of a {kind} probe of the study.")


_MINIMUM: dict[str, Key] = {
    "value": Key((int, float, type(None)), None, "Swept value of the minimum; null = the first."),
    "replica": Key((int, type(None)), None, "Replica of the minimum; null = the first."),
    "title": Key((str,), "", "Title above the panel."),
}
"""Which minimum of a probe a panel shows."""

_PLANES = Key(
    (list,),
    REQUIRED,
    "One plane each.",
    items={
        "plane": Key((str,), REQUIRED, "Name of a plane probe of the study."),
        "title": Key((str,), "", "Title above the panel; {model} stands for the network."),
    },
)

KINDS: dict[str, Kind] = {
    "embedding": Kind(
        "figure",
        "Panels of two-dimensional embeddings of clouds.",
        {"panels": _panels(_LOOK), **_PANELS, **_LOOK},
    ),
    "animation": Kind(
        "figure",
        "The panels of kind embedding in motion: dots with fading tails run along the trajectories, epoch by epoch.",
        {
            "panels": _panels(_MOTION),
            **_PANELS,
            **_MOTION,
            "fps": Key((int,), 20, "Frames a second; a GIF counts in hundredths of a second.", (5, 10, 20, 25, 50)),
            "frames_per_epoch": Key(
                (int, type(None)), None, "Frames an epoch; null = up to 16. Fewer where seconds_max asks for it."
            ),
            "seconds_max": Key((int, float), 12, "The longest the picture may move, in seconds."),
        },
        formats=("png", "mp4", "gif"),
    ),
    "curves": Kind(
        "figure",
        "Lines of table columns, or of norms from a Gram matrix, with a band over replicas.",
        {
            "series": Key(
                (list,),
                REQUIRED,
                "One input file each; equal labels are replicas of one line.",
                items={
                    "run": Key((str,), None, "Name of a run of the study (all its replicas)."),
                    "cloud": Key((str,), None, "Name of a cloud of the study."),
                    "label": Key((str,), REQUIRED, "Label of the line."),
                },
            ),
            "x": Key((str,), "epoch", "Column on the horizontal axis."),
            "y": Key(
                (str, list),
                REQUIRED,
                "Column, or `norm` (L2 norm of the weights) or `distance` (from a training's own start, or from "
                "the minimum of jumps); a list makes panels.",
            ),
            "only": Key((dict,), {}, "Column -> the value it must have, for rows that are to be drawn."),
            "group": Key((str, type(None)), None, "Column that splits a series into lines (run, seed, step)."),
            "labels": Key((dict,), {}, "Value of the group column -> shown label; equal shown labels are replicas."),
            "log": Key((str,), "none", "Logarithmic axes.", ("none", "x", "y", "both")),
            "centre": Key((str,), "mean", "Line over replicas.", ("mean", "median")),
            "band": Key((str,), "minmax", "Band over replicas.", ("minmax", "std", "quartiles", "none")),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "returns": Kind(
        "figure",
        "Jump-and-retrain clouds beside each other: their embedding, and by epoch and step size the distance from "
        "theta_o over the jump's and the cosine with the jump.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One cloud each, with an embedding or none of them.",
                items={
                    "cloud": Key((str,), REQUIRED, "Name of a jump-and-retrain cloud of the study."),
                    "embedding": Key((str, type(None)), None, "Name of an embedding of the study; null = none."),
                    "title": Key((str,), "", "Title above the panel."),
                    **{name: Key(key.types, None, key.doc, key.values) for name, key in _LOOK.items()},
                },
            ),
            **_PANELS,
            **_LOOK,
        },
    ),
    "surface": Kind(
        "figure",
        "Loss on a plane of weight space as contours, with the paths that span it, coloured by progress.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One surface each.",
                items={
                    "surface": Key((str,), REQUIRED, "Name of a surface probe of the study."),
                    "title": Key((str,), "", "Title above the panel."),
                    "show": Key((str,), "path", "The whole paths, or their first points.", ("path", "start")),
                    "objective": Key(
                        (list, type(None)), None, "Coefficients of a linear function shown as dashed contours."
                    ),
                },
            ),
            "log": Key((bool,), True, "Logarithmic colours."),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "path_plane": Kind(
        "figure",
        "Paths of a function of two variables over its contours, and the losses along them, a row an objective.",
        {"paths": Key((str,), REQUIRED, "Name of a path probe of the study, on a function.")},
    ),
    "path_heights": Kind(
        "figure",
        "Histograms of the heights of optimised paths, one a set, a panel a network.",
        {
            "panels": _SETS,
            "part": Key((str,), "train", "Landscape on which heights are measured.", ("train", "test")),
            "step": Key((int, type(None)), None, "Recorded step of the optimisation; null = the last."),
            "labels": Key((dict,), {}, "Set -> shown label."),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "path_convergence": Kind(
        "figure",
        "Path height, height above the higher end and the comparison of sets against optimisation steps.",
        {
            "panels": _SETS,
            "part": Key((str,), "train", "Landscape on which heights are measured.", ("train", "test")),
            "compare": Key((list,), [], "Pairs [first, second] of sets: how often a path of the first is higher."),
            "floor": Key((int, float), 1e-6, "Least value shown on the logarithmic axes."),
            "labels": Key((dict,), {}, "Set -> shown label."),
        },
    ),
    "shells": Kind(
        "figure",
        "Histograms of the distances of two sets of points from their common centroid, a panel a network.",
        {
            "panels": _UNIONS,
            "labels": _TWO_LABELS,
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "kernels": Kind(
        "figure",
        "Two sets of points under kernel PCA, a row a network, a column a kernel or control.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One probe of kernels each.",
                items={
                    "kernels": Key((str,), REQUIRED, "Name of a kernels probe of the study."),
                    "title": Key((str,), "", "Title of the row."),
                },
            ),
            "labels": _TWO_LABELS,
        },
    ),
    "paths3d": Kind(
        "figure",
        "Traversals in their first six principal axes, two three-dimensional panels a cloud, coloured by progress, "
        "with the mean end point and the mean weight-decay point.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One cloud of traversals each.",
                items={
                    "cloud": Key((str,), REQUIRED, "Name of a cloud of traversals of the study."),
                    "title": Key((str,), "", "Title above the panels."),
                },
            ),
            "choose": Key((str,), "validation", "Where the best lambda is chosen.", ("validation", "test")),
        },
    ),
    "budget": Kind(
        "figure",
        "Test performance against the number of examples whose gradient was taken: traversals and weight decay.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One cloud of traversals with a sweep each.",
                items={
                    "cloud": Key((str,), REQUIRED, "Name of a cloud of traversals of the study."),
                    "title": Key((str,), "", "Title above the panel."),
                },
            ),
            "choose": Key((str,), "validation", "Where the best lambda is chosen.", ("validation", "test")),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "basins": Kind(
        "figure",
        "Accuracy, basin radius and log-volume against a swept value, and volume against accuracy at every cutoff.",
        {
            "volume": Key((str,), REQUIRED, "Name of a volume probe of the study."),
            "cutoff": Key((int, float), 0.1, "Training loss that bounds the basin in the upper panels."),
        },
    ),
    "groups": Kind(
        "figure",
        "Log-volume, radius, test accuracy and training loss of groups of minima, one dot a minimum.",
        {
            "groups": Key(
                (list,),
                REQUIRED,
                "One row each.",
                items={
                    "volume": Key((str,), REQUIRED, "Name of a volume probe of the study."),
                    "value": Key((int, float, type(None)), None, "Swept value of its minima; null = all."),
                    "title": Key((str,), REQUIRED, "Name of the row."),
                    "section": Key((str,), "", "What the row is compared in."),
                },
            ),
            "cutoff": Key((int, float), 0.1, "Training loss that bounds the basin."),
        },
    ),
    "profiles": Kind(
        "figure",
        "The loss along random directions from minima, with the cutoff and the basin beneath it.",
        {
            "panels": Key((list,), REQUIRED, "One minimum each.", items={"volume": _probe("volume"), **_MINIMUM}),
            "cutoff": Key((int, float), 0.1, "Training loss that bounds the basin."),
        },
    ),
    "boundaries": Kind(
        "figure",
        "Decision boundaries of classifiers in the plane, with the training points; slices of the loss below.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One minimum each.",
                items={
                    "boundaries": _probe("boundaries"),
                    "slices": Key((str, type(None)), None, "Name of a slices probe of the study; null = none."),
                    **_MINIMUM,
                },
            ),
            "classes": Key((list,), ["blue class", "red class"], "What the classes are called."),
            "cutoff": Key((int, float), 0.1, "Training loss drawn as a contour of the slices."),
            "limits": Key((list, type(None)), None, "[[x low, high], [y low, high]] shown; null = the grid."),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "slices": Kind(
        "figure",
        "Random planes through minima as contours of the loss.",
        {
            "panels": Key((list,), REQUIRED, "One minimum each.", items={"slices": _probe("slices"), **_MINIMUM}),
            "cutoff": Key((int, float), 0.1, "Training loss drawn as a contour."),
        },
    ),
    "minefield": Kind(
        "figure",
        "Iterates of a training and the poisoned minima found from them, embedded, with their distances in words.",
        {
            "cloud": Key((str,), REQUIRED, "Name of a cloud of kind ends."),
            "embedding": Key((str,), REQUIRED, "Name of an embedding of the study."),
        },
    ),
    "accuracies": Kind(
        "figure",
        "Train and test accuracy of runs at their last recorded epoch, one row a run, with the paper's.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One run each.",
                items={
                    "run": Key((str,), REQUIRED, "Name of a run of the study."),
                    "title": Key((str,), "", "Name of the row; the run's by default."),
                    "paper": Key((dict,), {}, "Quantity -> the paper's value."),
                },
            ),
        },
    ),
    "lines": Kind(
        "figure",
        "Loss and accuracy along the segments between two minima.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One segment each.",
                items={
                    "line": Key((str,), REQUIRED, "Name of a line probe with `to`."),
                    "title": Key((str,), "", "Title above the panel."),
                    "ends": Key((list,), [], "What lies at 0 and at 1, in two words."),
                },
            ),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "contours": Kind(
        "figure",
        "Loss on planes through minima as contours on one logarithmic scale, with the test error of each minimum.",
        {
            "panels": _PLANES,
            "part": Key((str,), "train", "Part of the data.", ("train", "test")),
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "relief": Kind(
        "figure",
        "Loss on planes through minima in three dimensions: a picture, an interactive page, and a VTK file.",
        {
            "panels": _PLANES,
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
        formats=("png", "html", "vtp"),
    ),
    "curvature": Kind(
        "figure",
        "|lambda_min / lambda_max| of the Hessian over planes, below their contours.",
        {
            "panels": Key(
                (list,),
                REQUIRED,
                "One curvature map each.",
                items={
                    "map": Key((str,), REQUIRED, "Name of a curvature probe over a plane."),
                    "plane": Key((str,), REQUIRED, "Name of that plane probe."),
                    "title": Key((str,), "", "Title above the panel; {model} stands for the network."),
                },
            ),
        },
    ),
    "pathplanes": Kind(
        "figure",
        "Recorded trainings projected on planes, over the contours of the loss there.",
        {
            "panels": _PLANES,
            "columns": Key((int, type(None)), None, "Panels a row; null = chosen from their number."),
        },
    ),
    "sharpness": Kind(
        "figure",
        "Losses along random lines under no, layer and filter normalisation, growth and histogram of the weights.",
        {
            "series": Key(
                (list,),
                REQUIRED,
                "One network each.",
                items={
                    "line": Key((str,), REQUIRED, "Name of a line probe; all replicas of its run."),
                    "path": Key((str,), None, "Name of a run with all its epochs, for the growth of the weights."),
                    "label": Key((str,), REQUIRED, "Label of the network."),
                },
            ),
        },
    ),
    "sharpness_table": Kind(
        "table",
        "Test error and sharpness of networks under each normalisation, with their rank correlations.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One network each, in all replicas.",
                items={
                    "line": Key((str,), REQUIRED, "Name of a line probe; all replicas of its run."),
                    "curvature": Key((str,), None, "Name of a curvature probe of that run."),
                    "title": Key((str,), "", "Name of the row; the probe's by default."),
                },
            ),
            "reach": Key((int, float), 0.5, "How far along a line the measures look."),
        },
    ),
    "variance_table": Kind(
        "table",
        "Share of each recorded path's variance that two principal axes and other planes hold.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One recorded path each.",
                items={
                    "run": Key((str,), REQUIRED, "Name of a run with all its epochs."),
                    "planes": Key((list,), [], "Names of plane probes of that path besides its principal one."),
                    "title": Key((str,), "", "Name of the row; the run's by default."),
                },
            ),
        },
    ),
    "decay_table": Kind(
        "table",
        "Test performance at the end of traversals beside weight decay at its best lambda, chosen in two ways.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One cloud of traversals with a sweep each.",
                items={
                    "cloud": Key((str,), REQUIRED, "Name of a cloud of traversals of the study."),
                    "title": Key((str,), "", "Name of the row; the cloud's by default."),
                    "paper": Key((dict,), {}, "traversal, decay, lambda -> the paper's value."),
                    "note": Key((str,), "", "What to keep in mind."),
                },
            ),
        },
    ),
    "returns_table": Kind(
        "table",
        "How far retrainings go and come back, by cloud and step size: mean and range over directions.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One cloud each.",
                items={
                    "cloud": Key((str,), REQUIRED, "Name of a jump-and-retrain cloud of the study."),
                    "title": Key((str,), "", "Name of the row; the cloud's by default."),
                    "group": Key((dict,), {}, "Columns of its own: name -> value; the same names in every row."),
                    "paper": Key(
                        (str, int, float, dict, type(None)),
                        None,
                        "What the paper says of it over all steps, or step size (or `all`) -> what it says.",
                    ),
                },
            ),
        },
    ),
    "histories": Kind(
        "figure",
        "Training and test loss by epoch of the best runs of two optimisers, with the minima of a typical one.",
        {"rows": _solutions("lbfgs", "sgd", paper=False)},
    ),
    "overview": Kind(
        "figure",
        "Sample inputs, a fully connected network, and its loss on the plane through three of its minima.",
        {
            "triangle": Key((str,), REQUIRED, "Name of a triangle probe of the study."),
            "part": Key((str,), "train", "The loss shown.", ("train", "test")),
        },
    ),
    "losses_table": Kind(
        "table",
        "Mean training and test loss of two optimisers' solutions, at the end and stopped early, beside the paper's.",
        {"rows": _solutions(*SOLUTION_SETS)},
    ),
    "weights_table": Kind(
        "table",
        "Mean and standard deviation of the weights of two optimisers' solutions, beside the paper's.",
        {"rows": _solutions(*SOLUTION_SETS)},
    ),
    "rates_table": Kind(
        "table",
        "Losses of SGD at several learning rates, at the end and stopped early, and those of L-BFGS-GSS.",
        {"rows": _solutions("end", "stop", "lbfgs_train", "lbfgs_test", paper=False)},
    ),
    "scores": Kind(
        "table",
        "Scores of embedding methods on clouds, at library defaults and at settings chosen on other clouds.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One cloud each.",
                items={
                    "scores": Key((str,), REQUIRED, "Name of an entry of the study's scores."),
                    "title": Key((str,), "", "Name of the row; the entry's by default."),
                },
            ),
            "paper": Key((dict,), {}, "Method -> what the paper reads off its picture of it."),
        },
    ),
    "runs": Kind(
        "table",
        "Loss and accuracy at the last recorded epoch of runs, over replicas, beside the paper's.",
        {
            "rows": Key(
                (list,),
                REQUIRED,
                "One row of the table each.",
                items={
                    "run": Key((str,), REQUIRED, "Name of a run of the study."),
                    "title": Key((str,), "", "Name of the row; the run's by default."),
                    "paper": Key((dict,), {}, "Quantity -> the paper's value."),
                },
            ),
        },
    ),
}
"""Every kind of figure and table, by name."""


PANELLED = {"embedding": _LOOK, "animation": _MOTION, "returns": _LOOK}
"""Kinds made of panels, and the keys that a panel takes from the whole figure unless it has its own."""

FROM_GRAM = ("norm", "distance")
"""Quantities of ``curves`` that come from a Gram matrix."""

QUANTITIES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What a table of kind ``runs`` compares."""

PAPER_OF_DECAY = ("traversal", "traversal_std", "decay", "decay_std", "lambda")
"""What a row of a table of kind ``decay_table`` may quote of the paper."""

RETURNS = ("outwardness", "return_fraction", "direction_left", "cosine")
"""Quantities of a table of kind ``returns_table``."""

RETURNS_COLUMNS = (*(f"{name}_{part}" for name in RETURNS for part in ("mean", "low", "high", "n")), "paper")
"""Its columns after the row's title, the row's own columns and the step size."""


SCORES = ("demap", "continuity", "trustworthiness")
"""Scores of an embedding (:mod:`lossatlas.clouds.scores`)."""

EXACT = "exact"
"""The method that stands for R^D itself among the scores: what a perfect isometry would get."""

SETTINGS = ("defaults", "selected")
"""Settings at which methods are compared: the library's, or those chosen on other clouds."""


class Study(Protocol):
    """What :func:`inputs` asks of a study's plan; an artefact is whatever these return."""

    def runs(self, name: str, key: str) -> list[Any]:
        """Return all replicas of a run."""

    def gram(self, cloud: str, key: str) -> Any:
        """Return the Gram matrix of a cloud."""

    def embedding(self, cloud: str, name: str, key: str) -> Any:
        """Return an embedding of a cloud."""

    def scores(self, name: str, key: str) -> dict[str, Any]:
        """Return the scores to report and those on which settings are chosen."""

    def surface(self, name: str, key: str) -> Any:
        """Return a probe of the losses on a plane."""

    def paths(self, name: str, key: str) -> list[Any]:
        """Return the parts of a path probe."""

    def kernels(self, name: str, key: str) -> Any:
        """Return a probe of how kernel PCA separates two sets of points."""

    def triangle(self, name: str, key: str) -> Any:
        """Return a probe of the losses on the plane through three points."""

    def volume(self, name: str, key: str) -> Any:
        """Return a probe of basins around minima."""

    def slices(self, name: str, key: str) -> Any:
        """Return a probe of the losses on planes through minima."""

    def boundaries(self, name: str, key: str) -> Any:
        """Return a probe of decisions on the input plane."""

    def grid(self, name: str, key: str) -> Any:
        """Return a probe of kind line, plane or curvature."""

    def grids(self, name: str, key: str) -> list[Any]:
        """Return such a probe at all replicas of its run."""

    def path_gram(self, name: str, key: str) -> Any:
        """Return the Gram matrix of the path of a run's first replica."""


def formats(kind: str, configured: Sequence[str]) -> tuple[str, ...]:
    """Return the files of a figure of a kind besides its CSV.

    Args:
        kind: of figure.
        configured: the formats of ``config.yaml``.
    """
    own = KINDS[kind].formats
    return tuple(configured) if own is None else own


def check(spec: Mapping[str, Any]) -> None:
    """Raise a :class:`LossatlasError` when :func:`resolve` would."""
    resolve(spec)


def inputs(resolved: Mapping[str, Any], study: Study, key: str) -> dict[str, Any]:
    """Return the artefacts a figure or table is made from, by role, as its drawing function takes them.

    Args:
        resolved: what :func:`resolve` returned.
        study: the study's plan, which turns names into artefacts.
        key: what to call the figure in messages.

    Returns:
        ``panels``: one embedding a panel, or none; ``grams``: one Gram matrix a panel or row; ``tables``: a Gram matrix
        or a list of replicas a series; ``runs``: row title -> replicas; ``scores``: row title -> {``report``,
        ``select``}.
    """
    if resolved["kind"] in ("returns", "returns_table"):
        part = "panels" if resolved["kind"] == "returns" else "rows"
        entries = [(entry, f"{key}.{part}[{i}]") for i, entry in enumerate(resolved[part])]
        found = {"grams": [study.gram(entry["cloud"], place) for entry, place in entries]}
        if part == "panels":
            shown = [(entry, place) for entry, place in entries if entry["embedding"] is not None]
            found["panels"] = [study.embedding(entry["cloud"], entry["embedding"], place) for entry, place in shown]
        return found
    if resolved["kind"] in ("path_heights", "path_convergence"):
        return {
            "panels": [
                {label: study.paths(name, f"{key}.panels[{i}].sets.{label}") for label, name in panel["sets"].items()}
                for i, panel in enumerate(resolved["panels"])
            ]
        }
    if resolved["kind"] == "kernels":
        panels = enumerate(resolved["panels"])
        return {"separations": [study.kernels(p["kernels"], f"{key}.panels[{i}]") for i, p in panels]}
    if resolved["kind"] == "path_plane":
        return {"paths": study.paths(resolved["paths"], f"{key}.paths")}
    if resolved["kind"] == "surface":
        panels = enumerate(resolved["panels"])
        return {"surfaces": [study.surface(p["surface"], f"{key}.panels[{i}]") for i, p in panels]}
    if resolved["kind"] in ("paths3d", "budget", "decay_table", "shells"):
        part = "rows" if resolved["kind"] == "decay_table" else "panels"
        return {"grams": [study.gram(e["cloud"], f"{key}.{part}[{i}]") for i, e in enumerate(resolved[part])]}
    if resolved["kind"] in ("histories", "losses_table", "weights_table", "rates_table"):
        grams: dict[str, dict[str, Any]] = {}
        for i, row in enumerate(resolved["rows"]):
            names = [name for name in row if name not in ("title", "paper")]
            grams[row["title"]] = {name: study.gram(row[name], f"{key}.rows[{i}].{name}") for name in names}
        return {"grams": grams}
    if resolved["kind"] == "overview":
        return {"triangle": study.triangle(resolved["triangle"], f"{key}.triangle")}
    if resolved["kind"] in MINIMA:
        return _of_minima(resolved, study, key)
    if resolved["kind"] in _ON_SLICES:
        return _on_slices(resolved, study, key)
    if resolved["kind"] in PANELLED:
        panels = enumerate(resolved["panels"])
        return {"panels": [study.embedding(p["cloud"], p["embedding"], f"{key}.panels[{i}]") for i, p in panels]}
    if resolved["kind"] == "curves":
        made: list[Any] = []
        for i, series in enumerate(resolved["series"]):
            where = f"{key}.series[{i}]"
            by_run = series["run"] is not None
            made.append(study.runs(series["run"], where) if by_run else study.gram(series["cloud"], where))
        return {"tables": made}
    if resolved["kind"] == "scores":
        rows = enumerate(resolved["rows"])
        return {"scores": {r["title"]: study.scores(r["scores"], f"{key}.rows[{i}]") for i, r in rows}}
    return {"runs": {r["title"]: study.runs(r["run"], f"{key}.rows[{i}]") for i, r in enumerate(resolved["rows"])}}


MINIMA = ("basins", "groups", "profiles", "boundaries", "slices", "minefield")
"""Kinds drawn from probes on minima."""


def _of_minima(resolved: Mapping[str, Any], study: Study, key: str) -> dict[str, Any]:
    """Return the artefacts of a figure of :data:`MINIMA` by role, a list for each of its entries."""
    kind = resolved["kind"]
    if kind == "basins":
        return {"volumes": study.volume(resolved["volume"], key)}
    if kind == "minefield":
        cloud = resolved["cloud"]
        return {"panels": [study.embedding(cloud, resolved["embedding"], key)], "grams": [study.gram(cloud, key)]}
    part = "groups" if kind == "groups" else "panels"
    entries = [(entry, f"{key}.{part}[{i}]") for i, entry in enumerate(resolved[part])]
    if kind in ("groups", "profiles"):
        return {"volumes": [study.volume(entry["volume"], place) for entry, place in entries]}
    found = {"slices": [study.slices(e["slices"], place) for e, place in entries if e["slices"] is not None]}
    if kind == "boundaries":
        found["boundaries"] = [study.boundaries(entry["boundaries"], place) for entry, place in entries]
    return found


_ON_SLICES = (
    "lines",
    "contours",
    "relief",
    "curvature",
    "pathplanes",
    "sharpness",
    "sharpness_table",
    "variance_table",
)
"""Kinds made from lines, planes and curvature."""


def _on_slices(resolved: Mapping[str, Any], study: Study, key: str) -> dict[str, Any]:
    """Return the artefacts of a figure or table of :data:`_ON_SLICES`."""
    kind = resolved["kind"]
    part = "series" if kind == "sharpness" else "rows" if kind.endswith("_table") else "panels"
    entries = [(entry, f"{key}.{part}[{i}]") for i, entry in enumerate(resolved[part])]
    if kind == "curvature":
        names = (("planes", "plane"), ("maps", "map"))
        return {role: [study.grid(entry[name], place) for entry, place in entries] for role, name in names}
    if kind == "sharpness":
        grids = [study.grids(entry["line"], place) for entry, place in entries]
        grams = {e["label"]: study.path_gram(e["path"], place) for e, place in entries if e["path"] is not None}
        return {"grids": grids, "grams": grams}
    if kind == "sharpness_table":
        maps = [[] if e["curvature"] is None else study.grids(e["curvature"], place) for e, place in entries]
        return {"grids": [study.grids(entry["line"], place) for entry, place in entries], "maps": maps}
    if kind == "variance_table":
        grids = [[study.grid(name, place) for name in entry["planes"]] for entry, place in entries]
        return {"grams": [study.path_gram(entry["run"], place) for entry, place in entries], "grids": grids}
    name = "line" if kind == "lines" else "plane"
    return {"grids": [study.grid(entry[name], place) for entry, place in entries]}


def resolve(spec: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check the spec of a figure or table and fill in the defaults.

    Args:
        spec: the mapping of the study's YAML.
        where: prefix of the keys in messages, such as ``figures.fig2``.

    Returns:
        A new mapping with every key of its kind; panels and rows likewise.

    Raises:
        LossatlasError: one line for each mistake: the key, what was found, what is allowed or the nearest valid key.
    """
    kind = spec.get("kind")
    if kind not in KINDS:
        found = "missing" if kind is None else f"{kind!r} is not a kind of figure or table"
        raise LossatlasError(f"{_at(where, 'kind')}: {found}; {nearest(str(kind), list(KINDS))}")
    mistakes: list[str] = []
    resolved = _resolve(spec, {**COMMON, **KINDS[kind].keys}, where, mistakes)
    if not mistakes:
        _check_kind(resolved, where, mistakes)
    if mistakes:
        raise LossatlasError("\n".join(mistakes))
    return resolved


def _at(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _resolve(spec: Mapping[str, Any], keys: Mapping[str, Key], where: str, mistakes: list[str]) -> dict[str, Any]:
    """Fill one mapping with the defaults of its keys, appending a line to ``mistakes`` for each that is wrong."""
    resolved: dict[str, Any] = {}
    mistakes.extend(
        f"{_at(where, name)}: unknown key; {nearest(name, list(keys))}" for name in spec if name not in keys
    )
    for name, key in keys.items():
        if name not in spec:
            if key.default is REQUIRED:
                mistakes.append(f"{_at(where, name)}: missing; {key.doc}")
            else:
                resolved[name] = copy(key.default)
            continue
        value = spec[name]
        right = isinstance(value, key.types) and not (isinstance(value, bool) and bool not in key.types)
        if not right and not (value is None and key.default is None):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in key.types)
            mistakes.append(f"{_at(where, name)}: {value!r} is of type {type(value).__name__}, expected {expected}")
        elif key.values and value is not None and value not in key.values:
            mistakes.append(f"{_at(where, name)}: {value!r} is not allowed; {nearest(value, list(key.values))}")
        elif key.items is not None:
            resolved[name] = []
            for i, entry in enumerate(value):
                if isinstance(entry, Mapping):
                    resolved[name].append(_resolve(entry, key.items, f"{_at(where, name)}[{i}]", mistakes))
                else:
                    mistakes.append(
                        f"{_at(where, name)}[{i}]: {entry!r} is not a mapping; keys: {', '.join(key.items)}"
                    )
            if not value:
                mistakes.append(f"{_at(where, name)}: empty; give at least one entry")
        else:
            resolved[name] = value
    return resolved


def _check_kind(spec: dict[str, Any], where: str, mistakes: list[str]) -> None:
    """Check what single keys cannot tell, and settle defaults that depend on other keys."""
    if spec.get("columns") is not None and spec["columns"] < 1:
        mistakes.append(f"{_at(where, 'columns')}: {spec['columns']!r} is not positive; give 1 or more, or null")
    for name in ("frames_per_epoch", "seconds_max"):
        if spec.get(name) is not None and not spec[name] > 0:
            mistakes.append(f"{_at(where, name)}: {spec[name]!r} is not positive")
    if spec["kind"] in PANELLED:
        for panel in spec["panels"]:
            for name in PANELLED[spec["kind"]]:
                if panel[name] is None:
                    panel[name] = spec[name]
        limits = spec["limits"]
        numbers = limits is not None and all(isinstance(v, int | float) and not isinstance(v, bool) for v in limits)
        if limits is not None and not (numbers and len(limits) == 2 and limits[0] < limits[1]):
            mistakes.append(f"{_at(where, 'limits')}: {limits!r} is not [low, high] with low < high")
        without = [i for i, panel in enumerate(spec["panels"]) if panel["embedding"] is None]
        if 0 < len(without) < len(spec["panels"]):
            mistakes.append(f"{_at(where, 'panels')}[{without[0]}].embedding: missing; give every panel one, or none")
    elif spec["kind"] == "returns_table":
        _check_returns(spec, where, mistakes)
    elif spec["kind"] == "curves":
        for i, series in enumerate(spec["series"]):
            if (series["run"] is None) == (series["cloud"] is None):
                mistakes.append(f"{_at(where, 'series')}[{i}]: give either run or cloud")
        wanted = [spec["y"]] if isinstance(spec["y"], str) else spec["y"]
        if set(wanted) & set(FROM_GRAM) and any(series["run"] is not None for series in spec["series"]):
            mistakes.append(f"{_at(where, 'y')}: {wanted!r} needs clouds: write `cloud: name` in place of `run: name`")
        if not spec["y"]:
            mistakes.append(f"{_at(where, 'y')}: empty; name a column, `norm` or `distance`")
    elif spec["kind"] in ("sharpness_table", "variance_table"):
        for row in spec["rows"]:
            row["title"] = row["title"] or row["line" if spec["kind"] == "sharpness_table" else "run"]
    elif spec["kind"] == "lines":
        mistakes.extend(
            f"{_at(where, 'panels')}[{i}].ends: {panel['ends']!r} is not a list of two; write [what lies at 0, at 1]"
            for i, panel in enumerate(spec["panels"])
            if len(panel["ends"]) not in (0, 2)
        )
    elif spec["kind"] == "decay_table":
        for i, row in enumerate(spec["rows"]):
            row["title"] = row["title"] or row["cloud"]
            mistakes.extend(
                f"{_at(where, 'rows')}[{i}].paper.{name}: unknown key; {nearest(name, list(PAPER_OF_DECAY))}"
                for name in row["paper"]
                if name not in PAPER_OF_DECAY
            )
    elif spec["kind"] == "boundaries":
        without = [i for i, panel in enumerate(spec["panels"]) if panel["slices"] is None]
        if 0 < len(without) < len(spec["panels"]):
            mistakes.append(f"{_at(where, 'panels')}[{without[0]}].slices: missing; give every panel one, or none")
    elif spec["kind"] in ("runs", "scores", "accuracies"):
        for i, row in enumerate(spec["rows"]):
            row["title"] = row["title"] or row["scores" if spec["kind"] == "scores" else "run"]
            mistakes.extend(
                f"{_at(where, 'rows')}[{i}].paper.{name}: unknown quantity; {nearest(name, list(QUANTITIES))}"
                for name in row.get("paper", {})
                if name not in QUANTITIES
            )
        titles = [row["title"] for row in spec["rows"]]
        if len(set(titles)) < len(titles):
            mistakes.append(f"{_at(where, 'rows')}: two rows have one title: {titles}; give each its own")


def _check_returns(spec: dict[str, Any], where: str, mistakes: list[str]) -> None:
    taken = ("row", "step", *RETURNS_COLUMNS)
    names = list(spec["rows"][0]["group"])
    for i, row in enumerate(spec["rows"]):
        row["title"] = row["title"] or row["cloud"]
        at = f"{_at(where, 'rows')}[{i}]"
        if list(row["group"]) != names:
            mistakes.append(f"{at}.group: columns {list(row['group'])}, but those of the first row are {names}")
        mistakes.extend(
            f"{at}.group.{name}: a column of the table; call it otherwise" for name in names if name in taken
        )
        if isinstance(row["paper"], dict):
            # Text keys, whether YAML or JSON was read.
            row["paper"] = {_step_name(step): said for step, said in row["paper"].items()}
            wrong = [step for step in row["paper"] if step != "all" and not _is_number(step)]
            mistakes.extend(f"{at}.paper.{step}: not a step size; write a number or `all`" for step in wrong)
    titles = [row["title"] for row in spec["rows"]]
    if len(set(titles)) < len(titles):
        mistakes.append(f"{_at(where, 'rows')}: two rows have one title: {titles}; give each its own")


def _step_name(step: Any) -> str:
    return f"{step:g}" if isinstance(step, int | float) and not isinstance(step, bool) else str(step)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
