"""The gallery: valid HTML, no dead link, no outside resource, nothing half-written."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from lossatlas.claims.evaluate import COLUMNS
from lossatlas.errors import LossatlasError
from lossatlas.gallery import build

VOID = {"meta", "link", "img", "br"}


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
        if self.stack and self.stack[-1] != "style":
            self.text.append(data)


def claims_csv(path):
    rows = [
        ["s", "T1", "It returns.", "return_fraction", "~0", -0.93, -1.02, -0.81, 5, "< 0.5", "holds", "0.5 at step 1"],
        ["s", "T2", "a < b & <b>c</b>", "outwardness", 1.5, 1.0, np.nan, np.nan, 1, "> 1", "fails", ""],
        ["s", "T3", "Later.", "lateral", "", np.nan, np.nan, np.nan, 0, "> 1", "not measurable at this preset", "why"],
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
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
    }
    bare = {"name": "bare", "title": "Bare", "reference": "", "figures": [], "tables": [], "claims": None}
    return {
        "preset": "quick",
        "commit": "1a2b3c4",
        "versions": {"torch": "2.13.0"},
        "date": "2026-01-02",
        "studies": [study, bare],
    }


@pytest.fixture
def page(tmp_path, manifest):
    build(tmp_path / "all", manifest)
    return Page((tmp_path / "all" / "index.html").read_text(encoding="utf-8"))


def test_every_link_has_its_target_inside_the_folder(tmp_path, page):
    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        elif link != "data:,":
            assert ":" not in link
            assert not link.startswith("/")
            assert (tmp_path / "all" / link).is_file(), link
    assert {f"figures/trajectories/fig1.{kind}" for kind in ("png", "pdf", "csv")} <= set(page.links)
    assert "tables/trajectories/accuracies.csv" in page.links


def test_pictures_have_texts_and_sizes(tmp_path, page):
    assert len(page.images) == 2
    for image in page.images:
        assert image["alt"].startswith("Title of fig")
        assert "caption" in image["alt"]
        with Image.open(tmp_path / "all" / image["src"]) as thumbnail:
            assert thumbnail.width <= 1200
    assert [image["width"] for image in page.images] == ["1000", "125"], "one size of letters for all figures"


def test_says_what_it_shows_and_where_it_came_from(page):
    text = " ".join(" ".join(page.text).split())
    for expected in (
        "quick", "1a2b3c4", "2026-01-02", "2.13.0", "Horoi et al.", "figure 2", "12 min 34 s", "0123456789",
        "1 holds", "1 fails", "1 not measurable at this preset", "\u22120.93", "\u22121.02 to \u22120.81", "0.5871",
        "Crosses: 3 points without a finite loss.", "0.5 at step 1",
    ):  # fmt: skip
        assert expected in text, expected
    assert "nan" not in text.lower().split()
    assert "a < b & <b>c</b>" in text, "text from the manifest is escaped, not markup"


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
    text = (tmp_path / "all" / "index.html").read_text()
    page = Page(text)
    (video,) = page.videos
    assert video["src"] == "figures/trajectories/fig1.mp4"
    assert video["poster"] == "thumbnails/trajectories/fig1.png"
    assert (tmp_path / "all" / video["poster"]).is_file()
    assert video["aria-label"].startswith("Title of fig1")
    assert {"controls", "loop", "muted", "playsinline"} <= set(video)
    assert "autoplay" not in video, "nothing moves unless it is asked to"
    assert (video["width"], video["height"]) == ("1000", "83")
    assert "figures/trajectories/fig1.gif" in page.links
    for link in page.links:
        assert link.startswith("#") or link == "data:," or (tmp_path / "all" / link).is_file(), link
