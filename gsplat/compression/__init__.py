"""`gsplat.compression`: the path by which trainers written for gsplat import these names."""

from ..png_compression import PngCompression as PngCompression
