"""Figures of basins."""
