"""The traversal that a setting names."""

from torch import Tensor

from lossatlas.landscape.landscape import Landscape
from lossatlas.levelsets.conjugate import Conjugate
from lossatlas.levelsets.interest import Interest
from lossatlas.levelsets.predictor import Predictor
from lossatlas.levelsets.spec import Settings
from lossatlas.levelsets.traversal import Traversal


def traversal(
    landscape: Landscape,
    interest: Interest,
    start: Tensor,
    settings: Settings,
    level: float | None = None,
    move: bool = True,
) -> Traversal:
    """Return the traversal that ``settings.traversal`` names (:class:`~lossatlas.levelsets.traversal.Traversal`)."""
    kind = {"predictor": Predictor, "conjugate": Conjugate}[settings.traversal]
    return kind(landscape, interest, start, settings, level, move)
