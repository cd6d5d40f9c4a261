"""Seconds expected of jobs: they follow the work, the machine and the rule."""

import math

import pytest
from harness import ROOT, study

from lossatlas.specs.yaml import read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.workflow import cost


def training(**recipe):
    """Return the longer training of the tiny study, with keys of its recipe changed."""
    found = study("tiny", runs={"path": {"recipe": recipe}}).figures["norms"].artefacts
    return next(part for made in found for part in made.ancestry() if part.kind == "runs")


def test_more_epochs_take_longer_in_proportion(rng):
    few, many = int(rng.integers(10, 5000)), int(rng.integers(5000, 10_000))
    least = cost.START_SECONDS + cost.NETWORK_SECONDS[cost.CPU]
    first, second = (cost.seconds("train", training(epochs=n), False) - least for n in (few, many))
    assert second / first == pytest.approx(many / few, rel=0.1)


def test_a_start_is_counted_for_every_job():
    assert cost.seconds("train", training(epochs=1), False) > cost.START_SECONDS + cost.NETWORK_SECONDS[cost.CPU]
    assert cost.seconds("figure", None, False) > cost.START_SECONDS
    assert cost.seconds("a rule of one's own", None, False) > cost.START_SECONDS


def test_a_gpu_spares_what_a_large_network_takes():
    made = training(epochs=5000)
    assert cost.seconds("train", made, True) < cost.seconds("train", made, False)


def test_every_job_of_every_study_has_an_estimate():
    plan = Plan(load({**read_yaml(ROOT / "config" / "config.yaml"), "preset": "laptop"}, ROOT))
    for made in plan.artefacts.values():
        for gpu in (False, True):
            expected = cost.seconds(subjects.steps()[made.kind].rule, made, gpu)
            assert cost.START_SECONDS < expected < math.inf, made.id


def test_rules_with_a_time_of_their_own_exist():
    rules = {step.rule for step in subjects.steps().values()}
    files = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    for rule in cost.TYPICAL:
        assert rule in rules or f"rule {rule}:" in files, rule
        assert not cost.on_networks(rule), rule
    assert cost.on_networks("train")
