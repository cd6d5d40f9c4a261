"""lossatlas beside what a user would take instead: the same work, side by side, on one machine.

    make bench
    python -m benchmarks [CASE ...] [--rounds 5] [--size small]

``cases`` says what is compared, ``frame`` how it is timed and kept, ``reference`` has the plain ways of doing the same
that no package offers. Scripts beside them (``plan.py``, ``peers.py``, ...) measure what has no rival.
"""
