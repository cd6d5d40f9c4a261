"""Figures of trajectories: returns and curves."""
