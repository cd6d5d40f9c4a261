"""Barriers: low paths between minima, and how far sets of minima lie apart."""
