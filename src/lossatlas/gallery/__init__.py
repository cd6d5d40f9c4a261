"""The gallery: one HTML page that shows every figure, table and claim, works offline and says where all came from."""

from lossatlas.gallery.build import build

__all__ = ["build"]
