"""A finished gallery and scorecard survive another list of studies, a failed build and a killed one."""

import contextlib
import json
import os
import shutil
import signal
import time

import pandas as pd
import psutil
import pytest
import yaml
from harness import ALL, TINY, copy, counts, error_lines, plan, snakemake, start_snakemake

from lossatlas.files.checksum import FILES, broken_record, file_digest
from lossatlas.files.record import write_record
from lossatlas.specs.yaml import read_yaml

CARD = "results/claims.csv"


def own_study(folder, **changes):
    """Write a study of one figure, of the artefacts that are there; return its file."""
    raw = {**read_yaml(TINY), "title": "My own study"}
    raw |= {"figures": {"norms": raw["figures"]["norms"]}, "tables": {}, "claims": raw["claims"][:1], **changes}
    (folder / "own.yaml").write_text(yaml.safe_dump(raw))
    return folder / "own.yaml"


def files(folder):
    """Return path -> digest of every file of the gallery but the stamp, which Snakemake takes away before a job."""
    gallery = folder / ALL
    found = {path.relative_to(gallery).as_posix(): path for path in gallery.rglob("*") if path.is_file()}
    return {name: file_digest(path) for name, path in found.items() if name != ".built"}


def whole(folder):
    """Return the names of the studies a gallery shows, after a check that it is what its record says."""
    text = (folder / ALL / "index.json").read_text()
    assert broken_record(text) is None
    record = json.loads(text)
    assert {name: digest for name, digest in files(folder).items() if name != "index.json"} == record[FILES]
    page = (folder / ALL / "index.html").read_text()
    names = [study["name"] for study in record["studies"]]
    assert [part.split('"')[0] for part in page.split('<section id="')[1:]] == [*names, "scorecard"]
    return names


def ran(done):
    """Return the finished process if it succeeded."""
    assert done.returncode == 0, done.stdout
    return done


def test_a_study_of_ones_own_joins_the_others(built, tmp_path):
    folder = copy(built, tmp_path)
    assert whole(folder) == ["tiny"]
    before = files(folder)
    own = own_study(folder)
    assert counts(plan(folder, ALL, study=own)) == {
        "figure": 1,
        "claims": 1,
        "scorecard": 1,
        "statements": 1,
        "index": 1,
        "gallery": 1,
    }
    ran(snakemake(folder, ALL, study=own))
    assert whole(folder) == ["own", "tiny"]
    after = files(folder)
    theirs = {name for name in before if "/tiny" in name and not name.endswith(".html")}  # pages name their neighbours
    assert len(theirs) > 10
    assert {name: after[name] for name in theirs} == {name: before[name] for name in theirs}
    assert list(pd.read_csv(folder / CARD)["study"]) == ["own", "tiny", "tiny"]
    assert plan(folder, ALL, study=own) == []
    assert counts(plan(folder, ALL)) == {"scorecard": 1, "statements": 1, "index": 1, "gallery": 1}, (
        "the list of studies changed"
    )
    ran(snakemake(folder, ALL))
    assert whole(folder) == ["tiny", "own"]
    assert list(pd.read_csv(folder / CARD)["study"]) == ["tiny", "tiny", "own"]
    assert plan(folder, ALL) == []


def test_a_study_that_fails_touches_neither(built, tmp_path):
    folder = copy(built, tmp_path)
    before, card = files(folder), pd.read_csv(folder / CARD)
    own = own_study(folder)
    in_the_way = folder / "results/figures/own/norms.png/file"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    failed = snakemake(folder, ALL, study=own)
    assert failed.returncode != 0, failed.stdout
    assert files(folder) == before
    assert plan(folder, ALL, study=own) != []
    rows = pd.read_csv(folder / CARD)
    pd.testing.assert_frame_equal(rows[rows["study"] == "tiny"].reset_index(drop=True), card)


def test_a_picture_that_is_none_fails_the_build_and_the_old_gallery_stands(built, tmp_path):
    folder = copy(built, tmp_path)
    before = files(folder)
    picture = folder / "results/figures/tiny/fig1.png"
    good = picture.read_bytes()
    picture.write_bytes(b"no picture")
    failed = snakemake(folder, ALL)
    assert failed.returncode != 0
    (line,) = error_lines(failed.stdout)
    assert "fig1.png: not a readable picture" in line
    assert whole(folder) == ["tiny"]
    assert files(folder) == before
    assert counts(plan(folder, ALL)) == {"gallery": 1}, "what failed is built again"
    picture.write_bytes(good)
    ran(snakemake(folder, ALL))
    assert whole(folder) == ["tiny"]
    assert plan(folder, ALL) == []


def test_killed_while_it_is_built_the_old_gallery_stands(built, tmp_path):
    folder = copy(built, tmp_path)
    before = files(folder)
    own = own_study(folder)
    ran(snakemake(folder, "results/figures/own/norms.png", CARD, "results/index.csv", study=own))
    assert counts(plan(folder, ALL, study=own)).get("gallery") == 1
    process = start_snakemake(folder, ALL, study=own)
    while process.poll() is None and not list((folder / "results/figures").glob(".all.*.part/figures")):
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was finished before it could be killed"
    left = [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder) and one.is_running()]
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=10)
    assert not (folder / ALL / ".built").exists(), "killed before the job began"
    assert list((folder / "results/figures").glob(".all.*.part"))
    assert whole(folder) == ["tiny"]
    assert files(folder) == before
    ran(snakemake(folder, ALL, study=own, options=["--unlock"]))
    ran(snakemake(folder, ALL, study=own))
    assert whole(folder) == ["own", "tiny"]
    assert sorted(path.name for path in (folder / "results/figures").iterdir()) == ["all", "own", "tiny"]


@pytest.mark.parametrize("target", [ALL, f"{ALL}/", f"{ALL}/index.html"])
def test_its_targets(built, tmp_path, target):
    assert plan(built, target) == []
    assert counts(plan(tmp_path, target))["gallery"] == 1


def test_a_deleted_gallery_is_built_again(built, tmp_path):
    folder = copy(built, tmp_path)
    shutil.rmtree(folder / ALL)
    assert counts(plan(folder, ALL)) == {"gallery": 1}


def test_no_study_has_the_gallerys_name(built, tmp_path):
    own_study(tmp_path).rename(tmp_path / "all.yaml")
    refused = snakemake(tmp_path, CARD, study=tmp_path / "all.yaml", options=["-n"])
    assert refused.returncode != 0
    assert "study 'all': the folder of the gallery has that name; rename it" in refused.stdout


# ---------------------------------------------------------------------------------------------------------------------
# other machines


def machine(built, folder, verdicts):
    """Copy the claims of a build as another machine's, with other verdicts, as if measured there; return the tree."""
    claims = folder / "claims"
    shutil.copytree(built / "results/claims", claims)
    rows = pd.read_csv(claims / "tiny.csv", dtype=str, keep_default_na=False)
    rows["verdict"] = verdicts
    rows.to_csv(claims / "tiny.csv", index=False)
    record = json.loads((claims / "tiny.json").read_text())
    plain = {key: value for key, value in record.items() if not key.endswith("_sha256") or key.startswith("inputs")}
    plain["segments"] = [{"class": f"class of {folder.name}"}]
    write_record(claims / "tiny.json", plain, [claims / "tiny.csv", claims / "tiny.metrics.json"])
    return folder


def test_two_machines_beside_ours(built, tmp_path):
    folder = copy(built, tmp_path / "here")
    ours = list(pd.read_csv(folder / CARD)["verdict"])
    other = {"holds": "fails"}.get(ours[0], "holds")
    trees = {
        name: machine(built, tmp_path / name, [verdict, ours[1]]) for name, verdict in (("a", ours[0]), ("b", other))
    }
    config = [f"machines={json.dumps({name: str(tree) for name, tree in trees.items()})}"]
    assert counts(plan(folder, ALL, config=config)) == {"scorecard": 1, "statements": 1, "gallery": 1}
    ran(snakemake(folder, ALL, config=config))
    row = pd.read_csv(folder / CARD).set_index("id").loc["outward"]
    assert (row["machines"], row["agree"]) == (3, "no")
    assert row["holds_on"] == (2 if ours[0] == "holds" else 1), ours
    assert (row["verdict"], row["verdict_a"], row["verdict_b"]) == (ours[0], ours[0], other)
    assert row["ours"] == row["ours_a"] == row["ours_b"]
    assert "1 differs between machines" in (folder / ALL / "index.html").read_text()
    page = (folder / ALL / "studies/tiny.html").read_text()
    assert page.count('<span class="badge differs">differs</span>') == 1
    assert "class of b" in page
    assert plan(folder, ALL, config=config) == []
    machine(built, tmp_path / "again", [ours[0], ours[1]])
    shutil.copytree(tmp_path / "again", trees["b"], dirs_exist_ok=True)
    assert counts(plan(folder, ALL, config=config)) == {"scorecard": 1, "statements": 1, "gallery": 1}, (
        "another table of that machine"
    )


def test_another_question_is_refused_before_any_job_runs(built, tmp_path):
    folder = copy(built, tmp_path / "here")
    card = (folder / CARD).read_bytes()
    tree = machine(built, tmp_path / "b", ["holds", "holds"])
    given = [f"machines={json.dumps({'b': str(tree)})}"]
    for more, message in (
        (["seed=3"], "answers another question: gram good is made from"),
        (["numerics=native"], "answers another question: its numerics is portable, here it is native"),
    ):
        refused = snakemake(folder, ALL, config=[*given, *more])
        assert refused.returncode != 0
        said = [line for line in refused.stdout.splitlines() if "machines: b:" in line]
        assert len(said) == 1, refused.stdout
        assert message in said[0]
    assert (folder / CARD).read_bytes() == card
    assert whole(folder) == ["tiny"]
