"""The page of results: its numbers are the results', and an edit of either is found."""

import json
import re

import numpy as np
import pytest
from benchmarks import cases, report
from benchmarks.frame import results
from benchmarks.frame.alternate import spread
from benchmarks.frame.case import OURS, Goal
from benchmarks.frame.measure import quantities


def record(case, rng, missing=False):
    """Return a record of a case with random numbers."""
    rounds = 5

    def column(low, high):
        return [float(f"{value:.5g}") for value in rng.uniform(low, high, rounds)]

    def side():
        names = {"gradients", "losses", "products", "images", "seconds in jobs", "seconds in the scheduler"}
        asked = names & set(quantities(case))
        counts = {name: column(10, 1000) for name in asked}
        return {
            "version": "1.2.3",
            "cpu": column(0.1, 9),
            "wall": column(0.1, 9),
            "memory": column(1e8, 9e9),
            "counts": counts,
        }

    found = {
        "size": "small",
        "sizes": dict(case.sizes["small"]),
        "rounds": rounds,
        "sides": {OURS: side(), **{peer: side() for peer in case.peers}},
        "checks": {peer: {"deviation": 1e-7, "tolerance": case.tolerance, "passed": True} for peer in case.peers},
        "ratios": {
            quantity: {peer: {**vars(spread(column(0.5, 40))), "rounds": []} for peer in case.peers}
            for quantity in quantities(case)
        },
        "limit": {"amount": 1.5e12, "rate": "float32", "median": 0.37, "low": 0.31, "high": 0.41},
        "growth": {"examples": {"values": [1, 2, 4], "seconds": column(0.1, 9)[:3], "exponent": 1.07}},
        "measured": "2026-11-29",
        "commit": "abcdef0",
        "busy": 3.25,
        "rates": {"float32": 1e11, "convolution": 1e11, "float64": 5e10, "memory": 3e10, "disk": 2e9},
        "versions": {"torch": "2.13.0"},
    }
    if missing:
        found["sides"][OURS] = {"missing": "LossatlasError: no such data"}
    return found


@pytest.fixture
def folder(tmp_path, rng):
    """Results of one machine with every case, one of which could not run and one of which differs."""
    found = {case.name: record(case, rng, missing=case.row == "phate") for case in cases.ALL}
    lenet = found["surface-lenet"]
    lenet["checks"]["landscaper"] = {"deviation": 0.25, "tolerance": 1e-5, "passed": False}
    lenet["sides"]["landscaper"] = {"version": "1.3.1"}
    for peers in lenet["ratios"].values():
        peers.pop("landscaper")
    machine = {"cpu": "Some CPU", "cores": 2, "isa": ["avx", "avx2", "avx512f"]}
    results.merge(tmp_path / "some-cpu-2-cores.json", machine, found)
    return tmp_path


def test_the_page_is_written_and_an_edit_is_found(folder):
    page = folder / "performance.md"
    assert report.main(["--check"], page, folder) == 1
    assert report.main([], page, folder) == 0
    assert report.main(["--check"], page, folder) == 0
    text = page.read_text()
    page.write_text(text.replace("37 %", "73 %", 1))
    assert report.main(["--check"], page, folder) == 1
    page.write_text(text)
    path = next(folder.glob("*.json"))
    document = json.loads(path.read_text())
    document["cases"]["radii"]["ratios"]["cpu"]["Python loop with bisection"]["median"] *= 1.5
    path.write_text(json.dumps(document))
    assert report.main(["--check"], page, folder) == 1


def test_what_could_not_be_compared_is_said(folder):
    text = report.page(report.documents(folder))
    assert "not timed: its results are not ours (0.25, at most 1e-05)" in text
    assert "Not run: LossatlasError: no such data." in text
    assert "has the eigenvalue of largest magnitude" in text


def test_two_machines_have_sections_of_their_own(folder):
    """The one with fewer comparisons comes last, and every link leads to the section of its own machine."""
    (first,) = report.documents(folder).values()
    few = {name: first["cases"][name] for name in ("radii", "phate")}
    results.merge(folder / "a-cpu.json", {"cpu": "A CPU", "family": "25", "cores": 8, "isa": []}, few)
    text = report.page(report.documents(folder))
    start = text.index("## A CPU, family 25, 8 cores")
    assert start > text.index("## Some CPU, 2 cores")
    for part, count in ((text[:start], len(cases.ALL)), (text[start:], 2)):
        headings = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert len(headings) == count
        assert {report.anchor(heading) for heading in headings} >= set(re.findall(r"\]\(#([^)]+)\)", part)) != set()
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert len(set(headings)) == len(headings)
    assert text[start:].count("not measured on this machine") == sum(len(case.goals) for case in cases.ALL) - sum(
        len(case.goals) for case in cases.ALL if case.name in few
    )


def test_words_about_a_case_have_no_measured_number():
    """What is typed of a case says what is done, never how fast: a number of seconds, times or per cent is a result."""
    typed = re.compile(r"\d[\d.,]*\s*(%|times|s\b|ms\b|GB\b|MB\b|GFLOP|x\b)")
    for case in cases.ALL:
        for words in (case.what, case.same, case.reason, *case.unmeasured.values()):
            assert not typed.search(words), f"{case.name}: {words}"
    assert not typed.search(report.HEAD)


def told(value):
    """Return results in which every measured number is the same one."""

    def replaced(item, key=""):
        if isinstance(item, dict):
            return {name: replaced(part, name) for name, part in item.items()}
        if isinstance(item, list):
            return [replaced(part, key) for part in item]
        kept = isinstance(item, bool | str) or key in ("rounds", "values", "tolerance")
        return item if kept else value

    records = {case.name: record(case, np.random.default_rng(0)) for case in cases.ALL}
    kept = {name: {key: found[key] for key in ("sizes", "size")} for name, found in records.items()}
    machine = {"cpu": "Some CPU", "cores": 2, "isa": []}
    return {
        "x.json": {"machine": machine, "cases": {name: replaced(found) | kept[name] for name, found in records.items()}}
    }


def test_no_measured_number_is_typed():
    """A number with a unit is the one that was told; what differs from it is what is asked for."""
    united = re.compile(r"([\d.,]+) (?:µs|ms|s|[kMGT]?B(?:/s)?|[kMGT]?FLOP(?:/s)?|%)(?=\W)")
    for value in (7.77, 0.0333):
        text = report.page(told(value)).replace("60 % of the limit", "")
        digits = {found.replace(".", "").replace(",", "").strip("0") for found in united.findall(text)}
        expected = f"{value}".replace(".", "").strip("0")
        assert expected in digits
        assert all(expected.startswith(found) for found in digits), digits


@pytest.mark.parametrize(
    "goal, ratio, reached",
    [
        (Goal(4.0), 4.1, True),
        (Goal(4.0), 3.9, False),
        (Goal(2.5, "at most"), 1 / 2.4, True),
        (Goal(2.5, "at most"), 1 / 2.6, False),
        (Goal(0.6, "share"), 9.0, False),
    ],
)
def test_goals(rng, goal, ratio, reached):
    case = next(one for one in cases.ALL if one.name == "radii")
    found = record(case, rng)
    found["ratios"]["cpu"] = {"other": {"median": ratio, "low": ratio / 2, "high": ratio * 2}}
    assert report.standing(case, goal, found)[1] is reached


def test_the_best_peer_counts(rng):
    case = next(one for one in cases.ALL if one.name == "hessian-ends")
    found = record(case, rng)
    peers = {"slow": 9.0, "best": 1.5}
    found["ratios"]["cpu"] = {name: {"median": value, "low": value, "high": value} for name, value in peers.items()}
    text, reached = report.standing(case, Goal(2.0), found)
    assert not reached
    assert "best" in text


def test_numbers_in_words():
    assert [report.number(value) for value in (0.0, 1234.5, 0.123456, 12.0, 3e-7)] == [
        "0",
        "1,230",
        "0.123",
        "12",
        "3e-07",
    ]
    assert report.seconds(0.00123) == "1.23 ms"
    assert report.seconds(12.34) == "12.3 s"
    assert report.scaled(2.5e9, "B") == "2.5 GB"


def test_the_page_of_the_repository_is_that_of_its_results():
    assert report.main(["--check"]) == 0


def test_every_record_is_of_a_case_that_is_still_there():
    for name, document in report.documents().items():
        for case, found in document["cases"].items():
            assert case in cases.MODULE_OF, f"{name}: {case}"
            least = next(one.rounds for one in cases.ALL if one.name == case)
            assert found["rounds"] >= least == (1 if case == "gallery" else 5)
            ours = found["sides"][OURS]
            for quantity, peers in found["ratios"].items() if "cpu" in ours else ():
                for peer, ratio in peers.items():
                    assert found["checks"][peer]["passed"]
                    assert ratio["median"] == pytest.approx(spread(ratio["rounds"]).median), (case, quantity)


def test_a_limit_that_was_a_product_alone_is_none(rng):
    case = next(one for one in cases.ALL if one.name == "gradient-mnist")
    found = record(case, rng)
    assert report.standing(case, Goal(0.3, "share"), found)[1]
    assert list(report.limits(case, found))
    found["rates"].pop("convolution")
    assert report.standing(case, Goal(0.3, "share"), found) == ("the limit was not measured", None)
    assert not list(report.limits(case, found))
