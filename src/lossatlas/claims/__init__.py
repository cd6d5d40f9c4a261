"""Claims: sentences of a paper, each with a number measured from artefacts, a threshold and a verdict.

``catalogue`` (light, re-exported here) says what a claim may say; ``measures`` measures; ``evaluate`` judges.
"""

from lossatlas.claims.catalogue import MEASURES, check, resolve

__all__ = ["MEASURES", "check", "resolve"]
