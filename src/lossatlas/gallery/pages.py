"""Numbers in pages of Markdown, inserted from published results by markers that readers do not see.

A marker is a comment in front of the text and one behind it; the text between them is what the marker says::

    a gap of <!-- value generalization/claims.csv G6 ours .0f -->4124<!-- / --> orders of magnitude

    value FILE ROW COLUMN [FORMAT] [*FACTOR]       one cell, or [low, high] for the column `interval`
    table FILE [COLUMN[:FORMAT[:HEADING]]...] [COLUMN=TEXT...]     columns of a table, and which of its rows
    statements FOLDER [ID...]                      statements of a paper with verdicts and numbers

FILE and FOLDER lie below ``docs/results``. ROW is a value of column ``id``, or else of the first one, or conditions
such as ``beta=0.1&cutoff=1.0``. FORMAT is Python's (``.0f``, ``,.0f``, ``.1e``, ``.0%``). Words with blanks stand in
quotes. A COLUMN such as ``mean(loss)`` is that of all rows named, in a table of all that agree in its other columns:
mean, sd (of a sample), median, min, max or count of the numbers there are.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.gallery import published
from lossatlas.specs.yaml import nearest

INLINE, KINDS = "value", ("value", "table", "statements")

SCAN = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t>]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=ticks)(?!`)"
    r"|<!--(?P<comment>.*?)-->",
    re.MULTILINE | re.DOTALL,
)
"""Code, in which a marker is an example, and comments: whichever begins first."""

OPENS_LINE = re.compile(r"[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?(?:\[[ x]\]\s+)?")
"""What may stand in front of a comment that GitHub takes for the beginning of a block of HTML."""


OVER_ROWS = re.compile(r"(mean|sd|median|min|max|count)\((.+)\)")


@dataclass(frozen=True)
class Marker:
    """A marker of a page.

    Attributes:
        words: what it says, in words.
        printed: its first comment as the page has it.
        text: what stands between its two comments.
        start, end: where that text begins and ends.
        line: of the page, from 1.
        before: the part of its line in front of it.
    """

    words: list[str]
    printed: str
    text: str
    start: int
    end: int
    line: int
    before: str


@dataclass(frozen=True)
class Filled:
    """Pages with what their markers say.

    Attributes:
        texts: path of a page -> its text as it should be, of those that have another.
        stale: a line for each marker whose text is another: page, line, marker, what it says and what it should say.
        wrong: a line for each marker that asks for what is not there; its text stays.
    """

    texts: dict[str, str]
    stale: list[str]
    wrong: list[str]


def fill(root: Path) -> Filled:
    """Return README.md and all pages below docs/, but for those of published results, with what their markers say."""
    texts, stale, wrong = {}, list[str](), list[str]()
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        if not page.is_file() or page.is_relative_to(root / published.FOLDER):
            continue
        name, old = page.relative_to(root).as_posix(), page.read_text(encoding="utf-8")
        text, others, errors = filled(old, root / published.FOLDER)
        stale += [f"{name}:{line}" for line in others]
        wrong += [f"{name}:{line}".replace(f"{root}/", "") for line in errors]
        if others:
            texts[name] = text
    return Filled(texts, stale, wrong)


def markers(text: str) -> Iterator[Marker]:
    """Yield the markers of a page.

    Raises:
        LossatlasError: one line that begins with the line's number: a marker that nothing closes, or the reverse.
    """
    first: re.Match[str] | None = None
    for found in SCAN.finditer(text):
        words = _words(found["comment"] or "")
        opens = bool(words) and words[0] in KINDS
        if words == ["/"]:
            if first is None:
                raise LossatlasError(f"{_line(text, found)}: {found[0]} closes nothing; markers are {', '.join(KINDS)}")
            yield _marker(text, first, found)
            first = None
        elif opens and first is None:
            first = found
        elif opens:
            break
    if first is not None:
        raise LossatlasError(f"{_line(text, first)}: {first[0]}: nothing closes it; put <!-- / --> behind its text")


def _marker(text: str, first: re.Match[str], last: re.Match[str]) -> Marker:
    begins = text.rfind("\n", 0, first.start()) + 1
    inside, before = text[first.end() : last.start()], text[begins : first.start()]
    return Marker(_words(first["comment"]), first[0], inside, first.end(), last.start(), _line(text, first), before)


def _words(comment: str) -> list[str]:
    try:
        return shlex.split(comment)
    except ValueError:  # an ordinary comment with one apostrophe
        return comment.split()


def _line(text: str, found: re.Match[str]) -> int:
    return text.count("\n", 0, found.start()) + 1


def filled(text: str, results: Path) -> tuple[str, list[str], list[str]]:
    """Return a page with what its markers say.

    Args:
        text: of the page.
        results: ``docs/results``.

    Returns:
        The page; a line for each marker whose text is another, with what it should be; and a line for each marker that
        asks for what is not there, whose text stays. Lines begin with the page's line number.
    """
    parts, stale, wrong, done = list[str](), list[str](), list[str](), 0
    try:
        for marker in markers(text):
            try:
                new = said(marker, results)
            except LossatlasError as error:
                wrong.append(f"{marker.line}: {marker.printed}: {error}")
                continue
            if new != marker.text:
                stale.append(f"{marker.line}: {marker.printed}: {_told(marker, new)}")
            parts += [text[done : marker.start], new]
            done = marker.end
    except LossatlasError as error:
        wrong.append(str(error))
    return "".join([*parts, text[done:]]), stale, wrong


def _told(marker: Marker, new: str) -> str:
    if marker.words[0] == INLINE:
        return f"says {marker.text.strip()!r}, should say {new!r}"
    old, rows = marker.text.strip().splitlines(), new.strip().splitlines()
    for i, row in enumerate(rows):
        if i >= len(old) or old[i] != row:
            return f"line {i + 1} of it should say {row!r}"
    return f"has {len(old)} lines, should have {len(rows)}"


def said(marker: Marker, results: Path) -> str:
    """Return the text that belongs between a marker's comments.

    Raises:
        LossatlasError: one line: it asks for a file, row or column that is not there, or stands where it may not.
    """
    kind, *words = marker.words
    if kind == INLINE:
        if OPENS_LINE.fullmatch(marker.before):
            raise LossatlasError(
                "stands at the beginning of its line, which GitHub then takes for HTML; begin with a word"
            )
        return _value(words, results)
    if marker.before.strip():
        raise LossatlasError("must begin its line")
    return f"\n\n{_table(words, results) if kind == 'table' else _statements(words, results)}\n\n"


def _value(words: Sequence[str], results: Path) -> str:
    if len(words) < 3:
        raise LossatlasError("takes FILE ROW COLUMN [FORMAT] [*FACTOR]")
    name, key, column, *rest = words
    factor = [float(word[1:]) for word in rest if re.fullmatch(r"\*-?[\d.]+(e-?\d+)?", word)]
    form = [word for word in rest if not word.startswith("*")]
    if len(factor) + len(form) < len(rest) or len(factor) > 1 or len(form) > 1:
        raise LossatlasError(f"{' '.join(rest)}: at most one format and one factor such as *100")
    rows = _named(_read(name, results), key, name)
    if len(rows) > 1 and not OVER_ROWS.fullmatch(column):
        raise LossatlasError(
            f"{name}: {len(rows)} rows are {key}; say which by COLUMN=TEXT&COLUMN=TEXT, or mean({column})"
        )
    shown = _cell(rows, column, form[0] if form else "", factor[0] if factor else 1.0, name)
    if not shown:
        raise LossatlasError(f"{name}: {column} of {key} is empty")
    return shown


def _read(name: str, results: Path) -> pd.DataFrame:
    if not name.endswith(".csv"):
        raise LossatlasError(f"{name!r} is no table; name a .csv below {published.FOLDER}")
    return published.table(results / name)


def _named(rows: pd.DataFrame, key: str, name: str) -> pd.DataFrame:
    """Return the rows that a key or some conditions name; at least one."""
    column = "id" if "id" in rows else rows.columns[0]
    parts = [part.partition("=") for part in key.split("&")]
    conditions = [(where, text) for where, _, text in parts] if all(mark for _, mark, _ in parts) else [(column, key)]
    for where, text in conditions:
        rows = _where(rows, where, text, name)
    return rows


def _where(rows: pd.DataFrame, column: str, text: str, name: str) -> pd.DataFrame:
    _known(rows.columns, column, name)
    found = rows[[_same(value, text) for value in rows[column]]]
    if found.empty:
        near = nearest(text, list(dict.fromkeys(rows[column])))
        raise LossatlasError(f"{name}: no row with {column} {text!r}; {near}")
    return found


def _same(value: str, text: str) -> bool:
    try:
        return float(value) == float(text)
    except ValueError:
        return value == text


def _known(columns: pd.Index, column: str, name: str) -> None:
    if column not in columns:
        raise LossatlasError(f"{name}: no column {column!r}; {nearest(column, list(map(str, columns)))}")


def _cell(rows: pd.DataFrame, column: str, form: str, factor: float, name: str) -> str:
    """Return a cell of a row, or a number of several, as it is printed; "" where it is empty."""
    row = rows.iloc[0]
    over = OVER_ROWS.fullmatch(column)
    try:
        if over:
            _known(rows.columns, over[2], name)
            return published.number(_over(over[1], [float(text) for text in rows[over[2]] if text]), form, factor)
        if column == "interval" and {"low", "high"} <= set(rows):
            return published.interval(row["low"], row["high"], form, factor)
        _known(rows.columns, column, name)
        return published.number(row[column], form, factor) if row[column] else ""
    except ValueError as error:
        raise LossatlasError(f"{name}: {column}: {error}") from None


def _over(what: str, values: Sequence[float]) -> str:
    """Return a number of several as text, whole digits; "nan", an empty cell, where there are too few."""
    if what == "count":
        return str(len(values))
    numbers = pd.Series(values, dtype=float)
    return repr(float(getattr(numbers, "std" if what == "sd" else what)()))


def _table(words: Sequence[str], results: Path) -> str:
    if not words:
        raise LossatlasError("takes FILE [COLUMN[:FORMAT[:HEADING]]...] [COLUMN=TEXT...]")
    name, *rest = words
    rows = _read(name, results)
    conditions = [word for word in rest if "=" in word.partition(":")[0]]
    for where, _, text in (word.partition("=") for word in conditions):
        rows = _where(rows, where, text, name)
    asked = [word.split(":", 2) for word in rest if word not in conditions] or [[str(column)] for column in rows]
    groups = _groups(rows, [parts[0] for parts in asked], name)
    heads, columns = [], []
    for column, form, head in ([*parts, "", ""][:3] for parts in asked):
        shown = [_cell(group, column, form, 1.0, name) for group in groups]
        heads.append((head or column.replace("_", " "), all(NUMERIC.fullmatch(text) for text in shown)))
        columns.append(shown)
    return published.markdown(heads, zip(*columns, strict=True))


def _groups(rows: pd.DataFrame, columns: Sequence[str], name: str) -> list[pd.DataFrame]:
    """Return the rows one by one, or where a column is of several, those that agree in the other columns."""
    plain = [column for column in columns if not OVER_ROWS.fullmatch(column)]
    if len(plain) == len(columns):
        return [rows.iloc[[i]] for i in range(len(rows))]
    for column in plain:
        _known(rows.columns, column, name)
    return [group for _, group in rows.groupby(plain, sort=False)] if plain else [rows]


NUMERIC = re.compile(r"[\[\]\d\u2212+,.e\u221e% ]*")
"""A cell of a column of numbers; it may be empty."""


def _statements(words: Sequence[str], results: Path) -> str:
    if not words:
        raise LossatlasError("takes FOLDER [ID...]")
    return published.statements(results / words[0], words[1:])
