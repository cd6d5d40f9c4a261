"""The example of CONTRIBUTING.md, applied to a copy of the repository and run."""

import ast
import re
import shutil
import sys
from collections import Counter

import pandas as pd
import pytest
from harness import ROOT, environment, run

BLOCK = re.compile(
    r"^`(?P<file>[^`]+)`, (?:(?P<new>new)|(?P<end>at its end)|(?P<where>before|after) `(?P<mark>[^`]+)`):\n\n"
    r"```\w*\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
BLOCKS = [match.groupdict() for match in BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text())]
COPIED = ("src", "config", "workflow", "profiles", "slurm", "data", "docs")


def with_imports(old, text):
    """Return a module with the imports that a block begins with after its own, and the block without them."""
    imports = re.match(r"(?:from [^\n]+\n)*", text)[0]
    if not imports:
        return old, text
    lines = old.splitlines(keepends=True)
    last = max(node.end_lineno for node in ast.parse(old).body if isinstance(node, ast.Import | ast.ImportFrom))
    return "".join([*lines[:last], imports, *lines[last:]]), text.removeprefix(imports).lstrip("\n")


def apply(block, folder):
    """Carry out one block of the text."""
    path, text = folder / block["file"], block["text"]
    if block["new"]:
        assert not path.exists(), f"{block['file']} is there already"
        path.write_text(text)
        return
    old = path.read_text()
    if path.suffix == ".py":
        old, text = with_imports(old, text)
    if block["end"]:
        gap = "\n\n" if path.suffix in (".py", ".smk") else ""
        path.write_text(f"{old.rstrip()}\n{gap}{text}")
        return
    assert old.count(block["mark"]) == 1, (
        f"{block['mark']!r} stands {old.count(block['mark'])} times in {block['file']}"
    )
    gap = "\n\n" if path.suffix == ".py" else ""
    added = f"{text}{gap}{block['mark']}" if block["where"] == "before" else f"{block['mark']}\n{text.rstrip()}"
    path.write_text(old.replace(block["mark"], added))


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Return a copy of the repository with the example in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    for block in BLOCKS:
        apply(block, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    files = sorted({block["file"] for block in BLOCKS if block["file"].endswith(".py")})
    ask(folder, "-m", "ruff", "check", "--select", "I", "--fix", "--quiet", *files)
    return folder


def ask(folder, *command):
    """Run a command with the copy's package."""
    shell = {**environment(), "PYTHONPATH": str(folder / "src")}
    return run([sys.executable, *command], folder, env=shell)


def test_the_example_runs(copied):
    targets = ("results/figures/example/shrink.png", "results/claims/example.csv")
    done = ask(copied, "-m", "snakemake", "--cores", "2", "--config", "studies=[example.yaml]", "--", *targets)
    assert done.returncode == 0, done.stdout
    drawn = pd.read_csv(copied / "results/figures/example/shrink.csv")
    assert sorted(drawn["factor"]) == [0.0, 0.5, 1.0, 1.5]
    at_zero = drawn.set_index("factor")["train_loss"][0.0]
    assert at_zero == pytest.approx(2.302585, rel=1e-6), "the logarithm of ten classes"
    (claim,) = pd.read_csv(copied / "results/claims/example.csv").itertuples()
    assert (claim.verdict, claim.threshold) == ("not judged", "> 1"), "one network"
    assert claim.ours == pytest.approx(at_zero / drawn.set_index("factor")["train_loss"][1.0])


def test_the_lists_that_follow_know_the_example(copied):
    """Resources, profile, schema and reference come from the declarations."""
    code = (
        "from lossatlas.study import subjects; from lossatlas.workflow import generated; from pathlib import Path\n"
        "files = generated.files(Path.cwd())\n"
        "assert 'shrink_rise' in files['docs/reference.md'] and 'maxout' in files['config/schema/study.schema.json']\n"
        "assert subjects.steps()['shrinks'].gpu\n"
    )
    done = ask(copied, "-c", code)
    assert done.returncode == 0, done.stdout


def test_style_and_types_of_the_example(copied):
    files = sorted({block["file"] for block in BLOCKS if block["file"].endswith(".py")})
    for command in (["-m", "ruff", "check", *files], ["-m", "ruff", "format", "--check", *files]):
        done = ask(copied, *command)
        assert done.returncode == 0, done.stdout


PROMISED = {  # the most that adding one may touch
    "Add a model": 2,
    "Add a kind of artefact, a probe": 5,
    "Add a kind of figure": 2,
    "Add a measure": 2,
    "Add a study": 1,
}


@pytest.mark.parametrize("heading", PROMISED)
def test_no_more_files_than_promised(heading):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (part,) = re.findall(rf"^## {heading} \((\d+) files?\)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    files = Counter(match["file"] for match in BLOCK.finditer(part[1]))
    test = int("A test in" in part[1])
    assert len(files) + test <= int(part[0]) <= PROMISED[heading]
