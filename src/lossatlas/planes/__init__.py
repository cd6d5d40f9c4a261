"""Planes: lines and planes of weight space, the loss and its curvature on them, descent."""
