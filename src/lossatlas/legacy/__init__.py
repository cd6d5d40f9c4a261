"""Declarations on their way into the subjects' spec.py; this package goes when the last has moved."""
