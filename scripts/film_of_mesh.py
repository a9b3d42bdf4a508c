"""Cut-out pictures of a mesh that moves: films whose every vertex is known. For benchmarks and tests, not a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from fewview.recon.optimise.dataset import Dataset, View
from fewview.render.aim import look_at
from fewview.render.mesh_rendering import render_mesh
from fewview.scene.cameras import Cameras
from fewview.scene.triangle_mesh import Mesh
from torch import Tensor

UP = torch.tensor([0.0, 0.0, 1.0])


def cameras_around(
    azimuths_deg: Sequence[float], side: int, distance: float, elevation_deg: float = 15.0, focal_ratio: float = 1.7
) -> Cameras:
    """Cameras [C] that look at the origin, z up; that of azimuth 0 along +y, of 90 along -x."""
    azimuth = torch.deg2rad(torch.tensor([*azimuths_deg], dtype=torch.float32))
    high = math.radians(elevation_deg)
    level = math.cos(high) * torch.stack([azimuth.sin(), -azimuth.cos(), torch.zeros_like(azimuth)], dim=-1)
    place = distance * (level + math.sin(high) * UP)
    return Cameras.pinhole(look_at(place, torch.zeros(3), UP), focal_ratio * side, side, side)


def picture(mesh: Mesh, camera: Cameras, time_s: float | None, finer: int = 2) -> tuple[Tensor, Tensor]:
    """(sRGB [H, W, 3] over white, coverage [H, W]) from a camera [], each pixel the mean of finer ones."""
    large = camera.resized(camera.width * finer, camera.height * finer)
    drawn = render_mesh(mesh.at(time_s), large, torch.ones(3))
    values = torch.cat([drawn.rgb, drawn.hits.hit[..., None].float()], dim=-1).permute(2, 0, 1)
    small = torch.nn.functional.avg_pool2d(values, finer).permute(1, 2, 0)
    return small[..., :3], small[..., 3]


def film_of(mesh: Mesh, cameras: Cameras, times_s: Sequence[float]) -> Dataset:
    """RGBA pictures of a moving mesh from every camera [C] at every moment, all for training."""
    rows = torch.arange(len(cameras)).repeat(len(times_s))
    times = torch.tensor([*times_s], dtype=torch.float32).repeat_interleave(len(cameras))
    filmed = replace(cameras[rows], times_s=times)
    views = []
    for i in range(len(filmed)):
        rgb, alpha = (
            values[..., None] if values.ndim == 2 else values for values in picture(mesh, filmed[i], float(times[i]))
        )
        straight = ((rgb - (1 - alpha)) / alpha.clamp_min(1e-3)).clamp(0, 1)
        views.append(View((255 * torch.cat([straight, alpha], dim=-1)).round().to(torch.uint8), None, filmed.K[i]))
    names = tuple(f"camera_{i % len(cameras)}/{i // len(cameras):03d}" for i in range(len(views)))
    return Dataset(tuple(views), filmed, names, tuple(range(len(views))))
