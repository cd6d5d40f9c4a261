"""Markers in pages: what they insert, where they may stand, and that a page and its results cannot disagree unseen."""

# ruff: noqa: RUF001  (pages print minus signs)

import re

import numpy as np
import pandas as pd
import pytest

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.files.record import write_record
from lossatlas.gallery import pages
from lossatlas.gallery.published import interval, number

CLAIMS = [
    {
        "id": "G6",
        "ours": "-4124.31",
        "low": "-4298.2",
        "high": "-3962.0",
        "n": "10",
        "unit": "data sets",
        "verdict": "holds",
    },
    {"id": "G6_share", "ours": "0.953", "low": "0.9139", "high": "0.97", "n": "4", "verdict": "fails", "paper": "a|b"},
    {"id": "G7", "n": "0", "verdict": "not judged", "reason": "too small"},
]
SWEEP = {
    "beta": ["0.0", "0.1", "0.1"], "cutoff": ["1.0", "0.1", "1.0"], "loss": ["9e-06", "0.0387", ""],
    "steps": ["12000", "7", "8"], "words": ["a b", "<c>", "d"],
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Return a folder of published results."""
    folder = tmp_path / "docs/results/some"
    (folder / "tables").mkdir(parents=True)
    write(folder / "claims.csv", pd.DataFrame(CLAIMS, columns=COLUMNS))
    told = [
        {"id": "G6", "sentence": "A gap.", "verdict": "holds", "main": "G6 G6_share"},
        {"id": "G7", "sentence": "Later.", "verdict": "not judged", "reason": "too small", "main": "G7"},
    ]
    write(folder / "statements.csv", pd.DataFrame(told, columns=STATEMENT_COLUMNS))
    write(folder / "tables/sweep.csv", pd.DataFrame(SWEEP))
    return tmp_path / "docs/results"


def write(path, table):
    """Write a table with its record."""
    table.to_csv(path, index=False)
    write_record(path.with_suffix(".json"), {"study": "some", "preset": "laptop"}, [path])


def marked(asked, text="", before="text "):
    return f"{before}<!-- {asked} -->{text}<!-- / -->"


def inserted(asked, results, before="text "):
    """Return what a marker inserts; none may be wrong."""
    text, _, wrong = pages.filled(marked(asked, "old", before), results)
    assert wrong == []
    return text.removeprefix(f"{before}<!-- {asked} -->").removesuffix("<!-- / -->")


VALUES = {
    "some/claims.csv G6 ours": "−4124",
    "some/claims.csv G6 ours .0f": "−4124",
    "some/claims.csv G6 ours ,.1f": "−4,124.3",
    "some/claims.csv G6 ours .0f *-1": "4124",
    "some/claims.csv G6 ours .2e": "−4.12e3",
    "some/claims.csv G6 interval .0f": "[−4298, −3962]",
    "some/claims.csv G6 interval .0f *-1": "[3962, 4298]",
    "some/claims.csv G6_share interval .0%": "[91, 97] %",
    "some/claims.csv G6_share ours .1%": "95.3 %",
    "some/claims.csv G6_share interval": "[0.914, 0.97]",
    "some/claims.csv G6 n": "10",
    "some/claims.csv G6 verdict": "holds",
    "some/claims.csv G6 unit": "data sets",
    "some/statements.csv G7 reason": "too small",
    "some/tables/sweep.csv 0 loss": "9e-06".replace("e-06", "e−6"),
    "some/tables/sweep.csv 0 steps": "12000",
    "some/tables/sweep.csv 0 steps ,d": "12,000",
    "some/tables/sweep.csv beta=0.1&cutoff=.1 loss .3f": "0.039",
    "some/tables/sweep.csv 'words=a b' beta .1f": "0.0",
}


@pytest.mark.parametrize("asked", VALUES)
def test_a_value(asked, results):
    assert inserted(f"value {asked}", results) == VALUES[asked]


@pytest.mark.parametrize(
    ("text", "form", "shown"),
    [("-0.04", ".1f", "0.0"), ("-0.0", "", "0"), ("inf", "", "∞"), ("-inf", ".0f", "−∞"), ("nan", "", ""), ("1e-12", "", "1e−12"),
     ("-7", "", "−7"), ("2e7", "", "2e7"), ("123456.7", "", "123457"), ("none", "", "none"), ("0.5", "+.1f", "+0.5")],
)  # fmt: skip
def test_a_number_as_a_page_prints_it(text, form, shown):
    assert number(text, form) == shown


def test_an_interval_is_in_order_whatever_the_factor():
    assert interval("1", "2", ".0f", -1.0) == "[−2, −1]"
    assert interval("", "", ".0f") == ""


WRONG = {
    "value some/claims.csv G9 ours": "some/claims.csv: no row with id 'G9'; valid: G6, G6_share, G7",
    "value some/claims.csv G6 our": "some/claims.csv: no column 'our'; did you mean 'ours'?",
    "value some/claims.csv G7 ours": "ours of G7 is empty",
    "value some/claims.csv G7 interval": "interval of G7 is empty",
    "value some/claims.csv G6 ours .0z": "ours: ",
    "value some/claims.csv G6 verdict .0f": "verdict: 'holds' is no number",
    "value some/claims.csv G6": "takes FILE ROW COLUMN",
    "value some/claims.csv G6 ours .0f .1f": "at most one format",
    "value some/claims.csv G6 ours *x": "at most one format",
    "value some/tables/sweep.csv 0.1 loss": "2 rows are 0.1",
    "value some/tables/sweep.csv beta=0.1 mean(los)": "no column 'los'; did you mean 'loss'?",
    "value some/tables/sweep.csv beta=0.1 mean(words)": "mean(words): could not convert",
    "value some/tables/sweep.csv beta=0.1 sd(loss)": "sd(loss) of beta=0.1 is empty",
    "table some/tables/sweep.csv what mean(loss)": "no column 'what'",
    "value some/tables/sweep.csv beta=0.1&what=2 loss": "no column 'what'",
    "value some/tables/other.csv 1 loss": "docs/results/some/tables/other.csv: no such file; there are sweep.csv",
    "value nothing/claims.csv G6 ours": "docs/results/nothing/claims.csv: no such file; publish the study",
    "value some/claims G6 ours": "name a .csv",
    "table some/tables/sweep.csv what": "no column 'what'",
    "table some/tables/sweep.csv beta=7": "no row with beta '7'",
    "table": "takes FILE",
    "statements some G8": "no statement 'G8'; there are G6, G7",
    "statements nothing": "docs/results/nothing/claims.csv: no such file",
    "statements": "takes FOLDER",
}


@pytest.mark.parametrize("asked", WRONG)
def test_what_is_not_there_is_one_line_and_the_page_stays(asked, results, tmp_path):
    page = tmp_path / "docs/page.md"
    page.write_text(f"one\n\n{marked(asked, 'old', 'text ' if asked.startswith('value') else '')}\n")
    found = pages.fill(tmp_path)
    (line,) = found.wrong
    assert line.startswith(f"docs/page.md:3: <!-- {asked} -->: ")
    assert WRONG[asked] in line
    assert str(tmp_path) not in line
    assert (found.texts, found.stale) == ({}, [])


def test_a_table_with_columns_formats_headings_and_rows(results):
    text = inserted("table some/tables/sweep.csv beta:.1f 'loss:.1e:training loss' words cutoff=1.0", results, "")
    assert text == (
        "\n\n| beta | training loss | words |\n| ---: | ---: | --- |\n| 0.0 | 9.0e−6 | a b |\n| 0.1 |  | d |\n\n"
    )
    assert (
        inserted("table some/tables/sweep.csv beta=0", results, "").splitlines()[2]
        == "| beta | cutoff | loss | steps | words |"
    )
    assert "| &lt;c> |" in inserted("table some/tables/sweep.csv words", results, "")
    assert "| G6\\_share |" not in inserted("table some/claims.csv id interval:.1f", results, "")
    assert "| [−4298.2, −3962.0] |" in inserted("table some/claims.csv id interval:.1f", results, "")


def test_numbers_of_several_rows(results, rng):
    values = rng.normal(0, 2, 12)
    table = pd.DataFrame({"beta": [0, 1] * 6, "replica": range(12), "loss": values}).astype(str)
    write(
        results / "some/tables/many.csv", pd.concat([table, pd.DataFrame([{"beta": "1", "replica": "12", "loss": ""}])])
    )
    ones = values[1::2]
    wanted = {
        "mean": ones.mean(),
        "sd": ones.std(ddof=1),
        "median": np.median(ones),
        "min": ones.min(),
        "max": ones.max(),
    }
    for what, value in wanted.items():
        text = inserted(f"value some/tables/many.csv beta=1 {what}(loss) .6f", results)
        assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(value, abs=1e-6)
    assert inserted("value some/tables/many.csv beta=1 count(loss)", results) == "6", "an empty cell is no number"
    text = inserted("table some/tables/many.csv beta mean(loss):.3f:mean count(loss)", results, "")
    means = [f"{values[beta::2].mean():.3f}".replace("-", "\N{MINUS SIGN}") for beta in (0, 1)]
    rows = [f"| {beta} | {mean} | 6 |" for beta, mean in enumerate(means)]
    assert text == "\n\n" + "\n".join(["| beta | mean | count(loss) |", "| ---: | ---: | ---: |", *rows]) + "\n\n"
    assert "| 12 |" in inserted("table some/tables/many.csv count(loss)", results, "")


def test_statements_with_verdicts_and_numbers(results):
    text = inserted("statements some", results, "")
    assert "| G6 | A gap. | holds | −4124 [−4298, −3962] | 10 data sets |" in text
    assert "| G7 | Later. | not judged: too small |" in text
    assert "| G6 |" not in inserted("statements some G7", results, "")


def test_a_page_that_disagrees_is_told_and_mended(results, tmp_path):
    page = tmp_path / "docs/studies/page.md"
    page.parent.mkdir()
    (tmp_path / "README.md").write_text(f"{marked('value some/claims.csv G6 verdict', 'holds')}\n")
    good = marked("value some/claims.csv G6 n", "10")
    bad = marked("value some/claims.csv G6 ours ,.0f", "−4,123")
    block = marked("table some/tables/sweep.csv beta loss:.1e", "\n\n| beta |\n\n", "")
    page.write_text(f"# Page\n\n{good} and {bad}\n\n{block}\n")
    found = pages.fill(tmp_path)
    assert found.wrong == []
    assert found.stale == [
        "docs/studies/page.md:3: <!-- value some/claims.csv G6 ours ,.0f -->: says '−4,123', should say '−4,124'",
        "docs/studies/page.md:5: <!-- table some/tables/sweep.csv beta loss:.1e -->: line 1 of it should say '| beta | loss |'",
    ]
    assert set(found.texts) == {"docs/studies/page.md"}
    page.write_text(found.texts["docs/studies/page.md"])
    assert pages.fill(tmp_path) == pages.Filled({}, [], [])


def test_a_page_goes_stale_when_the_results_change(results, tmp_path):
    page = tmp_path / "docs/page.md"
    page.write_text(marked("value some/claims.csv G6 ours .0f", "−4124") + "\n")
    assert pages.fill(tmp_path).stale == []
    write(results / "some/claims.csv", pd.DataFrame([{**CLAIMS[0], "ours": "-17.2"}], columns=COLUMNS))
    assert "should say '−17'" in pages.fill(tmp_path).stale[0]


def test_results_changed_by_hand_are_told(results, tmp_path):
    (tmp_path / "docs/page.md").write_text(marked("value some/claims.csv G6 ours .0f", "−4124") + "\n")
    csv = results / "some/claims.csv"
    csv.write_text(csv.read_text().replace("-4124", "-5124"))
    (line,) = pages.fill(tmp_path).wrong
    assert "claims.csv: not what was published (SHA-256 differs)" in line


@pytest.mark.parametrize("before", ["", "- ", "12. ", "  ", "> ", "* [x] "])
def test_a_value_at_the_beginning_of_a_line_is_refused(before, results):
    (line,) = pages.filled(marked("value some/claims.csv G6 n", "10", before), results)[2]
    assert "beginning of its line" in line


@pytest.mark.parametrize("before", ["| ", "**", "- about ", "- ("])
def test_a_value_elsewhere_is_not(before, results):
    assert inserted("value some/claims.csv G6 n", results, before) == "10"


def test_a_block_begins_its_line(results):
    (line,) = pages.filled(marked("statements some"), results)[2]
    assert "must begin its line" in line


UNPAIRED = {
    "a <!-- value some/claims.csv G6 n -->10": "1: <!-- value some/claims.csv G6 n -->: nothing closes it",
    "a\nb <!-- / --> c": "2: <!-- / --> closes nothing",
    "a <!-- vlaue some/claims.csv G6 n -->10<!-- / -->": "1: <!-- / --> closes nothing",
    "a <!-- value x y z -->1 <!-- value x y z -->2<!-- / -->": "1: <!-- value x y z -->: nothing closes it",
}


@pytest.mark.parametrize("text", UNPAIRED)
def test_unpaired_markers_are_told(text, results):
    (line,) = pages.filled(text, results)[2]
    assert line.startswith(UNPAIRED[text])


EXAMPLE = "x <!-- value some/claims.csv G6 n -->old<!-- / -->"


@pytest.mark.parametrize(
    "text", [f"`{EXAMPLE}`", f"``a ` {EXAMPLE}``", f"```\n{EXAMPLE}\n```", f"~~~md\n{EXAMPLE}\n~~~\n"]
)
def test_examples_in_code_stay(text, results):
    assert pages.filled(text, results) == (text, [], [])


def test_code_around_a_marker_does_not_hide_it(results):
    text = f"`a\nb` {EXAMPLE} `c`\n\na lone ` here\n\n{EXAMPLE} `d`\n\n<!-- it's a remark -->\n"
    assert pages.filled(text, results)[0] == re.sub("old", "10", text)
