"""`gsplat.rendering`: the path by which trainers written for gsplat import these names."""

from ...render.rasterization import rasterization as rasterization
from ..not_supported import rasterization_2dgs as rasterization_2dgs
