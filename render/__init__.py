"""Gaussians and cameras to pixels, and gradients back."""

from .rasterization import rasterization as rasterization
from .rendering import Rendering as Rendering
from .rendering import render as render
