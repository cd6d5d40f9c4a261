"""Numbers that a study's settings and the pure methods of planes share. Light."""

TOLERANCE = 1e-2
"""Of both ends' residuals, relative to the larger magnitude: a ratio of 0.01 of the two ends is then still resolved."""

PRODUCTS = 60
"""Hessian-vector products after which the ends of a spectrum are given up."""
