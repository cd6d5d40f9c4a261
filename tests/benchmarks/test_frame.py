"""How comparisons are made: turns, ratios, checks before times, records that replace only their own."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.frame import machine, results
from benchmarks.frame.alternate import Sample, alternate, ratios, spread
from benchmarks.frame.case import OURS, Case, Goal, Outcome, Side, Work, cornerwise, relative
from benchmarks.frame.measure import exponent, left_out, measure
from benchmarks.frame.remote import Remote, SideError
from benchmarks.frame.worker import timed

RATES = {"float32": 100.0, "float64": 50.0, "memory": 10.0, "disk": 1.0}


class Fake:
    """A side whose times are told, and whose result is an array; it notes what it is asked for."""

    def __init__(self, name, seconds, result, log):
        self.name, self.seconds, self.result, self.log = name, iter(seconds), result, log
        self.size = {}

    def prepare(self, size):
        """Note the size."""
        self.size = dict(size)
        self.log.append((self.name, "prepare"))
        return "1.0"

    def check(self, given, to):
        """Write the result."""
        self.log.append((self.name, "check", None if given is None else np.load(given).tolist()))
        np.save(to, np.asarray(self.result, float))

    def run(self):
        """Take the next time."""
        self.log.append((self.name, "run"))
        second = next(self.seconds)
        return Sample(second, 2 * second, 1000.0, {"gradients": 10.0})

    def close(self):
        """Note it."""
        self.log.append((self.name, "close"))


def case(**changes):
    """Return a case that no process ever runs."""
    side = Side(lambda size: lambda: Outcome(0.0))
    sizes = {"full": {"points": 4}, "tiny": {"points": 1}}
    plain = Case("a", "surface", "work", "it is", 1e-3, side, {"other": side, "third": side}, sizes)
    return replace(plain, **changes)


def compared(log=None, ours=(2.0, 4.0, 1.0), others=None, results=(1.0, 1.0, 1.0), **changes):
    """Measure the case on fakes; return the record."""
    log = [] if log is None else log
    others = others or {"other": (4.0, 4.0, 4.0), "third": (20.0, 20.0, 20.0)}
    told = {OURS: ours, **others}
    doers = {name: Fake(name, told[name], result, log) for name, result in zip(told, results, strict=True)}
    return measure(case(**changes), doers.__getitem__, "full", len(ours), RATES)


def test_sides_take_turns():
    log = []
    compared(log)
    assert [entry[0] for entry in log if entry[1] == "run"] == [OURS, "other", "third"] * 3
    assert [entry[0] for entry in log if entry[1] == "close"] == [OURS, "other", "third"]


def test_turns_are_in_the_order_given(rng):
    names, seen = [str(name) for name in rng.permutation(5)], []
    rounds = int(rng.integers(2, 6))
    alternate({name: lambda name=name: seen.append(name) or Sample(1.0, 1.0) for name in names}, rounds)
    assert seen == names * rounds


def test_ratios_are_of_one_round():
    found = compared()["ratios"]["cpu"]["other"]
    assert found["rounds"] == [2.0, 1.0, 4.0]
    assert (found["median"], found["low"], found["high"]) == (2.0, 1.0, 4.0)


def test_median_and_range(rng):
    values = rng.lognormal(size=int(rng.integers(1, 12)))
    found = spread(values.tolist())
    assert found.median == pytest.approx(np.median(values))
    assert (found.low, found.high) == (values.min(), values.max())
    with pytest.raises(ValueError, match="argument 2 is longer"):
        ratios([1.0], [1.0, 2.0])


def test_a_clock_is_read_around_the_action_alone():
    ticks = {"cpu": 0.0, "wall": 100.0}

    def action():
        ticks["cpu"] += 3.0
        ticks["wall"] += 7.0
        return Outcome([1.0], {"gradients": 5.0})

    found = timed(action, lambda: ticks["cpu"], lambda: ticks["wall"])
    assert (found.cpu, found.wall, found.counts) == (3.0, 7.0, {"gradients": 5.0})


def test_results_are_compared_before_anything_is_timed():
    log = []
    compared(log)
    kinds = [entry[1] for entry in log]
    assert kinds.index("run") > max(i for i, kind in enumerate(kinds) if kind == "check")
    assert [entry for entry in log if entry[1] == "check"] == [
        ("other", "check", None),
        (OURS, "check", 1.0),
        ("third", "check", None),
        (OURS, "check", 1.0),
    ]


def test_a_failed_check_is_no_ratio():
    log = []
    found = compared(log, results=(1.0, 1.002, 1.0))
    assert found["checks"]["other"] == {"deviation": pytest.approx(0.002 / 1.002), "tolerance": 1e-3, "passed": False}
    assert "cpu" not in found["sides"]["other"]
    assert list(found["ratios"]["cpu"]) == ["third"]
    assert ("other", "run") not in log
    assert ("other", "close") in log


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_result_that_is_no_number_fails(wrong):
    found = compared(results=(1.0, wrong, 1.0))
    assert not found["checks"]["other"]["passed"]
    json.dumps(found, allow_nan=False)


def test_a_peer_that_cannot_run_is_left_out_with_its_reason():
    class Lost(Fake):
        def prepare(self, size):
            raise SideError("ModuleNotFoundError: No module named 'other'")

    log = []
    kinds = {OURS: Fake, "other": Lost, "third": Fake}
    doers = {name: kind(name, [1.0] * 3, 1.0, log) for name, kind in kinds.items()}
    found = measure(case(), doers.__getitem__, "full", 3, RATES)
    assert found["sides"]["other"] == {"missing": "ModuleNotFoundError: No module named 'other'"}
    assert list(found["ratios"]["cpu"]) == ["third"]


def test_a_goal_of_a_count_has_its_own_ratio():
    found = compared(goals=(Goal(5.0, quantity="gradients"), Goal(2.0, quantity="wall")))
    assert set(found["ratios"]) == {"cpu", "gradients", "wall"}
    assert found["ratios"]["gradients"]["other"]["rounds"] == [1.0, 1.0, 1.0]


def test_share_of_the_limit():
    found = compared(limit=lambda size, counts: Work(size["points"] * counts["gradients"], "float32"))["limit"]
    assert found["amount"] == 40.0
    assert found["median"] == pytest.approx(40.0 / 100.0 / 2.0)
    assert (found["low"], found["high"]) == (pytest.approx(0.1), pytest.approx(0.4))


def test_growth_has_the_exponent_of_a_power_law(rng):
    power, values = float(rng.uniform(0.3, 3.0)), (2.0, 5.0, 11.0)
    told = [1.0] * 3 + [seconds for value in values for seconds in [9.0] + [value**power] * 3]  # 9 to warm up
    doers = {name: Fake(name, told, 1.0, []) for name in (OURS, "other", "third")}
    found = measure(case(axes={"points": values}), doers.__getitem__, "full", 3, RATES)["growth"]["points"]
    assert found["values"] == [*values]
    assert found["seconds"] == pytest.approx([value**power for value in values])
    assert found["exponent"] == pytest.approx(power)
    assert exponent([1.0, 10.0], [1.0, 100.0]) == pytest.approx(2.0)


def test_growth_that_fails_leaves_the_ratios():
    class Small(Fake):
        def prepare(self, size):
            if size["points"] > 4:
                raise SideError("MemoryError: too many")
            return super().prepare(size)

    doers = {name: Small(name, [1.0] * 9, 1.0, []) for name in (OURS, "other", "third")}
    found = measure(case(axes={"points": (5,)}), doers.__getitem__, "full", 3, RATES)
    assert found["growth"] == {"points": {"missing": "MemoryError: too many"}}
    assert found["ratios"]["cpu"]["other"]["median"] == 1.0


def test_differences(rng):
    a = rng.normal(size=(3, 4))
    assert relative(a, a) == 0.0
    assert relative(a, a.T) == math.inf
    assert relative([1.0, 99.0], [2.0, 100.0]) == pytest.approx(0.01)
    assert cornerwise([1.0, 99.0], [2.0, 100.0]) == pytest.approx(0.5)


def test_a_record_replaces_its_own_alone(tmp_path):
    path = tmp_path / "machine.json"
    results.merge(path, {"cpu": "x", "cores": 2}, {"a": {"rounds": 5}, "b": {"rounds": 5}})
    results.merge(path, {"cpu": "x", "cores": 2}, {"b": {"rounds": 7, "time": 1 / 3}})
    found = results.read(path)
    assert found["cases"] == {"a": {"rounds": 5}, "b": {"rounds": 7, "time": 0.33333}}
    assert found["machine"] == {"cpu": "x", "cores": 2}


def test_a_machine_has_no_name_of_its_own():
    assert set(machine.identity()) == {"cpu", "family", "cores", "isa"}
    assert machine.titled({"cpu": "A CPU", "family": "", "cores": 4}) == "A CPU, 4 cores"
    assert f"family-{machine.family()}" in machine.slug() or not machine.family()
    assert machine.slug() == machine.slug().lower()
    assert "/" not in machine.slug()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with one case, whose sides run in processes."""
    (tmp_path / "fakecases.py").write_text(
        "import numpy as np\n"
        "from benchmarks.frame.case import Case, Outcome, Side\n"
        "def ours(size):\n"
        "    print('said on standard output')\n"
        "    return lambda: Outcome(np.arange(size['points']), {'gradients': 3.0})\n"
        "def lost(size):\n"
        "    import no_such_package\n"
        "def broken(size):\n"
        "    import os\n"
        "    return lambda: os._exit(3)\n"
        "sizes = {'tiny': {'points': 4}}\n"
        "peers = {'same': Side(ours), 'lost': Side(lost), 'broken': Side(broken)}\n"
        "CASES = (Case('fake', 'surface', 'w', 's', 0.0, Side(ours), peers, sizes),)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return "fakecases"


def test_sides_in_processes_of_their_own(module, tmp_path):
    import importlib
    import sys

    sys.path.append(str(tmp_path))
    try:
        (one,) = importlib.import_module(module).CASES
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop(module)
    found = measure(one, lambda side: Remote(module, "fake", side), "tiny", 2, RATES)
    assert found["sides"]["lost"]["missing"] == "ModuleNotFoundError: No module named 'no_such_package'"
    assert "status 3" in found["sides"]["broken"]["missing"]
    assert found["checks"]["same"] == {"deviation": 0.0, "tolerance": 0.0, "passed": True}
    assert found["sides"][OURS]["counts"] == {"gradients": [3.0, 3.0]}
    assert all(memory > 1e6 for memory in found["sides"]["same"]["memory"])
    assert len(found["ratios"]["cpu"]["same"]["rounds"]) == 2


def test_records_name_no_machine_and_no_path():
    for path in results.FOLDER.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert str(Path.home()) not in text
        assert "/tmp/" not in text
        assert "/work/" not in text


def test_what_is_left_out_has_its_reason():
    found = left_out(case(), "full", 5, "no time")
    assert found["sides"] == {OURS: {"missing": "no time"}}
    assert (found["ratios"], found["limit"], found["growth"]) == ({}, None, {})


def test_a_rate_is_the_best_of_several_after_one_to_warm_up():
    durations, clock = iter([50.0, 3.0, 2.0, 4.0]), [0.0]

    def action():
        clock[0] += next(durations)

    assert machine.least(action, 3, lambda: clock[0]) == 2.0


def test_the_limit_of_arithmetic_is_the_faster_library(monkeypatch):
    told = {"memory_rate": 3.0, "disk_rate": 4.0, "convolution_rate": 9.0, "numpy_rate": 1.0}
    for name, value in told.items():
        monkeypatch.setattr(machine, name, lambda value=value: value)
    monkeypatch.setattr(machine, "product_rate", {"float32": 5.0, "float64": 2.0}.__getitem__)
    found = machine.rates()
    assert (found["float32"], found["product"], found["convolution"], found["float64"]) == (9.0, 5.0, 9.0, 2.0)
    monkeypatch.setattr(machine, "convolution_rate", lambda: 1.0)
    monkeypatch.setattr(machine, "numpy_rate", lambda: 7.0)
    found = machine.rates()
    assert (found["float32"], found["float64"]) == (5.0, 7.0)


def test_a_commit_is_dirty_where_what_is_measured_has_changed(tmp_path):
    import subprocess

    def git(*words):
        author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *author, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("src/a.py", "benchmarks/results/x.json", "benchmarks/cases/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", "-A")
    git("commit", "-m", "one")
    plain = results.commit(tmp_path)
    (tmp_path / "benchmarks/results/x.json").write_text("2")
    assert results.commit(tmp_path) == plain
    (tmp_path / "src/a.py").write_text("2")
    assert results.commit(tmp_path) == f"{plain}-dirty"
