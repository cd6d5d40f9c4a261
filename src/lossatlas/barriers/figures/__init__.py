"""Figures of paths between minima and of sets of minima."""
