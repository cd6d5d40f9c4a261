"""lossatlas: ways to look at neural-network loss landscapes, of one's own network or as a reproducible workflow.

.. code-block:: python

    import lossatlas as la

    net = la.load(SmallCNN(), "a.pt", data=(x, y))
"""

from typing import TYPE_CHECKING, Any

from lossatlas import _torchvision

__version__ = "0.2.0"

_torchvision.ready()

_LAZY = {
    "load": "lossatlas.own.load",
    "connect": "lossatlas.own.connect",
    "embed": "lossatlas.own.embed",
    "Network": "lossatlas.own.network",
}
"""What the package offers, and where it stands: imported when it is asked for, since planning loads no torch."""

__all__ = ["Network", "connect", "embed", "load"]

if TYPE_CHECKING:
    from lossatlas.own.load import load
    from lossatlas.own.network import Network


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
