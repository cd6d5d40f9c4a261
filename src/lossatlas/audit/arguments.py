"""What words on the command lines of the audit mean."""

import argparse
import os


def share(text: str) -> float:
    """Return a share above 0 and up to 1 from ``5%`` or ``0.05``."""
    number, percent, rest = text.partition("%")
    try:
        found = float(number) / (100 if percent else 1)
    except ValueError:
        found = 0.0
    if rest or not 0 < found <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a share such as 5% or 0.05")
    return found


def count(text: str) -> int:
    """Return a number of processes from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of processes from 1")
    return int(text)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
