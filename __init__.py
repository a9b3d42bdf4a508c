"""Fewview: a few photographs to 3D that people can look at, edit and measure, on a CPU or a GPU."""

import zlib as zlib  # before pycolmap, whoever imports that: scene/zlib_order.py says why

__version__ = "0.1.0"
