"""Photographs of textured surfaces with exact depth: what InstantSplat starts from, without running stereo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from fewview.recon.evidence import DepthMap, Stereo
from fewview.recon.optimise.dataset import Dataset, View
from fewview.scene.cameras import Cameras
from support.stereo_scenes import Plane, Sphere, StereoScene, row_of_cameras, stereo_scene
from torch import Tensor

WALL, BALL = Plane((0.1, 0.05, 1.0), 4.5), Sphere((0.0, 0.0, 3.2), 0.6)


def wall_and_ball(views: int = 3, width: int = 48, height: int = 36, spacing: float = 0.5) -> StereoScene:
    return stereo_scene([WALL, BALL], row_of_cameras(views, width, height, spacing))


def few_views(
    scene: StereoScene,
    *,
    test: Sequence[int] = (),
    cameras: Cameras | None = None,  # where the photographs are believed to have been taken; the true ones
    confidences: Sequence[float | Tensor] | None = None,  # of all views; 5 everywhere
) -> tuple[Dataset, Stereo]:
    """The data set of a scene, and the stereo of the views that are not in `test`."""
    cameras = scene.cameras if cameras is None else cameras
    views = tuple(View(image.contiguous(), None, K) for image, K in zip(scene.images, cameras.K, strict=True))
    train = tuple(v for v in range(len(views)) if v not in test)
    values = [5.0] * len(views) if confidences is None else confidences
    maps = tuple(DepthMap(scene.depths[v], torch.ones_like(scene.depths[v]) * values[v]) for v in train)
    names = tuple(f"view_{v}" for v in range(len(views)))
    return Dataset(views, cameras, names, train, tuple(test)), Stereo(cameras[list(train)], maps)


def masked(dataset: Dataset, index: int, mask: Tensor) -> Dataset:
    """The data set in which only the pixels of `mask` [H, W] count in one view."""
    views = list(dataset.views)
    views[index] = replace(views[index], mask=mask)
    return replace(dataset, views=tuple(views))


def transparent(dataset: Dataset, index: int, opaque: Tensor) -> Dataset:
    """The data set in which one view has an alpha channel: 255 where `opaque` [H, W], else 0."""
    views = list(dataset.views)
    alpha = (255 * opaque.to(torch.uint8))[..., None]
    views[index] = replace(views[index], pixels=torch.cat([views[index].pixels, alpha], dim=-1))
    return replace(dataset, views=tuple(views))
