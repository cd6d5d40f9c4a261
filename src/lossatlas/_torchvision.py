"""The only module that imports torchvision, so that one place copes with how it was built.

torchvision's wheel is compiled against the CUDA build of torch. Beside a CPU-only torch its compiled operators do not
load, and the import dies on ``operator torchvision::nms does not exist``. Declaring the schemas of the two operators
it registers fakes for is enough: data sets, models and transforms v2 are plain Python. With a matching torch the
operators exist, so the declaration is made only after the import has failed.
"""

import importlib
import sys

import torch

__all__ = ["InterpolationMode", "datasets", "functional", "models"]

_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
"""Kept for the life of the process: torch drops the declarations of a library that is garbage collected."""


def _import_torchvision() -> None:
    """Import torchvision, declaring the schemas of its compiled operators where they are absent."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


_import_torchvision()

from torchvision import datasets, models  # noqa: E402
from torchvision.transforms.v2 import InterpolationMode, functional  # noqa: E402
