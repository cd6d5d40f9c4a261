"""The scorecard: configured studies first, others that are finished kept, other machines' verdicts beside ours."""

import copy
import json

import numpy as np
import pandas as pd
import pytest

from lossatlas.claims.evaluate import COLUMNS
from lossatlas.claims.evaluate import write as write_claims
from lossatlas.claims.scorecard import gather, others, write
from lossatlas.errors import LossatlasError
from lossatlas.files.record import write_record

NONE = "not judged"


def asked(study="s", **changes):
    """Return what a claims record says of its question."""
    spec = {"claims": [{"id": id, "measure": "outwardness", "holds": {"op": ">", "value": 1.0}} for id in ("A", "B")]}
    inputs = {"gram": {"cloud": [f"results/grams/{study}-0123456789/gram.h5"]}}
    return {"study": study, "preset": "quick", "numerics": "native", "spec": spec, "inputs": inputs, **changes}


def put(tree, study="s", ours=(1.5, 0.5), verdicts=("holds", "fails"), about=None, kind="AuthenticAMD avx2, 1 thread"):
    """Write the claims of a study into a tree of results, with their record; return the CSV."""
    fixed = {"study": study, "part": "main", "sentence": 'It is, "so".\nQuite.', "measure": "outwardness"}
    fixed |= {"paper": "~1", "low": np.nan, "high": np.nan, "n": 3, "threshold": "> 1"}
    rows = [
        {**dict.fromkeys(COLUMNS, ""), **fixed, "statement": id, "id": id, "ours": value, "verdict": verdict}
        for id, value, verdict in zip(("A", "B"), ours, verdicts, strict=True)
    ]
    path = tree / "claims" / f"{study}.csv"
    write_claims(pd.DataFrame(rows, columns=COLUMNS), path)
    segments = [{"class": "another stretch"}, {"class": kind, "cpu": "a CPU", "gpu": None}] if kind else []
    record = {**(about or asked(study)), "commit": "abc", "segments": segments}
    write_record(path.with_suffix(".json"), record, [path])
    return path


def table(tmp_path, scorecard):
    """Return a scorecard as its CSV has it, by study and claim."""
    write(scorecard, tmp_path / "claims.csv")
    return pd.read_csv(tmp_path / "claims.csv", keep_default_na=False, dtype=str).set_index(["study", "id"])


def test_configured_studies_come_first_and_finished_ones_stay(tmp_path):
    for study, preset in (("own", "quick"), ("a", "laptop"), ("damaged", "quick")):
        put(tmp_path, study, about=asked(study, preset=preset))
    (tmp_path / "claims/damaged.csv").write_text("study,id\n")
    (tmp_path / "claims/strange.csv").write_text("no record\n")
    found = gather(tmp_path / "claims", ["own"], {})
    assert found.columns == [*COLUMNS, "preset"]
    assert found.about["studies"] == ["own", "a"]
    rows = table(tmp_path, found)
    assert list(rows.index) == [("own", "A"), ("own", "B"), ("a", "A"), ("a", "B")]
    assert list(rows["preset"]) == ["quick", "quick", "laptop", "laptop"]


def test_what_is_left_out_is_said(tmp_path, capsys):
    put(tmp_path, "own")
    put(tmp_path, "damaged").write_text("study,id\n")
    gather(tmp_path / "claims", ["own"], {})
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged.csv: its bytes are not those that were written" in line
    assert "leaves out study damaged" in line


def test_the_numbers_keep_every_digit(tmp_path, rng):
    values = tuple(rng.normal(size=2))
    claims = put(tmp_path, ours=values)
    rows = table(tmp_path, gather(tmp_path / "claims", ["s"], {}))
    assert [float(text) for text in rows["ours"]] == list(values)
    alone = pd.read_csv(claims, keep_default_na=False, dtype=str).set_index(["study", "id"])
    pd.testing.assert_frame_equal(rows[list(alone)], alone)


def test_verdicts_of_several_machines(tmp_path):
    put(tmp_path / "here", verdicts=("holds", "fails"))
    put(tmp_path / "here", "t", verdicts=("holds", "holds"))
    put(tmp_path / "here", "finished")
    put(tmp_path / "epyc", ours=(1.4, 2.5), verdicts=("holds", "holds"))
    put(tmp_path / "gpu", ours=(1.3, np.nan), verdicts=("holds", NONE), kind=None)
    put(tmp_path / "gpu", "t", verdicts=("holds", "holds"))
    machines = {name: str(tmp_path / name) for name in ("epyc", "gpu")}
    found = gather(tmp_path / "here/claims", ["s", "t"], machines)
    rows = table(tmp_path, found)

    def row(study, id):
        names = ["verdict", "machines", "holds_on", "agree", "ours_epyc", "verdict_epyc", "ours_gpu", "verdict_gpu"]
        return list(rows.loc[(study, id), names])

    assert row("s", "A") == ["holds", "3", "3", "yes", "1.4", "holds", "1.3", "holds"]
    assert row("s", "B") == ["fails", "3", "1", "no", "2.5", "holds", "", NONE]
    assert row("t", "B") == ["holds", "2", "2", "yes", "", "", "0.5", "holds"], "epyc has no claims of this study"
    assert row("finished", "A") == ["holds", "1", "1", "", "", "", "", ""], "not configured, so not compared"
    assert found.about["machines"] == {
        "here": {"class": "AuthenticAMD avx2, 1 thread", "processor": "a CPU", "commit": "abc"},
        "epyc": {"class": "AuthenticAMD avx2, 1 thread", "processor": "a CPU", "commit": "abc"},
        "gpu": {"commit": "abc", "class": "AuthenticAMD avx2, 1 thread", "processor": "a CPU"},
    }
    digests = found.about["tables"]
    assert {name: set(tables) for name, tables in digests.items()} == {
        "here": {"s", "t", "finished"}, "epyc": {"s"}, "gpu": {"s", "t"}
    }  # fmt: skip
    record = json.loads((tmp_path / "epyc/claims/s.json").read_text())
    assert digests["epyc"]["s"] == record["record_sha256"]


def changed(**changes):
    """Return a question with one thing changed, given by the path of its keys."""
    found = copy.deepcopy(asked())
    for place, value in changes.items():
        *keys, last = place.split("__")
        part = found
        for one in keys:
            part = part[int(one) if one.isdigit() else one]
        part[last] = value
    return found


@pytest.mark.parametrize(
    "about, message",
    [
        (changed(preset="laptop"), "its preset is laptop, here it is quick"),
        (changed(numerics="portable"), "its numerics is portable, here it is native"),
        (changed(study="t"), "its study is t, here it is s"),
        (changed(spec__claims__0__holds={"op": ">", "value": 0.5}), "claim A has another holds: .*0.5.*, here .*1.0"),
        (changed(spec__claims__1__parameters={"steps": [1]}), "claim B has another parameters"),
        (changed(spec__claims=asked()["spec"]["claims"][:1]), "claim B is not there"),
        (changed(spec__claims=[*asked()["spec"]["claims"], {"id": "C"}]), "claim C is only there"),
        (changed(spec__claims=asked()["spec"]["claims"][::-1]), "its claims stand in another order"),
        (
            changed(inputs__gram__cloud=["results/grams/s-9876543210/gram.h5"]),
            "gram cloud is made from results/grams/s-9876543210/gram.h5, here from results/grams/s-0123456789/gram.h5",
        ),
        (changed(inputs__gram={}), "gram cloud is made from nothing, here from"),
        (changed(inputs__run={"a": ["x", "y", "z"]}), "run a is made from x and 2 more, here from nothing"),
    ],
)
def test_another_question_is_refused(tmp_path, about, message):
    put(tmp_path / "other", about=about)
    with pytest.raises(LossatlasError, match=f"^machines: other: .*s.csv answers another question: {message}") as error:
        others({"other": str(tmp_path / "other")}, {"s": asked()})
    assert "\n" not in str(error.value)


def test_code_and_machine_are_no_other_question(tmp_path):
    put(tmp_path / "other", about={**asked(), "code": "other", "artefacts": [], "seconds": 7})
    found = others({"other": str(tmp_path / "other")}, {"s": {**asked(), "code": "ours"}})
    assert [row["verdict"] for row in found["other"]["s"].rows] == ["holds", "fails"]


def test_rows_that_are_not_the_claims_are_refused(tmp_path):
    put(tmp_path / "here")
    path = put(tmp_path / "other")
    rows = pd.read_csv(path)
    write_claims(rows.iloc[:1], path)
    write_record(path.with_suffix(".json"), asked(), [path])
    with pytest.raises(LossatlasError, match="its rows are not its claims"):
        gather(tmp_path / "here/claims", ["s"], {"other": str(tmp_path / "other")})


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_damaged_table_is_refused(tmp_path, rng, suffix):
    path = put(tmp_path / "other").with_suffix(suffix)
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)
    with pytest.raises(LossatlasError, match=r"^machines: other: .*; copy it again from that machine$") as error:
        others({"other": str(tmp_path / "other")}, {"s": asked()})
    assert "\n" not in str(error.value)


def test_a_folder_without_claims_or_record_is_refused(tmp_path):
    with pytest.raises(LossatlasError, match=r"machines: other: no claims of s, t lie in .*nowhere/claims; copy"):
        others({"other": str(tmp_path / "nowhere")}, {"s": asked(), "t": asked("t")})
    put(tmp_path / "other").with_suffix(".json").unlink()
    with pytest.raises(LossatlasError, match=r"machines: other: .*s.json: no such file; copy it again"):
        others({"other": str(tmp_path / "other")}, {"s": asked()})


@pytest.mark.parametrize("name", ["here", "", "a b", "-x", "a,b"])
def test_a_name_that_cannot_head_a_column_is_refused(tmp_path, name):
    put(tmp_path / "other")
    with pytest.raises(LossatlasError, match="no name for a machine"):
        others({name: str(tmp_path / "other")}, {"s": asked()})


def test_a_configured_table_must_be_whole(tmp_path):
    put(tmp_path)
    with pytest.raises(LossatlasError, match=r"t.csv: no such file; delete .*t.csv and run the same command again"):
        gather(tmp_path / "claims", ["s", "t"], {})
    (tmp_path / "claims/s.csv").write_text("study,id\n")
    with pytest.raises(LossatlasError, match=r"s.csv: its bytes .*; delete .*s.csv and run the same command again"):
        gather(tmp_path / "claims", ["s"], {})
