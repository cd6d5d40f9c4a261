"""Check files against their checksums, their places and their sources.

    python -m lossatlas.fsck               everything under results/
    python -m lossatlas.fsck PATH...       files or folders

One line for every file that is not what was written, with the reason and the remedy; files of earlier versions, which
carry no checksum, are named as such. Exit status 1 when anything is bad.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from lossatlas.audit.integrity import BAD, UNSEALED, WHOLE, check
from lossatlas.errors import LossatlasError


def main() -> int:
    """Check what the command line names; print findings and a summary."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.fsck", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("results")], metavar="PATH")
    try:
        findings = check(parser.parse_args().paths)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    for found in findings:
        if found.state != WHOLE:
            print(f"{found.path}: {found.state}: {found.reason}; {found.remedy}")
    count = Counter(found.state for found in findings)
    print(f"{len(findings)} files: {count[WHOLE]} whole, {count[BAD]} bad, {count[UNSEALED]} without a checksum")
    return 1 if count[BAD] else 0


if __name__ == "__main__":
    sys.exit(main())
