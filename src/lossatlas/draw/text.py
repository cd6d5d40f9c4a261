"""How wide a text is in print, and its lines where it must be no wider: layouts measure, they do not guess."""

from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

FAMILY = "DejaVu Sans"


@lru_cache(maxsize=4096)
def width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of one line of text in inches; between ``$`` it is mathematics.

    Args:
        text: one line.
        size: of the font, in points.
        bold: whether it is bold.
    """
    if not text.strip():
        return 0.0
    font = FontProperties(family=FAMILY, weight="bold" if bold else "normal")
    box = TextPath((0, 0), text, size=size, prop=font).get_extents()
    return float(box.x1) / 72


def wrapped(text: str, inches: float, size: float) -> list[str]:
    """Return a text in lines no wider than asked, broken at spaces; a line of its own for every line break in it.

    A non-breaking space holds words together. A word that is wider alone stays whole.
    """
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and width(longer, size) > inches:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines if text else []
