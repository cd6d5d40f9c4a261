"""The gallery in a real browser: what is drawn, searched, filtered, turned and played, by keyboard, on a phone, in the dark.

The pages are opened from the disk, as a user does. Chromium is driven by Playwright; without either the tests are skipped.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.gallery import build

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
FIRST_PICTURE = """new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (entry.url) window.painted ??= entry.startTime;
}).observe({type: "largest-contentful-paint", buffered: true});"""
"""Notes when the first picture of a page was drawn, in milliseconds from when the page was asked for."""

PATIENCE = 60_000
"""Milliseconds: other tests may have the machine to themselves for a while."""

LEFT = "net::ERR_ABORTED"
"""What a browser says of a picture that had not come when its page was left."""

EPOCHS = (0, 1, 2, 4)
ROUGH = (2, -1)
"""Where the rugged surface is lowest, which is not where its network is."""


def surfaces():
    """Return the numbers of a figure of surfaces: a bowl, whose minimum is the network, and a rugged one."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-3.0, 4), np.arange(-3.0, 4)))
    bowl = pd.DataFrame({"panel": "a bowl", "x": x, "y": y, "loss": 0.1 + 0.05 * (x**2 + y**2), "test_error": 4.0})
    rough = bowl.assign(panel="a rugged one", loss=10.0 ** (2 * ((x + 2 * y) % 3)), test_error=40.0)
    rough.loc[(x == ROUGH[0]) & (y == ROUGH[1]), "loss"] = 0.01
    rough.loc[(x == 3) & (y == 3), "loss"] = np.nan
    return pd.concat([bowl, rough])


def retrainings():
    """Return the numbers of a figure of embeddings: in each of two panels a minimum, and two jumps that return."""
    rows = []
    for panel, title in (("a", "good minimum"), ("b", "bad minimum")):
        fixed = {"panel": panel, "title": title, "run": "net"}
        rows.append({**fixed, "x": 0, "y": 0, "seed": -1, "step": 0.0, "epoch": 200, "train_loss": 0.03})
        for seed in (0, 1):
            for epoch in EPOCHS:
                place = {"x": (1 - 2 * seed) / (1 + epoch), "y": 1 / (1 + epoch)}
                rows.append(
                    {**fixed, **place, "seed": seed, "step": 0.5, "epoch": epoch, "train_loss": 2.0 / (1 + epoch)}
                )
    return pd.DataFrame(rows)


def film(path):
    """Write a second of film."""
    from imageio_ffmpeg import get_ffmpeg_exe

    source = ["-f", "lavfi", "-i", "testsrc=size=320x160:rate=5:duration=1"]
    command = [get_ffmpeg_exe(), "-loglevel", "error", *source, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True)


def figure(made, name, kind, title, paper_figure="not in the paper", numbers=None, interactive="", size=(600, 300)):
    """Return a figure of the manifest, its files made: a picture of noise, since browsers count no plain one as drawn."""
    Image.effect_noise(size, 80).convert("RGB").save(made / f"{name}.png")
    (made / f"{name}.pdf").write_bytes(b"%PDF-1.4")
    (pd.DataFrame({"x": [1]}) if numbers is None else numbers).to_csv(made / f"{name}.csv", index=False)
    return {
        "name": name, "title": title, "caption": f"What `{name}` shows. It has a caption.", "paper_figure": paper_figure,
        "kind": kind, "interactive": interactive, "seconds": 3.0, "command": f"snakemake -- results/{name}.png",
        "artefacts": [{"kind": "runs", "label": "net", "hash": "0123"}],
        **{suffix: str(made / f"{name}.{suffix}") for suffix in ("png", "pdf", "csv")},
    }  # fmt: skip


def study(made, name, figures, told):
    """Return a study of the manifest with a table, and a claim for each of its statements (id, where, verdict)."""
    claims, statements = [], []
    for id, where, verdict in told:
        fixed = {"study": name, "id": id, "sentence": f"Statement {id} of {name}.", "verdict": verdict}
        number = {"ours": 1.5, "low": 1.2, "high": 1.9, "n": 7, "threshold": "> 1", "statement": id, "part": "main"}
        claims.append({**dict.fromkeys(COLUMNS, ""), **fixed, **number, "measure": "gap", "unit": "runs"})
        statements.append({**dict.fromkeys(STATEMENT_COLUMNS, ""), **fixed, "where": where, "main": id})
    for what, rows, columns in (("claims", claims, COLUMNS), ("statements", statements, STATEMENT_COLUMNS)):
        pd.DataFrame(rows, columns=columns).to_csv(made / f"{name}.{what}", index=False)
    pd.DataFrame({"row": ["one", "two"], "a rather long heading": [1.0, 2.0]}).to_csv(made / f"{name}.t", index=False)
    table = {
        "name": "numbers",
        "title": f"Numbers of {name}",
        "csv": str(made / f"{name}.t"),
        "paper_figure": "Table 1",
    }
    files = {what: str(made / f"{name}.{what}") for what in ("claims", "statements")}
    return {
        "name": name,
        "title": f"Study {name}",
        "reference": "A. Uthor",
        "figures": figures,
        "tables": [table],
        **files,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a gallery of two studies with everything that a gallery can show."""
    made = tmp_path_factory.mktemp("made")
    moving = figure(made, "motion", "animation", "Jumps in motion", "supplementary video")
    film(made / "motion.mp4")
    moving["mp4"] = str(made / "motion.mp4")
    first = [
        figure(made, "petals", "embedding", "Petals", "Figure 2", retrainings(), "embedding"),
        moving,
        figure(made, "wide", "curves", "Norms", "Figures 3B and 5", size=(1800, 300)),
    ]
    second = [
        figure(made, "relief", "relief", "Surfaces", "Figure 1", surfaces(), "surface"),
        figure(made, "plain", "curves", "Losses"),
    ]
    Image.new("RGB", (400, 300), "white").save(made / "card.png")
    studies = [
        study(made, "first", first, [("A1", "section 4, figures 2 to 4", "holds"), ("A2", "figure 5", "fails")]),
        study(made, "second", second, [("B1", "figure 1", "undecided")]),
    ]
    manifest = {
        "preset": "quick", "commit": "1a2b", "versions": {"torch": "2"}, "date": "today", "studies": studies,
        "scorecard": {"png": str(made / "card.png")},
    }  # fmt: skip
    target = tmp_path_factory.mktemp("gallery") / "all"
    build(target, manifest)
    return target


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=2 * PATIENCE)
        yield found
        found.close()


@pytest.fixture
def opened(folder, browser):
    """Return a function that opens a page of the gallery; whatever goes wrong in it fails the test at its end."""
    contexts, wrong, asked = [], [], []

    def open_page(path="index.html", **settings):
        context = browser.new_context(**{**DESKTOP, **settings})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: None if request.failure == LEFT else wrong.append(request.url))
        page.on("request", lambda request: asked.append(request.url))
        page.asked = asked
        page.goto((folder / path).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    outside = [url for url in asked if not url.startswith((folder.parent.as_uri(), "data:", "blob:"))]
    assert outside == [], "a gallery needs no network"


def pages(folder):
    """Return the paths of all pages."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.html"))


def names(page):
    """Return the cards that are in sight, by their names."""
    return page.eval_on_selector_all(".card", "cards => cards.filter(c => c.offsetParent).map(c => c.id)")


ALL = [
    "first-petals", "first-motion", "first-wide", "first-numbers-table", "second-relief", "second-plain", "second-numbers-table",
]  # fmt: skip


def test_every_page_is_whole(folder, opened):
    """No error, no failed request, every picture drawn and described, ids once, all links lead somewhere."""
    page = opened()
    assert len(pages(folder)) == 10
    for path in pages(folder):
        page.goto((folder / path).as_uri())
        page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager'; })")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        undrawn = page.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)")
        assert undrawn == [], path
        assert page.eval_on_selector_all("img", "all => all.every(i => i.hasAttribute('alt'))"), path
        ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
        assert len(ids) == len(set(ids)), path
        links = page.eval_on_selector_all("a", "all => all.map(one => one.href)")
        for link in links:
            target = Path(sync_api_path(link))
            assert target.is_file(), f"{path}: {link}"
    assert not any("plotly" in url for url in page.asked), "it is loaded when somebody asks for it"


def sync_api_path(link):
    """Return the file of a link."""
    from urllib.parse import unquote, urlparse

    return unquote(urlparse(link).path)


def test_it_opens_with_pictures_within_a_second(folder, opened):
    """The animation, the surface and the trajectories stand in the first screen."""
    assert (folder / "index.html").stat().st_size < 300_000
    page = opened()
    assert page.eval_on_selector_all(".hero figcaption", "all => all.map(one => one.textContent.trim())") == [
        "Jumps in motion", "Surfaces", "Petals",
    ]  # fmt: skip
    low = page.eval_on_selector_all(".hero img, .hero video", "all => all.map(i => i.getBoundingClientRect().bottom)")
    assert len(low) == 3
    assert max(low) < 900
    page.add_init_script(FIRST_PICTURE)
    bare = folder.parent / "bare.html"
    bare.write_text('<img src="all/cards/first/petals.webp" alt="">')
    taken = {page.url: [], bare.as_uri(): []}
    for _ in range(3):
        for url, times in taken.items():
            page.goto(url)
            page.wait_for_function("window.painted !== undefined")
            times.append(page.evaluate("painted"))
    print(f"milliseconds until the first picture: {taken}")
    ours, least = map(min, taken.values())  # what any page takes while other tests run is not ours
    assert ours - least < 1000


def test_search(opened):
    page = opened()
    assert names(page) == ALL
    assert page.locator("output[name=count]").inner_text() == "7 shown"
    page.keyboard.press("/")
    page.keyboard.type("jumps MOTION")
    assert names(page) == ["first-motion"]
    assert page.locator("output[name=count]").inner_text() == "1 shown"
    assert not page.locator("#second").is_visible(), "a study without a picture left has no heading either"
    page.locator("input[name=q]").fill("figure 5")
    assert names(page) == ["first-wide"], "Figures 3B and 5"
    page.locator("input[name=q]").fill("no such thing")
    assert names(page) == []
    page.get_by_text("Nothing fits").wait_for()
    page.locator(".nothing button").click()
    assert names(page) == ALL
    assert page.locator("input[name=q]").input_value() == ""


FILTERS = [
    ("study", "second", ["second-relief", "second-plain", "second-numbers-table"]),
    ("method", "curves", ["first-wide", "second-plain"]),
    ("method", "table", ["first-numbers-table", "second-numbers-table"]),
    ("paper", "figure 3", ["first-wide"]),
    ("paper", "not in the paper", ["second-plain"]),
    ("paper", "elsewhere in the paper", ["first-motion"]),
    ("verdict", "holds", ["first-petals", "first-wide"]),
    ("verdict", "fails", ["first-wide"]),
    ("verdict", "no statement", ["first-motion", "first-numbers-table", "second-plain", "second-numbers-table"]),
]
"""A filter, its value, and the cards that it leaves."""


def test_filters(opened):
    page = opened()
    for name, value, left in FILTERS:
        page.locator(f"select[name={name}]").select_option(value)
        assert names(page) == left, (name, value)
        page.reload()
        assert names(page) == left, "the address keeps it"
        page.get_by_role("button", name="Show all").first.click()
        page.wait_for_function(f"document.querySelectorAll('.card:not([hidden])').length === {len(ALL)}")


def test_filters_join(opened):
    page = opened()
    page.locator("select[name=study]").select_option("first")
    page.locator("select[name=verdict]").select_option("no statement")
    page.locator("input[name=q]").fill("numbers")
    assert names(page) == ["first-numbers-table"]


def test_keys_lead_through_the_gallery(opened, folder):
    """Cards by arrows, a figure's page by Enter, its neighbours by arrows, and back to what was filtered by Escape."""
    page = opened()
    page.locator("select[name=method]").select_option("curves")
    page.locator("#first-wide > a").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.parentElement.id") == "second-plain"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url("**/pages/first/wide.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/pages/second/plain.html")
    assert page.locator("a[rel=next]").count() == 0, "it is the last of those that the filter left"
    page.keyboard.press("Escape")
    page.wait_for_url("**/index.html#method=curves")
    assert names(page) == ["first-wide", "second-plain"]
    page.goto((folder / "pages/first/petals.html").as_uri())
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/pages/first/motion.html")


def test_a_page_says_everything_of_its_figure(opened):
    page = opened("pages/first/petals.html")
    text = page.locator("main").inner_text()
    for said in (
        "What petals shows.",
        "A1",
        "holds",
        "Statement A1 of first.",
        "snakemake -- results/petals.png",
        "1a2b",
    ):
        assert said in text, said
    assert page.locator("figcaption code").inner_text() == "petals", "what stands between backticks is code"
    page.get_by_text("How it was decided").click()
    assert "[1.2 to 1.9]; holds if > 1" in page.locator("main").inner_text()
    files = page.eval_on_selector_all(".files a", "all => all.map(one => one.href.split('.').pop())")
    assert files == ["png", "pdf", "csv"]
    page = opened("pages/second/plain.html")
    assert "No statement of the scorecard" in page.locator("main").inner_text()


def chart(page):
    """Return the interactive picture, once it is there."""
    page.locator(".plot .main-svg").first.wait_for()
    return page.locator(".plot")


def test_surfaces_are_turned_in_place(opened):
    """Plotly comes when it is asked for; the most telling surface is first, its minimum marked, the chooser works."""
    page = opened(viewport={"width": 560, "height": 460})  # small: there is no GPU to draw it
    page.locator(".hero").get_by_role("button", name="Turn it yourself").click()
    plot = chart(page)
    assert sum("plotly" in url for url in page.asked) == 1
    chooser = page.locator(".pane select")
    assert chooser.evaluate("select => select.selectedOptions[0].textContent") == "a rugged one"
    data = plot.evaluate("plot => plot.data.map(({type, x, y, z, text}) => ({type, x, y, z, text}))")
    assert [one["type"] for one in data] == ["surface", "scatter3d", "scatter3d"], "the surface, marks, pins"
    assert data[0]["z"][6][6] is None, "no finite loss, no point"
    assert list(zip(data[1]["x"], data[1]["y"], strict=True)) == [(0, 0), ROUGH]
    assert data[1]["z"][1] == pytest.approx(np.log10(0.01))
    assert "test error 40%" in data[1]["text"][0]
    before = plot.evaluate("plot => plot.layout.scene.camera.eye.x")
    box = plot.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1] + 20)
    page.mouse.up()
    page.wait_for_function(f"document.querySelector('.plot').layout.scene.camera.eye.x !== {before}")
    chooser.select_option("0")
    page.wait_for_function("document.querySelector('.plot').data[1].x.length === 1")
    assert "lowest point of the grid" in plot.evaluate("plot => plot.data[1].text[0]"), "there they are one"


def test_embeddings_say_what_a_point_is_and_play(opened):
    page = opened("pages/first/petals.html")
    page.get_by_role("button", name="Play it epoch by epoch").click()
    plot = chart(page)

    def shown():
        return plot.evaluate("plot => plot.data[1].x.length")

    assert shown() == 2 * len(EPOCHS), "all of it before it is played"
    x, y = plot.evaluate("""plot => {
      const box = plot.querySelector(".nsewdrag").getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
      return [box.left + xaxis.d2p(plot.data[1].x[0]), box.top + yaxis.d2p(plot.data[1].y[0])]; }""")
    page.mouse.move(x, y)
    said = page.locator(".hoverlayer .hovertext").text_content()
    for word in ("net, direction 0, step 0.5", "epoch 0", "training loss 2"):
        assert word in said
    slider = page.get_by_label("Epoch", exact=True)
    slider.fill("1")
    page.wait_for_function("document.querySelector('.plot').data[1].x.length === 4")
    assert page.locator(".pane output").inner_text() == "epoch 1"
    slider.fill("0")
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_function("document.querySelector('.plot').data[1].x.length === 8")
    assert page.locator(".pane output").inner_text() == f"epoch {EPOCHS[-1]}"
    page.get_by_role("button", name="Play", exact=True).click()
    page.get_by_role("button", name="Pause").click()
    stopped = shown()
    page.wait_for_timeout(700)
    assert shown() == stopped
    page.locator(".pane select").select_option("bad minimum")
    assert plot.evaluate("plot => plot.data[3].x") == [0], "the minimum stands at all times"


def test_a_film_plays_when_it_is_asked_to(opened):
    page = opened()
    film = page.locator(".hero video")
    assert film.evaluate("film => film.paused && film.readyState === 0"), "nothing moves, nothing is loaded before"
    page.get_by_role("button", name="See it move").click()
    page.wait_for_function("document.querySelector('.hero video').currentTime > 0.1")
    assert film.evaluate("film => film.controls")


def luminance(page, selector, what):
    """Return the relative luminance of a colour, from 0 to 1."""
    text = page.locator(selector).first.evaluate(f"one => getComputedStyle(one).{what}")
    parts = np.array([float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]) / 255
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(opened, scheme):
    page = opened(color_scheme=scheme)
    ground, ink = luminance(page, "body", "backgroundColor"), luminance(page, "body", "color")
    assert (ground < 0.05 < 0.5 < ink) if scheme == "dark" else (ink < 0.05 < 0.9 < ground)
    assert luminance(page, ".card img", "backgroundColor") == pytest.approx(1.0), "pictures are made for white paper"


def test_a_phone(folder, opened):
    """Nothing is wider than the screen but what scrolls by itself; verdicts are in sight; a swipe goes on."""
    page = opened(**PHONE)
    for path in pages(folder):
        page.goto((folder / path).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    page.goto((folder / "studies/first.html").as_uri())
    page.goto((folder / "index.html").as_uri())
    for selector in (".card .badge", ".statement summary .badge"):
        boxes = page.eval_on_selector_all(selector, "all => all.map(one => one.getBoundingClientRect().toJSON())")
        assert boxes
        assert all(box["left"] >= 0 and box["right"] <= 390 for box in boxes)
    page.goto((folder / "pages/first/wide.html").as_uri())
    assert page.locator(".stage img").evaluate("image => image.getBoundingClientRect().width") > 450, (
        "readable, scrolled"
    )
    touch = page.context.new_cdp_session(page)
    for kind, x in (("touchStart", 300), ("touchMove", 200), ("touchMove", 100), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": 60}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_url("**/pages/first/numbers-table.html")


def test_verdicts_of_claims_on_a_phone(opened):
    page = opened("studies/first.html", **PHONE)
    for badge in page.locator(".claims .badge").all():
        box = badge.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_paper(opened):
    """Printed: everything unfolded, nothing that only a screen can do."""
    page = opened()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".filters").is_visible()
    assert page.locator(".statement dl").first.is_visible()
    assert luminance(page, "body", "backgroundColor") == pytest.approx(1.0)


def test_without_scripts_everything_is_there(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".card").count() == len(ALL)
    assert all(card.is_visible() for card in page.locator(".card").all())
    assert page.locator(".hero video").get_attribute("controls") is not None


@pytest.mark.parametrize("settings", [{}, {"color_scheme": "dark"}, PHONE], ids=["desktop", "dark", "phone"])
def test_accessibility(folder, opened, settings):
    """axe-core finds nothing serious, in pages as they open and in pictures that are turned and played."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(**settings)
    for path in ("index.html", "studies/first.html", "pages/first/wide.html", "pages/first/numbers-table.html"):
        page.goto((folder / path).as_uri())
        serious(axe.Axe().run(page, options=QUIET), path)
    page.goto((folder / "pages/first/petals.html").as_uri())
    page.locator(".start").click()
    chart(page)
    serious(axe.Axe().run(page, options=QUIET), "an embedding that is played")


QUIET = {"preload": False}
"""axe would ask for the style sheet once more, which a browser forbids for files."""


def serious(results, path):
    """Fail on findings that axe calls serious or critical; print the others."""
    found = results.response["violations"]
    for one in found:
        print(path, one["id"], one["impact"], [node["html"][:100] for node in one["nodes"]][:4])
    assert results.response["passes"], "it has looked"
    assert [(one["id"], one["help"]) for one in found if one["impact"] in ("serious", "critical")] == [], json.dumps(
        [node["html"][:200] for one in found for node in one["nodes"]][:6], indent=1
    )
