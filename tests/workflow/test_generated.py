"""`make docs` and `make check`: numbers in pages follow the published results, and nothing is stale unseen."""

import shutil

import pandas as pd
import pytest
from harness import ROOT

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.files.record import write_record
from lossatlas.workflow import generated

MARKER = "<!-- value some/claims.csv A1 ours .1f -->"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a copy of what the command reads, written once, with published results of a study."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "docs").mkdir()
    shutil.copyfile(ROOT / "docs/cluster.md", tmp_path / "docs/cluster.md")
    folder = tmp_path / "docs/results/some"
    folder.mkdir(parents=True)
    rows = {"study": "some", "id": "A1", "ours": "12.34", "n": "3", "verdict": "holds", "threshold": "> 1"}
    told = {"study": "some", "id": "A", "verdict": "holds", "main": "A1"}
    for name, row, columns in (("claims", rows, COLUMNS), ("statements", told, STATEMENT_COLUMNS)):
        pd.DataFrame([row], columns=columns).to_csv(folder / f"{name}.csv", index=False)
        write_record(folder / f"{name}.json", {"study": "some", "preset": "laptop"}, [folder / f"{name}.csv"])
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch) == 0
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["generated", *arguments])
    return generated.main()


def test_a_page_is_checked_and_mended(repository, monkeypatch, capsys):
    page = repository / "docs/page.md"
    page.write_text(f"It is {MARKER}12.4<!-- / --> wide.\n")
    assert run(monkeypatch, "--check") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"docs/page.md:1: {MARKER}: says '12.4', should say '12.3'"
    assert said[1].startswith("docs/page.md: not what the code and the results say; run `make docs`")
    assert "12.4" in page.read_text(), "--check writes nothing"
    assert run(monkeypatch) == 0
    assert page.read_text() == f"It is {MARKER}12.3<!-- / --> wide.\n"
    assert run(monkeypatch, "--check") == 0


def test_a_marker_of_nothing_is_one_line(repository, monkeypatch, capsys):
    (repository / "README.md").write_text("It is <!-- value other/claims.csv A1 ours -->7<!-- / -->.\n")
    for arguments in (["--check"], []):
        assert run(monkeypatch, *arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            "lossatlas: error: README.md:1: <!-- value other/claims.csv A1 ours -->: docs/results/other"
        )


def test_pages_of_results_are_checked(repository, monkeypatch, capsys):
    readme = repository / "docs/results/some/README.md"
    assert "12.3" in readme.read_text()
    readme.write_text(readme.read_text().replace("12.3", "99.9"))
    assert run(monkeypatch, "--check") == 1
    assert "docs/results/some/README.md: not what" in capsys.readouterr().err
    with (repository / "docs/results/some/claims.csv").open("a") as file:
        file.write("some,,,A2\n")
    assert run(monkeypatch, "--check") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "docs/results/some/claims.csv: not what was published (SHA-256 differs)" in line
    assert str(repository) not in line
