"""`SplatFile`: a splat with what a file says about it besides its Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

from .gaussians import Gaussians

Axis = tuple[float, float, float]


@dataclass(frozen=True)
class SplatFile:
    gaussians: Gaussians
    antialiased: bool = False  # trained with the Mip-Splatting 2D filter, and to be rendered with it
    up: Axis | None = None  # unit vector in the frame of `gaussians`, None where nobody says
    notes: tuple[str, ...] = ()  # sentences for the person: what was left out, filled in, clamped or lost
