"""Numbers that a study's settings and the pure method of radii share. Light."""

BLOCK = 64
"""Directions of a volume drawn together, and saved together by a job that may be interrupted."""

LLC_FACTORS = (0.25, 1.0, 4.0)
"""Multiples of N / ln N at which the local learning coefficient is estimated: where it has a plateau, they agree."""

MARKER = 3.4
"""Size of a training point in a figure of boundaries, in points of type."""
