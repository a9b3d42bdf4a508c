"""Tiny photographs of a known splat, so that training has a ground truth and takes a moment."""

from __future__ import annotations

from dataclasses import replace

import torch
from fewview.recon.optimise.dataset import Dataset, View
from fewview.render import rasterization
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.geometry import se3_from, so3_exp
from fewview.scene.point_cloud import PointCloud
from torch import Tensor

WIDTH, HEIGHT = 32, 24


def truth(seed: int = 0, count: int = 24) -> Gaussians:
    """Coloured, mostly opaque blobs in a ball of radius 1."""
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=0.5 * torch.randn(count, 3, generator=g),
        quats=torch.randn(count, 4, generator=g),
        log_scales=(0.1 + 0.15 * torch.rand(count, 3, generator=g)).log(),
        opacity_logits=torch.full((count,), 2.0),
        sh=((torch.rand(count, 1, 3, generator=g) - 0.5) / SH_C0),
    )


def ring(count: int, distance: float = 3.0) -> Cameras:
    """Cameras on an arc that look at the origin."""
    turn = torch.linspace(-0.6, 0.6, count)
    rotation = so3_exp(torch.stack([0.2 * torch.cos(3 * turn), turn, 0 * turn], dim=-1))
    translation = torch.tensor([0.0, 0.0, distance]).expand(count, 3)
    return Cameras.pinhole(se3_from(rotation, translation), 30.0, WIDTH, HEIGHT)


@torch.no_grad()
def photograph(gaussians: Gaussians, cameras: Cameras, index: int) -> tuple[Tensor, Tensor]:
    """float32 rgb [H, W, 3] over black and alpha [H, W]."""
    colors, alphas, _ = rasterization(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        cameras.cam_from_world[index][None],
        cameras.K[index][None],
        WIDTH,
        HEIGHT,
        sh_degree=gaussians.sh_degree,
        packed=False,
    )
    return colors[0], alphas[0, ..., 0]


def tiny_dataset(views: int = 5, *, seed: int = 0, rgba: bool = False, with_points: bool = True) -> Dataset:
    """All views for training; points are the true means, moved a little, in random colours."""
    gaussians, cameras = truth(seed), ring(views)
    pictures = []
    for i in range(views):
        rgb, alpha = photograph(gaussians, cameras, i)
        if rgba:
            rgb = torch.cat([rgb / alpha.clamp_min(1e-3)[..., None], alpha[..., None]], dim=-1)
        pixels = (rgb.clamp(0, 1) * 255).round().to(torch.uint8)
        pictures.append(View(pixels, None, cameras.K[i]))
    g = torch.Generator().manual_seed(seed + 1)
    xyz = gaussians.means + 0.05 * torch.randn(gaussians.means.shape, generator=g)
    rgb8 = torch.randint(256, xyz.shape, generator=g).to(torch.uint8)
    return Dataset(
        tuple(pictures),
        cameras,
        tuple(f"view_{i}" for i in range(views)),
        train=tuple(range(views)),
        points=PointCloud(xyz, rgb8) if with_points else None,
    )


def capture_of(dataset: Dataset, times_s: list[float] | None = None) -> Capture:
    """The capture whose photographs a data set holds, taken at these times."""
    frames = [
        Frame(name, view.width, view.height, lambda pixels=view.pixels: pixels.numpy(), time_s=time_s)
        for name, view, time_s in zip(dataset.names, dataset.views, times_s or [None] * len(dataset.names), strict=True)
    ]
    return Capture(tuple(frames), "photographs", dataset.cameras, dataset.points, dataset.test or None)


def with_cameras(dataset: Dataset, cameras: Cameras) -> Dataset:
    return replace(dataset, cameras=cameras)


def same_bits(a: Gaussians, b: Gaussians) -> bool:
    names = ("means", "quats", "log_scales", "opacity_logits", "sh")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)
