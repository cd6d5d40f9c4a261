"""Pictures of the documentation that follow from published results: the scorecard, whole and at a glance, thumbnails.

Their pixels depend on fonts and libraries, so what is compared is not them: each carries a digest of the files that it
was made from and of the code that draws it, and is made again when that is another.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
from PIL import Image, PngImagePlugin

from lossatlas.draw.style import Drawn
from lossatlas.gallery import glance, published, scorecard

FOLDER = "docs/images"
SCORECARD = f"{FOLDER}/scorecard.png"
GLANCE = f"{FOLDER}/verdicts.png"
KINDS = f"{FOLDER}/kinds"
SOURCES = "lossatlas-sources"
"""Text of a PNG: the digest of what it was made from."""

WIDTH, THUMBNAIL, COLOURS, DPI = 1500, 480, 64, 140
"""Pixels of the scorecard and of a thumbnail; colours of either; dots per inch that the scorecard is drawn with."""


@dataclass(frozen=True)
class Picture:
    """A picture and what it follows from.

    Attributes:
        path: relative to the repository.
        sources: files whose bytes decide about it.
        draw: makes it.
    """

    path: str
    sources: tuple[Path, ...]
    draw: Callable[[], Image.Image]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of its sources."""
        found = hashlib.sha256()
        for source in self.sources:
            found.update(hashlib.sha256(source.read_bytes()).digest())
        return found.hexdigest()


def pictures(root: Path) -> list[Picture]:
    """Return all pictures of the documentation, the scorecards first where anything is published."""
    folders = [folder for folder in published.folders_in(root / published.FOLDER) if folder.parent.name == "results"]
    found = [_scorecard(folders, SCORECARD, scorecard), _scorecard(folders, GLANCE, glance)] if folders else []
    return found + [_thumbnail(kind, figure) for kind, figure in sorted(_shown(folders).items())]


def stale(root: Path) -> list[str]:
    """Return the paths of pictures that are missing or were made from something else."""
    return [one.path for one in pictures(root) if _carried(root / one.path) != one.digest]


def write(root: Path) -> list[str]:
    """Make the pictures that :func:`stale` names; return their paths."""
    again = stale(root)
    for one in pictures(root):
        if one.path in again:
            text = PngImagePlugin.PngInfo()
            text.add_text(SOURCES, one.digest)
            (root / one.path).parent.mkdir(parents=True, exist_ok=True)
            reduced = one.draw().quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
            reduced.save(root / one.path, "png", optimize=True, pnginfo=text)
    return again


def thumbnails(root: Path) -> dict[str, str]:
    """Return kind of figure -> its thumbnail, relative to ``docs``."""
    return {
        Path(one.path).stem: Path(one.path).relative_to("docs").as_posix()
        for one in pictures(root)
        if one.path.startswith(KINDS)
    }


def _carried(file: Path) -> str:
    try:
        with Image.open(file) as image:
            image.load()
            return str(image.info.get(SOURCES, ""))
    except OSError:
        return ""


def _scorecard(folders: Sequence[Path], path: str, how: ModuleType) -> Picture:
    """Return the scorecard as a module draws it whose ``compose`` takes statements."""
    tables = [folder / name for folder in folders for name in ("claims.csv", "statements.csv")]

    def draw() -> Image.Image:
        drawn: Drawn = how.compose(pd.concat([_statements(folder) for folder in folders], ignore_index=True))
        sink = io.BytesIO()
        drawn.figure.savefig(sink, format="png", dpi=2 * DPI, facecolor="white")
        image = Image.open(sink).convert("RGB")
        return image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)

    return Picture(path, (*tables, Path(__file__), Path(str(how.__file__))), draw)


def _statements(folder: Path) -> pd.DataFrame:
    """Return a study's statements with the numbers of their main claims, as the picture takes them."""
    claims, statements = published.table(folder / "claims.csv"), published.table(folder / "statements.csv")
    by_id = claims.set_index("id")
    numbers = [by_id.loc[ids.split()[0], scorecard.NUMBERS] for ids in statements["main"]]
    found = pd.concat([statements, pd.DataFrame(numbers).reset_index(drop=True)], axis=1)
    return found.assign(preset=published.record(folder / "claims.csv")["preset"])


def _shown(folders: Sequence[Path]) -> Mapping[str, Path]:
    """Return kind of figure -> the published picture that stands for it: the first of the first study that has one."""
    found: dict[str, Path] = {}
    for folder in folders:
        for kind, file in _figures(folder):
            found.setdefault(kind, file)
    return found


def _figures(folder: Path) -> Iterator[tuple[str, Path]]:
    for record in sorted((folder / "figures").glob("*.json")):
        file = record.with_suffix(".png")
        kind = json.loads(record.read_text(encoding="utf-8")).get("spec", {}).get("kind")
        if kind and file.is_file():
            yield kind, file


def _thumbnail(kind: str, figure: Path) -> Picture:
    def draw() -> Image.Image:
        with Image.open(figure) as image:
            plain = image.convert("RGB")
        return plain.resize((THUMBNAIL, round(plain.height * THUMBNAIL / plain.width)), Image.Resampling.LANCZOS)

    return Picture(f"{KINDS}/{kind}.png", (figure, Path(__file__)), draw)
