"""Numbers that a study's settings and the pure method of radii share. Light."""

BLOCK = 64
"""Directions of a volume drawn together, and saved together by a job that may be interrupted."""
