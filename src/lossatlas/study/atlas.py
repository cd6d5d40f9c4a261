"""``docs/atlas.md``: from every figure and table of the studies to the paper's and to the function that draws it."""

from pathlib import Path
from typing import Any

from lossatlas.draw.spec import Product
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load

HEAD = """# Atlas

Written by `make docs`. Every figure and table of the studies, what of the paper it stands for, and the function that
draws it; its record, `results/figures/<study>/<figure>.json`, names that function too (`made_by`). What a kind may say
stands in [reference.md](reference.md).
"""


def location(name: str) -> tuple[str, str]:
    """Return the file (below ``src/``) and the function of ``module:function``."""
    module, _, function = name.partition(":")
    return f"src/{module.replace('.', '/')}.py", function


def _row(name: str, product: Product) -> str:
    file, function = location(product.draw)
    shown = product.paper_figure or "-"
    return f"| `{name}` | {shown} | `{product.name()}` | [`{file}`](../{file}) | `{function}` |"


def atlas(root: Path) -> str:
    """Return the page, from every study of ``config/studies`` at the preset of ``config.yaml``."""
    names = sorted(path.stem for path in (root / "config/studies").glob("*.yaml"))
    raw: dict[str, Any] = {**read_yaml(root / "config/config.yaml"), "studies": names}
    lines = [HEAD]
    for study, file in load(raw, root).studies.items():
        lines += [f"\n## {study}\n", f"{file.reference}\n"]
        for section, products in (("figure", file.figures), ("table", file.tables)):
            if products:
                lines += [f"| {section} | of the paper | kind | module | function |", "| --- | --- | --- | --- | --- |"]
                lines += [*(_row(name, product) for name, product in products.items()), ""]
    return "\n".join(lines).rstrip() + "\n"
