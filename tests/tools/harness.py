"""The one harness of the tests: tiny studies planned and made in-process, and Snakemake run as a user runs it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lossatlas.claims.evaluate import evaluate as evaluate_claims
from lossatlas.draw.draw import draw as draw_figure
from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.files.state import State, unpack
from lossatlas.specs.registry import Job, resolve
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.study.read import read_product
from lossatlas.workflow.command import separate_targets

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "tests" / "studies"
TINY = STUDIES / "tiny.yaml"
ALL = "results/figures/all"

# ---------------------------------------------------------------------------------------------------------------------
# in-process: plans, artefacts, figures and claims of tiny studies


def tiny(name):
    """Return the file of a tiny study."""
    return STUDIES / f"{name}.yaml"


def study(name, /, **overrides):
    """Return the plan of a tiny study with keys merged in."""
    raw = {"preset": "quick", "studies": [str(tiny(name))], "seed": 0, "formats": ["png"]}
    return Plan(load({**raw, "overrides": {name: overrides}}, ROOT)).studies[name]


def job(spec, output, state=None, **inputs):
    """Return a job as a step's function takes it.

    Args:
        spec: of the artefact, resolved.
        output: its file; its folder is made.
        state: folder of the unfinished job; beside the output by default.
        **inputs: role -> file, or list of files.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    files = {role: tuple(given) if isinstance(given, list | tuple) else (given,) for role, given in inputs.items()}
    return Job(spec, files, output, state or output.parent / "state", {}, ROOT)


def make(made, folder):
    """Make an artefact and what it is made from, by the functions that the rules run; return its file."""
    output = folder / made.path
    if output.exists():
        return output
    inputs = {role: [make(part, folder) for part in parts] for role, parts in made.inputs.items()}
    state = folder / "state" / made.id
    resolve(made.run)(job(made.spec, output, state, **inputs))
    assert not state.exists()
    return output


def committed(state, name="state.pt"):
    """Return what an unfinished job has last committed, or None."""
    try:
        return torch.load(io.BytesIO(unpack(state / name)[1]), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None


def until(condition, what, seconds=30.0):
    """Wait for a condition; return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s for {what}")


def leave_rows(state, rows):
    """Leave rows in a folder as an interrupted job does."""
    sink = io.BytesIO()
    np.savez(sink, **rows)
    State(state).write("rows.npz", sink.getvalue())


def contents(path):
    """Return theta and table of a points file."""
    with open_hdf5(path, "points") as file:
        return file["theta"][:], read_table(path)


def products(found):
    """Return the figures, tables and claims of a study's plan."""
    return [*found.figures.values(), *found.tables.values(), found.claims]


def make_all(found, folder):
    """Make every artefact of a study's figures, tables and claims."""
    for product in products(found):
        for artefact in product.artefacts:
            make(artefact, folder)


def inputs(files):
    """Return what a figure or a measure reads: ``{"gram": {"cloud": path or paths}}``."""
    listed = {
        what: {name: list(given) if isinstance(given, list | tuple) else [given] for name, given in named.items()}
        for what, named in files.items()
    }
    return subjects.inputs(listed)


def inputs_of(product, folder):
    """Return the inputs of a product, made below a folder."""
    return inputs(
        {what: {n: [folder / p for p in ps] for n, ps in named.items()} for what, named in product.paths().items()}
    )


def draw(spec, given, outputs, provenance=None):
    """Draw a figure from the mapping of its YAML; ``given`` as :func:`inputs` takes it, or inputs."""
    read = spec if not isinstance(spec, dict) else read_product(spec)
    return draw_figure(read, inputs(given) if isinstance(given, dict) else given, outputs, provenance or {})


def tabulate(spec, given):
    """Return a table's frame from the mapping of its YAML."""
    read = spec if not isinstance(spec, dict) else read_product(spec)
    return resolve(read.draw)(read, inputs(given) if isinstance(given, dict) else given)


def measure(name, given, **keys):
    """Return what a measure finds; ``given``: input -> loaded objects, or one."""
    kind = subjects.measures()[name]
    loaded = {role: list(found) if isinstance(found, list | tuple) else [found] for role, found in given.items()}
    references = {role: {kind.roles()[role]: role} for role in loaded}
    spec = kind.model_validate({**references, **keys})
    return resolve(spec.run)(spec, Loaded(loaded))


class Loaded:
    """Inputs of a measure that are loaded already, by the input they are given to."""

    def __init__(self, loaded):
        self.loaded = loaded

    def given(self, references):
        """Return the objects behind references."""
        return [found for one in references for found in self.loaded[one.name[0]]]


def evaluate(claims, given, study="", preset="", **how):
    """Return the table of claims; ``given`` as :func:`inputs` takes it, or inputs."""
    found = inputs(given) if isinstance(given, dict) else given
    return evaluate_claims(claims, subjects.measures(), found, study, preset, **how)[0]


# ---------------------------------------------------------------------------------------------------------------------
# Snakemake as a user runs it

PLANNER = """
import json, logging, sys
from snakemake import cli
from snakemake.logging import LoggerManager

class Collect(logging.Handler):
    def emit(self, record):
        if getattr(record, "rule_name", None) and "job_info" in str(getattr(record, "event", "")).lower():
            keys = ("rule_name", "wildcards", "threads", "reason", "output")
            job = {key: getattr(record, key) for key in keys}
            job["resources"] = dict(record.resources.items())
            print("PLANNED " + json.dumps(job, default=str), flush=True)

handler = LoggerManager._default_streamhandler
def both(self):
    self.logger.addHandler(Collect())
    return handler(self)
LoggerManager._default_streamhandler = both
cli.main(sys.argv[1:])
"""
"""Snakemake's own command line, with every planned job printed as one line of JSON."""


@dataclass(frozen=True)
class Planned:
    """A planned job."""

    rule: str
    wildcards: dict
    threads: int
    reason: str
    resources: dict
    output: list

    @property
    def id(self):
        """Return the folder name of the artefact it makes."""
        return self.wildcards.get("id", "")


def environment():
    """Return the environment of a user's shell: one thread, no search path for data, no downloads."""
    ignored = ("SNAKEMAKE_PROFILE", "LOSSATLAS_DATA", "PYTEST_CURRENT_TEST")
    kept = {key: value for key, value in os.environ.items() if key not in ignored}
    return {**kept, "OMP_NUM_THREADS": "1", "LOSSATLAS_DOWNLOAD": "0"}


def overrides(name="tiny", /, **keys):
    """Return the ``--config`` entry that merges keys into a tiny study."""
    return "overrides=" + json.dumps({name: keys})


def arguments(*targets, config=(), options=(), root=ROOT, study=TINY):
    """Return Snakemake's arguments for targets of a tiny study; ``config`` is added to its configuration."""
    given = (f"studies=[{study}]", "preset=quick", *config)
    return ["-s", f"{root}/Snakefile", *options, "--config", *given, "--", *targets]


def run(command, folder, **settings):
    """Run a command; return the finished process with stdout and stderr in one text."""
    settings = {"env": environment(), **settings}
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings)


def snakemake(folder, *targets, env=None, **settings):
    """Run Snakemake in a folder; return the finished process with stdout and stderr in one text."""
    command = [sys.executable, "-m", "snakemake", *arguments(*targets, **settings)]
    return run(command, folder, env=env or environment())


def start(command, folder, log=None, env=None):
    """Start a command in a process group of its own, which a test may kill; its output goes to a file, or nowhere."""
    with open(log or os.devnull, "w") as sink:
        return subprocess.Popen(
            command, cwd=folder, env=env or environment(), stdout=sink, stderr=sink, start_new_session=True
        )


def start_snakemake(folder, *targets, **settings):
    """Start Snakemake for targets of a tiny study."""
    return start([sys.executable, "-m", "snakemake", *arguments(*targets, **settings)], folder)


def planned(folder, given):
    """Return the jobs of a dry run with arguments as given: those that make something."""
    command = [sys.executable, "-c", PLANNER, *separate_targets(["-n", *given])]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line.removeprefix("PLANNED ")) for line in done.stdout.splitlines() if line[:8] == "PLANNED "]
    made = [one for one in found if one["output"]]  # not the rules that are names of targets
    return [Planned(rule=one.pop("rule_name"), **{**one, "wildcards": one["wildcards"] or {}}) for one in made]


def plan(folder, *targets, **settings):
    """Return the jobs that Snakemake would run for targets of a tiny study."""
    return planned(folder, arguments(*targets, **settings))


def counts(jobs):
    """Return rule -> number of jobs."""
    return dict(Counter(one.rule for one in jobs))


def copy(built, folder):
    """Copy a built folder with its file times and Snakemake's records."""
    shutil.copytree(built, folder, dirs_exist_ok=True)
    return folder


def checksums(folder):
    """Return path -> SHA-256 of every file of results/, except logs."""
    found = {}
    for path in sorted((folder / "results").rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not relative.startswith("results/logs/"):
            found[relative] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def error_lines(text):
    """Return what the jobs reported to the user."""
    return [line for line in text.splitlines() if line.startswith("lossatlas: error:")]


def assert_made_by_the_rules(folder, name, figure):
    """Have Snakemake make a figure of a tiny study; then nothing is left to do, and no unfinished state."""
    target = f"results/figures/{name}/{figure}.png"
    done = snakemake(folder, target, study=tiny(name), options=("--cores", "2"))
    assert done.returncode == 0, done.stdout
    assert (folder / target).stat().st_size > 10_000
    assert plan(folder, target, study=tiny(name)) == []
    assert not any((folder / "results/.state").glob("*/*"))
