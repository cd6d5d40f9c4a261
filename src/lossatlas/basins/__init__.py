"""Basins: radii and volumes around minima, slices, decision boundaries, minefields."""
