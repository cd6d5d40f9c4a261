"""Data sets by name: declarations, sources, preparation, augmentation and label randomisation.

The Snakefile imports :mod:`lossatlas.data.spec`, which needs neither torch nor numpy: nothing is imported here.
"""
