"""A small object of Gaussians without any symmetry, and pictures of it from all around, as captures and as views."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from fewview.recon.optimise.dataset import Dataset
from fewview.recon.pipeline.synthesis.joint_fit import draw
from fewview.recon.pipeline.synthesis.novel_views import on_sphere
from fewview.recon.pipeline.synthesis.object_views import object_views
from fewview.scene import Cameras, Capture, Frame
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import se3_exp
from torch import Tensor

SIDE_PX = 64


def lumpy_object(seed: int = 0) -> Gaussians:
    """Three lumps of different size, side and colour, with patches of other colours."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.tensor([[0.0, 0, 0], [0.22, 0.05, 0.1], [-0.08, 0.2, -0.12]])
    radii, colors = torch.tensor([0.2, 0.11, 0.09]), torch.tensor([[0.8, 0.3, 0.2], [0.2, 0.5, 0.9], [0.2, 0.8, 0.3]])
    lump = torch.randint(3, (600,), generator=g)
    directions = torch.nn.functional.normalize(torch.randn(600, 3, generator=g), dim=-1)
    means = centers[lump] + directions * radii[lump, None]
    patches = torch.sin(14 * means @ torch.randn(3, 3, generator=g)) * 0.25
    rgb = (colors[lump] + patches).clamp(0.02, 0.98)
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(600, 1)
    size = torch.full((600, 3), math.log(0.025))
    return Gaussians(means, quats, size, torch.full((600,), 3.0), ((rgb - 0.5) / SH_C0)[:, None])


def cameras_around(count: int, seed: int = 0) -> Cameras:
    """Cameras all around at different heights, 1.85 from the origin and slightly rolled; no two are near each other."""
    g = torch.Generator().manual_seed(seed)
    azimuth = 360 / count * (torch.arange(count) + 0.5 * torch.rand(count, generator=g))
    elevation = 10 + 40 * torch.rand(count, generator=g)
    poses = on_sphere(elevation, azimuth, torch.full((count,), 1.85), torch.zeros(3))
    roll = torch.zeros(count, 6)
    roll[:, 2] = 0.1 * torch.randn(count, generator=g)
    return Cameras.pinhole(se3_exp(roll) @ poses, 2.2 * SIDE_PX, SIDE_PX, SIDE_PX)


def photographed(cameras: Cameras, made: Gaussians) -> Capture:
    """Transparent photographs of the object, with the cameras that took them."""
    with torch.no_grad():
        rgb, alpha = draw(made, cameras)
    straight = (rgb - (1 - alpha[..., None])) / alpha[..., None].clamp_min(1e-3)
    pixels = torch.cat([straight.clamp(0, 1), alpha[..., None]], dim=-1)
    pictures = [(255 * p).round().to(torch.uint8).numpy() for p in pixels]
    frames = tuple(
        Frame(f"{i}.png", SIDE_PX, SIDE_PX, lambda picture=picture: picture) for i, picture in enumerate(pictures)
    )
    return Capture(frames, "lumpy object", cameras=cameras, test=())


def small_views(capture: Capture, cam_from_world: Tensor | None = None, side_px: int = 32) -> Dataset:
    """Crops of the photographs, with other poses [N, 4, 4] where they are given."""
    if cam_from_world is not None:
        assert capture.cameras is not None
        capture = replace(capture, cameras=replace(capture.cameras, cam_from_world=cam_from_world))
    return object_views(capture, side_px)


def turned(cam_from_world: Tensor, turns: Tensor) -> Tensor:
    """Poses [N, 4, 4] of cameras that are turned about the origin by rotation vectors [N, 3] in radians."""
    return cam_from_world @ se3_exp(torch.cat([turns, torch.zeros_like(turns)], dim=-1))
