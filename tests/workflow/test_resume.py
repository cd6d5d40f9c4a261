"""Every kind of job that keeps state, interrupted: it ends with the bits of an undisturbed run, whatever befell the state."""

import os
import shutil
from dataclasses import replace
from functools import cache

import frozen_bits
import h5py
import numpy as np
import pytest
from harness import job, make, products, study

from lossatlas.clouds.jobs import gram
from lossatlas.files import checksum, clock, state
from lossatlas.files.state import RESUME, State
from lossatlas.specs.registry import resolve
from lossatlas.study import subjects
from lossatlas.train import loop

STUDIES = ("tiny", "tiny_levelsets", "tiny_paths", "tiny_generalization", "tiny_surfaces", "tiny_solutions")
KINDS = (
    "runs",
    "sweeps",
    "retrains",
    "levelsets",
    "paths",
    "surfaces",
    "tiles",
    "descents",
    "volumes",
    "masses",
    "slices",
    "averages",
    "triangles",
    "trusts",
    "hessians",
    "boundaries",
    "imports",
    "grams",
    "scores",
)
WHOLE = ("runs", "paths", "tiles", "volumes")
"""One kind for each way of keeping state; the others, which share these, meet two of the harms, drawn at random."""
JOURNALS = ("runs", "sweeps", "retrains", "levelsets")
ALWAYS = ("nothing", "other class", "other class, any")
HARMS = ("head", "about", "data", "cut off", "empty")
JOURNAL_HARMS = ("theta flipped", "buffers flipped", "theta short", "theta empty", "theta gone")
HERE = {"class": "here, 1 thread", "versions": {"torch": "1", "numpy": "1", "scipy": "1"}, "started": "2026-01-02"}
THERE = {**HERE, "class": "there, 2 threads", "started": "2026-01-01"}


@cache
def smallest(kind):
    """Return the artefact of a kind with the shortest spec in any tiny study, one of networks first."""
    if kind == "imports":
        return frozen_bits.artefacts()["clouds.elsewhere[0]"]
    found = [made for name in STUDIES for product in products(study(name)) for made in product.artefacts]
    for made in found:  # grows: what they are made from
        found += [part for parts in made.inputs.values() for part in parts if part not in found]
    if not any(one.kind == kind for one in found):
        found += frozen_bits.artefacts().values()
    rows = kind not in ("hessians", "masses")  # of others than points, one alone would be no unit of several
    of_kind = [one for one in found if one.kind == kind and not (rows and np.ptp(one.spec.get("rows", [0, 9])) <= 2)]
    return min(of_kind, key=lambda one: (not one.inputs, len(str(one.spec)), one.id))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder in which what the jobs read is made once."""
    made = tmp_path_factory.mktemp("resume")
    shutil.copy(frozen_bits.FROZEN / "vectors.npy", made)
    return made


class Interruption(BaseException):
    """A kill, as far as a process can survive it to be tested."""


@pytest.fixture
def interrupted(monkeypatch):
    """Return how a job is run until its n-th commit; every unit of work is committed, of the shortest every seventh."""
    real, count, stop, asked = State.write, [0], [None], [0]

    def due(self):
        asked[0] += 1
        return asked[0] % 7 == 0

    def write(self, name, data):
        real(self, name, data)
        asked[0] = 0
        count[0] += 1
        if count[0] == stop[0]:
            raise Interruption

    def run(made, folder, output, at=None, segment=HERE):
        count[0], stop[0], asked[0] = 0, at, 0
        provenance = {"hash": made.hash, "segments": [dict(segment)]}
        inputs = {role: [folder / part.path for part in parts] for role, parts in made.inputs.items()}
        this = replace(job(made.spec, output, output.parent / "job", **inputs), provenance=provenance)
        try:
            resolve(made.run)(this)
        except Interruption:
            assert not output.exists()
        stop[0] = None
        return count[0], provenance

    monkeypatch.delenv(RESUME, raising=False)
    monkeypatch.setattr(State, "write", write)
    monkeypatch.setattr(loop.Recorder, "due", due)
    monkeypatch.setattr(clock, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(gram, "_MAX_COLUMNS", 64)
    return run


def content(file):
    """Return the digest of what a file holds, the bytes of one that is no HDF5."""
    if not h5py.is_hdf5(file):
        return file.read_bytes()
    with h5py.File(file) as opened:
        return opened.attrs[checksum.CONTENT]


def flip(file, start, stop, rng):
    """Flip a bit of a file between two places."""
    data = bytearray(file.read_bytes())
    data[int(rng.integers(start, stop))] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)


def harm(folder, what, rng):
    """Harm what a job has left; return whether there was something to harm."""
    if what.split()[0] in ("theta", "buffers"):
        journal, how = folder / f"{what.split()[0]}.f32", what.split()[1]
        size = journal.stat().st_size
        if not size:
            return False
        if how == "flipped":
            flip(journal, 0, size, rng)
        elif how == "gone":
            journal.unlink()
        else:
            os.truncate(journal, size - 1 if how == "short" else 0)
        return True
    kept = [file for file in folder.rglob("*") if file.is_file() and file.suffix != state.JOURNAL]
    kept = [file for file in kept if not file.name.startswith("ledger-")] or kept  # which may be of an earlier unit
    file = kept[int(rng.integers(len(kept)))]
    size, head = file.stat().st_size, state._HEAD_BYTES
    about = int(file.read_bytes()[:head].split()[6])
    places = {"head": (0, head), "about": (head, head + about), "data": (head + about, size)}
    if what in places:
        flip(file, *places[what], rng)
    else:
        os.truncate(file, 0 if what == "empty" else int(rng.integers(1, size)))
    return True


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an interrupted job does not close its journal
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_job_ends_with_the_same_bits_whatever_befell_its_state(
    kind, folder, tmp_path, interrupted, rng, capfd, monkeypatch
):
    made = smallest(kind)
    monkeypatch.chdir(folder)
    for parts in made.inputs.values():
        for part in parts:
            make(part, folder)
    commits, _ = interrupted(made, folder, tmp_path / "whole/file.h5")
    assert commits > 1
    expected = content(tmp_path / "whole/file.h5")
    harms = [*HARMS, *(JOURNAL_HARMS if kind in JOURNALS else ())]
    for what in [*ALWAYS, *(harms if kind in WHOLE else rng.choice(harms, 2, replace=False).tolist())]:
        place = tmp_path / what.replace(" ", "-").replace(",", "")
        at = int(rng.integers(1, commits))
        there = what.startswith("other class")
        interrupted(made, folder, place / "file.h5", at, THERE if there else HERE)
        harmed = what != "nothing" and (there or harm(place / "job", what, rng))
        monkeypatch.setenv(RESUME, "any" if what.endswith("any") else "same")
        capfd.readouterr()
        again, provenance = interrupted(made, folder, place / "file.h5")
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lossatlas: ")]
        about = f"{what}, interrupted at commit {at} of {commits}: {said}"
        assert content(place / "file.h5") == expected, about
        assert not (place / "job").exists(), about
        if not harmed or what.endswith("any"):
            assert again == commits - at, about
            assert [one["class"] for one in provenance["segments"]] == [THERE["class"]] * there + [HERE["class"]], about
            assert len(said) == there, about
        else:
            assert again > commits - at, about
            assert len(said) == 1, about
            assert "set aside as " in said[0], about
            assert [one["class"] for one in provenance["segments"]] == [HERE["class"]], about
            assert len(list(place.glob("job*"))) == (not there), about


def test_kinds_that_keep_state_are_all_here():
    """A job that keeps state and is not among those above would go untested."""
    keeping = set()
    for kind, step in subjects.steps().items():
        if any(found is State or found is loop.Recorder for found in resolve(step.run).__globals__.values()):
            keeping.add(kind)
    assert keeping == set(KINDS)
