"""Artefacts of a tiny study with the records that jobs give them, made in a process of its own, under its environment.

python tests/tools/recorded.py STUDY FOLDER OVERRIDES KIND/LABEL makes the artefacts of a kind whose labels begin so.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
from harness import ROOT, tiny

from lossatlas.files import checksum
from lossatlas.files.provenance import INPUTS, Provenance
from lossatlas.files.record import content_of
from lossatlas.numerics import PORTABLE
from lossatlas.specs.registry import Job, resolve
from lossatlas.study.config import load
from lossatlas.study.plan import Plan


def make(made, folder):
    """Make an artefact and what it is made from, as the jobs of the workflow do; return its file."""
    output = folder / made.path
    if output.exists():
        return output
    inputs = {role: tuple(make(part, folder) for part in parts) for role, parts in made.inputs.items()}
    output.parent.mkdir(parents=True)
    function = resolve(made.run)
    record = Provenance({**made.describe(), "config": {}}, ROOT, 1)
    record.begin()
    named = [path for parts in made.inputs.values() for part in parts for path in [part.path]]
    record[INPUTS] = {name: content_of(folder / name) for name in named}
    function(Job(made.spec, inputs, output, folder / "results/.state" / made.kind / made.id, record, ROOT))
    return output


def in_process(name, folder, what, overrides=None, **environment):
    """Run this file for a tiny study, with no kernels capped but by the environment given; return the folder."""
    free = {key: value for key, value in os.environ.items() if key not in PORTABLE or key.endswith("_THREADS")}
    paths = os.pathsep.join([str(Path(__file__).parent), free.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, name, str(folder), json.dumps(overrides or {}), what]
    done = subprocess.run(
        command, env={**free, "PYTHONPATH": paths, **environment}, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def rewrite(path, change):
    """Change the record of an artefact, or the record beside a product, as if its job had written it so."""
    if path.suffix == ".json":
        record = json.loads(path.read_text())
        digests = record.pop(checksum.FILES)
        del record[checksum.RECORD]
        change(record)
        path.write_text(checksum.record_text(record, digests))
        return
    with h5py.File(path, "r+", libver="latest") as file:
        record = json.loads(file.attrs["provenance"])
        change(record)
        file.attrs["provenance"] = json.dumps(record)
    checksum.seal(path)


def reseal(path, change):
    """Change what an artefact holds as a fault of the computation would: with checksums that fit."""
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)
        file.attrs[checksum.CONTENT] = checksum.content_digest(file)
    checksum.seal(path)


def main(name, folder, overrides, what):
    """Make the artefacts that the command line names, under native numerics."""
    kind, _, label = what.partition("/")
    raw = {"preset": "quick", "studies": [str(tiny(name))], "seed": 0, "formats": ["png"], "numerics": "native"}
    plan = Plan(load({**raw, "overrides": {name: json.loads(overrides)}}, ROOT))
    for made in plan.artefacts.values():
        if made.kind == kind and made.label.startswith(label):
            make(made, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
