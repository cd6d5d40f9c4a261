"""Files that follow from the declarations: JSON Schemas for editors, docs/reference.md, docs/atlas.md.

python -m lossatlas.workflow.generated            write them
python -m lossatlas.workflow.generated --check    exit 1 when one is not what the code says
"""

import argparse
import json
import sys
from pathlib import Path

from lossatlas.study.atlas import atlas
from lossatlas.study.reference import reference
from lossatlas.study.schema import schemas


def files(root: Path) -> dict[str, str]:
    """Return path -> text of every generated file."""
    found = {
        f"config/schema/{name}": json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }
    return {**found, "docs/reference.md": reference(), "docs/atlas.md": atlas(root)}


def main() -> int:
    """Write or check the files below the working directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when a file is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in files(Path.cwd()).items():
        path = Path(name)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: not what the code says; run `make docs`", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
