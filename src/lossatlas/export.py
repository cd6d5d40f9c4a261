"""Pack results with all that made them into a Workflow Run RO-Crate: one zip for a repository such as Zenodo.

    python -m lossatlas.export FILE...                 FILE's crate, as <name>.crate.zip
    python -m lossatlas.export FILE... -o crate.zip    several files of one run, one crate

FILE is anything the workflow made: HDF5, PNG, PDF, CSV. The crate has it, the files it was made from as far as the tree
holds them, the workflow, and a record of every job that standard tools read. Unpacked it is a working directory. Exit
status 1 when a file has no provenance or is not what was written.
"""

import argparse
import sys
from pathlib import Path

from lossatlas import places
from lossatlas.audit.crate import crate
from lossatlas.audit.lineage import lineage
from lossatlas.errors import LossatlasError


def arguments() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("-o", "--out", type=Path, metavar="ZIP", help="default: <name of the first file>.crate.zip")
    parser.add_argument(
        "--license", default="", help="of the results: a URL or an SPDX identifier (default: none is granted)"
    )
    parser.add_argument(
        "--author", default="", metavar="NAME", help="who answers for the run (default: nobody is named)"
    )
    return parser


def main() -> int:
    """Write the crate of the files on the command line."""
    given = arguments().parse_args()
    out = given.out or Path(f"{given.files[0].stem}.crate.zip")
    try:
        if out.suffix != ".zip":
            raise LossatlasError(f"--out: got {str(out)!r}; expected a name that ends in .zip")
        if out.exists():
            raise LossatlasError(f"{out}: lies there already; delete it or name another file with --out")
        found = lineage(given.files)
        made = crate(found, places.here_or_installed(), given.license, given.author)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.stem}.part.zip")
        made.write_zip(part)
        part.replace(out)
    except (LossatlasError, OSError) as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    size = out.stat().st_size / 1e6
    print(f"{out}: {len(found.jobs)} jobs, {len(found.absent)} inputs named by their digests alone, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
