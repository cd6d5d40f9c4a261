"""Makes ``import torchvision`` work beside another build of torch than its wheel was compiled for.

torchvision's wheel is compiled against the CUDA build of torch. Beside a CPU-only torch its compiled operators do not
load, and the import dies on ``operator torchvision::nms does not exist``. Declaring the schemas of the two operators
it registers fakes for is enough: data sets, models and transforms v2 are plain Python. With a matching torch the
operators exist, so the declaration is made only after the import has failed.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "torchvision"
_KEPT: list[Any] = []
"""For the life of the process: torch drops the declarations of a library that is garbage collected."""


def ready() -> None:
    """Let this process import torchvision, whoever does it and whenever: a user's builder, its libraries, our own data.

    ``import lossatlas`` calls it. It costs nothing until then: neither torch nor torchvision is imported here.
    """
    if NAME not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision where it is, and has it loaded with a second try."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == NAME else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Torchvision's own loader, and again once the schemas that it misses are declared."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)  # its resources, its source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.own.exec_module(module)
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            for name in [name for name in sys.modules if name.startswith(f"{NAME}.")]:
                del sys.modules[name]
            _declare()
            self.own.exec_module(module)


def _declare() -> None:
    """Declare the schemas of the compiled operators that torchvision's Python registers fakes for."""
    import torch

    operators = torch.library.Library(NAME, "FRAGMENT")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(operators)
