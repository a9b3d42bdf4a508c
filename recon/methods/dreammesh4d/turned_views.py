"""Cameras around the object that no photograph was taken from, for priors and for smoothness (DreamMesh4D)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....render.aim import look_at
from ....scene.cameras import Cameras

LOWEST_DEG, HIGHEST_DEG = -10.0, 80.0  # elevations, as released


def novel_view(camera: Cameras, center: Tensor, up: Tensor, generator: torch.Generator) -> Cameras:
    """A camera [] as far from the center [3] as a known one [], with its lens, anywhere around the axis `up` [3].

    Azimuths are drawn evenly over the full turn, elevations evenly from -10 to 80 degrees.
    """
    azimuth, height = torch.rand(2, generator=generator, device=generator.device).tolist()
    elevation = math.radians(LOWEST_DEG + (HIGHEST_DEG - LOWEST_DEG) * height)
    return turned_view(camera, center, up, 2 * math.pi * azimuth, elevation)


def turned_view(
    camera: Cameras, center: Tensor, up: Tensor, azimuth_rad: float, elevation_rad: float | None = None
) -> Cameras:
    """The camera [] turned about an axis through the center by an azimuth, and to an elevation where one is given."""
    offset = camera.centers - center
    height = offset @ up
    level = offset - height * up
    if float(level.norm()) < 1e-6 * float(offset.norm()):  # straight from above: any side will do
        level = torch.linalg.cross(
            up, up.new_tensor([1.0, 0, 0]) if abs(float(up[0])) < 0.9 else up.new_tensor([0.0, 1, 0])
        )
    distance = offset.norm()
    elevation = math.asin(max(-1.0, min(1.0, float(height / distance)))) if elevation_rad is None else elevation_rad
    ahead = torch.nn.functional.normalize(level, dim=0)
    side = torch.linalg.cross(up, ahead)
    direction = math.cos(elevation) * (math.cos(azimuth_rad) * ahead + math.sin(azimuth_rad) * side)
    place = center + distance * (direction + math.sin(elevation) * up)
    return Cameras(look_at(place, center, up).to(camera.cam_from_world), camera.K, camera.width, camera.height)
