"""How near two results are: the limits of rounding, and claims by their spread."""

import numpy as np
import pandas as pd
import pytest

from lossatlas.audit.nearness import (
    CONCLUSIONS,
    DIFFERENT,
    FINGERPRINT,
    ROUNDING,
    VALUES,
    by_claims,
    by_early_losses,
    by_values,
)


def fingerprint(rng, units=3):
    table = pd.DataFrame([(unit, step) for unit in range(units) for step in (0, 1, 10)], columns=["unit", "step"])
    return table.assign(loss=rng.uniform(0.1, 10, len(table)))


@pytest.mark.parametrize("precision", FINGERPRINT)
@pytest.mark.parametrize("step, doubt", [(0, "data, seeds or precision"), (1, "at step 1"), (10, "at step 10")])
def test_early_losses_within_and_beyond_the_limit(rng, precision, step, doubt):
    a = fingerprint(rng)
    place = rng.choice(a.index[a["step"] == step])
    for factor, level in ((0.9, ROUNDING), (1.3, DIFFERENT)):
        b = a.copy()
        b.loc[place, "loss"] *= 1 - factor * FINGERPRINT[precision][step]
        near = by_early_losses(a, b, {precision})
        assert near.level == level, near
        assert (doubt in near.doubt) == (level == DIFFERENT)


def test_of_two_precisions_the_finer_counts(rng):
    a = fingerprint(rng)
    b = a.assign(loss=a["loss"] * (1 + 1e-4))
    assert by_early_losses(a, b, {"bfloat16"}).level == ROUNDING
    assert by_early_losses(a, b, {"bfloat16", "float32"}).level == DIFFERENT


def test_losses_that_are_no_numbers(rng):
    """A training that diverged in both agrees, in one of them does not; a loss of zero is a loss."""
    a = fingerprint(rng)
    a.loc[[4, 5], "loss"] = np.nan, 0.0
    assert by_early_losses(a, a.copy(), {"float32"}).level == ROUNDING
    for place, value in ((4, 1.0), (5, 1e-30), (0, np.inf), (0, np.nan)):
        b = a.copy()
        b.loc[place, "loss"] = value
        assert by_early_losses(a, b, {"float32"}).level == DIFFERENT, (place, value)
    assert by_early_losses(a, a[:-1], {"float32"}).doubt == "other trainings or steps"


def test_only_numbers_may_be_rounded(tmp_path, rng):
    values = rng.uniform(1, 10, 20)
    pd.DataFrame({"name": ["a", "b"] * 10, "count": range(20), "value": values}).to_csv(tmp_path / "a.csv")

    def near(**changed):
        table = pd.DataFrame({"name": ["a", "b"] * 10, "count": range(20), "value": values}).assign(**changed)
        table.to_csv(tmp_path / "b.csv")
        return by_values(tmp_path / "a.csv", tmp_path / "b.csv")

    largest = values.max()
    assert near(value=values + 0.9 * VALUES * largest).level == ROUNDING
    assert near(value=values + 1.2 * VALUES * largest).level == DIFFERENT
    assert near(count=range(1, 21)).level == DIFFERENT
    assert near(name=["a"] * 20).level == DIFFERENT


def table(*rows):
    names = ["study", "id", "ours", "low", "high", "verdict"]
    return pd.DataFrame([dict(zip(names, ("s", *row), strict=True)) for row in rows])


def test_claims_agree_by_verdict_and_spread():
    nan = np.nan
    before = table(("A", 1.0, 0.9, 1.1, "holds"), ("B", nan, nan, nan, "not measurable"), ("C", 2.0, nan, nan, "holds"))

    def near(*rows):
        return by_claims(before, table(*rows))

    others = [("B", nan, nan, nan, "not measurable"), ("C", 2.0, nan, nan, "holds")]
    assert near(("A", 1.0 + 1e-9, 0.9, 1.1, "holds"), *others).level == ROUNDING
    assert near(("A", 1.05, 0.95, 1.15, "holds"), *others).level == CONCLUSIONS
    assert near(("A", 1.0, 0.9, 1.1, "holds"), others[0], ("C", 9.0, nan, nan, "holds")).level == CONCLUSIONS
    outside = near(("A", 1.2, 0.9, 1.3, "holds"), *others)  # the first has none beyond 1.1
    assert outside.level == DIFFERENT
    assert outside.disagree == ("s A: holds, 1 [0.9, 1.1] / holds, 1.2 [0.9, 1.3]",)
    flipped = near(("A", 1.05, 0.95, 1.15, "fails"), *others)
    assert flipped.level == DIFFERENT
    assert flipped.disagree == ("s A: holds, 1 [0.9, 1.1] / fails, 1.05 [0.95, 1.15]",)
    assert "1 verdicts that flip" in flipped.compared
    lost = near(*others)
    assert lost.disagree == ("s A: in one of them only",)
    assert near(("A", nan, nan, nan, "holds"), *others).level == DIFFERENT
