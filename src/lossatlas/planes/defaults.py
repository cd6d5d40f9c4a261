"""Numbers that a study's settings and the pure methods of planes share. Light."""

TOLERANCE = 1e-2
"""Of both ends' residuals, relative to the larger magnitude."""

PRODUCTS = 60
"""Hessian-vector products after which the ends of a spectrum are given up."""

LEAST = 4
"""Products before which Lanczos does not look whether it may stop."""

APART = 10.0
"""Ratio of the two ends of a spectrum from which on the smaller one is looked for with more care."""
