"""Animations: they decode, are small, hit the recorded points, and say which epoch they show."""

import json
import re
from itertools import pairwise

import imageio_ffmpeg
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from harness import ROOT, TINY, draw, inputs, overrides, snakemake
from PIL import Image
from specimens import PROVENANCE, jump_cloud, panels_of, save_embedding

from lossatlas.clouds.figures import animation
from lossatlas.clouds.spec import EmbeddingFigure
from lossatlas.draw import film
from lossatlas.errors import LossatlasError
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.study.read import read_product
from lossatlas.workflow import dvc_stages
from lossatlas.workflow.wiring import Wiring

KINDS = ("png", "mp4", "gif", "csv")
READER = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""imageio-ffmpeg's reader leaves its pipes to the garbage collector."""


def spec(panels=1, **changes):
    entries = [{"cloud": f"cloud{i}", "embedding": "phate", "title": f"cloud {i}"} for i in range(panels)]
    return {"kind": "animation", "title": "In motion", "panels": entries, "fps": 10, "frames_per_epoch": 4, **changes}


def given(files):
    """Return the inputs of panels in order."""
    return {"embedding": {f"cloud{i}/phate": file for i, file in enumerate(files)}}


def composed(entry, files):
    with mpl.rc_context():
        return animation.compose(read_product(entry), inputs(given(files)))


def drawn_at(folder, entry, files):
    out = {kind: folder / f"animation.{kind}" for kind in KINDS}
    notes = draw(entry, given(files), out, PROVENANCE)
    return out, notes


def gif_frames(path):
    with Image.open(path) as image:
        frames, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
        return frames, durations, image.info


def mp4_frames(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader], about


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clouds")
    return [save_embedding(folder / f"{i}.h5", *jump_cloud(seeds=5, epochs=4, scale=1.0 + i)) for i in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory, clouds):
    return drawn_at(tmp_path_factory.mktemp("made"), spec(3), clouds)[0]


def counter_box(drawn, dpi):
    """Rows and columns of the epoch counter's text in a frame."""
    figure = drawn.figure
    figure.set_dpi(dpi)
    texts = [text for axes in figure.axes for text in axes.texts if re.fullmatch(r"\d+ / \d+", text.get_text())]
    (box,) = [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]
    top = round(figure.bbox.height)
    return slice(top - int(box.y1), top - int(box.y0)), slice(int(box.x0), int(box.x1))


def test_gif_decodes_and_counts_epochs(made, clouds):
    frames, durations, info = gif_frames(made["gif"])
    assert len(frames) == 3 * 4 + 1
    assert durations[1:-1] == [100] * 11
    assert (durations[0], durations[-1]) == (600, 1600), "the jumps and the end stand still for a while"
    assert info["loop"] == 0
    assert json.loads(info["comment"]) == PROVENANCE
    assert made["gif"].stat().st_size <= film.LIMIT
    assert all((a != b).any() for a, b in pairwise(frames)), "no frame is lost or doubled"
    assert (frames[0][2, 2] == 255).all(), "white stays white"
    rows, columns = counter_box(composed(spec(3), clouds), film.GIF_STEPS[0][0])
    counters = [frame[rows, columns] for frame in frames]
    for i, (a, b) in enumerate(pairwise(counters)):
        assert (a != b).any() == ((i + 1) % 4 == 0), "the counter changes with each whole epoch and only then"


@READER
def test_mp4_decodes_with_every_frame_and_its_provenance(made):
    frames, about = mp4_frames(made["mp4"])
    assert len(frames) == 3 * 4 + 1 + 5 + 15, "half a second of stillness before, one and a half after"
    assert about["fps"] == 10
    assert about["codec"] == "h264"
    assert made["mp4"].stat().st_size <= film.LIMIT
    assert (np.abs(frames[5].astype(int) - frames[17]) > 60).any()
    gif, _, _ = gif_frames(made["gif"])
    small = np.asarray(Image.fromarray(frames[5 + 6]).resize(gif[6].shape[1::-1], Image.Resampling.BOX), dtype=int)
    distances = [np.abs(small - frame).mean() for frame in gif]
    assert np.argmin(distances) == 6, "both show the same at the same time"
    tags = made["mp4"].read_bytes()
    assert json.dumps(PROVENANCE, sort_keys=True).encode() in tags
    assert b"In motion" in tags


def test_poster_is_the_last_frame(made):
    frames, _, _ = gif_frames(made["gif"])
    with Image.open(made["png"]) as poster:
        assert json.loads(poster.text["lossatlas"]) == PROVENANCE
        small = np.asarray(poster.convert("RGB").resize(frames[-1].shape[1::-1], Image.Resampling.BOX), dtype=int)
    assert np.abs(small - frames[-1]).mean() < np.abs(small - frames[0]).mean()


def test_bytes_are_reproducible(tmp_path, made, clouds):
    again, notes = drawn_at(tmp_path, spec(3), clouds)
    assert notes == ("Positions are interpolated linearly between recorded epochs, 4 frames an epoch.",)
    for kind in KINDS:
        assert again[kind].read_bytes() == made[kind].read_bytes(), kind
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".gif", ".mp4", ".png"]


def test_csv_holds_the_recorded_points_and_their_frames(made):
    table, xy = jump_cloud(seeds=5, epochs=4)
    numbers = pd.read_csv(made["csv"])
    assert list(numbers.columns[:7]) == ["panel", "cloud", "embedding", "title", "frame", "x", "y"]
    assert len(numbers) == 3 * len(table)
    first = numbers[numbers["panel"] == "a"]
    np.testing.assert_array_equal(first[["x", "y"]].to_numpy(), xy)
    for column in ("seed", "step", "epoch", "train_loss"):
        np.testing.assert_array_equal(first[column].to_numpy(), table[column].to_numpy())
    assert np.isnan(first["frame"].iloc[0]), "the minimum is in every frame"
    np.testing.assert_array_equal(first["frame"].iloc[1:], 4 * table["epoch"].iloc[1:])


def test_dots_are_at_the_recorded_points_in_their_frames(clouds):
    drawn = composed(spec(), clouds[:1])
    axes = panels_of(drawn.figure)[0]
    dots = [c for c in axes.collections if c.get_zorder() == 3.5]
    numbers = drawn.numbers
    for i, _ in enumerate(drawn.film.render(40, 1)):
        here = {tuple(p) for p in np.asarray(dots[0].get_offsets())}
        recorded = {tuple(p) for p in numbers.loc[(numbers["frame"] == i).fillna(False), ["x", "y"]].to_numpy()}
        assert len(here) == 20
        assert recorded == (here if i % 4 == 0 else set())


def test_interpolation_is_exact_at_recorded_epochs_and_straight_between(rng):
    epochs = np.arange(51.0)
    path = animation.Trajectory(epochs, rng.normal(size=(51, 2)), (0.0, 0.0, 0.0), rng.normal(size=51))
    clock = animation.Clock.of(read_product(spec(frames_per_epoch=3, seconds_max=60)), 0.0, 50.0)
    places = path.at(clock.times)
    np.testing.assert_array_equal(places[::3], path.xy)
    np.testing.assert_allclose(places[1::3], (2 * path.xy[:-1] + path.xy[1:]) / 3, atol=1e-12)
    np.testing.assert_array_equal(path.at(np.array([-1.0, 99.0])), path.xy[[0, -1]])
    np.testing.assert_array_equal(path.loss(np.array([0.0, 0.9, 1.0, 50.0])), path.losses[[0, 0, 1, 50]])


@pytest.mark.parametrize("changes, per, frames", [
    ({"frames_per_epoch": 4, "fps": 20}, 4, 201),
    ({"frames_per_epoch": None, "fps": 20}, 4, 201),
    ({"frames_per_epoch": 9, "fps": 10, "seconds_max": 10}, 2, 101),
    ({"frames_per_epoch": None, "fps": 50, "seconds_max": 60}, 16, 801),
])  # fmt: skip
def test_frames_an_epoch(changes, per, frames):
    clock = animation.Clock.of(read_product(spec(**changes)), 0.0, 50.0)
    assert (clock.per_epoch, len(clock.times), clock.times[-1]) == (per, frames, 50.0)


def test_too_many_or_no_epochs_are_named():
    with pytest.raises(LossatlasError, match=r"seconds_max: 500 epochs at one frame each last 50 s, more than 12"):
        animation.Clock.of(read_product(spec()), 0.0, 500.0)
    with pytest.raises(LossatlasError, match="nothing moves"):
        animation.Clock.of(read_product(spec()), 3.0, 3.0)


@pytest.mark.parametrize("changes, message", [
    ({"frames_per_epch": 3}, r"^frames_per_epch: unknown key; did you mean 'frames_per_epoch'\?$"),
    ({"hue": "ascending"}, r"^hue: unknown key"),
    ({"fps": 30}, r"^fps: 30 is not allowed"),
    ({"frames_per_epoch": 0}, r"^frames_per_epoch: 0 is not allowed; give a value above 0"),
    ({"seconds_max": -1.5}, r"^seconds_max: -1.5 is not allowed; give a value above 0"),
    ({"color": "loss"}, r"^color: 'loss' is not allowed; valid: direction, run"),
])  # fmt: skip
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        read_product(spec(**changes))


def test_colours_by_loss_show_the_last_recorded_one_and_mark_what_has_none(tmp_path):
    table, xy = jump_cloud(seeds=2, steps=(1.0,))
    table.loc[2, "train_loss"] = np.nan
    drawn = composed(spec(color="train_loss"), [save_embedding(tmp_path / "e.h5", table, xy)])
    assert drawn.notes[0] == "Crosses: 1 point without a finite loss."
    dots, crosses = (
        next(c for c in panels_of(drawn.figure)[0].collections if c.get_zorder() == order) for order in (3.5, 6)
    )
    counts = [(len(dots.get_offsets()), len(crosses.get_offsets())) for _ in drawn.film.render(40, 1)]
    assert counts == [(2, 0)] * 4 + [(1, 1)] * 4 + [(2, 0)] * 5


def test_whole_trainings_move_too(tmp_path):
    table, xy = jump_cloud(seeds=3, steps=(1.0,))
    table, xy = table.iloc[1:].assign(run=[f"r{s}" for s in table["seed"].iloc[1:]], seed=-1, step=0.0), xy[1:]
    drawn = composed(spec(color="run"), [save_embedding(tmp_path / "e.h5", table, xy)])
    assert drawn.numbers["frame"].notna().all()
    assert len(list(drawn.film.render(40, 4))) == 4


def noise(count=12, side=64):
    """A film that compresses badly: the finer, the larger."""

    def render(dpi, every):
        rng = np.random.default_rng(0)
        frames = [rng.integers(0, 256, (side * dpi // 100, side * dpi // 100, 3), dtype=np.uint8) for _ in range(count)]
        return iter(frames[::every])

    return film.Film(render, count, 10, 0, 0)


@READER
@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_quality_gives_way_to_size_and_frames_do_not(tmp_path, kind):
    path = tmp_path / f"noise.{kind}"
    film.encode(noise(), path, kind, "t", "c")
    best = path.stat().st_size
    film.encode(noise(), path, kind, "t", "c", limit=best - 1)
    assert path.stat().st_size < best
    frames = gif_frames(path)[0] if kind == "gif" else mp4_frames(path)[0]
    assert len(frames) == 12
    with pytest.raises(LossatlasError, match=rf"^{kind}: .* MB at the lowest quality, more than 0.0 MB; lower"):
        film.encode(noise(), path, kind, "t", "c", limit=100)


def test_comments_survive_whatever_they_say(tmp_path):
    comment = json.dumps({"a": "1 = 2; # \\ \n", "long": "x" * 200_000})
    film.encode(noise(2), tmp_path / "a.mp4", "mp4", "a = b; c", comment)
    assert comment.encode() in (tmp_path / "a.mp4").read_bytes()
    film.encode(noise(2), tmp_path / "a.gif", "gif", "", comment)
    assert gif_frames(tmp_path / "a.gif")[2]["comment"].decode() == comment


def test_a_broken_encoder_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: "/bin/false")
    with pytest.raises(LossatlasError, match=r"^mp4: ffmpeg failed \(exit status 1\); reinstall imageio-ffmpeg"):
        film.encode(noise(), tmp_path / "a.mp4", "mp4", "", "")


def test_other_kinds_do_not_move(tmp_path, clouds):
    still = {key: value for key, value in spec().items() if key not in ("fps", "frames_per_epoch")}
    with pytest.raises(LossatlasError, match="figure format 'gif': not one of png, pdf, svg, csv"):
        draw({**still, "kind": "embedding"}, given(clouds[:1]), {"gif": tmp_path / "a.gif"}, {})


MOVING = {
    "kind": "animation",
    "title": "In motion",
    "caption": "A caption.",
    "panels": [{"cloud": "good", "embedding": "pca"}],
}


def plan(figures, formats):
    raw = {"preset": "quick", "studies": [str(TINY)], "seed": 0, "formats": formats}
    return Plan(load({**raw, "overrides": {"tiny": {"figures": figures}}}, ROOT))


@pytest.fixture
def moving_plan():
    return plan({"animation": MOVING}, ["png", "svg"])


def test_files_and_manifest_follow_the_kind(moving_plan):
    wiring = Wiring(moving_plan, ROOT)
    files = {file for file in wiring.figure_files() if "/animation." in file or "/fig1." in file}
    stem = "results/figures/tiny/"
    assert files == {f"{stem}animation.{kind}" for kind in KINDS} | {f"{stem}fig1.{k}" for k in ("png", "svg", "csv")}
    figures = {entry["name"]: entry for entry in wiring.manifest()["studies"][0]["figures"]}
    assert figures["animation"]["mp4"] == f"{stem}animation.mp4"
    assert "svg" not in figures["animation"]
    assert "mp4" not in figures["fig1"]
    assert EmbeddingFigure.files(["pdf"]) == ("pdf",)
    stages = dvc_stages.stages(moving_plan, {"tiny": "tiny"})["stages"]
    assert f"{stem}animation.png" in stages["tiny"]["cmd"]


def test_each_figure_belongs_to_one_rule(moving_plan):
    def owners(wiring: Wiring, path: str) -> list[str]:
        patterns = {"figure": wiring.figures_of(None), "animate": wiring.figures_of("animation")}
        return [
            rule
            for rule, study in patterns.items()
            if re.match(rf"^results/figures/(?P<study>{study})/(?P<figure>[A-Za-z0-9_]+)\.(png|csv|mp4)$", path)
        ]

    moving, still = Wiring(moving_plan, ROOT), Wiring(plan({}, ["png"]), ROOT)
    assert owners(moving, "results/figures/tiny/animation.mp4") == ["animate"]
    assert owners(moving, "results/figures/tiny/animation.png") == ["animate"]
    assert owners(moving, "results/figures/other/animation.png") == ["figure"]
    assert owners(moving, "results/figures/tiny/animation2.png") == ["figure"]
    assert owners(moving, "results/figures/tiny/fig1.png") == ["figure"]
    assert owners(still, "results/figures/tiny/animation.png") == ["figure"]


def test_dots_wear_the_colours_of_kind_embedding(clouds):
    drawn = composed(spec(), clouds[:1])
    dots = next(c for c in panels_of(drawn.figure)[0].collections if c.get_zorder() == 3.5)
    expected = [mpl.colors.to_rgb(color) for color in ("#0072B2", "#D55E00", "#009E73", "#992E70", "#F0B429")]
    np.testing.assert_allclose(dots.get_facecolors()[::4, :3], expected)


@pytest.mark.parametrize("kind", ["mp4", "gif", "png"])
def test_snakemake_plans_it_by_name(tmp_path, kind):
    config = (overrides(figures={"animation": MOVING}),)
    done = snakemake(tmp_path, f"results/figures/tiny/animation.{kind}", config=config, options=("-n", "--cores", "1"))
    assert done.returncode == 0, done.stdout
    assert "animation tiny/animation" in done.stdout
    assert "figure tiny/animation" not in done.stdout
