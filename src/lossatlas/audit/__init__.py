"""Audit: whether files are whole, where they come from, and whether they can be made again."""
