"""Textured planes and spheres with exact depth, for tests of dense stereo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from fewview.recon.evidence.depth_maps import unproject
from fewview.scene.cameras import Cameras
from fewview.scene.geometry import se3_from, so3_exp, transform_points
from fewview.scene.point_cloud import PointCloud
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """Points X with normal . X = offset, those within `radius` of `center` where one is given."""

    normal: tuple[float, float, float]
    offset: float
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = math.inf

    def hit(self, origin: Tensor, rays: Tensor) -> Tensor:
        normal = torch.tensor(self.normal, dtype=rays.dtype)
        t = (self.offset - origin @ normal) / (rays @ normal)
        away = (origin + t[:, None] * rays - torch.tensor(self.center, dtype=rays.dtype)).norm(dim=-1)
        return torch.where((t > 0) & (away <= self.radius), t, torch.inf)


@dataclass(frozen=True)
class Sphere:
    center: tuple[float, float, float]
    radius: float

    def hit(self, origin: Tensor, rays: Tensor) -> Tensor:
        to_center = torch.tensor(self.center, dtype=rays.dtype) - origin
        a, b = (rays**2).sum(-1), rays @ to_center
        root = b**2 - a * ((to_center**2).sum() - self.radius**2)
        t = (b - root.clamp_min(0).sqrt()) / a
        return torch.where((root > 0) & (t > 0), t, torch.inf)


@dataclass(frozen=True)
class StereoScene:
    images: list[Tensor]  # uint8 [H, W, 3]
    depths: list[Tensor]  # [H, W] exact, z
    cameras: Cameras
    points: PointCloud  # a few on the surfaces, seen by every view whose depth there agrees


def row_of_cameras(count: int, width: int, height: int, spacing: float) -> Cameras:
    """Side by side along x, turned to look at a point about 4 in front of the middle."""
    x = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * spacing
    rotation = so3_exp(torch.stack([0.02 * torch.sin(x), torch.atan(x / 4), 0.03 * x], dim=-1))
    centers = torch.stack([x, 0.1 * torch.cos(3 * x), torch.zeros_like(x)], dim=-1)
    translation = -(rotation @ centers[..., None])[..., 0]
    return Cameras.pinhole(se3_from(rotation, translation).float(), 1.1 * max(width, height), width, height)


def stereo_scene(
    surfaces: list[Plane | Sphere], cameras: Cameras, n_points: int = 60, blank: bool = False
) -> StereoScene:
    """Every surface painted with the same solid texture, waves of a few pixels in all directions."""
    g = torch.Generator().manual_seed(5)
    waves = torch.randn(40, 3, generator=g, dtype=torch.float64)
    waves *= (6 + 14 * torch.rand(40, 1, generator=g, dtype=torch.float64)) / waves.norm(dim=-1, keepdim=True)
    phases = 2 * math.pi * torch.rand(40, generator=g, dtype=torch.float64)
    images, depths, xyz = [], [], []
    for camera in (cameras[v] for v in range(len(cameras))):
        height, width = int(camera.height), int(camera.width)
        rays = unproject(torch.ones(height, width, dtype=torch.float64), camera.K.double()).reshape(-1, 3)
        world_from_cam = camera.world_from_cam.double()
        directions = rays @ world_from_cam[:3, :3].T
        depth = torch.stack([s.hit(world_from_cam[:3, 3], directions) for s in surfaces]).amin(0)
        points = world_from_cam[:3, 3] + depth[:, None] * directions
        grey = 128 + 14 * torch.sin(points @ waves.T + phases).sum(-1)
        grey = torch.full_like(grey, 128) if blank else grey
        images.append(grey.clamp(0, 255).round().to(torch.uint8).reshape(height, width, 1).expand(-1, -1, 3))
        depths.append(depth.float().reshape(height, width))
        xyz.append(points[torch.randperm(len(points), generator=g)[: n_points // len(cameras)]].float())
    cloud = torch.cat(xyz)
    seen = [_visible(cloud, cameras[v], depths[v]) for v in range(len(cameras))]
    seen_view = torch.cat([torch.full((int(s.sum()),), v) for v, s in enumerate(seen)])
    seen_point = torch.cat([torch.nonzero(s)[:, 0] for s in seen])
    rgb = torch.full(cloud.shape, 128, dtype=torch.uint8)
    return StereoScene(images, depths, cameras, PointCloud(cloud, rgb, seen_point, seen_view))


def _visible(xyz: Tensor, camera: Cameras, depth: Tensor) -> Tensor:
    in_camera = transform_points(camera.cam_from_world, xyz)
    pixel = in_camera @ camera.K.T
    column, row = (pixel[:, 0] / pixel[:, 2]).long(), (pixel[:, 1] / pixel[:, 2]).long()
    inside = (in_camera[:, 2] > 0) & (pixel[:, :2] > 0).all(-1) & (column < depth.shape[1]) & (row < depth.shape[0])
    there = depth[row.clamp(0, depth.shape[0] - 1), column.clamp(0, depth.shape[1] - 1)]
    return inside & ((in_camera[:, 2] / there - 1).abs() < 0.02)
