"""Which figures and tables of a paper a text names, and so which figure of ours shows what a statement says."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_ITEM = r"(?:S?\d+|[IVX]+\b)(?:\s?[A-Za-z]\b(?!\.))?"
_LIST = re.compile(rf"\b(figure|table)s?\s+({_ITEM}(?:(?:\s*,\s*|\s+and\s+|\s*,\s*and\s+|\s+to\s+){_ITEM})*)", re.I)


def cited(text: str) -> list[str]:
    """Return the figures and tables that a text names, each once: ``figure 3``, ``figure s1``, ``table i``.

    Parts of a figure count as the figure: ``Figures 3B and 8`` are ``figure 3`` and ``figure 8``; ``figures 2 to 4``
    are three.
    """
    found: list[str] = []
    for kind, items in _LIST.findall(text):
        for part in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", items):
            ends = [_number(end) for end in re.split(r"\s+to\s+", part)]
            if len(ends) == 2 and all(end.isdigit() for end in ends):
                numbers = [str(n) for n in range(int(ends[0]), int(ends[1]) + 1)]
            else:
                numbers = ends
            found += [f"{kind.lower()} {number}" for number in numbers]
    return list(dict.fromkeys(found))


def _number(item: str) -> str:
    """Return the number of a figure without the letter of its part."""
    match = re.match(r"S?\d+|[IVX]+\b", item.strip(), re.I)
    return match[0].lower() if match else item.strip().lower()


def shown_by(name: str, paper_figure: str, statements: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the statements that a figure or table of ours shows.

    Those whose place in the paper is one of the paper's figures that ours stands for, and those whose own words (what
    is measured, what would refute it) name ours.

    Args:
        name: of our figure, as the study calls it.
        paper_figure: what it stands for.
        statements: with ``where``, ``measured``, ``refuted_by``.
    """
    own = set(cited(paper_figure))
    word = re.compile(rf"(?<![\w/]){re.escape(name)}(?!\w)")
    return [
        one
        for one in statements
        if own & set(cited(one["where"]))
        or ("_" in name and word.search(f"{one['measured']} {one['refuted_by']}") is not None)
    ]
