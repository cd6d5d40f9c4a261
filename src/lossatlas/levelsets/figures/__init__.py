"""Figures of level-set traversals."""
