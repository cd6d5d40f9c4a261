"""Landscapes: L(theta) and its derivatives, the layout of theta, directions, closed forms."""
