"""The manual: pages that say so are run, every other command has a test that runs it, messages and links are there."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from harness import ROOT
from typer.main import get_command

from lossatlas.cli.main import app, main

PAGES = [
    page
    for page in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "examples/README.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if "results" not in page.relative_to(ROOT).parts
    and page.name not in ("command-line.md", "reference.md", "atlas.md")
]
RUN_HERE = ("docs/five-minutes.md", "docs/recipes.md")

PROGRAMS = (
    r"lossatlas|snakemake|make|pip|python|dvc|conda|git|tar|rm|cd|\.|srun|sbatch|squeue|sacct|scancel|[A-Z_]+=\S+"
)
COMMAND = re.compile(rf"^ {{4,8}}((?:{PROGRAMS})(?: .*)?)$")

ELSEWHERE = {
    r"make (setup|check|test|figures|site)": (".ci/run", r"make \1"),
    r"make bench": ("tests/benchmarks/test_makefile.py", "make bench"),
    r"make docs": ("tests/test_contributing.py", "generated"),
    r"pip install .*|pip wheel .*": ("tests/packaging/test_wheel.py", "pip"),
    r"conda .*": ("tests/workflow/test_repository.py", "environment.yml"),
    r"lossatlas demo": ("tests/manual/test_manual.py", "five-minutes"),
    r"lossatlas (surface|connect|hessian|jump|new|check|run|kinds).*": ("tests/cli/test_command_line.py", r"\1"),
    r"(lossatlas |python -m lossatlas\.)fsck.*": ("tests/audit/test_integrity.py", "fsck"),
    r"(lossatlas |python -m lossatlas\.)provenance.*": ("tests/audit/test_provenance.py", "provenance"),
    r"(lossatlas |python -m lossatlas\.)compare.*": ("tests/audit/test_agreement.py", "compare"),
    r"(lossatlas |python -m lossatlas\.)publish.*": ("tests/gallery/test_publish.py", "publish"),
    r"(lossatlas |python -m lossatlas\.)export.*": ("tests/audit/test_crate.py", "export"),
    r"python -m lossatlas\.workflow\.(dvc_stages|gpu_hours).*": ("tests/workflow", r"\1"),
    r"snakemake .*--profile slurm.*": ("tests/slurm/test_slurm.py", "snakemake"),
    r"snakemake .*\[example\.yaml\].*": ("tests/test_contributing.py", "example.yaml"),
    r"snakemake .*\[(mine|short)\.yaml\].*": ("tests/workflow/test_own_study.py", "own-study.md"),
    r"(LOSSATLAS_DATA=\S+ )?snakemake .*": ("tests/workflow/test_workflow.py", "snakemake"),
    r"dvc .*": ("tests/workflow/test_dvc.py", "dvc"),
    r"(LOSSATLAS_\w+=\d+ )?python -m pytest .*": ("", ""),
    r"([A-Z_]+=\S+ )*python (benchmarks|tests/tools|examples)/.*": ("", ""),
    r"(srun|sbatch|squeue|sacct|scancel|scontrol|sinfo) .*": ("tests/workflow/test_slurm_profile.py", "squeue"),
    r"(git|tar|rm|cd|\.|curl|export|ssh) .*": ("", ""),
}
"""Form of a command -> the test that runs it and a word of it; none: a file of the repository that must be there, or a
programme that is not ours. The first form that fits counts."""


def commands(page):
    """Yield the commands of a page with their lines: indented blocks whose lines begin with a programme's name."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        found = COMMAND.match(line)
        if found and not fenced:
            for one in re.split(r"\s*&&\s*", re.sub(r"\s+#\s.*", "", found[1])):
                yield number, one.strip()


EVERY = [(page, number, command) for page in PAGES if page.is_file() for number, command in commands(page)]


def test_every_command_is_run_by_a_test():
    assert len(EVERY) > 60
    lost = []
    for page, number, command in EVERY:
        name = str(page.relative_to(ROOT))
        if name in RUN_HERE and command not in SKIPPED:
            continue
        form = next((one for one in ELSEWHERE if re.fullmatch(one, command)), None)
        if form is None:
            lost.append(f"{name}:{number}: {command}")
            continue
        test, word = ELSEWHERE[form]
        files = [ROOT / test] if (ROOT / test).is_file() else sorted((ROOT / test).glob("*.py")) if test else []
        asked = re.fullmatch(form, command).expand(word)
        if test and not any(re.search(asked, file.read_text(encoding="utf-8")) for file in files):
            lost.append(f"{name}:{number}: {command}: {test} has no {asked!r}")
    assert not lost, "\n".join(lost)


def test_commands_of_ours_can_be_read():
    """Options and arguments of lossatlas's own commands, targets of make, and files that a command names."""
    known, targets = get_command(app).commands, (ROOT / "Makefile").read_text(encoding="utf-8")
    for page, number, command in EVERY:
        where = f"{page.relative_to(ROOT)}:{number}: {command}"
        words = shlex.split(command)
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[0] == "lossatlas":
            assert words[1] in known, where
            known[words[1]].make_context(words[1], words[2:])
        elif words[0] == "make":
            assert all(re.search(rf"^{word}:", targets, re.MULTILINE) for word in words[1:] if "=" not in word), where
        elif words[0] == "python":
            for word in words[1:]:
                if re.match(r"(tests|benchmarks|examples)/", word):
                    assert (ROOT / word).exists(), where


# ---------------------------------------------------------------------------------------------------------------------
# pages that are run

SKIPPED = {
    "lossatlas run mine.yaml": "tests/workflow/test_own_study.py",
    "snakemake --profile slurm results/figures/all": "tests/slurm/test_slurm.py",
    "lossatlas export results/figures/mine/surface.png": "tests/audit/test_crate.py",
}
"""Commands of these pages that a test of their own runs."""

STEP = re.compile(r"^```python\n(?P<python>.*?)^```$|^ {4}(?P<shell>(?:lossatlas|cd|snakemake) [^\n]*)$", re.M | re.S)


def steps(name):
    """Yield the blocks of Python and the commands of a page, in order."""
    for found in STEP.finditer((ROOT / name).read_text(encoding="utf-8")):
        yield ("python", found["python"]) if found["python"] else ("shell", found["shell"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go to an empty folder; modules that a page writes there can be imported, in this test only."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("spirals", "mynet"):
            del sys.modules[name]


def follow(name, names, monkeypatch):
    """Do what a page says."""
    done = 0
    for kind, text in steps(name):
        if kind == "python":
            exec(compile(text, name, "exec"), names)
        elif text.startswith("cd "):
            monkeypatch.chdir(text.removeprefix("cd "))
        elif text not in SKIPPED:
            assert main([*shlex.split(text)[1:]]) == 0, text
        done += 1
    return done


def test_five_minutes(folder, monkeypatch, capsys):
    names = {"torch": torch, "model": torch.nn.Linear(2, 2), "x": torch.zeros(3, 2), "y": torch.zeros(3)}
    assert follow("docs/five-minutes.md", names, monkeypatch) == 8
    out = capsys.readouterr().out
    assert "is it right?" in out
    assert "checkpoint_sha256" in out
    made = {path.name for path in (folder / "lossatlas-demo/out").iterdir()}
    assert {"surface.png", "hessian.png", "connect.png"} <= made
    assert (folder / "lossatlas-demo/mine.html").stat().st_size > 10_000


def test_recipes(folder, monkeypatch):
    source = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    build = re.search(r"^def build\(\):\n    .*?\n", source, re.M | re.S)[0]
    (folder / "mynet.py").write_text(f"from torch import nn\n\n\n{build}")
    names = {}

    def saved(text):
        if "data.pt" in text and "x" in names:
            torch.save({"x": names["x"], "y": names["y"]}, "data.pt")

    for kind, text in steps("docs/recipes.md"):
        if kind == "python":
            exec(compile(text, "docs/recipes.md", "exec"), names)
        elif text not in SKIPPED:
            saved(text)
            assert main(shlex.split(text)[1:]) == 0, text
    made = {path.name for path in folder.iterdir()}
    assert {"surface_a.png", "surface_b.png", "between.png", "jumps.png", "basin.csv", "path.png", "mine.yaml"} <= made
    x, line = names["x"].double(), names["regression"]
    weights, bias = line.theta.double()[:-1], line.theta.double()[-1]
    assert line.loss == pytest.approx(((x @ weights + bias - x.sum(1)) ** 2).mean().item(), rel=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# messages, links, the site


def templates():
    """Yield every text of the source, what is filled in as ``...``."""
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_is_one_of_the_source():
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| `(.*)` \|[^|]*\|$", text, re.MULTILINE)
    assert len(messages) > 20
    known = list(templates())
    for message in messages:
        parts = [part for part in message.split("...") if part.strip()]
        pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
        assert any(pattern.search(one) for one in known), message


LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<to>[^)\s]+)\)")


def test_every_link_of_the_repository_leads_somewhere():
    """As GitHub shows it; the strict build of the site looks at its own."""
    lost = []
    for page in (*PAGES, *sorted((ROOT / "docs/results").rglob("*.md")), ROOT / "CHANGELOG.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for found in LINK.finditer(text):
            path = found["to"].partition("#")[0]
            if path and "://" not in path and not (page.parent / path).exists():
                lost.append(f"{page.relative_to(ROOT)}: {found['to']}")
    assert not lost, "\n".join(lost)


def test_the_site_is_built_without_a_warning_and_asks_for_nothing(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed (requirements-docs.lock)")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed (requirements-docs.lock)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "manual/mkdocs.yml", "-d", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html")}
    assert {"index.html", "five-minutes.html", "api.html", "studies/surfaces.html", "contributing.html"} <= pages
    foreign = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(?:https?:)?//|<link[^>]*rel=\"(?:stylesheet|preconnect)\"[^>]*//"
    )
    for name in pages:
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not foreign.search(text), name
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert "where to compute; the model" in api
    assert "Raises" in api


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_this_machine(page):
    assert not re.search(r"/(?:home|root|Users|work)/\w", page.read_text(encoding="utf-8")), page
    assert isinstance(page, Path)
