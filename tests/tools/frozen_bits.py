"""The bits of small artefacts of every kind under portable numerics, pinned in tests/study/frozen/bits.json.

python tests/tools/frozen_bits.py              make them and print what does not agree
python tests/tools/frozen_bits.py --rewrite    pin what is new or of another name; refused for bits that changed
                                               under the same name, while the libraries are the pinned ones
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FROZEN = Path(__file__).resolve().parents[1] / "study/frozen"
PINNED = FROZEN / "bits.json"
STUDY = FROZEN / "every_kind.yaml"
COMMAND = "python tests/tools/frozen_bits.py --rewrite"
VIEWED = {
    "runs": ["iris"],
    "path_gram": ["resnet"],
    "descent": ["plane"],
    "gram": ["jump", "level", "both"],
    "shares": ["jump"],
}
"""What is named by a reference rather than an entry of the study: what -> names."""


def artefacts():
    """Return name -> artefact of the study, and of all that they are made from."""
    from harness import ROOT

    from lossatlas.specs.base import Spec
    from lossatlas.study.config import load
    from lossatlas.study.plan import Plan

    raw = {"preset": "quick", "studies": [str(STUDY)], "seed": 0, "formats": ["png"]}
    plan = Plan(load(raw, ROOT)).studies[STUDY.stem]
    asked = {f"{s}.{name}": plan.made(s, name, Spec, "") for s, named in plan.study.sections.items() for name in named}
    asked |= {f"{what}.{name}": plan.get(what, name, "") for what, names in VIEWED.items() for name in names}
    for name in plan.study.sections["embeddings"]:
        asked[f"embedding.{name}"] = plan.get("embedding", ("tree", name), "")
    found = {}

    def add(name, made):
        if made.path in (known.path for known in found.values()):
            return
        found[name] = made
        for role, parts in made.inputs.items():
            for i, part in enumerate(parts):
                add(f"{name}.{role}[{i}]", part)

    for name, parts in asked.items():
        for i, made in enumerate(parts):
            add(f"{name}[{i}]", made)
    return found


def bits(path):
    """Return the digest of what a file holds: its content digest; of a CSV file that of its bytes."""
    import h5py

    from lossatlas.files import checksum

    if path.suffix == ".csv":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with h5py.File(path, "r") as file:
        return checksum.stored_content(file)


def described(made, folder):
    """Return kind, version, name and bits of artefacts, made below a folder, which is the working directory."""
    from harness import make

    return {
        name: {"kind": one.kind, "version": one.version, "id": one.id, "bits": bits(make(one, folder))}
        for name, one in made.items()
    }


def versions():
    """Return the versions of the libraries that compute."""
    from lossatlas.files import machine

    return {name: machine.versions()[name] for name in machine.COUNTS_FOR_BITS if name in machine.versions()}


def compare(pinned, found, made):
    """Return one line for each artefact that is not as it was pinned, and is made from nothing that is not.

    Args:
        pinned, found: name -> kind, version, id, bits.
        made: name -> artefact.
    """
    names = {one.path: name for name, one in made.items()}
    changed = {name for name in found if found[name] != pinned.get(name)}
    lines = [f"{pinned[name]['kind']} ({name}): it is no longer made; {_pin()}" for name in pinned if name not in found]
    for name in sorted(changed):
        one, before = found[name], pinned.get(name)
        inputs = {names[part.path] for parts in made[name].inputs.values() for part in parts}
        if before is None:
            lines.append(f"{one['kind']} ({name}): not pinned; {_pin()}")
        elif one["id"] == before["id"]:
            if not inputs & changed:
                lines.append(
                    f"{one['kind']} ({name}): its bits changed under the same name ({one['id']}, version "
                    f"{one['version']}): raise `version` of its Step where it is declared, or undo the change"
                )
        elif one["version"] != before["version"]:
            lines.append(f"{one['kind']} ({name}): version {before['version']} -> {one['version']}; {_pin()}")
        elif not any(found[part]["id"] != pinned.get(part, {}).get("id") for part in inputs):
            lines.append(f"{one['kind']} ({name}): its spec changed ({before['id']} -> {one['id']}); {_pin()}")
    return lines


def _pin():
    return f"if that is meant, `{COMMAND}`"


def refused(pinned, found):
    """Return the names of artefacts whose bits changed under one name, which are not pinned anew."""
    same = {one["id"]: one["bits"] for one in pinned.values()}
    return [name for name, one in found.items() if same.get(one["id"], one["bits"]) != one["bits"]]


def compute(folder):
    """Make every artefact in a process of its own, under portable numerics; return name -> kind, version, id, bits."""
    from lossatlas.numerics import PORTABLE

    shutil.copy(FROZEN / "vectors.npy", folder)
    command = [sys.executable, __file__, "--make", str(folder)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **PORTABLE}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads((folder / "found.json").read_text())


def write(found):
    """Pin artefacts, a line each."""
    rows = ",\n".join(f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(found.items()))
    PINNED.write_text(f'{{\n  "versions": {json.dumps(versions())},\n  "artefacts": {{\n{rows}\n  }}\n}}\n')


def main():
    """Make, compare, and pin where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rewrite", action="store_true", help="pin what is new or of another name")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        (given.make / "found.json").write_text(json.dumps(described(artefacts(), given.make)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = compute(Path(folder))
    pinned = json.loads(PINNED.read_text()) if PINNED.exists() else {"versions": versions(), "artefacts": {}}
    print(*compare(pinned["artefacts"], found, artefacts()), sep="\n")
    if given.rewrite:
        wrong = refused(pinned["artefacts"], found) if pinned["versions"] == versions() else []
        if wrong:
            sys.exit(f"refused: {', '.join(wrong)}: bits changed under the same name; raise `version` of their Step")
        write(found)


if __name__ == "__main__":
    main()
