"""What every figure and table says of itself. Light: the Snakefile reads it.

A kind of figure is one class in its subject's ``spec.py`` and the function it names::

    class Basins(Figure):
        \"\"\"Accuracy, basin radius and log-volume against a swept value.\"\"\"

        kind: Literal["basins"] = "basins"
        draw: ClassVar = "lossatlas.basins.figures.basins:compose"
        volume: Annotated[str, Refers("volume")] = key("Name of a volume probe of the study.")
        cutoff: float = key("Training loss that bounds the basin.", 0.1, gt=0)

``compose(spec: Basins, inputs: Inputs) -> Drawn`` draws it; what it reads follows from the references.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from lossatlas.specs.base import Spec, key
from lossatlas.specs.study import Study


class Product(Spec):
    """What a figure and a table have in common; subclasses have a literal ``kind``."""

    role: ClassVar[str]
    draw: ClassVar[str]
    """``module:function`` that makes it from the spec and its inputs."""

    title: str = key("Title in the gallery.", "")
    caption: str = key("Caption in the gallery.", "")
    paper_figure: str = key("The figure or table of the paper it stands for.", "")

    def check(self, study: Study, where: str) -> None:
        """Raise what only the whole study can tell; nothing by default."""

    @classmethod
    def name(cls) -> str:
        """Return the kind's name in YAML."""
        return str(cls.model_fields["kind"].default)


class Figure(Product):
    """A picture with its numbers as CSV."""

    role: ClassVar[str] = "figure"
    formats: ClassVar[tuple[str, ...] | None] = None
    """Its files besides the CSV; None = the formats of ``config.yaml``."""
    interactive: ClassVar[Literal["", "surface", "embedding"]] = ""
    """What the gallery draws anew from its CSV to be turned or played (``lossatlas.gallery.interactive``)."""

    @classmethod
    def files(cls, configured: Sequence[str]) -> tuple[str, ...]:
        """Return its files besides the CSV."""
        return tuple(configured) if cls.formats is None else cls.formats


class Table(Product):
    """A CSV file, the paper's values beside ours; ``draw`` names a function that returns a DataFrame."""

    role: ClassVar[str] = "table"


def _texts(raw: Any) -> Any:
    """Return a mapping with its keys and values as text, whichever YAML took for numbers."""
    return {str(name): str(value) for name, value in raw.items()} if isinstance(raw, Mapping) else raw


Labels = Annotated[dict[str, str], BeforeValidator(_texts)]
"""Value of a table's column -> shown label."""

Columns = Annotated[int | None, key("Panels a row; null = chosen from their number.", None, ge=1)]
"""Key of figures made of panels."""
