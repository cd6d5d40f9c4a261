"""Benchmarks are no installed package: the repository is the last place that is looked in for them."""

import sys

from harness import ROOT

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
