"""Who may import whom: docs/design.md, "The house". No exceptions: a new arrow is a new decision, made there."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from harness import ROOT

from lossatlas.specs.registry import resolve
from lossatlas.study import subjects

SOURCE = ROOT / "src" / "lossatlas"
GROUND = ("errors", "numerics", "arrays", "seeds", "progress", "preemption", "statistics", "places", "_torchvision")
FLOORS = (
    GROUND,
    ("specs",),
    ("files",),
    ("landscape",),
    ("models", "data"),
    ("draw", "claims"),
    ("train",),
    ("clouds",),
    ("planes",),
    ("trajectories", "levelsets", "barriers", "basins", "solutions"),
    ("own",),
    ("study",),
    ("audit", "gallery"),
    ("workflow",),
    ("provenance", "fsck", "compare", "publish", "export"),
    ("__init__",),
    ("cli",),
)
"""Each imports only what stands before it; of one floor none imports another (the ground: any).

``lossatlas/__init__.py`` stands last: the front door names what it offers, and loads it when it is asked for.
"""

HEAVY = {"torch", "torchvision", "h5py", "scipy", "sklearn", "matplotlib", "pandas", "phate", "umap"}
FILES = sorted(SOURCE.rglob("*.py"))


def module(file: Path) -> str:
    """Return a file's dotted name."""
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """Return the modules that a file imports, wherever in it the statement stands: ours by file, others by package."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            found.add(node.module)
            found |= {name for alias in node.names if (name := f"{node.module}.{alias.name}") in NAMES}
    return {name if name in NAMES else name.split(".")[0] for name in found if name != "lossatlas"}


def ours(file: Path) -> set[str]:
    """Return the modules of ours that a file imports; a package only where nothing in it is named."""
    found = {name for name in imports(file) if name in NAMES}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def room(name: str) -> str:
    """Return the package below lossatlas, or the module on the ground, that a dotted name lies in."""
    return [*name.split("."), "__init__"][1]


def floor(name: str) -> int:
    """Return the floor of a module."""
    found = [i for i, rooms in enumerate(FLOORS) if room(name) in rooms]
    assert found, f"{name}: on no floor; say where in FLOORS and docs/design.md"
    return found[0]


def test_every_arrow_goes_down():
    up = []
    for file in FILES:
        here = module(file)
        for there in ours(file):
            same = room(here) == room(there) or (floor(here) == 0 and floor(there) == 0)
            if not same and floor(there) >= floor(here):
                up.append(f"{here} -> {there}")
    assert not up, "\n".join(up)


def test_no_circle_among_files():
    graph = {module(file): ours(file) - {module(file)} for file in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_no_circle_among_packages():
    graph: dict[str, set[str]] = {}
    for file in FILES:
        here = room(module(file))
        graph.setdefault(here, set()).update({room(name) for name in ours(file)} - {here})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


SPEC = [file for file in FILES if file.name in ("spec.py", "defaults.py") or file.parent.name in ("specs", "study")]
ROLES = {
    "spec.py and planning": (SPEC, HEAVY),
    "files.py": ([file for file in FILES if file.name == "files.py"], {"torch", "matplotlib"}),
    "numbers.py, measures.py": ([f for f in FILES if f.name in ("numbers.py", "measures.py")], {"torch", "matplotlib"}),
    "figures": ([file for file in FILES if "figures" in file.parts], {"torch", "h5py"}),
    "jobs": ([f for f in FILES if f.name == "jobs.py" or f.parent.name == "jobs"], {"matplotlib"}),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_stays_what_it_is(role):
    files, forbidden = ROLES[role]
    assert files
    wrong = [f"{module(file)}: {', '.join(found)}" for file in files if (found := sorted(imports(file) & forbidden))]
    assert not wrong, "\n".join(wrong)


LIGHT = ("spec", "seeds", "size", "defaults")
"""Names of modules that planning may import, and that import nothing heavy: the last three are numbers alone."""


def test_specs_import_light_modules_only():
    for file in SPEC:
        for name in ours(file):
            light = floor(name) == 0 or name.split(".")[-1] in LIGHT or room(name) in ("specs", "study")
            assert light, f"{module(file)} imports {name}"


METHODS = [
    file
    for file in FILES
    if room(module(file)) in subjects.SUBJECTS
    and room(module(file)) not in ("data", "models")
    and file.name not in ("spec.py", "files.py", "jobs.py", "numbers.py", "measures.py", "networks.py", "__init__.py")
    and not {"jobs", "figures"} & set(file.parts)
]
"""Pure methods. ``train/networks.py`` is the loader of trained networks."""


def test_methods_open_no_files():
    """A method takes landscapes, arrays and Gram matrices; reading and writing is the business of files.py and jobs."""
    for file in METHODS:
        tree = ast.parse(file.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "h5py" not in imports(file), module(file)
        assert not {"open", "open_hdf5"} & names, f"{module(file)} opens a file"


def test_nothing_of_the_old_house_is_left():
    assert "legacy" not in {room(name) for name in NAMES}


def named():
    """Return every registry string with where it stands."""
    found = [(step.run, f"step {kind}") for kind, step in subjects.steps().items()]
    found += [(view["read"], f"view {what}") for what, view in subjects.loaders().items()]
    found += [(product.draw, f"{product.role} {name}") for name, product in subjects.products().items()]
    return found + [(measure.run, f"measure {name}") for name, measure in subjects.measures().items()]


@pytest.mark.parametrize(("name", "where"), named())
def test_every_name_of_the_registry_is_a_function(name, where):
    assert callable(resolve(name)), where


PLANNING = """
import sys
from pathlib import Path
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
root = Path(sys.argv[1])
plan = Plan(load(read_yaml(root / "config/config.yaml"), root))
for made in plan.artefacts.values():
    made.path
print(*sorted(set(name.split(".")[0] for name in sys.modules) & set(sys.argv[2].split(","))))
"""


FRONT_DOOR = """
import sys
import lossatlas
print(*sorted(set(name.split(".")[0] for name in sys.modules) & set(sys.argv[1].split(","))))
assert set(lossatlas.__all__) <= set(dir(lossatlas))
print(lossatlas.load.__module__, "torch" in sys.modules)
"""


def test_the_front_door_loads_nothing_heavy_before_it_is_asked():
    done = subprocess.run([sys.executable, "-c", FRONT_DOOR, ",".join(HEAVY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "lossatlas.own.load True"]


OWN_NETWORK = """
import sys
import lossatlas as la
import torch
x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])
print(la.load(torch.nn.Linear(3, 2), data=(x, y)).examples)
print(*sorted(set(name.split(".")[0] for name in sys.modules) & set(sys.argv[1].split(","))))
"""


def test_loading_ones_own_network_needs_no_extra():
    extra = "pandas,sklearn,phate,umap,plotly,snakemake,dvc,jinja2,torchvision"
    done = subprocess.run([sys.executable, "-c", OWN_NETWORK, extra], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["6", ""]


def test_planning_loads_nothing_heavy():
    heavy = ",".join(sorted(HEAVY - {"pandas"}))
    done = subprocess.run([sys.executable, "-c", PLANNING, str(ROOT), heavy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
