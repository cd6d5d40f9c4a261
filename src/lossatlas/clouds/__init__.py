"""Clouds of weight vectors: exact low-dimensional views of them, and how good those are.

``jobs.gram`` reduces an (n, D) points file to its (n, n) Gram matrix in one streaming pass; ``embeddings`` computes
every embedding from it; ``scores`` says how much of a cloud's geometry a picture keeps.
"""
