"""lossatlas: five ways to look at neural-network loss landscapes, as one reproducible workflow."""

__version__ = "0.1.0"
