"""Peak memory of the probes in multiples of the weights: what docs/own-network.md states, measured."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

SPARE = 0.5
"""Multiples beyond those stated: activations, one layer's gradient, two pieces of a vector in float64 (8 MB each)."""

FIRST = ("load from a file", "gradient", "hvp", "direction", "line", "surface")
"""Measured always; the others are made of these."""

EVERY = "LOSSATLAS_EXHAUSTIVE" in os.environ

pytestmark = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peaks are read from /proc")


def stated():
    """Return probe -> multiples of the weights, from the table of docs/own-network.md."""
    text = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| (\d+(?:\.\d+)?) \|$", text, re.M)
    assert rows
    return {name: float(multiple) for name, multiple in rows}


def measured(layers, width, names):
    script = Path(ROOT) / "tests" / "tools" / "peak.py"
    done = subprocess.run(
        [sys.executable, str(script), str(layers), str(width), *names], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return json.loads(done.stdout.splitlines()[-1])


def check(found, names):
    expected = stated()
    assert set(names) <= set(expected)
    wrong = {name: (found[name], expected[name]) for name in names if found[name] > expected[name] + SPARE}
    assert not wrong, "probe: (measured, stated) multiples of the weights"


def test_ten_million_weights_need_what_is_stated():
    names = list(stated()) if EVERY else list(FIRST)
    found = measured(20, 720, names)
    assert found["weights"] > 1e7
    check(found["multiples"], names)
    # It measures: a direction is a vector, a product of the Hessian holds the gradient and itself.
    assert found["multiples"]["direction"] > 0.9
    assert found["multiples"]["hvp"] > 1.9


@pytest.mark.skipif(not EVERY, reason="set LOSSATLAS_EXHAUSTIVE=1: a hundred million weights, 5 GB")
def test_a_hundred_million_weights_need_no_more_multiples():
    names = list(stated())
    found = measured(25, 2000, names)
    assert found["weights"] > 1e8
    check(found["multiples"], names)
