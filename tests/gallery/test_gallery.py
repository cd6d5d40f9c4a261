"""The gallery: valid HTML, no dead link, no outside resource, nothing half-written."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.errors import LossatlasError
from lossatlas.files.checksum import broken_record
from lossatlas.gallery import build

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Collects links, images, ids and text; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.links, self.images, self.ids, self.text, self.videos = [], [], [], [], [], []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.stack.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "img":
            self.images.append(attrs)
        if tag == "video":
            self.videos.append(attrs)
        self.links += [attrs[key] for key in ("href", "src") if key in attrs]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.text.append(data)


def claims_csv(path, study="trajectories"):
    """Write three claims of a study, two of them of one statement, and one of another study."""
    rows = [
        {"id": "T1", "sentence": "It returns.", "measure": "return_fraction", "paper": "~0", "ours": -0.93, "low": -1.02,
         "high": -0.81, "n": 5, "threshold": "< 0.5", "verdict": "holds", "detail": "0.5 at step 1"},
        {"id": "T2", "sentence": "a < b & <b>c</b>", "measure": "outwardness", "paper": "1.5", "ours": 1.0, "n": 1,
         "threshold": "> 1", "verdict": "fails", "statement": "T1", "part": "control"},
        {"id": "T3", "sentence": "Later.", "measure": "lateral", "n": 0, "threshold": "> 1", "verdict": "not judged",
         "reason": "why"},
    ]  # fmt: skip
    fixed = {"study": study, "part": "main", "unit": "initialisations", "interval": ""}
    rows = [{**dict.fromkeys(COLUMNS, ""), **fixed, "statement": row["id"], **row} for row in rows]
    rows.append({**rows[0], "study": "other"})
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return str(path)


def statements_csv(path, study="trajectories"):
    rows = [
        {"id": "T1", "sentence": "It returns <so>.", "printed": "returns", "where": "section 4", "measured": "Distances.",
         "refuted_by": "A null.", "verdict": "holds, but", "reason": "T2 fails", "main": "T1", "controls": "T2"},
        {"id": "T3", "sentence": "Later.", "verdict": "not judged", "main": "T3"},
    ]  # fmt: skip
    rows = [{**dict.fromkeys(STATEMENT_COLUMNS, ""), "study": study, **row} for row in rows]
    pd.DataFrame(rows, columns=STATEMENT_COLUMNS).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def manifest(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    info = PngImagePlugin.PngInfo()
    info.add_text("lossatlas-notes", json.dumps(["Crosses: 3 points without a finite loss."]))
    for name, width in (("fig1", 2400), ("fig2", 300)):
        Image.new("RGB", (width, 200), "white").save(made / f"{name}.png", pnginfo=info if name == "fig1" else None)
        (made / f"{name}.pdf").write_bytes(b"%PDF-1.4")
        (made / f"{name}.csv").write_text("x,y\n0,1\n")
    pd.DataFrame({"row": ["good"], "paper": [0.95], "ours": [0.58712345], "note": [np.nan]}).to_csv(
        made / "t.csv", index=False
    )

    def figure(name):
        files = {kind: str(made / f"{name}.{kind}") for kind in ("png", "pdf", "csv")}
        return {
            "name": name,
            "title": f"Title of {name}",
            "caption": "A & B <i>caption</i>.",
            "paper_figure": "figure 2",
            "artefacts": [{"kind": "runs", "label": "wrn-10-2", "hash": "0123456789"}],
            "seconds": 754.2,
            "command": f"snakemake -- {name}",
            **files,
        }

    table = {"name": "accuracies", "title": "Accuracies", "csv": str(made / "t.csv"), "caption": "Means."}
    study = {
        "name": "trajectories",
        "title": "Trajectories around minima",
        "reference": "Horoi et al.",
        "figures": [figure("fig1"), figure("fig2")],
        "tables": [table],
        "claims": claims_csv(made / "claims.csv"),
        "statements": statements_csv(made / "scorecard.csv"),
    }
    bare = {
        "name": "bare",
        "title": "Bare",
        "reference": "",
        "figures": [],
        "tables": [],
        "claims": None,
        "statements": None,
    }
    return {
        "preset": "quick",
        "commit": "1a2b3c4",
        "versions": {"torch": "2.13.0"},
        "date": "2026-01-02",
        "studies": [study, bare],
    }


def pages(folder):
    """Return path -> parsed page of a gallery, after a check that its links and ids are sound."""
    found = {str(path.relative_to(folder)): Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    for name, page in found.items():
        assert len(page.ids) == len(set(page.ids)), name
        for link in page.links:
            path, _, mark = link.partition("#")
            if link == "data:,":
                continue
            assert ":" not in link
            assert not link.startswith("/")
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            assert (folder / target).is_file(), f"{name}: {link}"
            assert not mark or mark in found[target].ids, f"{name}: {link}"
    return found


def words(page):
    """Return what a page says."""
    return " ".join(" ".join(page.text).split())


@pytest.fixture
def whole(tmp_path, manifest):
    """Return all pages of the gallery."""
    build(tmp_path / "all", manifest)
    return pages(tmp_path / "all")


@pytest.fixture
def page(whole):
    return whole["index.html"]


def test_every_figure_and_table_has_a_page_with_its_files(whole):
    assert whole.keys() == {
        "index.html", "studies/trajectories.html", "studies/bare.html", "pages/trajectories/fig1.html",
        "pages/trajectories/fig2.html", "pages/trajectories/accuracies-table.html",
    }  # fmt: skip
    assert {name for name in whole if name.startswith("pages/")} <= set(whole["index.html"].links)
    files = {f"../../figures/trajectories/fig1.{kind}" for kind in ("png", "pdf", "csv")}
    assert files <= set(whole["pages/trajectories/fig1.html"].links)
    assert "../../tables/trajectories/accuracies.csv" in whole["pages/trajectories/accuracies-table.html"].links


def test_pictures_have_texts_and_sizes(tmp_path, whole):
    sizes = []
    for name in ("fig1", "fig2"):
        (image,) = whole[f"pages/trajectories/{name}.html"].images
        assert image["alt"].startswith(f"Title of {name}")
        assert "caption" in image["alt"]
        with Image.open(tmp_path / "all" / image["src"].removeprefix("../../")) as thumbnail:
            assert thumbnail.width <= 1200
        sizes.append(image["width"])
    assert sizes == ["1000", "125"], "one size of letters for all figures"
    for image in whole["index.html"].images:
        with Image.open(tmp_path / "all" / image["src"]) as card:
            assert card.format == "WEBP"
            assert (str(card.width), str(card.height)) == (image["width"], image["height"])
            assert card.width <= 720
            assert card.height <= 440


def test_says_what_it_shows_and_where_it_came_from(whole):
    text = " ".join(map(words, whole.values()))
    for expected in (
        "quick", "1a2b3c4", "2026-01-02", "2.13.0", "Horoi et al.", "figure 2", "12 min 34 s", "0123456789",
        "1 holds, but", "1 not judged", "It returns <so>.", "A null.", "T2 fails", "why", "\u22120.93", "\u22121.02 to \u22120.81", "0.5871",
        "Crosses: 3 points without a finite loss.", "0.5 at step 1", "snakemake -- fig1", "Made from 1 artefact",
    ):  # fmt: skip
        assert expected in text, expected
    assert "nan" not in text.lower().split()
    assert "<i>caption</i>" in words(whole["pages/trajectories/fig1.html"])
    assert "a < b & <b>c</b>" in text, "text from the manifest is escaped, not markup"


def test_a_table_may_have_the_name_of_a_figure(tmp_path, manifest):
    manifest["studies"][0]["tables"][0]["name"] = "fig1"
    build(tmp_path / "all", manifest)
    assert shown(tmp_path / "all") == ["trajectories", "bare"]


def test_missing_files_are_named_and_leave_nothing(tmp_path, manifest):
    for part, key in (("figures", "pdf"), ("figures", "png"), ("tables", "csv")):
        broken = json.loads(json.dumps(manifest))
        broken["studies"][0][part][0][key] = str(tmp_path / "absent")
        with pytest.raises(LossatlasError, match="absent: no such file"):
            build(tmp_path / "all", broken)
    broken = json.loads(json.dumps(manifest))
    broken["studies"][0]["figures"][0]["name"] = "../x"
    with pytest.raises(LossatlasError, match="rename it"):
        build(tmp_path / "all", broken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_replaces_an_older_gallery(tmp_path, manifest):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "stale.png").write_text("old")
    build(tmp_path / "all", manifest)
    assert not (tmp_path / "all" / "stale.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "made"]


def files(folder):
    """Return path -> bytes of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own(manifest, name="own", title="My own study", **changes):
    """Return the manifest of another run, whose only study shows the same files under its own name."""
    study = {**manifest["studies"][0], "name": name, "title": title, "claims": None}
    return {**manifest, "preset": "laptop", "commit": "fffffff", "date": "2026-05-06", "studies": [study], **changes}


def shown(folder):
    """Return the sections of a gallery's page, without the scorecard."""
    pages(folder)
    text = (folder / "index.html").read_text(encoding="utf-8")
    return [part.split('"')[0] for part in text.split('<section id="')[1:] if not part.startswith("scorecard")]


def test_studies_of_an_earlier_run_stay_as_they_were(tmp_path, manifest):
    build(tmp_path / "all", manifest)
    before = files(tmp_path / "all")
    for path in (tmp_path / "made").glob("fig*"):
        path.write_bytes(path.read_bytes().replace(b"x,y", b"z,y"))  # what lies in results/ now is another matter
    build(tmp_path / "all", own(manifest))
    assert shown(tmp_path / "all") == ["own", "trajectories", "bare"]
    after = files(tmp_path / "all")
    same = {name for name in before if "trajectories" in name and not name.endswith(".html")}
    assert len(same) == 13
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    found = {name: words(page) for name, page in pages(tmp_path / "all").items()}
    assert "as it was made 2026-01-02 with preset quick at commit 1a2b3c4 ." in found["index.html"]
    assert "2026-05-06 with" not in found["index.html"]
    assert "preset laptop, commit fffffff , 2026-05-06" in found["pages/own/fig1.html"], "where its figures came from"
    assert "preset quick, commit 1a2b3c4 , 2026-01-02" in found["pages/trajectories/fig1.html"]
    assert "1 holds, but 1 not judged" in found["index.html"], "the scorecard of the others"
    build(tmp_path / "all", manifest)
    assert shown(tmp_path / "all") == ["trajectories", "bare", "own"]
    build(tmp_path / "all", own(manifest, "third", "Third"))
    assert shown(tmp_path / "all") == ["third", "trajectories", "bare", "own"]
    build(tmp_path / "all", own(manifest, title="Another title"))
    assert shown(tmp_path / "all") == ["own", "third", "trajectories", "bare"]
    assert "My own study" not in (tmp_path / "all" / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("all", "made")] == []


def test_a_study_whose_files_are_damaged_leaves_and_one_line_says_so(tmp_path, manifest, rng, capsys):
    build(tmp_path / "all", {**manifest, "studies": [own(manifest, "a")["studies"][0], *manifest["studies"]]})
    names = [name for name in files(tmp_path / "all") if re.match("(figures|tables|thumbnails)/a/", name)]
    assert len(names) == 9
    path = tmp_path / "all" / str(rng.choice(names))
    data = path.read_bytes()
    for damage in (lambda: path.write_bytes(data + b"!"), path.unlink):
        damage()
        build(tmp_path / "all", own(manifest))
        assert shown(tmp_path / "all") == ["own", "trajectories", "bare"]
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("lossatlas: study a leaves the gallery: ")
        assert str(path) in line
        build(tmp_path / "all", own(manifest, "a"))
    (tmp_path / "all" / "index.json").write_text("{")
    build(tmp_path / "all", manifest)
    assert shown(tmp_path / "all") == ["trajectories", "bare"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "index.json: not valid JSON; the gallery shows the configured studies only" in line


def test_its_record_names_every_file(tmp_path, manifest):
    build(tmp_path / "all", manifest)
    text = (tmp_path / "all" / "index.json").read_text()
    record = json.loads(text)
    assert broken_record(text) is None
    listed = files(tmp_path / "all").keys() - {"index.json", ".built"}
    assert record["files_sha256"].keys() == listed
    assert (record["kind"], record["preset"], record["commit"]) == ("gallery", "quick", "1a2b3c4")
    assert (tmp_path / "all" / ".built").read_text().strip() == record["record_sha256"]


def test_a_failed_build_leaves_the_old_gallery(tmp_path, manifest):
    build(tmp_path / "all", manifest)
    before = files(tmp_path / "all")
    (tmp_path / "made" / "fig2.png").write_text("no picture")
    with pytest.raises(LossatlasError, match="not a readable picture"):
        build(tmp_path / "all", own(manifest))
    assert files(tmp_path / "all") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all", "made"]


def scorecard(path, here):
    """Write a scorecard of three machines: T1 agrees, T2 differs, T3 is measured here only."""
    rows = pd.read_csv(here, keep_default_na=False)
    rows["preset"] = "quick"
    rows["machines"], rows["holds_on"], rows["agree"] = [3, 2, 1, 3], [3, 1, 0, 3], ["yes", "no", "", "yes"]
    for name, values, verdicts in (
        ("epyc", [-0.94, 2.0, "", 0], ["holds", "holds", "", "holds"]),
        ("gpu", [-0.95, "", "", 0], ["holds", "", "", "holds"]),
    ):
        rows[f"ours_{name}"], rows[f"verdict_{name}"] = values, verdicts
    rows.to_csv(path, index=False)
    about = {
        "here": {"class": "portable", "processor": "a CPU", "commit": "abc"},
        "epyc": {"class": "E <2>"},
        "gpu": {},
    }
    path.with_suffix(".json").write_text(json.dumps({"machines": about}))
    return str(path)


def test_claims_of_several_machines_are_marked_where_they_differ(tmp_path, manifest):
    manifest["studies"][0]["claims"] = scorecard(tmp_path / "made" / "card.csv", manifest["studies"][0]["claims"])
    for again in (manifest, own(manifest)):  # made, and kept
        build(tmp_path / "all", again)
        assert "1 differs between machines" in words(pages(tmp_path / "all")["index.html"])
        text = (tmp_path / "all" / "studies" / "trajectories.html").read_text()
        said = words(Page(text))
        rows = {row.split("<")[0]: row for row in text.split('<th scope="row">')[1:]}
        assert rows.keys() == {"T1", "T2", "T3"}
        assert "holds on 3 of 3<" in rows["T1"]
        assert "differs" not in rows["T1"]
        assert "<li>epyc: \u22120.94, holds</li><li>gpu: \u22120.95, holds</li>" in rows["T1"]
        assert 'holds on 1 of 2 <span class="badge differs">differs</span>' in rows["T2"]
        assert "<li>epyc: 2, holds</li>" in rows["T2"]
        assert "gpu" not in rows["T2"]
        assert "holds on" not in rows["T3"]
        assert "here : portable, a CPU, commit abc" in said
        assert "epyc : E <2>" in said
        assert "gpu : unknown class" in said
    assert list(pd.read_csv(tmp_path / "all/claims/trajectories.csv")["id"]) == ["T1", "T2", "T3"]


def test_what_was_made_just_now_stands_at_the_top(tmp_path, manifest):
    made = [
        {"what": "fig2 at quick", "how": "from nothing", "seconds": 61.2, "png": str(tmp_path / "made/fig1.png")},
        {"what": "a training", "how": "again", "seconds": 3, "agrees": "every bit is the same"},
    ]
    (tmp_path / "made_here.json").write_text(json.dumps({"made": made}))
    manifest["made_here"] = str(tmp_path / "made_here.json")
    manifest["scorecard"] = {"png": str(tmp_path / "made/fig2.png"), "pdf": str(tmp_path / "made/fig2.pdf")}
    build(tmp_path / "all", manifest)
    text = (tmp_path / "all/index.html").read_text()
    said = " ".join(" ".join(Page(text).text).split())
    assert text.index("Made on this machine just now") < text.index('id="scorecard"')
    assert "fig2 at quick : from nothing, 61 s." in said
    assert "Compared with the bundled one, every bit is the same." in said
    assert (tmp_path / "all/made_here/0.png").read_bytes() == (tmp_path / "made/fig1.png").read_bytes()
    assert (tmp_path / "all/scorecard.pdf").is_file()
    manifest["made_here"] = str(tmp_path / "absent.json")
    build(tmp_path / "all", manifest)
    assert "just now" not in (tmp_path / "all/index.html").read_text()


def test_one_machine_needs_no_column(whole):
    assert not any("machines" in words(page).lower() for page in whole.values())


def test_picture_that_is_none(tmp_path, manifest):
    (tmp_path / "made" / "fig1.png").write_text("no picture")
    with pytest.raises(LossatlasError, match="not a readable picture"):
        build(tmp_path / "all", manifest)


def test_animation_plays_on_request_and_has_a_label(tmp_path, manifest):
    figure = manifest["studies"][0]["figures"][0]
    for kind in ("mp4", "gif"):
        figure[kind] = str(tmp_path / "made" / f"fig1.{kind}")
        (tmp_path / "made" / f"fig1.{kind}").write_bytes(b"moving")
    build(tmp_path / "all", manifest)
    found = pages(tmp_path / "all")
    (small,) = found["index.html"].videos
    assert (small["src"], small["poster"]) == ("figures/trajectories/fig1.mp4", "cards/trajectories/fig1.webp")
    assert "autoplay" not in small
    page = found["pages/trajectories/fig1.html"]
    (video,) = page.videos
    assert video["src"] == "../../figures/trajectories/fig1.mp4"
    assert video["poster"] == "../../thumbnails/trajectories/fig1.png"
    assert video["aria-label"].startswith("Title of fig1")
    assert {"controls", "loop", "muted", "playsinline"} <= set(video)
    assert "autoplay" not in video, "nothing moves unless it is asked to"
    assert (video["width"], video["height"]) == ("1000", "83")
    assert "../../figures/trajectories/fig1.gif" in page.links
