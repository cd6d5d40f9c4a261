"""Probes of a landscape: paths on its level sets, losses on a plane, losses at averages."""
