"""Fewview: a few photographs to 3D that people can look at, edit and measure, on a CPU or a GPU."""

__version__ = "0.1.0"
