"""A user's code is named by its source and what that imports of its project, which is found without running it."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
import torch
import yaml
from harness import ROOT, arguments, contents, make, planned, run, study

from lossatlas.errors import LossatlasError
from lossatlas.models import build
from lossatlas.models.spec import resolve
from lossatlas.specs import source
from lossatlas.specs.study import only
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

LIBRARY = Path(sysconfig.get_path("stdlib"))

# ---------------------------------------------------------------------------------------------------------------------
# the search for imports


def parsed(file):
    """Return what a parser finds that a source imports: (dots, module, name) and (0, module, None)."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.level, node.module or "", alias.name) for alias in node.names}
    return found


def searched(file):
    """Return the same as the search finds it."""
    found, about = set(), file.stat()
    for dots, module, names in source._statements(file, about.st_mtime_ns, about.st_size):
        found |= {(dots, module, name) for name in names} or {(dots, module, None)}
    return found


def test_the_search_finds_what_a_parser_finds(rng):
    files = sorted(path for path in LIBRARY.rglob("*.py") if "bad" not in path.name and "lib2to3" not in path.parts)
    imports = 0
    for i in rng.choice(len(files), 150, replace=False):
        try:
            wanted = parsed(files[i])
        except SyntaxError:  # test files of the library that are not meant to be read
            continue
        missed = wanted - searched(files[i])
        assert not missed, f"{files[i]}: {sorted(missed, key=str)}"
        imports += len(wanted)
    assert imports > 300


def test_the_search_finds_every_way_to_write_an_import(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import a.b as c, d\nimport e; import f\nif True: import g\ntry:\n\timport h\nexcept ImportError: pass\n"
        "from i import (j as k,  # :)\n    l,\n)\nfrom . import m\nfrom.import n\nfrom ..o . p import(q)\n"
        "from r import *\nimport s, \\\n    t\nfrom u \\\n  import v\ndef w():\n    from .x import y\n"
    )
    assert parsed(file) <= searched(file)
    assert len(parsed(file)) == 16
    file.write_text("importlib.import_module('z.a')\n__import__( \"b\")\n")
    assert searched(file) == {(0, "z.a", None), (0, "b", None)}


# ---------------------------------------------------------------------------------------------------------------------
# a project

FILES = {
    "{own}/__init__.py": "",
    "{own}/nets.py": "from torch import nn\nimport {own}.parts.wide\nfrom . import parts\nfrom .parts.deep import d\n"
    "from {own} import tall\nimport {own}_tools, {own}_space.inner\nfrom .star import *\n\ndef net():\n    from . import late\n"
    "    return late\n\nraise SystemExit('planning ran it')\n",
    "{own}/parts/__init__.py": "",
    "{own}/parts/wide.py": "",
    "{own}/parts/deep.py": "from ..below import d\n",
    "{own}/below.py": "d = 1\n",
    "{own}/tall.py": "",
    "{own}/late.py": "import importlib\nimportlib.import_module('{own}.named')\n",
    "{own}/named.py": "",
    "{own}/star/__init__.py": "",
    "{own}/star/one.py": "",
    "{own}_tools.py": "import {own}.circle\n",
    "{own}/circle.py": "import {own}_tools\n",
    "{own}_space/inner.py": "",
    "{own}_unused.py": "",
    "{own}/unused.py": "",
    "{own}/parts/unused.py": "",
    "{own}/numbers.csv": "1\n",
}
UNUSED = [name for name in FILES if "unused" in name or not name.endswith(".py")]


@pytest.fixture
def own(tmp_path, monkeypatch, fresh_seed):
    """Return the name of a project of a user's in a folder on the path, and that folder."""
    name, folder = f"own{fresh_seed}", tmp_path / "project"
    for file, text in FILES.items():
        path = folder / file.format(own=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(own=name))
    monkeypatch.syspath_prepend(folder)
    yield name, folder
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


@pytest.mark.parametrize("file", FILES)
def test_an_edit_changes_the_digest_where_it_is_imported(own, file):
    name, folder = own
    before = source.code_digest(f"{name}.nets:net")
    assert source.code_digest(f"{name}.nets:net") == before
    with open(folder / file.format(own=name), "a") as added:
        added.write("# a remark\n")
    assert (source.code_digest(f"{name}.nets:net") == before) is (file in UNUSED)
    assert name not in sys.modules


def test_a_new_module_that_takes_the_place_of_another_changes_the_digest(own):
    name, folder = own
    before = source.code_digest(f"{name}.nets:net")
    (folder / name / "tall").mkdir()
    (folder / name / "tall/__init__.py").write_text("1\n")
    assert source.code_digest(f"{name}.nets:net") != before


def test_where_a_project_lies_does_not_count(own, tmp_path, monkeypatch):
    name, folder = own
    before = source.code_digest(f"{name}.nets:net")
    shutil.move(folder, tmp_path / "elsewhere")
    with pytest.raises(LossatlasError, match="there is no module"):
        source.code_digest(f"{name}.nets:net")
    monkeypatch.chdir(tmp_path / "elsewhere")  # where nothing on the path has it, the working directory does
    assert source.code_digest(f"{name}.nets:net") == before


def test_of_installed_packages_only_its_own_counts(own, tmp_path, monkeypatch):
    name, folder = own
    installed = tmp_path / "site-packages"
    shutil.move(folder, installed)
    monkeypatch.syspath_prepend(installed)
    found = source.locate(f"{name}.nets:net")
    assert {module.partition(".")[0] for module in found} == {name}
    assert f"{name}.parts.wide" in found
    assert f"{name}_tools" in source.locate(f"{name}_tools:{name}")


def test_lossatlas_beside_it_does_not_count(own, monkeypatch):
    name, folder = own
    (folder / "lossatlas").mkdir()
    (folder / "lossatlas/__init__.py").write_text("")
    (folder / f"{name}_tools.py").write_text("import lossatlas.errors, collections, torch\n\ndef net(): pass\n")
    (folder / "collections.py").write_text("")
    assert list(source.locate(f"{name}_tools:net")) == [f"{name}_tools"]


def test_a_package_that_names_no_folder_of_its_own_is_found(own, monkeypatch):
    """An editable installation is found by a finder of its own, under a name that is not its folder's."""
    name, folder = own
    (folder / "sources").mkdir()
    (folder / "sources/__init__.py").write_text("from .more import net\n")
    (folder / "sources/more.py").write_text("def net(): pass\n")

    class Finder:
        @staticmethod
        def find_spec(wanted, path, target=None):
            from importlib.util import spec_from_file_location

            file = str(folder / "sources/__init__.py")
            if wanted == f"{name}_editable":
                where = [str(folder / "sources")]
                loader = SourceFileLoader(wanted, file)
                return spec_from_file_location(wanted, file, loader=loader, submodule_search_locations=where)
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert list(source.locate(f"{name}_editable:net")) == [f"{name}_editable", f"{name}_editable.more"]


@pytest.mark.parametrize(
    "text, there",
    [
        ("def net(): pass", True),
        ("async def net(): pass", True),
        ("class net: pass", True),
        ("net = 1", True),
        ("net: int = 1", True),
        ("(a, [*net]) = b", True),
        ("from a import b as net", True),
        ("import net", True),
        ("from a import *", True),
        ("def __getattr__(name): pass", True),
        ("try:\n    import a\nexcept ImportError:\n    def net(): pass", True),
        ("if a:\n    pass\nelse:\n    with b as c:\n        net = 1", True),
        ("for net in a: pass", True),
        ("with a as net: pass", True),
        ("match a:\n    case 1:\n        net = 1", True),
        ("if (net := 1): pass", True),
        ("", False),
        ("import a.net", False),
        ("def a():\n    net = 1\n    def net(): pass", False),
        ("class A:\n    def net(): pass", False),
        ("print(net)", False),
    ],
)
def test_a_function_is_there_or_not(own, text, there):
    name, folder = own
    (folder / f"{name}_tools.py").write_text(text)
    if there:
        assert source.code_digest(f"{name}_tools:net")
    else:
        with pytest.raises(LossatlasError, match=rf"module '{name}_tools' \(.*py\) has no function 'net'"):
            source.code_digest(f"{name}_tools:net")


@pytest.mark.parametrize(
    "named, message",
    [
        ("{own}.below:dd", "has no function 'dd'; did you mean 'd'"),
        ("{own}.netts:net", r"there is no module '{own}\.netts' on PYTHONPATH, .*; correct it, put its folder on"),
        ("{own}s.nets:net", "there is no module '{own}s' on PYTHONPATH"),
        ("{own}.nets.net:net", r"there is no module '{own}\.nets\.net' on PYTHONPATH"),
        ("{own}_space:net", r"'{own}_space' has no file of its own \(a folder without __init__.py"),
        ("sys:exit", r"'sys' has no file of its own \(.*, or built into Python"),
        ("{own}.nets.net", "got '{own}.nets.net'; expected 'package.module:function'"),
        ("{own}_tools:{own}", "{own}_tools.py, line 1: .*; correct it"),
    ],
)
def test_mistakes_name_key_and_remedy(own, named, message):
    name, folder = own
    (folder / f"{name}_tools.py").write_text("def net(:")
    with pytest.raises(LossatlasError, match=rf"model\.builder: .*{message.format(own=name)}") as caught:
        resolve({"builder": named.format(own=name)})
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# in a study

NET = """
from torch import nn
from {own}_parts import hidden

def net(outputs, width=4):
    return nn.Sequential(nn.Flatten(), *hidden(width), nn.Linear(width, outputs))
"""
PARTS = """
from torch import nn

def hidden(width):
    return [nn.Linear(4, width), nn.Tanh()]
"""


@pytest.fixture
def user(tmp_path, fresh_seed):
    """Return a folder with a study, the network it names and a module that this imports, and the name of the network."""
    name = f"user{fresh_seed}"
    (tmp_path / f"{name}.py").write_text(NET.format(own=name))
    (tmp_path / f"{name}_parts.py").write_text(PARTS)
    (tmp_path / f"{name}_unused.py").write_text("")
    raw = {
        "title": "Own",
        "reference": "none",
        "runs": {
            "own": {
                "data": {"name": "iris"},
                "model": {"builder": f"{name}:net", "width": 3},
                "recipe": {"epochs": 2, "batch": 20},
            }
        },
        "tables": {"runs": {"kind": "runs", "title": "t", "caption": "c", "rows": [{"run": "own"}]}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(raw))
    yield tmp_path, name
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]


def artefact(folder):
    """Return the run of the study in a folder, planned anew."""
    raw = {"preset": "quick", "studies": [str(folder / "own.yaml")], "seed": 0, "formats": ["png"]}
    (found,) = Plan(load(raw, ROOT)).of_kind("runs")
    return found


def test_a_study_is_planned_again_when_its_builder_changes(user, monkeypatch):
    """With Snakemake's command, as a user types it: from the folder that holds the study and the builder."""
    folder, name = user
    command = [str(Path(sys.executable).parent / "snakemake")]
    target = "results/tables/own/runs.csv"
    given = arguments(target, study="own.yaml", options=("--cores", "1"))
    done = run([*command, *given], folder)
    assert done.returncode == 0, done.stdout
    assert planned(folder, given) == []
    (folder / f"{name}_unused.py").write_text("# another remark\n")
    assert planned(folder, given) == []
    paths = {only(list((folder / "results/runs").iterdir())).name}
    for file in (f"{name}.py", f"{name}_parts.py"):
        with open(folder / file, "a") as added:
            added.write("# a remark\n")
        jobs = planned(folder, given)
        assert {job.rule for job in jobs} - {"data"} == {"train", "history", "table"}
        paths.add(next(job.id for job in jobs if job.rule == "train"))
    assert len(paths) == 3


def test_a_job_refuses_another_source_than_was_planned(user, tmp_path, monkeypatch):
    folder, name = user
    monkeypatch.chdir(folder)
    made = artefact(folder)
    assert made.spec["model"] == {
        "builder": f"{name}:net", "source_sha256": source.code_digest(f"{name}:net"), "width": 3
    }  # fmt: skip
    (folder / f"{name}_parts.py").write_text(PARTS.replace("Tanh", "ReLU"))
    with pytest.raises(LossatlasError, match=r"the source of 'user\d+:net' .*, not .*; .*run the same command again"):
        make(made, folder)
    again = artefact(folder)
    assert again.path != made.path
    theta, _ = contents(make(again, folder))
    assert theta.shape == (1, 4 * 3 + 3 + 3 * 3 + 3)
    # What a process has imported is what it runs, whatever becomes of the files meanwhile.
    (folder / f"{name}_parts.py").write_text("raise SystemExit")
    assert isinstance(build(again.spec["model"], (4,), 3, 0)[2], torch.nn.ReLU)


def test_a_study_may_hold_its_builder_to_a_source(user, monkeypatch):
    folder, name = user
    monkeypatch.chdir(folder)
    before = artefact(folder)
    raw = yaml.safe_load((folder / "own.yaml").read_text())
    raw["runs"]["own"]["model"]["source_sha256"] = before.spec["model"]["source_sha256"]
    (folder / "own.yaml").write_text(yaml.safe_dump(raw))
    assert artefact(folder).path == before.path
    with open(folder / f"{name}.py", "a") as added:
        added.write("# a remark\n")
    with pytest.raises(
        LossatlasError, match=r"runs\.own\.model\.source_sha256: the source of .* correct `source_sha256`"
    ):
        artefact(folder)


def test_planning_imports_neither_the_builder_nor_torch(user):
    folder, name = user
    ask = (
        "import sys; from pathlib import Path; from lossatlas.study.config import load; from lossatlas.study.plan import Plan; "
        f"raw = dict(preset='quick', studies=['own.yaml'], seed=0, formats=['png']); plan = Plan(load(raw, Path({str(ROOT)!r}))); "
        f"print(plan.of_kind('runs')[0].path, sorted({{'torch', '{name}', '{name}_parts'}} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run([sys.executable, "-c", ask], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(" ", 1)[1].strip() == "[]"


def test_a_function_of_interest_is_named_by_its_source(tmp_path, monkeypatch, fresh_seed):
    name = f"interest{fresh_seed}"
    monkeypatch.syspath_prepend(tmp_path)
    interest = {"kind": "function", "builder": f"{name}:first"}

    def planned(text):
        (tmp_path / f"{name}.py").write_text(text)
        # A list is replaced whole, a mapping merged: the coefficients of the tiny study's own interest would stay.
        probe = {"levelset": {"function": "circle", "level": 1.0, "replicas": [0], "interest": interest, "points": 3}}
        probe["levelset"]["steps"] = 20
        found = study("tiny_levelsets", probes={"own": probe}, clouds={"own": {"traversals": {"probe": "own"}}})
        return only(only(found.get("cloud", "own", "")).inputs["points"])

    try:
        first = planned("def first(theta):\n    return theta[0]\n")
        second = planned("def first(theta):\n    return theta[1]\n")
        assert first.path != second.path
        with pytest.raises(LossatlasError, match="run the same command again"):
            make(first, tmp_path)
        theta, _ = contents(make(second, tmp_path))
        assert abs(theta[-1] - theta[0])[1] > 0
    finally:
        sys.modules.pop(name, None)
