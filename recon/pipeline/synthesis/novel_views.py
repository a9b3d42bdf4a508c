"""Cameras that look at the object from where no photograph was taken: for a view prior, and for the search of poses."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....render.aim import look_at
from ....scene.cameras import Cameras

MARGIN_DEG, HIGHEST_DEG = 60, 80  # beyond the photographs' elevations, and at most; the released code's
UP = (0.0, 0.0, 1.0)  # of the look-at frame


def elevations(centers: Tensor) -> Tensor:
    """Elevations [...] in degrees of camera centres [..., 3] above the horizon of the look-at frame."""
    return torch.rad2deg(torch.asin((centers[..., 2] / centers.norm(dim=-1).clamp_min(1e-12)).clamp(-1, 1)))


def on_sphere(
    elevation_deg: Tensor,  # [...]
    azimuth_deg: Tensor,  # [...]
    radius: Tensor,  # [...]
    target: Tensor,  # [3] that the cameras look at
) -> Tensor:
    """cam_from_world [..., 4, 4] of upright cameras around a point."""
    e, a = torch.deg2rad(elevation_deg), torch.deg2rad(azimuth_deg)
    direction = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], dim=-1)
    return look_at(target + radius[..., None] * direction, target, torch.tensor(UP, dtype=direction.dtype))


def novel_camera(cameras: Cameras, generator: torch.Generator) -> Cameras:
    """One camera [1] on a random side, as far as the cameras [N] are on average, with the lens of one of them."""
    centers = cameras.centers.detach()
    heights = elevations(centers)
    low = max(float(heights.min()) - MARGIN_DEG, -HIGHEST_DEG)
    high = min(float(heights.max()) + MARGIN_DEG, HIGHEST_DEG)
    elevation, azimuth = torch.rand(2, generator=generator) * torch.tensor([high - low, 360.0])
    radius = centers.norm(dim=-1).mean()
    pose = on_sphere(elevation + low, azimuth, radius, torch.zeros(3))
    lens = int(torch.randint(len(cameras), (1,), generator=generator))
    K = cameras.K[lens : lens + 1].clone()
    side = cameras.width[lens] / 2
    K[0, :2, 2] = side  # the object in the middle
    one = cameras[torch.tensor([lens])]
    return replace(one, cam_from_world=pose[None], K=K, times_s=None)
