"""How far a run is and how long it still takes, on jobs whose times are known."""

import math

import numpy as np
import pytest

from lossatlas.workflow.forecast import Forecast, Planned
from lossatlas.workflow.pace import KEPT, PRIOR, Pace


def chain(seconds, **more):
    """Return jobs that wait for each other."""
    return [
        Planned(n, "train", f"train {n}", float(s), outputs=(f"r/{n}",), needs=(n - 1,) * (n > 0), **more)
        for n, s in enumerate(seconds)
    ]


def fan(seconds, rule="train", first=0, **more):
    """Return jobs that wait for none."""
    return [
        Planned(first + n, rule, f"{rule} {n}", float(s), outputs=(f"r/{first + n}",), **more)
        for n, s in enumerate(seconds)
    ]


def test_left_is_the_work_over_the_cores_or_the_longest_chain(rng):
    seconds = rng.uniform(1, 100, 7)
    assert Forecast(fan(seconds), 2).left(0) == pytest.approx(max(seconds.sum() / 2, seconds.max()))
    assert Forecast(chain(seconds), 2).left(0) == pytest.approx(seconds.sum())
    assert Forecast(fan(seconds), math.inf).left(0) == pytest.approx(seconds.max())
    assert Forecast(fan(seconds, threads=2), 2).left(0) == pytest.approx(seconds.sum())


def test_jobs_may_come_in_any_order(rng):
    jobs = chain(rng.uniform(1, 9, 6))
    shuffled = [jobs[i] for i in rng.permutation(6)]
    assert Forecast(shuffled, 4).left(0) == pytest.approx(Forecast(jobs, 4).left(0))


def simulated(seconds, true, cores):
    """Run jobs whose true seconds are another than the expected; yield (time, share, left) after each."""
    forecast = Forecast(fan(seconds, network=True), cores)
    waiting, running, now = list(forecast.jobs), [], 0.0
    while waiting or running:
        while waiting and len(running) < cores:
            number = waiting.pop(0)
            forecast.start(number, now)
            running.append((now + true[number], number))
        now, number = min(running)
        running.remove((now, number))
        forecast.finish(number, now)
        yield now, forecast.share(now), forecast.left(now)


def test_a_wrong_speed_is_corrected_as_jobs_finish(rng):
    """Every job takes ``slow`` times what is expected: after half of the work the rest is known to a tenth."""
    slow = float(rng.choice([0.2, 0.5, 3.0, 8.0]))
    seconds = rng.uniform(20, 60, 60)
    steps = list(simulated(seconds, slow * seconds, 2))
    end, shares = steps[-1][0], [share for _, share, _ in steps]
    assert shares[-1] == 1
    assert steps[-1][2] == 0
    for now, share, left in steps[30:-4]:
        # jobs are not divided among cores: of two cores one may wait at the end for half of the longest job
        assert left == pytest.approx(end - now, abs=0.15 * (end - now) + slow * seconds.max() / 2)
        assert share == pytest.approx(now / end, abs=0.1)
    wrong = Forecast(fan(seconds), 2).left(0)
    assert abs(steps[10][2] - (end - steps[10][0])) < abs(wrong - end)


def test_a_running_job_that_takes_longer_moves_the_end_and_never_turns_back():
    forecast = Forecast(fan([10, 10]), 1)
    forecast.start(0, 0.0)
    assert forecast.left(4.0) == pytest.approx(16)
    shares = [forecast.share(now) for now in np.linspace(0, 100, 50)]
    assert (np.diff(shares) >= 0).all()
    assert forecast.left(100.0) > 10 + 20


def test_what_cannot_be_made_any_more_takes_no_time_and_is_not_done():
    forecast = Forecast([*chain([10, 10, 10]), *fan([5], first=3)], 1)
    forecast.start(0, 0.0)
    forecast.fail(0)
    assert forecast.lost() == {0, 1, 2}
    assert forecast.left(3.0) == pytest.approx(5)
    forecast.start(3, 3.0)
    forecast.finish(3, 8.0)
    assert forecast.left(8.0) == 0
    assert 0 < forecast.share(8.0) < 0.5


def test_a_job_that_is_started_again_is_no_longer_lost():
    forecast = Forecast(chain([10, 10]), 1)
    forecast.start(0, 0.0)
    forecast.fail(0)
    forecast.start(0, 5.0)
    assert forecast.lost() == set()
    assert forecast.left(5.0) == pytest.approx(20)


def test_time_in_a_clusters_queue_corrects_nothing():
    forecast = Forecast(fan([10, 10]), math.inf)
    forecast.start(0, 0.0)
    forecast.finish(0, 5000.0)
    assert forecast.left(5000.0) == pytest.approx(10)


def test_rules_on_networks_correct_each_other_and_no_other(rng):
    jobs = [*fan([50] * 9, "train", network=True), *fan([50], "retrain", 9, network=True), *fan([50], "data", 10)]
    forecast = Forecast(jobs, 1)
    for number in range(9):
        forecast.start(number, 0.0)
        forecast.finish(number, 150.0)
    expected = forecast.expected()
    assert 120 < expected[9] < 150
    assert expected[10] == 50


def test_the_names_of_targets_are_no_work():
    named = Planned(1, "results/figures/all", "open it", 0.0, needs=(0,), target=True)
    forecast = Forecast([*fan([10]), named], 1)
    forecast.start(0, 0.0)
    forecast.finish(0, 10.0)
    assert forecast.share(10.0) == 1
    forecast.start(1, 10.0)
    forecast.finish(1, 10.1)
    assert forecast.share(10.2) == 1
    assert forecast.pace.factor("results/figures/all") == 1


def test_pace_is_the_ratio_drawn_to_one(rng):
    ratio = float(rng.uniform(0.1, 10))
    pace = Pace()
    assert pace.factor("train") == 1
    pace.add("train", PRIOR, ratio * PRIOR)
    assert min(1, ratio) < pace.factor("train") < max(1, ratio)
    for _ in range(300):
        pace.add("train", PRIOR, ratio * PRIOR)
    assert pace.factor("train") == pytest.approx(ratio, rel=0.05)


def test_pace_is_kept_from_call_to_call_and_outweighed_by_the_next(rng, tmp_path):
    ratio = float(rng.uniform(2, 5))
    pace = Pace()
    pace.add("train", 100 * KEPT, 100 * ratio * KEPT)
    pace.save(tmp_path / "pace.json")
    again = Pace.load(tmp_path / "pace.json")
    assert again.factor("train") == pytest.approx(ratio, rel=0.2)
    again.add("train", 10 * KEPT, 10 * KEPT)
    assert again.factor("train") < 1 + (ratio - 1) / 4


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"train": 3}', '{"train": ["a", "b"]}'])
def test_a_kept_pace_that_is_not_one_counts_nothing(text, tmp_path):
    (tmp_path / "pace.json").write_text(text)
    assert Pace.load(tmp_path / "pace.json").factor("train") == 1
    assert Pace.load(tmp_path / "nowhere.json").factor("train") == 1
