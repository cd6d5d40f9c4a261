"""Published results: what is refused, what is written, and that nothing in it is a path of the machine or stale."""

# ruff: noqa: RUF001  (pages print minus signs)

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image, PngImagePlugin

from lossatlas import publish as command
from lossatlas.audit.integrity import WHOLE, check
from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create
from lossatlas.files.record import write_record
from lossatlas.gallery import published
from lossatlas.gallery.publish import PICTURE_BYTES, gather, publish, small, without_paths

SEGMENT = {
    "class": "portable",
    "cpu": "a CPU",
    "gpu": None,
    "versions": {"python": "3.11.7", "torch": "2.13.0", "h5py": "3"},
}
PRODUCTS = [("figures", "fig1"), ("figures", "fig10"), ("figures", "fig2"), ("tables", "table1")]
CLAIMS = [
    {"id": "A1", "ours": -4124.31, "low": -4298.2, "high": -3962.0, "n": 10, "unit": "data sets", "verdict": "holds"},
    {"id": "A2", "ours": 0.953, "low": 0.91, "high": 0.97, "n": 4, "verdict": "undecided", "paper": "near | one"},
    {"id": "A3", "n": 0, "verdict": "not judged", "reason": "too small"},
]
STATEMENTS = [
    {
        "id": "A",
        "sentence": "A gap of <some> orders.",
        "verdict": "holds, but",
        "reason": "A2 explains it",
        "main": "A1",
    },
    {"id": "B", "sentence": "Later.", "verdict": "not judged", "main": "A3"},
]


def about(preset="laptop", **more):
    """Return what a record of the study says."""
    return {
        "study": "mine", "preset": preset, "numerics": "native", "config": {"preset": preset, "studies": ["mine"]},
        "commit": "0123456789ab", "created": "2026-01-02T03:04:05Z", "segments": [SEGMENT],
        "inputs_sha256": {"results/grams/a-0123456789/gram.h5": "0" * 64, "results/grams/b-0123456789/gram.h5": "1" * 64},
        **more,
    }  # fmt: skip


def picture(path, rng, width=2400, height=900):
    """Write a picture with noise, which no reduction makes small, and a note."""
    noted = PngImagePlugin.PngInfo()
    noted.add_text("lossatlas-notes", json.dumps(["2 points are clipped."]))
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[200:500, 300:900, :3] = rng.integers(0, 256, (300, 600, 3))
    Image.fromarray(pixels).save(path, pnginfo=noted)


@pytest.fixture
def results(tmp_path, rng):
    """Return a tree of results of a study."""
    tree = tmp_path / "run" / "results"
    for name in ("claims", "figures/mine", "tables/mine", "grams/a-0123456789", "runs/c-0123456789"):
        (tree / name).mkdir(parents=True)
    for kind, id, seconds, made_from in (
        ("gram", "grams/a", 60.5, ["runs/c-0123456789/points.h5"]),
        ("points", "runs/c", 3600.0, []),
    ):
        inputs = {f"results/{name}": "2" * 64 for name in made_from}
        file = tree / f"{id}-0123456789" / f"{kind}.h5"
        with create(
            file, kind, {"seconds": seconds, "segments": [SEGMENT], "commit": "ba9876543210", "inputs_sha256": inputs}
        ):
            pass
    for name, rows, columns in (("mine", CLAIMS, COLUMNS), ("mine.statements", STATEMENTS, STATEMENT_COLUMNS)):
        filled = [{"study": "mine", "threshold": "> 0", **row} for row in rows]
        pd.DataFrame(filled, columns=columns).to_csv(tree / f"claims/{name}.csv", index=False)
    vouch(tree / "claims/mine.json", about())
    for name in ("fig1", "fig2", "fig10"):
        picture(tree / f"figures/mine/{name}.png", rng)
        rows = 20 if name != "fig2" else 40_000
        pd.DataFrame({"beta": np.arange(rows), "loss": rng.random(rows)}).to_csv(
            tree / f"figures/mine/{name}.csv", index=False
        )
        spec = {"title": f"Title of {name}", "caption": "A caption.", "paper_figure": "Figure 1"}
        vouch(tree / f"figures/mine/{name}.json", about(spec=spec))
    pd.DataFrame({"model": ["vgg", "linear"], "accuracy": [0.5, np.nan]}).to_csv(
        tree / "tables/mine/table1.csv", index=False
    )
    vouch(tree / "tables/mine/table1.json", about(spec={"title": "A table", "caption": "Its caption."}))
    return tree


def vouch(record, said):
    """Write the record of the files of its name."""
    write_record(record, said, [path for path in sorted(record.parent.glob(f"{record.stem}.*")) if path != record])


def publication(results, to, products=PRODUCTS):
    """Publish the study below a folder; return its own one."""
    return publish(gather(results, "mine", "A study", "Somebody (2020)", products), to)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_published(results, tmp_path):
    folder = publication(results, tmp_path / "docs/results")
    assert folder == tmp_path / "docs/results/mine"
    names = {"claims.csv", "statements.csv", "tables/table1.csv", "figures/fig1.csv", "figures/fig10.csv"}
    names |= {f"figures/{name}.png" for name in ("fig1", "fig2", "fig10")}
    records = {name.replace(".csv", ".json").replace(".png", ".json") for name in names}
    assert files(folder) == names | records | {"README.md"}, "the numbers of fig2 are too many"
    assert (folder / "claims.csv").read_bytes() == (results / "claims/mine.csv").read_bytes()
    assert {found.state for found in check([folder]) if found.path.name != "README.md"} == {WHOLE}
    kept = json.loads((folder / "figures/fig1.json").read_text())
    original = json.loads((results / "figures/mine/fig1.json").read_text())
    assert kept["published"] == {key: original[key] for key in ("record_sha256", "files_sha256")}
    assert {key: kept[key] for key in about()} == about()


def test_the_page_says_what_was_found(results, tmp_path):
    folder = publication(results, tmp_path)
    text = (folder / "README.md").read_text()
    assert text == published.readme(folder), "it follows from the files"
    assert (
        "| A | A gap of &lt;some> orders. | holds, but: A2 explains it | −4124 [−4298, −3962] | 10 data sets | > 0 |  |"
        in text
    )
    assert "| B | Later. | not judged: too small |  |  | > 0 |  |" in text
    assert "holds 1, undecided 1, not judged 1" in text
    assert text.index("figures/fig1.png") < text.index("figures/fig2.png") < text.index("figures/fig10.png")
    assert "A caption. 2 points are clipped. ([numbers](figures/fig1.csv), [record](figures/fig1.json))" in text
    assert "[tables/" not in text
    assert "2 artefacts, 3,660 s by the clock, summed over all jobs; 1 more are not in the tree" in text
    assert "| class of machine | portable |" in text
    assert "python 3.11.7, torch 2.13.0" in text
    for name in ("claims.csv", "tables/table1.csv", "figures/fig10.png"):
        assert f"({name})" in text
        assert (folder / name).is_file()


def test_the_page_says_what_differs_from_the_preset(results, tmp_path):
    assert "differs" not in (publication(results, tmp_path / "plain") / "README.md").read_text()
    config = {
        "preset": "paper",
        "variants": {"cifar10": "jpeg"},
        "overrides": {"mine": {"runs": {"a": {"replicas": [0]}}}, "other": {"runs": {"b": None}}},
    }
    for record in [
        *results.glob("figures/mine/*.json"),
        *results.glob("tables/mine/*.json"),
        results / "claims/mine.json",
    ]:
        vouch(record, about("paper", config=config, spec={"title": "T"}))
    folder = publication(results, tmp_path / "changed")
    text = (folder / "README.md").read_text()
    assert folder.name == "paper"
    assert "| preset | paper, with keys of its own (below) |" in text
    told = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert told == {"variants": {"cifar10": "jpeg"}, "overrides": {"mine": {"runs": {"a": {"replicas": [0]}}}}}


def test_a_picture_is_small_and_its_rare_marks_keep_their_colours(results, rng):
    """Most of a figure is white, and what it says stands in a few small marks of saturated colours."""
    drawn = results.parent / "drawn.png"
    pixels = np.full((900, 2400, 3), 255, np.uint8)
    pixels[20:200, 20:2000] = np.linspace(0, 255, 1980)[None, :, None] * np.array([0.2, 0.8, 1.0])  # as a colour map
    marks = {(x, y): rng.integers(0, 256, 3) for x in range(100, 2300, 220) for y in (300, 500, 700)}
    for (x, y), colour in marks.items():
        pixels[y - 8 : y + 8, x - 8 : x + 8] = colour
    Image.fromarray(pixels).save(drawn)
    data, notes = small(drawn)
    assert len(data) <= PICTURE_BYTES
    assert notes == []
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1100, round(900 * 1100 / 2400))
        shown = np.asarray(image.convert("RGB"), float)
    off = [np.abs(shown[y * 1100 // 2400, x * 1100 // 2400] - colour).max() for (x, y), colour in marks.items()]
    assert max(off) < 30
    assert shown[-5, 5].min() >= 250


def test_of_noise_the_smallest_is_taken(results):
    sizes = [len(small(results / "figures/mine/fig1.png")[0]), (results / "figures/mine/fig1.png").stat().st_size]
    assert sizes[0] < sizes[1] / 4


def test_publishing_again_replaces_and_keeps_other_presets(results, tmp_path):
    first = publication(results, tmp_path)
    (first / "stale.csv").write_text("x\n")
    for record in (
        results / "claims/mine.json",
        *(results / f"{section}/mine/{name}.json" for section, name in PRODUCTS),
    ):
        said = json.loads(record.read_text())
        record.unlink()
        vouch(record, {**about("paper"), "spec": said.get("spec", {})})
    paper = publication(results, tmp_path, PRODUCTS[:1])
    assert paper == first / "paper"
    assert "figures/fig1.png" in files(paper)
    assert "preset paper" in (paper / "README.md").read_text()
    before = (paper / "claims.json").read_bytes()
    for record in (results / "claims/mine.json", results / "figures/mine/fig1.json"):
        record.unlink()
        vouch(record, about())
    publication(results, tmp_path, PRODUCTS[:1])
    assert not (first / "stale.csv").exists()
    assert not (first / "tables").exists(), "a table that the study no longer has"
    assert (paper / "claims.json").read_bytes() == before


def test_the_index_lists_all(results, tmp_path):
    publication(results, tmp_path / "docs/results")
    pages = published.pages(tmp_path)
    assert set(pages) == {"docs/results/README.md", "docs/results/mine/README.md"}
    assert "| [mine](mine/README.md) | laptop | holds, but 1, not judged 1 |" in pages["docs/results/README.md"]
    assert published.pages(tmp_path / "elsewhere") == {}


def test_no_path_of_the_machine_is_published(results, tmp_path):
    record = results / "figures/mine/fig1.json"
    record.unlink()
    secret = {"data_path": ["/home/somebody/data"], "file": "~/mine/net.py", "text": "either/or, 1/2, https://a.b/c/d"}
    vouch(record, about(spec={"title": "in (/srv/nets/own)", "options": secret}))
    folder = publication(results, tmp_path)
    everything = "".join(path.read_text() for path in folder.rglob("*.json")) + (folder / "README.md").read_text()
    for word in ("somebody", "/home", "~/", "/srv", str(tmp_path)):
        assert word not in everything
    kept = json.loads((folder / "figures/fig1.json").read_text())["spec"]
    assert kept["options"] == {"data_path": ["data"], "file": "net.py", "text": secret["text"]}
    assert kept["title"] == "in (own)"


def test_paths_in_the_tree_stay():
    said = {"results/grams/a/gram.h5": ["results/x.csv", 3, None, True]}
    assert without_paths(said) == said


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def changed(results, name, text):
    (results / name).write_text(text)


def old_columns(results):
    pd.DataFrame(CLAIMS)[["id", "ours"]].to_csv(results / "claims/mine.csv", index=False)
    (results / "claims/mine.json").unlink()
    vouch(results / "claims/mine.json", about())


def of(results, record, said, **more):
    (results / record).unlink()
    vouch(results / record, {**said, **more})


WRONG = {
    "no claims": (lambda r: (r / "claims/mine.json").unlink(), "claims/mine.json: no such file"),
    "claims edited": (lambda r: changed(r, "claims/mine.csv", "id\n"), "claims/mine.csv: its bytes are not those"),
    "record edited": (lambda r: changed(r, "figures/mine/fig1.json", "{}"), "fig1.json: no record of checksums"),
    "figure missing": (lambda r: (r / "figures/mine/fig2.png").unlink(), "fig2.png: no such file"),
    "table missing": (lambda r: shutil.rmtree(r / "tables/mine"), "tables/mine/table1.json: no such file"),
    "old claims": (old_columns, "claims/mine.csv: not as this version writes it"),
    "quick": (lambda r: of(r, "claims/mine.json", about("quick")), "preset quick judges nothing"),
    "judges nothing": (lambda r: of(r, "claims/mine.json", about("own"), judges=False), "preset own judges nothing"),
    "two presets": (lambda r: of(r, "figures/mine/fig1.json", about("paper")), "its preset is paper, that of the claims laptop"),
    "overrides": (
        lambda r: of(r, "figures/mine/fig1.json", about(config={"overrides": {"mine": {"runs": {}}}})),
        "its overrides is",
    ),
    "variants": (lambda r: of(r, "tables/mine/table1.json", about(config={"variants": {"cifar10": "original"}})), "choice of data"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refused_in_one_line(results, case):
    spoil, message = WRONG[case]
    gather(results, "mine", "", "", PRODUCTS)
    spoil(results)
    with pytest.raises(LossatlasError) as raised:
        gather(results, "mine", "", "", PRODUCTS)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_overrides_of_another_study_do_not_count(results):
    of(results, "figures/mine/fig1.json", about(config={"overrides": {"other": {"runs": {}}}}))
    gather(results, "mine", "", "", PRODUCTS)


def test_a_figure_without_a_picture_leaves_what_was_published(results, tmp_path):
    folder = publication(results, tmp_path)
    before = files(folder)
    (results / "figures/mine/fig1.png").unlink()
    of(results, "figures/mine/fig1.json", about())
    with pytest.raises(LossatlasError, match="no picture of figure fig1"):
        publication(results, tmp_path)
    assert files(folder) == before


def test_published_files_that_were_changed_are_told(results, tmp_path):
    folder = publication(results, tmp_path)
    with (folder / "claims.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(LossatlasError, match=r"claims\.csv: not what was published \(SHA-256 differs\)"):
        published.readme(folder)
    folder = publication(results, tmp_path)
    (folder / "figures/fig2.json").write_text("{}")
    with pytest.raises(LossatlasError, match=r"fig2\.json: no record"):
        published.readme(folder)


# ---------------------------------------------------------------------------------------------------------------------
# the command


STUDY = """title: A study
reference: Somebody (2020)
runs: {mine: {data: {name: digits}, model: {name: mlp, widths: [4]}, recipe: {lr: 0.1, epochs: 1, batch: 10}}}
clouds: {paths: {paths: {runs: [mine]}}}
figures:
  fig1: {kind: curves, title: Norms, caption: A caption., series: [{cloud: paths, label: path}], y: norm}
tables:
  table1: {kind: runs, title: Accuracies, caption: A caption., rows: [{run: mine, title: mine}]}
"""


def test_the_command_takes_what_the_study_has_and_writes_nothing_when_one_is_refused(
    results, tmp_path, monkeypatch, capsys
):
    from harness import ROOT

    monkeypatch.chdir(ROOT)
    (tmp_path / "mine.yaml").write_text(STUDY)
    asked = ["publish", str(tmp_path / "mine.yaml"), "--results", str(results), "--to", str(tmp_path / "docs")]
    monkeypatch.setattr("sys.argv", [*asked, "generalization"])
    assert command.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lossatlas: error: ")
    assert "claims/generalization.json: no such file" in line
    assert not (tmp_path / "docs").exists()
    monkeypatch.setattr("sys.argv", asked)
    assert command.main() == 0
    assert "figures/fig1.png" in files(tmp_path / "docs/mine")
    assert "figures/fig10.png" not in files(tmp_path / "docs/mine"), "no figure of the study: an older one's file"
    assert "preset laptop" in capsys.readouterr().out
