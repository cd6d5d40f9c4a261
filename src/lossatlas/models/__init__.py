"""Networks by name (:data:`lossatlas.models.spec.MODELS`) or by a user's importable builder.

``lossatlas.models.spec`` checks a model without importing torch; its functions import it when they are
first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossatlas.models.builders import build, check_outputs, from_vector

__all__ = ["build", "check_outputs", "from_vector"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lossatlas.models import binary, builders, quadratic, radial  # noqa: F401  (those beside builders register)

        return getattr(builders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
