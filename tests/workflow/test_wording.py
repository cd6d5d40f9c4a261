"""What a run says of itself: durations, its first lines, what runs, and how it ends."""

from dataclasses import replace

import pytest

from lossatlas.workflow import wording
from lossatlas.workflow.failures import Failure
from lossatlas.workflow.forecast import Forecast, Planned
from lossatlas.workflow.store import Pull


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "10 s"),
        (33, "30 s"),
        (54, "50 s"),
        (59, "1 min"),
        (100, "2 min"),
        (9 * 60, "9 min"),
        (13 * 60, "15 min"),
        (56 * 60, "55 min"),
        (59 * 60, "1 h"),
        (100 * 60, "1.5 h"),
        (7.2 * 3600, "7 h"),
        (30.4 * 3600, "30 h"),
        (71 * 3600, "3 days"),
    ],
)
def test_durations(seconds, words):
    assert wording.duration(seconds) == words


def test_longer_durations_never_read_shorter():
    units = {"s": 1, "min": 60, "h": 3600, "days": 86400}
    said = [wording.duration(1.01**n).split() for n in range(1, 1300)]
    values = [float(number) * units[unit] for number, unit in said]
    assert values == sorted(values)


def run(trainings, seconds):
    """Return a forecast of trainings and a figure of all of them."""
    jobs = [
        Planned(n, "train", f"train wrn-{n:010x}", seconds, 1, (f"results/runs/{n}/points.h5",), (), True)
        for n in range(trainings)
    ]
    needs = tuple(range(trainings))
    figure = Planned(trainings, "figure", "figure s/f", 4.0, 1, ("results/figures/s/f.png",), needs, target=True)
    return Forecast([*jobs, figure], 2)


PULL = Pull("dvc pull s", frozenset(range(4)))


def test_first_lines_say_how_long_and_which_pull_spares_it():
    first, pull, log = wording.opening(run(4, 600.0), PULL, "/w/run.log", False)
    assert first == "lossatlas: 5 jobs, about 20 min on 2 cores: 4 trainings (about 20 min of it)"
    assert "4 trainings" in pull
    assert "`dvc pull s`" in pull
    assert "about 10 s" in pull
    assert log == "lossatlas: full log: /w/run.log"


def test_no_pull_is_named_for_what_is_short_or_not_stored():
    short, log = wording.opening(run(4, 20.0), PULL, "/w/run.log", False)
    assert "about 40 s on 2 cores" in short
    assert log.endswith("/w/run.log")
    assert len(wording.opening(run(4, 600.0), None, "/w/run.log", False)) == 2


def test_without_work_on_networks_only_the_jobs_are_counted():
    assert wording.opening(run(0, 0.0), None, "", False) == ["lossatlas: 1 job, about 10 s on 2 cores"]


def test_a_time_that_stands_on_an_unknown_network_says_so():
    jobs = run(2, 600.0).jobs.values()
    known = wording.opening(Forecast(jobs, 2), None, "", False)
    guessed = wording.opening(Forecast([replace(job, guessed=job.network) for job in jobs], 2), None, "", False)
    assert guessed == [*known, f"lossatlas: {wording.GUESSED}"]


def test_kinds_of_jobs_are_counted():
    rules = ["train", "retrain", "retrain", "sweep", "volume", "tile", "path"]
    jobs = [Planned(n, rule, rule, 1.0, 1, ("o",), (), True) for n, rule in enumerate(rules)]
    assert wording.counted(jobs) == "1 training, 2 retrainings, 1 sweep, 3 probes"


def test_state_names_what_runs_without_hashes_and_counts_the_rest():
    forecast = run(4, 600.0)
    for number in range(4):
        forecast.start(number, 0.0)
    assert wording.state(forecast, 0.0).endswith("left; now train wrn (4 jobs)")
    jobs = [Planned(n, "volume", f"volume net{n}", 60.0, 1, ("o",)) for n in range(wording.SHOWN + 2)]
    forecast = Forecast(jobs, 9)
    for job in jobs:
        forecast.start(job.number, 0.0)
    forecast.finish(0, 60.0)
    forecast.fail(1)
    text = wording.state(forecast, 60.0)
    assert text.startswith(f"1 of {len(jobs)} jobs, 1 failed, about ")
    assert "net2, volume net3, volume net4" in text


def test_the_last_lines_are_pairs_then_a_count():
    failed = [Failure(f"reason {n}", f"results/logs/{n}.log", True) for n in range(7)]
    lines = wording.closing(failed, 5)
    assert lines[:2] == ["lossatlas: error: reason 0", "  log: results/logs/0.log"]
    assert len(lines) == 11
    assert "2 more failed" in lines[-1]
    assert wording.closing(failed[:1], 5) == ["lossatlas: error: reason 0", "  log: results/logs/0.log"]
