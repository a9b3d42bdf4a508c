"""A small synthetic run: five level cameras on an arc before a coloured cube of points."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import torch
from fewview.render.aim import look_at
from fewview.scene.cameras import Cameras
from fewview.scene.capture import Capture, Frame
from fewview.scene.formats import save_splat
from fewview.scene.gaussians import SH_C0, Gaussians
from fewview.scene.point_cloud import PointCloud
from fewview.scene.readers import save_capture
from fewview.scene.run import Run
from fewview.scene.splat import StaticSplat

WIDTH, HEIGHT = 96, 64
SH_C1 = 0.4886025119029199  # of the linear harmonics


def small_cameras(count: int = 5) -> Cameras:
    azimuth = torch.linspace(-0.6, 0.6, count)
    centers = torch.stack([4 * azimuth.sin(), -torch.ones(count), -4 * azimuth.cos()], dim=-1)
    return Cameras.pinhole(look_at(centers, torch.zeros(3), torch.tensor([0.0, -1, 0])), 90.0, WIDTH, HEIGHT)


def small_gaussians(count: int = 400, seed: int = 0) -> Gaussians:
    rng = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=rng) * 2 - 1
    sh = torch.zeros(count, 4, 3)
    sh[:, 0] = ((means + 1) / 2 - 0.5) / SH_C0
    quats = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    return Gaussians(means, quats, torch.full((count, 3), math.log(0.12)), torch.full((count,), 2.0), sh)


def glossy_gaussians(count: int = 400, seed: int = 0) -> Gaussians:
    """The cube in colours that depend strongly on the direction: a colour swings by up to 0.4 about its mean."""
    gaussians = small_gaussians(count, seed)
    rng = torch.Generator().manual_seed(seed + 1)
    sh = gaussians.sh.clone()
    sh[:, 0] *= 0.4
    sh[:, 1:] = 0.4 / SH_C1 * torch.nn.functional.normalize(torch.randn(3, 3, generator=rng), dim=0)
    return replace(gaussians, sh=sh)


def small_capture(names: list[str] | None = None) -> Capture:
    names = names or [f"photo_{i}.jpg" for i in range(5)]

    def picture(i: int) -> np.ndarray:
        pixels = np.full((HEIGHT, WIDTH, 3), (90, 120, 60 + 30 * i), np.uint8)
        cv2.putText(pixels, str(i), (30, 48), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 3)
        return pixels

    frames = tuple(Frame(name, WIDTH, HEIGHT, lambda i=i: picture(i)) for i, name in enumerate(names))
    means = small_gaussians().means
    points = PointCloud(means, ((means + 1) / 2 * 255).to(torch.uint8))
    return Capture(frames, "synthetic", small_cameras(len(names)), points, test=(1, 3))


def small_run(folder, names: list[str] | None = None, **config) -> Run:
    run = Run.create(folder, {"command": "reconstruct", "input": "photos", "version": "0.1.0", **config})
    save_capture(run, small_capture(names), 96)
    save_splat(run.splat_path, StaticSplat(small_gaussians()))
    return run
