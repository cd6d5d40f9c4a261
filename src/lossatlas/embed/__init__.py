"""Exact low-dimensional views of clouds of weight vectors.

``gram`` reduces an (n, D) points file to its (n, n) Gram matrix in one streaming pass; ``methods`` computes every
embedding from it; ``catalogue`` names the methods and their parameters without importing any numerical library.
"""
