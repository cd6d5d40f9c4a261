"""Files that follow from others: JSON Schemas, docs/reference.md, docs/atlas.md, numbers and pictures in the manual.

The first follow from the declarations; the pages of docs/results, what markers put into README.md and the pages of
docs/ (lossatlas.gallery.pages) and pictures (lossatlas.gallery.pictures), from the published results; the hours in
docs/cluster.md from the plan of preset paper.

python -m lossatlas.workflow.generated            write them
python -m lossatlas.workflow.generated --check    exit 1 when one is not what the code says
"""

import argparse
import json
import re
import sys
from pathlib import Path

from lossatlas.errors import LossatlasError
from lossatlas.gallery import pages, pictures, published
from lossatlas.study.atlas import atlas
from lossatlas.study.reference import reference
from lossatlas.study.schema import schemas
from lossatlas.workflow import gpu_hours

CLUSTER = "docs/cluster.md"
HOURS = re.compile(r"(?<=<!-- hours -->\n).*?(?=<!-- /hours -->)", re.DOTALL)


def files(root: Path) -> dict[str, str]:
    """Return path -> text of every generated file, and of every page whose numbers are not those of the results.

    Raises:
        LossatlasError: a published file has been changed, or a marker asks for what is not there; one line each.
    """
    found = {
        f"config/schema/{name}": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }
    filled = pages.fill(root)
    if filled.wrong:
        raise LossatlasError("\n".join(filled.wrong))
    return {
        **found,
        "docs/reference.md": reference(pictures.thumbnails(root)),
        "docs/atlas.md": atlas(root),
        **published.pages(root),
        **filled.texts,
        CLUSTER: hours(root, filled.texts.get(CLUSTER) or (root / CLUSTER).read_text(encoding="utf-8")),
    }


def hours(root: Path, page: str) -> str:
    """Return a page with the hours of preset paper between its two comments.

    Raises:
        LossatlasError: the page lacks them.
    """
    if not HOURS.search(page):
        raise LossatlasError(f"{CLUSTER}: got no <!-- hours --> and <!-- /hours -->, expected the table's place")
    table = gpu_hours.markdown(gpu_hours.table(gpu_hours.make_plan("paper", [], root)))
    return HOURS.sub(lambda _: f"\n{table}\n", page)


def main() -> int:
    """Write or check the files below the working directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when a file is out of date")
    check = parser.parse_args().check
    root = Path.cwd()
    try:
        found = files(root)
    except LossatlasError as error:
        print("\n".join(f"lossatlas: error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    stale = pictures.stale(root) if check else []
    if not check:
        pictures.write(root)
    for name, text in found.items():
        path = Path(name)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        for line in pages.fill(root).stale:
            print(line, file=sys.stderr)
        print(f"{', '.join(stale)}: not what the code and the results say; run `make docs`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
