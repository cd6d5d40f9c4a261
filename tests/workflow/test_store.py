"""Which jobs a pull from the bundled store would spare, on small graphs of jobs and on the repository's own store."""

import yaml
from harness import ROOT

from lossatlas.workflow.forecast import Planned
from lossatlas.workflow.store import FEW, spared, stored


def jobs(*rows):
    """Return number -> job from (number, output, needs, whether on networks); the last is what was asked for."""
    found = {}
    for number, output, needs, network in rows:
        target = number == rows[-1][0]
        found[number] = Planned(number, "rule", output, 60.0, 1, (output,), tuple(needs), network, target)
    return found


CHAIN = (
    (0, "results/data/d/data.h5", (), False),
    (1, "results/runs/r/points.h5", (0,), True),
    (2, "results/retrains/t/points.h5", (0, 1), True),
    (3, "results/grams/g/gram.h5", (2,), False),
    (4, "results/figures/s/f.png", (1, 3), False),
)


def test_what_only_stored_files_are_made_from_is_spared_too():
    pull = spared(jobs(*CHAIN), {"results/runs/r": "s", "results/grams/g": "s"})
    assert pull.command == "dvc pull s"
    assert pull.spared == {0, 1, 2, 3}


def test_what_something_else_needs_is_not_spared():
    pull = spared(jobs(*CHAIN), {"results/runs/r": "s"})
    assert pull.spared == {1}
    assert spared(jobs(*CHAIN), {"results/grams/g": "s"}).spared == {2, 3}


def test_a_store_that_has_nothing_of_it_or_no_work_on_networks_spares_nothing():
    assert spared(jobs(*CHAIN), {}) is None
    assert spared(jobs(*CHAIN), {"results/runs/other": "s"}) is None
    assert spared(jobs(*CHAIN), {"results/data/d": "s"}) is None


def test_a_job_with_a_file_that_the_store_lacks_runs():
    both = Planned(0, "train", "train", 9.0, 1, ("results/runs/r/points.h5", "results/other/o.csv"), (), True, True)
    assert spared({0: both}, {"results/runs/r": "s"}) is None
    assert spared({0: both}, {"results/runs/r": "s", "results/other": "t"}).command == "dvc pull s t"


def test_many_stages_are_pulled_at_once():
    wide = [(n, f"results/runs/r{n}/points.h5", (), True) for n in range(FEW + 1)]
    last = (FEW + 1, "results/figures/f.png", range(FEW + 1), False)
    known = {f"results/runs/r{n}": f"stage{n}" for n in range(FEW + 1)}
    assert spared(jobs(*wide, last), known).command == "dvc pull"
    assert spared(jobs(*wide[1:], (99, "results/figures/f.png", range(1, FEW + 1), False)), known).command == (
        "dvc pull " + " ".join(f"stage{n}" for n in range(1, FEW + 1))
    )


def test_what_the_store_has_is_what_dvc_says(tmp_path):
    known = stored(ROOT)
    outs = {
        out["path"]: name
        for name, stage in yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].items()
        for out in stage["outs"]
    }
    assert known == outs
    assert any(path.startswith("results/") for path in known)
    assert stored(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("stages: [")
    assert stored(tmp_path) == {}
