"""Claims: sentences of a paper, each with a number measured from artefacts, a threshold and a verdict.

``measurement`` says what a measure returns; the subjects measure; ``evaluate`` judges.
"""
