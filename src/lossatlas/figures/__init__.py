"""Figures and tables: generic kinds, chosen and filled by a study's YAML.

``catalogue`` (light, re-exported here) says what a figure may ask for; ``draw`` draws it; ``tables`` makes the tables.
"""

from lossatlas.figures.catalogue import KINDS, check, formats, inputs, resolve

__all__ = ["KINDS", "check", "formats", "inputs", "resolve"]
