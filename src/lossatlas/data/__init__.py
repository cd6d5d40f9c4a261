"""Data sets by name: catalogue, sources, preparation, augmentation and label randomisation.

The Snakefile imports :mod:`lossatlas.data.catalogue`, which needs neither torch nor numpy: nothing is imported here.
"""
