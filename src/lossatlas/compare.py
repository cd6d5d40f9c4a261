"""Say at which level two results agree, and why not at a higher one.

    python -m lossatlas.compare FILE FILE    two artefacts, pictures or tables of one kind
    python -m lossatlas.compare TREE TREE    two folders of results, file by file

Levels: bits; rounding (the early losses of trainings agree, values to the last digits of float32); conclusions (claims
have the same verdicts, and values within each other's spread). Exit status 0 when the level is reached that the two
classes of machine let expect: bits on one class with the same versions and inputs, else rounding of trainings and
conclusions of claims. Of two files that nothing is expected of, when they agree at any level.
"""

import argparse
import sys
from pathlib import Path

from lossatlas.audit import agreement, trees
from lossatlas.audit.arguments import count, processors
from lossatlas.errors import LossatlasError


def main() -> int:
    """Compare what the command line names and print how it agrees."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument(
        "--jobs", type=count, default=processors(), metavar="N", help="processes that check files (default: all cores)"
    )
    given = parser.parse_args()
    try:
        if given.first.is_dir() and given.second.is_dir():
            found = trees.compare_trees(given.first, given.second, given.jobs)
            print(trees.report(found))
            return 0 if found.reached else 1
        one = agreement.compare_files(given.first, given.second)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    print(agreement.report(one, f"{given.first} and {given.second} agree at level"))
    return 0 if one.reached else 1


if __name__ == "__main__":
    sys.exit(main())
