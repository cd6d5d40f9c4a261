"""Every comparison, one subject a file."""

from importlib import import_module

from benchmarks.frame.case import Case

ROWS = {
    "surface": "2D surface",
    "hessian": "curvature: extremes, trace, spectral density, Hessian products",
    "phate": "Gram matrix and PHATE of a cloud",
    "path": "one step of FourierPathFinder",
    "radii": "basin radii",
    "levelset": "level-set traversal to the same angle",
    "gradient": "gradient of convolutional networks",
    "fanout": "fan-out of retrainings",
    "training": "training",
    "gallery": "from a fresh clone to the quick gallery",
}
"""Row of the table -> what it compares, in the order of the page."""

MODULES = tuple(f"benchmarks.cases.{row}" for row in ROWS)
MODULE_OF = {case.name: module for module in MODULES for case in import_module(module).CASES}
ALL: tuple[Case, ...] = tuple(case for module in MODULES for case in import_module(module).CASES)
