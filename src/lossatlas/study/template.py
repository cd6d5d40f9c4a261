"""A ready study of a user's own network: the YAML that the workflow takes, from model, data and checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lossatlas.errors import LossatlasError
from lossatlas.specs.checkpoint import checkpoints as listed
from lossatlas.specs.yaml import merge
from lossatlas.study.read import NAME, read_study

HEAD = """# A study of your own network; docs/own-study.md explains it, docs/reference.md has every key.
#
#     lossatlas run {path}
#     open results/galleries/{name}/index.html
#
# Every number may be changed: only what follows from it is computed again. Paths are relative to the folder in which
# the command is given. A replaced checkpoint, changed data or a changed builder is another one, and computed anew.

"""

ABOUT = {
    "defaults": "What all runs have in common. The recipe says what the loss is and how networks go on after a jump.",
    "runs": "The networks. With `checkpoint` or `checkpoints` nothing is trained.",
    "clouds": "Sets of weight vectors. jump: leave the minimum in random directions and train on (Horoi et al. 2021).",
    "embeddings": "Pictures of clouds in the plane.",
    "probes": "Measurements. `examples` is how many are looked at; leave it out for all.",
    "figures": "What is drawn, and what is said below it.",
    "tables": "Numbers, as CSV and on the page.",
}
"""Section -> the remark above it."""

RECIPE: dict[str, Any] = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "batch": 64, "epochs": 20}
"""Of a user who says nothing."""

EXAMPLES = 1000
"""Examples that probes look at."""

RESIDUAL = 1e-3
"""Of both ends of the spectrum, over the larger: at 1e-2, the default, Lanczos stops at an inner one now and then."""


class _Plain(yaml.SafeDumper):
    """YAML without anchors: a value that stands in several places is written in each."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


def write(
    path: str | Path,
    *,
    model: str | Mapping[str, Any],
    data: str | Mapping[str, Any],
    checkpoints: Sequence[str | Path] = (),
    recipe: Mapping[str, Any] | None = None,
    scale: str | None = None,
    replace: bool = False,
) -> Path:
    """Write a study of a user's own network and return its file.

    Args:
        path: of the file, ``<name>.yaml``; the name is that of the study.
        model: ``package.module:function`` of a builder, or the mapping that a run has.
        data: a .pt or .npz file, an image folder, ``package.module:function`` of a builder, the name of a data set, or
            the mapping that a run has.
        checkpoints: files of weights, each of a network of its own; a folder or a pattern is the history of one
            training. Without any, one network is trained.
        recipe: keys that replace those of :data:`RECIPE`.
        scale: of a run; None = its default.
        replace: whether a file that is there may be replaced.

    Raises:
        LossatlasError: the file is there, its name is none of a study, or what it would say is wrong.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml") or not NAME.fullmatch(path.stem):
        raise LossatlasError(f"{path}: the name of a study is letters, digits and underscores, and ends in .yaml")
    if path.exists() and not replace:
        raise LossatlasError(f"{path}: is there already; give another name or remove it")
    study = content(model, data, checkpoints, recipe, scale)
    read_study(study, str(path))
    text = HEAD.format(path=path, name=path.stem)
    for section, value in study.items():
        remark = f"\n# {ABOUT[section]}\n" if section in ABOUT else ""
        text += remark + yaml.dump({section: value}, Dumper=_Plain, sort_keys=False, width=100)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def content(
    model: str | Mapping[str, Any],
    data: str | Mapping[str, Any],
    checkpoints: Sequence[str | Path] = (),
    recipe: Mapping[str, Any] | None = None,
    scale: str | None = None,
) -> dict[str, Any]:
    """Return the study that :func:`write` writes, as a mapping."""
    model = {"builder": model} if isinstance(model, str) else dict(model)
    defaults: dict[str, Any] = {"data": _data(data), "model": model, "recipe": merge(RECIPE, recipe or {})}
    if scale is not None:
        defaults["scale"] = scale
    runs, history = _runs(checkpoints)
    names = list(runs)
    found: dict[str, Any] = {
        "title": "My network",
        "reference": "my own",
        "defaults": defaults,
        "runs": runs,
        "clouds": {"around": {"jump": {"run": names[0], "seeds": [0, 1, 2], "steps": [0.25, 0.5, 1.0]}}},
        "embeddings": {"phate": {"method": "phate"}},
        "probes": {
            "surface": {"plane": {"run": names[0], "grid": 21, "examples": EXAMPLES, "parts": ["train"]}},
        },
        "figures": _figures(names),
        "tables": {
            "networks": {
                "kind": "runs",
                "title": "The networks",
                "caption": "Loss and accuracy on all examples.",
                "rows": [{"run": name} for name in names],
            },
            "hessian": {
                "kind": "hessian_table",
                "title": "Curvature",
                "caption": "Smallest and largest eigenvalue of the training loss's Hessian and its trace.",
                "rows": [{"curvature": f"hessian_{name}", "title": name} for name in names],
            },
        },
    }
    found["clouds"]["around"]["jump"]["retrain"] = {"epochs": 5}
    for name in names:
        volume = {"runs": [name], "cutoffs": CUTOFFS, "directions": 50, "examples": EXAMPLES}
        found["probes"][f"basin_{name}"] = {"volume": volume}
        curvature = {"run": name, "examples": EXAMPLES, "tolerance": RESIDUAL, "products": 200, "trace": 10}
        found["probes"][f"hessian_{name}"] = {"curvature": curvature}
    if history is not None:
        found = merge(found, _of_history(history))
    if len(names) > 1:
        found = merge(found, _between(names))
    return found


CUTOFFS = [0.1, 0.5, 1.0, 2.0]
"""Training losses that bound basins: a network is seen at those above its own loss."""


def _data(data: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping of a run's data."""
    if isinstance(data, Mapping):
        return dict(data)
    if ":" in data:
        return {"builder": data}
    if data.endswith((".pt", ".pth", ".npz")):
        return {"name": "tensors", "path": data}
    return {"name": "folder", "path": data} if Path(data).is_dir() else {"name": data}


def _runs(checkpoints: Sequence[str | Path]) -> tuple[dict[str, Any], str | None]:
    """Return the runs, and the name of the first that is a whole history."""
    if not checkpoints:
        return {"network": {"record": {"epochs": "all"}}}, "network"
    runs: dict[str, Any] = {}
    history = None
    for i, one in enumerate(checkpoints):
        many = len(listed(one)) > 1
        name = ("training" if many else "network") + (f"_{i + 1}" if len(checkpoints) > 1 else "")
        runs[name] = {"checkpoints" if many else "checkpoint": str(one)}
        if many and history is None:
            history = name
    return runs, history


def _figures(names: Sequence[str]) -> dict[str, Any]:
    """Return the figures that every study has."""
    plane = [{"plane": "surface", "title": names[0]}]
    return {
        "surface": {
            "kind": "contours",
            "title": "The loss around the network",
            "caption": "Training loss on a plane of two random directions with filter normalisation (Li et al. 2018).",
            "panels": plane,
        },
        "relief": {
            "kind": "relief",
            "title": "The same as a surface",
            "caption": "Turn it with the mouse; the VTK file is for ParaView.",
            "panels": plane,
        },
        "petals": {
            "kind": "embedding",
            "title": "Jump and retrain",
            "caption": "Weights after jumps along random directions, and while training goes on from there, by PHATE.",
            "panels": [{"cloud": "around", "embedding": "phate", "title": names[0]}],
        },
        "basins": {
            "kind": "groups",
            "title": "How wide the basins are",
            "caption": "Radius and volume of the region around each network where the loss is below the cutoff.",
            "cutoff": CUTOFFS[-1],
            "groups": [{"volume": f"basin_{name}", "title": name} for name in names],
        },
    }


def _of_history(name: str) -> dict[str, Any]:
    """Return what a recorded training adds: its curves, and the plane of its path."""
    return {
        "probes": {"path": {"plane": {"run": name, "axes": "pca", "grid": 15, "examples": EXAMPLES}}},
        "figures": {
            "curves": {
                "kind": "curves",
                "title": "The training",
                "caption": "Losses and accuracy at the recorded epochs.",
                "series": [{"run": name, "label": name}],
                "y": ["train_loss", "test_loss", "test_accuracy"],
            },
            "path": {
                "kind": "pathplanes",
                "title": "The path of the training",
                "caption": "Training loss on the plane of the two principal axes of its weights; square: the first.",
                "panels": [{"plane": "path", "title": name}],
            },
        },
    }


def _between(names: Sequence[str]) -> dict[str, Any]:
    """Return what two networks add: the line between the first of them and each other, and its barrier."""
    first, others = names[0], names[1:]
    lines = {
        f"line_{name}": {
            "line": {
                "run": first,
                "to": name,
                "grid": 21,
                "limits": [0.0, 1.0],
                "examples": EXAMPLES,
                "parts": ["train", "test"],
            }
        }
        for name in others
    }
    return {
        "probes": lines,
        "figures": {
            "lines": {
                "kind": "lines",
                "title": "From one network to the other",
                "caption": "Loss and accuracy along the straight line between the weights.",
                "panels": [{"line": f"line_{n}", "title": f"{first} to {n}", "ends": [first, n]} for n in others],
            }
        },
        "tables": {
            "barriers": {
                "kind": "barrier_table",
                "title": "Barriers",
                "caption": "What the straight line climbs above the line between the losses at its ends.",
                "rows": [{"line": f"line_{name}", "title": f"{first} to {name}"} for name in others],
            }
        },
    }
