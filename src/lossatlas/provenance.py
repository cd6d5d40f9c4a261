"""What made a file: spec, hash, commit, inputs, and every machine that worked on it with its versions.

    python -m lossatlas.provenance FILE                  print it, and the command that makes the file again
    python -m lossatlas.provenance --verify FILE         make it again from the data on, in a scratch folder; compare
    python -m lossatlas.provenance --verify --step FILE  the same, from the artefacts it is directly made from

FILE is anything lossatlas makes: HDF5, PNG, PDF, CSV. Exit status 1 when it has no provenance, is corrupt, or does not
agree with its recomputation at the level that the two machines let expect (python -m lossatlas.compare --help).
"""

import argparse
import sys
from pathlib import Path

from lossatlas import places
from lossatlas.audit import origin, recompute
from lossatlas.errors import LossatlasError


def main() -> int:
    """Print the provenance of the file on the command line, or verify it."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.provenance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--verify", action="store_true", help="make it again in a scratch folder and compare")
    parser.add_argument("--step", action="store_true", help="with --verify: only the last step")
    parser.add_argument("--cores", type=int, default=1, help="with --verify: for Snakemake (default: 1)")
    given = parser.parse_args()
    try:
        root = places.here_or_installed()
        if not given.verify:
            print(origin.describe(given.file, origin.read(given.file), root), end="")
            return 0
        found, text = recompute.verify(given.file, root, given.cores, given.step)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0 if found.reached else 1


if __name__ == "__main__":
    sys.exit(main())
