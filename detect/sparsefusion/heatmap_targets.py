"""Targets of the class heatmaps: that of the bird's-eye view, and those of the images' levels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.heatmaps import draw_gaussian, gaussian_radius
from ..tasks.driving_task import CLASS_NAMES
from .coder import cells_from_metres
from .config import SparseFusionConfig
from .driving_batch import Targets, Views

MIN_RADIUS = 2  # cells
SMALL_CLASSES = tuple(CLASS_NAMES.index(name) for name in ("pedestrian", "traffic_cone"))
IMAGE_STRIDES = (4, 8, 16, 32)
LEVEL_LIMITS_PX = (48, 96, 192)  # longer sides from which the next coarser level is responsible


def bev_target(targets: Targets, config: SparseFusionConfig) -> Tensor:
    """[10, H, W] with a Gaussian of height 1 in the cell of each box's centre (CenterNet)."""
    nx, ny = config.bev_size
    heat = torch.zeros(len(CLASS_NAMES), ny, nx)
    boxes = targets.boxes
    centers = cells_from_metres(boxes.centers[:, :2], config).floor().long().tolist()
    sizes = (boxes.sizes[:, :2] / boxes.sizes.new_tensor(config.cell_m)).tolist()
    for (x, y), (length, width), label in zip(centers, sizes, boxes.labels.tolist(), strict=True):
        draw_gaussian(heat[label], x, y, max(MIN_RADIUS, int(gaussian_radius(length, width))))
    return heat.to(boxes.centers.device)


def image_targets(targets: Targets, views: Views, n_views: int) -> list[Tensor]:
    """One [V, 10, h, w] for each stride, with a Gaussian at the projected 3D centre on the level for the box's size."""
    heats = [torch.zeros(n_views, len(CLASS_NAMES), views.height_px // s, views.width_px // s) for s in IMAGE_STRIDES]
    seen = targets.sightings
    centers = (seen.codes[:, :2] * seen.codes.new_tensor([views.width_px, views.height_px])).tolist()
    columns = seen.views.tolist(), seen.labels.tolist(), seen.sizes_px.tolist()
    for (u, v), view, label, (width, height) in zip(centers, *columns, strict=True):
        level = sum(max(width, height) >= limit for limit in LEVEL_LIMITS_PX)
        stride = IMAGE_STRIDES[level]
        # The released code takes the radius at the finest level and divides it, so it can be 0 at the coarsest.
        finest = max(float(MIN_RADIUS), gaussian_radius(width / IMAGE_STRIDES[0], height / IMAGE_STRIDES[0]))
        draw_gaussian(heats[level][view, label], int(u // stride), int(v // stride), int(finest / 2**level))
    return [heat.to(seen.codes.device) for heat in heats]
