"""Networks by name (:data:`lossatlas.models.spec.MODELS`) or by a user's importable builder.

``lossatlas.models.spec`` checks a model without importing torch; ``build`` and ``from_vector`` import it when they are
first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossatlas.models.builders import build, from_vector

__all__ = ["build", "from_vector"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lossatlas.models import binary, builders, quadratic, radial  # noqa: F401  (those beside builders register)

        return getattr(builders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
