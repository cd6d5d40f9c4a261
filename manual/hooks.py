"""What the site has beyond docs/: pages that stand elsewhere in the repository, and links as they are on a site.

A link to a page of the repository becomes one to its page of the site; a link to another file of the repository,
which the site does not hold, becomes its text. A link to nothing stays, and the strict build names it.
"""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SCRIPTS = ("iframe-worker.js", "iframe-worker.LICENSE")
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
}
"""Path in the repository -> path in the site; what lies in docs/ keeps its own."""

FROM = {site: place for place, site in ELSEWHERE.items()}
FENCED = re.compile(r"(^[ \t>]*```.*?^[ \t>]*```)", re.MULTILINE | re.DOTALL)
ROLE = re.compile(r":(?:func|class|meth|mod|data|attr):(?=<code>)")
LINK = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\](?:\([^)]*\))?)*)\]\((?P<to>[^)\s]+)\)")


def on_files(files, config):
    """Add the pages that stand elsewhere; leave out what no page shows."""
    for place, site in ELSEWHERE.items():
        files.append(File.generated(config, site, content=(ROOT / place).read_text(encoding="utf-8")))
    for name in SCRIPTS:
        files.append(File.generated(config, f"assets/{name}", content=(HERE / name).read_text(encoding="utf-8")))
    for one in list(files):
        if one.src_uri.startswith("results/") and one.src_uri.endswith((".json", ".csv")):
            files.remove(one)
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite the links of a page outside its blocks of code."""
    uri = page.file.src_uri
    place = Path(FROM.get(uri, f"docs/{uri}")).parent
    known = {one.src_uri for one in files}
    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(lambda found: link(found, place, uri, known), text) for text in parts[::2]]
    return "".join(parts)


def on_page_content(html, page, config, files):
    """Take the roles of Sphinx from the docstrings: what they name is set as code already."""
    return ROLE.sub("", html)


def link(found, place, uri, known):
    """Return a link of a page as the site has it.

    Args:
        found: the link.
        place: folder of the page in the repository, relative to it.
        uri: of the page in the site.
        known: pages and pictures of the site.
    """
    text, to = LINK.sub(lambda inner: link(inner, place, uri, known), found["text"]), found["to"]
    path, hash, anchor = to.partition("#")
    if "://" in to or not path:
        return f"{found['mark']}[{text}]({to})"
    target = os.path.normpath(place / path)
    if (ROOT / target).is_dir() and (ROOT / target / "README.md").is_file():
        target = f"{target}/README.md"
    site = ELSEWHERE.get(target, target.removeprefix("docs/") if target.startswith("docs/") else "")
    if site in known:
        return f"{found['mark']}[{text}]({os.path.relpath(site, Path(uri).parent)}{hash}{anchor})"
    return text if (ROOT / target).exists() else f"{found['mark']}[{text}]({to})"
