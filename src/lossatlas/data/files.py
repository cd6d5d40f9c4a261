"""The old name of :mod:`lossatlas.data.dataset`."""

from lossatlas.data.dataset import Data, load, statistics

__all__ = ["Data", "load", "statistics"]
