"""A folder that is replaced whole: killed or failing anywhere, it holds the old or the new files, never a mixture."""

import errno
import itertools
import multiprocessing
import os
import stat
import time

import pytest

from lossatlas.gallery import folder as subject
from lossatlas.gallery.folder import replaced

NAMES = ("index.html", "figures/a.png", "figures/b.png", "tables/t.csv")


def fill(target, version):
    """Replace a folder by files that all hold one version."""
    with replaced(target) as part:
        for name in NAMES:
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_text(version * 1000)


def fail(target):
    """Begin to replace a folder, and fail."""
    with replaced(target) as part:
        (part / NAMES[0]).write_text("half")
        raise ZeroDivisionError


def held(target):
    """Return the version that a folder holds whole, None where there is no such folder."""
    if not target.exists():
        return None
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found.keys() == set(NAMES)
    (text,) = set(found.values())
    assert len(text) == 1000
    return text[0]


def beside(target):
    """Return what lies in the folder's own folder."""
    return sorted(path.name for path in target.parent.iterdir())


@pytest.fixture(params=["Linux", "another system"])
def target(request, tmp_path, monkeypatch):
    """A folder to replace, on a system that can exchange folders and sync a file system, and on one that cannot."""
    if request.param == "another system":
        monkeypatch.setattr(subject, "_call", lambda *given: False)
    return tmp_path / "all"


def test_this_system_can_exchange_and_sync(tmp_path):
    assert subject._syncfs(tmp_path)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert subject._exchange(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "a" / "b").exists(), (tmp_path / "b" / "a").exists()) == (True, True)
    with pytest.raises(FileNotFoundError):
        subject._exchange(tmp_path / "a", tmp_path / "absent")


def test_new_replaces_old_and_leaves_nothing(target):
    for version in "abc":
        fill(target, version)
        assert held(target) == version
        assert beside(target) == ["all"]


def test_what_fails_leaves_the_old(target):
    for stands in (None, "a"):
        if stands:
            fill(target, stands)
        with pytest.raises(ZeroDivisionError):
            fail(target)
        assert held(target) == stands
        assert beside(target) == (["all"] if stands else [])


def test_an_empty_folder_made_for_it_goes_when_it_fails(target):
    target.mkdir()
    with pytest.raises(ZeroDivisionError):
        fail(target)
    assert beside(target) == []
    target.mkdir()
    fill(target, "a")
    assert held(target) == "a"


def test_a_link_is_replaced_and_not_what_it_leads_to(target):
    (target.parent / "elsewhere").mkdir()
    (target.parent / "elsewhere" / "mine").touch()
    target.symlink_to("elsewhere")
    fill(target, "a")
    assert held(target) == "a"
    assert not target.is_symlink()
    assert (target.parent / "elsewhere" / "mine").exists()
    assert beside(target) == ["all", "elsewhere"]


def test_a_shared_folder_stays_shared(target):
    target.parent.chmod(0o2775)
    before = os.umask(0o002)
    try:
        fill(target, "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o2775
    assert stat.S_IMODE((target / "index.html").stat().st_mode) == 0o664


def test_killed_at_random_moments_the_folder_is_whole(tmp_path, rng):
    target = tmp_path / "all"
    fill(target, "a")

    def forever(first):
        for version in itertools.cycle("bcdefg"[first:] + "bcdefg"[:first]):
            fill(target, version)

    seen = []
    for _ in range(20):
        process = multiprocessing.get_context("fork").Process(target=forever, args=(rng.integers(6),))
        process.start()
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.join()
        seen.append(held(target))
    assert None not in seen
    assert len(set(seen)) > 1, "no process came to replace anything"
    fill(target, "z")
    assert held(target) == "z"
    assert beside(target) == ["all"]


def test_killed_between_two_renames_the_old_comes_back(tmp_path, monkeypatch):
    target = tmp_path / "all"
    fill(target, "a")
    monkeypatch.setattr(subject, "_exchange", lambda first, second: False)

    def killed():
        renames = iter([os.rename])
        monkeypatch.setattr(os, "rename", lambda *names: next(renames, lambda *_: os._exit(9))(*names))
        fill(target, "b")

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not target.exists(), "killed elsewhere"
    for made in (None, target.mkdir):  # Snakemake makes the folder again before the job
        if made:
            target.rename(tmp_path / ".all.1.old")
            made()
        with pytest.raises(ZeroDivisionError):
            fail(target)
        assert held(target) == "a"
        assert beside(target) == ["all"]


def test_every_call_fails_once_in_turn(target, monkeypatch):
    """After each fault the folder holds the old files or the new ones, and the next call succeeds."""
    reported = 0
    for number in itertools.count():
        fill(target, "a")
        calls = itertools.count()
        error = None
        with monkeypatch.context() as patched:
            for module, name in ((os, "rename"), (os, "fsync"), (os, "mkdir"), (os, "replace"), (subject, "_call")):
                patched.setattr(module, name, failing(getattr(module, name), calls, number))
            try:
                fill(target, "b")
            except OSError as found:
                error = found.errno
        assert error in (None, errno.EIO)
        assert held(target) in ("ab" if error else "b")
        reported += error is not None
        fill(target, "c")
        assert held(target) == "c"
        assert beside(target) == ["all"]
        if next(calls) <= number:
            break
    assert number > 5
    assert reported >= number - 3, "mkdir of a folder that is there may fail"


def failing(call, calls, number):
    """Return a call that raises EIO when it is the one of that number among all that share the counter."""

    def one(*given, **named):
        if next(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call(*given, **named)

    return one
