"""Figures of lines and planes."""
