"""Check files against their checksums, their places, their sources and what they were made from.

    python -m lossatlas.fsck               everything under results/
    python -m lossatlas.fsck PATH...       files or folders
    python -m lossatlas.fsck --subset 5%   a random part of them, at least one of each kind; it prints its seed

One line for every file that is not what was written, or was made from others than the inputs that lie in the tree, with
the reason and the remedy: exit status 1. A file that mixes classes of machines or versions with its inputs has a line,
too, but is no error unless --strict says so; files of earlier versions, which carry no checksum, are named as such.
"""

import argparse
import secrets
import sys
from collections import Counter
from pathlib import Path

from lossatlas.audit.arguments import count, processors, share
from lossatlas.audit.integrity import BAD, MIXED, OTHERS, UNSEALED, WHOLE, check, listed, sample
from lossatlas.errors import LossatlasError


def arguments() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.fsck", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("results")], metavar="PATH")
    parser.add_argument(
        "--jobs", type=count, default=processors(), metavar="N", help="processes that read files (default: all cores)"
    )
    parser.add_argument("--subset", type=share, metavar="5%", help="check a random part of each kind of file")
    parser.add_argument("--seed", type=int, help="of --subset; a fresh one by default")
    parser.add_argument("--strict", action="store_true", help="exit status 1 when classes or versions are mixed, too")
    return parser


def main() -> int:
    """Check what the command line names; print findings and a summary."""
    given = arguments().parse_args()
    try:
        files = listed(given.paths)
        if given.subset is not None:
            every, seed = len(files), secrets.randbits(32) if given.seed is None else given.seed
            files = sample(files, given.subset, seed)
            print(f"subset: {len(files)} of {every} files; --seed {seed} checks the same ones", flush=True)
        findings = check(files, given.jobs)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    for found in findings:
        if found.state != WHOLE:
            print(f"{found.path}: {found.state}: {found.reason}; {found.remedy}")
    found_in = Counter(found.state for found in findings)
    line = (
        f"{len(findings)} files: {found_in[WHOLE]} whole, {found_in[BAD]} bad, {found_in[UNSEALED]} without a checksum"
    )
    print(line + "".join(f", {found_in[state]} {state}" for state in (OTHERS, MIXED) if found_in[state]))
    return 1 if found_in[BAD] or found_in[OTHERS] or (given.strict and found_in[MIXED]) else 0


if __name__ == "__main__":
    sys.exit(main())
