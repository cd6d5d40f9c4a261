"""A store that never lies: whatever is done to a file, fsck finds it and names it, and accuses none but what hangs on it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from harness import copy, snakemake
from recorded import reseal, rewrite

from lossatlas.audit import integrity
from lossatlas.audit.integrity import BAD, MIXED, OTHERS, UNSEALED, WHOLE, check, files_in, sample
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.hdf5 import create, open_hdf5, write_table
from lossatlas.files.points import Journal, gather, write_points
from lossatlas.files.record import provenance_file, write_record

CASES = 240
"""Random corruptions tried; docs/reliability.md names this number."""


def states(results):
    """Return state -> files of it below a folder."""
    found = {state: set() for state in (WHOLE, UNSEALED, BAD, OTHERS, MIXED)}
    for finding in check([results]):
        found[finding.state].add(finding.path)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# corruptions: each changes files of a tree by chance and returns those it changed


def truncate(files, rng):
    """Cut a file off at any byte."""
    path = files[rng.integers(len(files))]
    os.truncate(path, rng.integers(path.stat().st_size))
    return [path]


def flip(files, rng):
    """Flip one to eight bits anywhere: in the seal, in values, in HDF5's own structures, in bytes no one reads."""
    path = files[rng.integers(len(files))]
    data = bytearray(path.read_bytes())
    for place in rng.choice(len(data), size=rng.integers(1, 9), replace=False):
        data[place] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    return [path]


def delete_row(files, rng):
    """Delete a row: in HDF5 from every dataset that has it, so that the file still reads well; in CSV a line."""
    tables = [path for path in files if path.suffix in (".h5", ".csv")]
    path = tables[rng.integers(len(tables))]
    if path.suffix == ".csv":
        lines = path.read_text().splitlines(keepends=True)
        del lines[rng.integers(len(lines))]
        path.write_text("".join(lines))
        return [path]
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        chosen = file[found[rng.integers(len(found))]]
        rows = chosen.shape[0]
        row = rng.integers(rows) if rows else 0
        for name in found:
            if rows == 0 or file[name].shape[0] == rows:
                data, dtype = file[name][...], file[name].dtype
                del file[name]
                file.create_dataset(name, data=np.delete(data, row, axis=0) if rows else data, dtype=dtype)
    return [path]


def swap(files, rng):
    """Exchange two files of one kind of name."""
    first = files[rng.integers(len(files))]
    # The scorecard of one study alone holds the bytes of that study's claims: exchanging equal files changes nothing.
    alike = [path for path in files if path.suffix == first.suffix and path.read_bytes() != first.read_bytes()]
    if first.suffix == ".h5":
        alike = [path for path in alike if path.name == first.name] or alike
    second = alike[rng.integers(len(alike))]
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    return [first, second]


def clouds_over(results, changed):
    """Return the gathered clouds that refer to a changed file."""
    found = set()
    for cloud in results.glob("clouds/*/points.h5"):
        with h5py.File(cloud) as file:
            sources = json.loads(file.attrs[checksum.SOURCES])
        if {Path(os.path.normpath(cloud.parent / source["file"])) for source in sources} & set(changed):
            found.add(cloud)
    return found


def beside(files, record):
    """Return the files that a record vouches for."""
    return {path for path in files if path.suffix != ".h5" and record == provenance_file(path)}


def test_every_random_corruption_is_found_and_named(built, tmp_path, rng):
    results = copy(built, tmp_path) / "results"
    files = sorted(states(results)[WHOLE])
    assert {path.suffix for path in files} == {".h5", ".csv", ".json", ".png", ".pdf"}
    whole = {path: path.read_bytes() for path in files}
    followers = {path: clouds_over(results, [path]) | beside(files, path) for path in files}
    tried = dict.fromkeys((truncate, flip, delete_row, swap), 0)
    for case in range(CASES):
        corrupt = list(tried)[case % len(tried)]
        tried[corrupt] += 1
        changed = corrupt(files, rng)
        found = states(results)
        bad = found[BAD]
        assert not found[OTHERS] | found[MIXED]  # a bad file is not taken for another input
        assert set(changed) <= bad, (case, corrupt.__name__, changed)
        assert bad <= set(changed).union(*(followers[path] for path in changed)), (case, corrupt.__name__, changed)
        for path in changed:
            path.write_bytes(whole[path])
    assert sum(tried.values()) == CASES
    assert min(tried.values()) >= CASES // 4
    assert states(results) == {**{state: set() for state in (UNSEALED, BAD, OTHERS, MIXED)}, WHOLE: set(files)}
    print("found and named:", {corrupt.__name__: count for corrupt, count in tried.items()})


# ---------------------------------------------------------------------------------------------------------------------
# what files were made from


def inputs_of(path):
    """Return the inputs that an artefact's record names, or the record beside a product."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return set(json.loads(file.attrs["provenance"])["inputs_sha256"])
    return set(json.loads(provenance_file(path).read_text()).get("inputs_sha256", {}))


def test_a_replaced_input_is_found_in_what_was_made_from_it_of_every_kind(built, tmp_path):
    """Every artefact in turn exchanged for one of the same name and another content, as another machine makes it."""
    folder = copy(built, tmp_path)
    everything = sorted(states(folder / "results")[WHOLE])
    kinds = set()
    for path in everything:
        if path.suffix != ".h5":
            continue
        whole, name = path.read_bytes(), path.relative_to(folder).as_posix()
        reseal(path, lambda file: file.attrs.create("touched", 1.0))
        followers = {other for other in everything if name in inputs_of(other)}
        clouds = clouds_over(folder / "results", [path])
        findings = {finding.path: finding for finding in check([folder / "results"])}
        assert {one for one in findings if findings[one].state == BAD} == clouds
        assert {one for one in findings if findings[one].state == OTHERS} == followers - clouds, name
        for one in followers - clouds:
            assert findings[one].reason == f"its input {name} has other content than the one it was made from"
        kinds |= {one.relative_to(folder / "results").parts[0] for one in followers}
        path.write_bytes(whole)
    assert kinds == {"runs", "histories", "retrains", "clouds", "grams", "embeddings", "figures", "tables", "claims"}


def test_a_run_of_the_same_name_is_not_the_one_others_were_made_from(tmp_path):
    """Two trainings of one name; the second takes the place of the first, and the tile made from that is named."""
    results = tmp_path / "elsewhere"  # a tree may be renamed
    run = results / "runs/net-0123456789/points.h5"
    tile = results / "tiles/net-9876543210/grid.h5"

    def write(path, loss, **inputs):
        kind, (label, _, name) = path.parent.parent.name, path.parent.name.partition("-")
        with create(path, kind, {"kind": kind, "label": label, "hash": name, "inputs_sha256": inputs}) as file:
            file["loss"] = loss
        return content(path)

    name = "results/runs/net-0123456789/points.h5"
    write(tile, 2.0, **{name: write(run, 1.0)})
    assert states(results)[WHOLE] == {run, tile}
    write(run, 1.0 + 1e-15)
    (found,) = [finding for finding in check([results]) if finding.state != WHOLE]
    assert (found.path, found.state) == (tile, OTHERS)
    assert found.remedy == f"delete {tile.parent} and run its snakemake target again, or put that input back"
    assert [finding.state for finding in check([tile])] == [OTHERS]  # also where only it is checked
    done = fsck(tmp_path, "elsewhere")
    assert done.returncode == 1
    assert done.stdout.endswith("2 files: 1 whole, 0 bad, 0 without a checksum, 1 made from others\n")
    shutil.rmtree(run.parent)  # an input that is not there, as after a pull, is no fault
    assert states(results)[WHOLE] == {tile}


# ---------------------------------------------------------------------------------------------------------------------
# many processes, and a part of the files


def corrupted(built, folder, rng):
    """Return a copy of a build with one file of each sort of finding, and the findings by one process."""
    results = copy(built, folder) / "results"
    files = sorted(results.glob("*/*/*.h5"))
    flip([path for path in files if path.parent.parent.name == "retrains"], rng)
    reseal(min(results.glob("grams/*/gram.h5")), lambda file: file.attrs.create("touched", 1.0))
    rewrite(max(results.glob("grams/*/gram.h5")), lambda record: record["segments"][0].update({"class": "another"}))
    (results / "claims/tiny.metrics.json").write_text("{}\n")
    (results / "tables/tiny/accuracies.json").unlink()
    found = check([results])
    assert {finding.state for finding in found} == {WHOLE, UNSEALED, BAD, OTHERS, MIXED}
    return results, found


@pytest.mark.parametrize("jobs", [2, 5])
def test_many_processes_find_what_one_does(built, tmp_path, rng, jobs):
    results, found = corrupted(built, tmp_path, rng)
    assert check([results], jobs) == found


def test_a_part_is_checked_as_the_whole_is(built, tmp_path, rng, fresh_seed):
    """Chosen files have the findings of a full check, sources outside the part included; every kind is there."""
    results, found = corrupted(built, tmp_path, rng)
    files, by_path = list(files_in(results)), {finding.path: finding for finding in found}
    kinds = {(path.relative_to(results).parts[0], path.suffix) for path in files if path.parent != results}
    apart = sum(path.parent == results for path in files)  # each a kind of its own
    for share in (0.01, 0.3, 1.0):
        chosen = sample(files, share, fresh_seed)
        assert sample(files, share, fresh_seed) == chosen
        assert {(path.relative_to(results).parts[0], path.suffix) for path in chosen if path.parent != results} == kinds
        assert share * len(files) <= len(chosen) < share * len(files) + len(kinds) + apart
        assert check(chosen, jobs=2) == [by_path[path] for path in chosen]
    drawn = {tuple(sample(files, 0.3, fresh_seed + i)) for i in range(20)}
    assert len(drawn) > 1


def test_command_checks_a_part_and_prints_its_seed(built, tmp_path):
    folder = copy(built, tmp_path)
    done = fsck(folder, "--subset", "30%", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    first, last = done.stdout.splitlines()
    words = first.split()
    assert words[:1] == ["subset:"]
    assert last.startswith(f"{words[1]} files: {words[1]} whole, 0 bad")
    again = fsck(folder, "--subset", "0.3", "--seed", words[words.index("--seed") + 1])
    assert again.stdout == done.stdout
    for wrong in ("0%", "101%", "5%5"):
        done = fsck(folder, f"--subset={wrong}")
        assert (done.returncode, "give a share such as 5% or 0.05" in done.stderr) == (2, True), wrong
    assert "give a number of processes from 1" in fsck(folder, "--jobs", "0").stderr


def killed(path):
    """Read a file as a process does that is short of memory."""
    os._exit(9)


def test_a_killed_process_is_one_line(tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / f"{i}.csv").write_text("x\n")
    monkeypatch.setattr(integrity.facts, "read", killed)
    with pytest.raises(LossatlasError, match="a process that reads files was killed; `--jobs 1`"):
        check([tmp_path], jobs=2)


# ---------------------------------------------------------------------------------------------------------------------
# what the command says


def fsck(folder, *paths):
    """Run the command in a folder."""
    command = [sys.executable, "-m", "lossatlas.fsck", *map(str, paths)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_command_names_file_reason_and_remedy(built, tmp_path):
    folder = copy(built, tmp_path)
    done = fsck(folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("0 bad, 0 without a checksum\n")
    first, second = (path.relative_to(folder) for path in sorted((folder / "results/runs").glob("*/points.h5"))[:2])
    data = (folder / first).read_bytes()
    (folder / first).write_bytes((folder / second).read_bytes())
    os.truncate(folder / second, 5000)
    done = fsck(folder, "results/runs")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert (
        f"{first}: BAD: another artefact lies in its place: runs/{second.parent.name}; delete {first.parent}"
        in lines[0]
    )
    assert f"{second}: BAD: 5000 bytes, written with" in lines[1]
    assert lines[-1] == "4 files: 2 whole, 2 bad, 0 without a checksum"
    (folder / first).write_bytes(data)
    done = fsck(folder, "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("lossatlas: error: nowhere: no such file or folder")


def test_the_gallery_is_checked_by_its_record(built, tmp_path):
    """A file of it that is changed or gone is found, and what the line says brings it back."""
    folder = copy(built, tmp_path)
    gallery = folder / "results/figures/all"
    (thumbnail, *_), page = sorted(gallery.glob("thumbnails/*/*.png")), gallery / "index.html"
    flip([thumbnail], np.random.default_rng(0))
    done = fsck(folder)
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert said[0] == (
        f"results/figures/all/index.json: BAD: {thumbnail.relative_to(gallery)}, which it describes, is not what was "
        "written (SHA-256 differs); delete results/figures/all/.built and run its snakemake target again"
    )
    assert len(said) == 2, said
    (gallery / ".built").unlink()
    assert snakemake(folder, "results/figures/all").returncode == 0
    assert fsck(folder).returncode == 0
    page.unlink()
    assert "BAD: index.html, which it describes, is not readable" in fsck(folder, "results/figures/all").stdout


def test_remedy_works(built, tmp_path):
    """A cloud whose source is bad: what the message says brings the same content back."""

    folder = copy(built, tmp_path)
    cloud = min((folder / "results/clouds").glob("paths-*/points.h5"))
    with h5py.File(cloud) as file:
        (entry,) = json.loads(file.attrs[checksum.SOURCES])
    source = Path(os.path.normpath(cloud.parent / entry["file"]))
    flipped = bytearray(source.read_bytes())
    flipped[-1] ^= 1
    source.write_bytes(flipped)
    lines = fsck(folder).stdout.splitlines()
    assert len(lines) == 3
    assert f"{cloud.relative_to(folder)}: BAD: its source {source.relative_to(folder)} is bad" in lines[0]
    assert f"{source.relative_to(folder)}: BAD: its bytes are not those" in lines[1]
    shutil.rmtree(source.parent)
    assert f"its source {source.relative_to(folder)} is missing" in fsck(folder).stdout
    done = snakemake(folder, source.relative_to(folder).as_posix())
    assert done.returncode == 0, done.stdout
    assert fsck(folder).returncode == 0


# ---------------------------------------------------------------------------------------------------------------------
# the checksums themselves


def write_old(path, provenance):
    """Write an artefact as earlier versions did: without checksums."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["kind"] = "points"
        file.attrs["provenance"] = json.dumps(provenance)
        file.create_dataset("theta", data=np.ones((3, 4), np.float32))
        write_table(file, pd.DataFrame({"run": ["a", "b", "c"]}))


def test_old_files_are_readable_and_reported_apart(tmp_path):
    about = {"kind": "runs", "label": "net", "hash": "0123456789"}
    path = tmp_path / "results/runs/net-0123456789/points.h5"
    write_old(path, about)
    with open_hdf5(path, "points") as file:
        assert file["theta"].shape == (3, 4)
    (finding,) = check([tmp_path / "results"])
    assert (finding.state, finding.path) == (UNSEALED, path)
    done = fsck(tmp_path)
    assert done.returncode == 0
    assert "no checksum: an earlier version wrote it" in done.stdout
    scores = tmp_path / "results/scores/tree-0123456789/scores.csv"
    scores.parent.mkdir(parents=True)
    scores.write_text("a\n1\n")
    scores.with_suffix(".json").write_text(json.dumps({**about, "kind": "scores", "label": "tree"}) + "\n")
    assert {finding.state for finding in check([tmp_path / "results"])} == {UNSEALED}
    moved = tmp_path / "results/runs/net-9876543210"  # even without checksums a swapped file is found
    moved.mkdir()
    shutil.copy(path, moved / "points.h5")
    assert {finding.path for finding in check([tmp_path / "results"]) if finding.state == BAD} == {moved / "points.h5"}
    os.truncate(path, path.stat().st_size - 100)
    assert "truncated" in next(finding for finding in check([path])).reason


def test_rewritten_by_another_programme(tmp_path):
    with create(tmp_path / "a.h5", "points", {"hash": "x"}) as file:
        file.create_dataset("theta", data=np.ones((3, 4), np.float32))
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "b.h5", "w") as new:
        old.copy("theta", new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    (finding,) = check([tmp_path / "b.h5"])
    assert finding.state == BAD
    assert "its seal is gone" in finding.reason


def test_seal_is_the_digest_of_what_lies_behind_it(tmp_path, rng):
    with create(tmp_path / "a.h5", "gram", {}) as file:
        file.create_dataset("gram", data=rng.standard_normal((30, 30)))
    data = (tmp_path / "a.h5").read_bytes()
    words = data[: checksum.SEAL_BYTES].decode().split()
    assert words[4] == hashlib.sha256(data[checksum.SEAL_BYTES :]).hexdigest()
    assert int(words[6]) == len(data)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.userblock_size == checksum.SEAL_BYTES


def content(path):
    with h5py.File(path) as file:
        assert checksum.stored_content(file) == checksum.content_digest(file)
        return checksum.content_digest(file)


def points_file(path, theta, provenance, chunks=True, **table):
    with create(path, "points", provenance) as file:
        file.attrs["layout"] = file.attrs["buffer_layout"] = "[]"
        file.create_dataset("theta", data=theta, chunks=chunks)
        file.create_dataset("buffers", data=np.zeros((len(theta), 0), np.float32))
        write_table(file, pd.DataFrame(table))
    return content(path)


def test_content_digest_is_of_what_is_read(tmp_path, rng):
    """Date, chunks and slack do not count; a bit, a name, a type, a shape, the order of columns do."""
    theta = rng.standard_normal((7, 12)).astype(np.float32)
    table = {"run": list("abcdefg"), "epoch": np.arange(7.0)}
    first = points_file(tmp_path / "0.h5", theta, {"created": "today"}, **table)
    assert points_file(tmp_path / "1.h5", theta, {"created": "tomorrow"}, chunks=(1, 5), **table) == first
    changed = theta.copy()
    changed[rng.integers(7), rng.integers(12)] *= np.float32(1 + 2**-23)
    others = [
        points_file(tmp_path / "2.h5", changed, {}, **table),
        points_file(tmp_path / "3.h5", theta.astype(np.float64), {}, **table),
        points_file(tmp_path / "4.h5", theta.reshape(7, 12)[:, ::-1], {}, **table),
        points_file(tmp_path / "5.h5", theta, {}, **dict(reversed(table.items()))),
        points_file(tmp_path / "6.h5", theta, {}, **{**table, "run": ["ab", "", *"cdefg"]}),
        points_file(tmp_path / "7.h5", theta, {}, run=table["run"], epochs=table["epoch"]),
    ]
    assert len({first, *others}) == 1 + len(others)


def test_content_digest_reads_blocks_of_rows(tmp_path, rng, monkeypatch):
    theta = rng.standard_normal((41, 9)).astype(np.float32)
    whole = points_file(tmp_path / "0.h5", theta, {}, run=["x"] * 41)
    monkeypatch.setattr(checksum, "BLOCK_BYTES", 9 * 4 * 3 + 1)
    assert points_file(tmp_path / "1.h5", theta, {}, run=["x"] * 41) == whole


def test_cloud_follows_the_content_of_its_sources(tmp_path, rng):
    """A source computed again to the same bits is the same source; another row order or another source is not."""
    folder = tmp_path / "results"
    thetas = [rng.standard_normal((4, 6)).astype(np.float32) for _ in range(2)]
    for i, theta in enumerate(thetas):
        points_file(folder / f"retrains/{i}/points.h5", theta, {"created": "today"}, epoch=np.arange(4.0))
    sources = [(folder / f"retrains/{i}/points.h5", rows) for i, rows in enumerate(([-1], None))]
    cloud = folder / "clouds/c/points.h5"
    gather(cloud, sources, {})
    before = content(cloud)
    gather(cloud, [sources[0], (sources[1][0], [0, 2, 3])], {})
    assert content(cloud) != before
    gather(cloud, sources, {"created": "later"})
    assert content(cloud) == before
    points_file(sources[1][0], thetas[1], {"created": "tomorrow"}, epoch=np.arange(4.0))
    assert states(folder)[BAD] == set()
    points_file(sources[1][0], thetas[1] + 1, {"created": "tomorrow"}, epoch=np.arange(4.0))
    (finding,) = [finding for finding in check([folder]) if finding.state == BAD]
    assert finding.path == cloud
    assert f"its source {sources[1][0]} is not the one it was gathered from" in finding.reason


def test_journal_of_many_rows_is_sealed(tmp_path, rng):
    with Journal(tmp_path / "state", 5, 2) as journal:
        for _ in range(20):
            journal.append(rng.standard_normal(5).astype(np.float32), rng.standard_normal(2).astype(np.float32))
        write_points(
            tmp_path / "points.h5", journal, pd.DataFrame({"epoch": np.arange(20.0)}), "[]", "[]", {"hash": "x"}
        )
    assert check([tmp_path / "points.h5"])[0].state == WHOLE


def test_hidden_folders_above_hide_nothing(tmp_path):
    file = tmp_path / ".cache/results/tables/t/a.csv"
    file.parent.mkdir(parents=True)
    file.write_text("x\n")
    write_record(file.with_suffix(".json"), {"hash": "x"}, [file])
    file.write_text("y\n")
    assert states(tmp_path / ".cache/results")[BAD] == {file}


def test_files_whose_record_is_bad_are_not_taken_for_whole(tmp_path):
    """A record exchanged with the file it describes: neither passes."""
    file, record = tmp_path / "a.metrics.json", tmp_path / "a.json"
    file.write_text("{}\n")
    write_record(record, {"hash": "x"}, [file])
    assert [finding.state for finding in check([tmp_path])] == [WHOLE, WHOLE]
    texts = file.read_text(), record.read_text()
    file.write_text(texts[1])
    record.write_text(texts[0])
    assert states(tmp_path)[BAD] == {file, record}


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(LossatlasError, match="no such file or folder"):
        check([tmp_path / "results"])
