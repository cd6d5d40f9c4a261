"""Trajectories: jump and retrain, and the paths of whole trainings."""
