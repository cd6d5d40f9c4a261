"""Copy finished results into the repository, where the documentation takes its numbers from.

    python -m lossatlas.publish                 every configured study
    python -m lossatlas.publish STUDY...        names or files of studies

Claims, statements, tables and small figures of results/ go to docs/results/<study>/ with their provenance records, and
a page that shows them. Results that their records do not vouch for, that come of several presets or of one that judges
nothing are refused in one line. `make docs` then puts the numbers into the pages (CONTRIBUTING.md).
"""

import argparse
import sys
from pathlib import Path

from lossatlas.errors import LossatlasError
from lossatlas.gallery import published
from lossatlas.gallery.publish import Finished, configuration, files_in, gather, publish, size
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load


def finished(study: str, results: Path, root: Path) -> Finished:
    """Return a study's results, with all figures and tables that it has at the preset of its claims.

    Args:
        study: name or file of a study.
        results: the tree.
        root: the repository.

    Raises:
        LossatlasError: there is no such study, or its results may not be published.
    """
    asked = configuration(results, Path(study).stem)
    raw = {**read_yaml(root / "config" / "config.yaml"), **asked, "studies": [study]}
    ((name, file),) = load(raw, root).studies.items()
    products = [("figures", one) for one in file.figures] + [("tables", one) for one in file.tables]
    return gather(results, name, file.title, file.reference, products)


def main() -> int:
    """Publish what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m lossatlas.publish", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="default: the studies of config/config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument("--to", type=Path, default=Path(published.FOLDER), metavar="DIR", help="default: docs/results")
    given = parser.parse_intermixed_args()
    root = Path.cwd()
    try:
        studies = given.studies or read_yaml(root / "config" / "config.yaml")["studies"]
        found = [finished(study, given.results, root) for study in studies]  # all of them, before anything is written
        for one in found:
            folder = publish(one, given.to)
            count, kilobytes = sum(1 for _ in files_in(folder)), size(folder) / 1000
            print(f"{folder}: preset {one.preset}, {count} files, {kilobytes:,.0f} kB")
    except (LossatlasError, OSError) as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    print("now `make docs` inserts the numbers into the pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
