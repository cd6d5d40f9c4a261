"""Pictures of the documentation: they follow from the published results, and a changed source makes them stale."""

import shutil
from pathlib import Path

import pytest
from harness import ROOT
from PIL import Image

from lossatlas.gallery import pictures, published
from lossatlas.study.reference import reference

RESULTS = ROOT / published.FOLDER


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what the pictures are made from, without them."""
    shutil.copytree(RESULTS, tmp_path / published.FOLDER)
    return tmp_path


def test_those_of_the_repository_are_what_the_results_say():
    assert pictures.stale(ROOT) == [], "run `make docs`"


def test_a_changed_source_makes_a_picture_anew(copy, rng):
    every = [one.path for one in pictures.pictures(copy)]
    assert pictures.SCORECARD in every
    assert pictures.stale(copy) == every
    assert pictures.write(copy) == every
    assert pictures.stale(copy) == []
    assert pictures.write(copy) == []
    kind = str(rng.choice(sorted(pictures.thumbnails(copy))))
    (one,) = [one for one in pictures.pictures(copy) if one.path == f"{pictures.KINDS}/{kind}.png"]
    with Image.open(one.sources[0]) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(one.sources[0])
    assert pictures.stale(copy) == [one.path]
    (copy / pictures.SCORECARD).unlink()
    assert set(pictures.stale(copy)) == {one.path, pictures.SCORECARD}
    table = next(copy.glob("docs/results/*/statements.csv"))
    table.write_text(table.read_text().replace("holds", "fails"))
    assert {pictures.SCORECARD, pictures.GLANCE} <= set(pictures.stale(copy))


def test_they_are_small_and_shown():
    sizes = [(ROOT / one.path).stat().st_size for one in pictures.pictures(ROOT)]
    assert sum(sizes) < 1_500_000
    page = reference(pictures.thumbnails(ROOT))
    for kind, path in pictures.thumbnails(ROOT).items():
        assert f"### figure: {kind}\n\n![A figure of kind {kind}]({path})\n" in page
        assert (ROOT / "docs" / path).is_file()
        with Image.open(ROOT / "docs" / path) as image:
            assert image.width == pictures.THUMBNAIL
    assert pictures.GLANCE in (ROOT / "README.md").read_text()
    assert Path(pictures.SCORECARD).name in (RESULTS / "README.md").read_text()


def test_nothing_published_is_no_picture(tmp_path):
    (tmp_path / published.FOLDER).mkdir(parents=True)
    assert pictures.pictures(tmp_path) == []
