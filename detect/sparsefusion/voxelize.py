"""Points to voxels, and the lowest and highest point of each BEV cell."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sparse import group_points
from .config import SparseFusionConfig

EMPTY_MIN_M, EMPTY_MAX_M = 100.0, -200.0  # of a cell without points; their mean, -50, is how later stages know it
EMPTY_MIDDLE_M = (EMPTY_MIN_M + EMPTY_MAX_M) / 2


@dataclass(frozen=True)
class Voxels:
    """The voxels of a batch."""

    features: Tensor  # [N, 5] means over a voxel's points
    indices: Tensor  # [N, 4] int32: sample, z, y, x
    low_m: Tensor  # [B, H, W] lowest stored point in each BEV cell, EMPTY_MIN_M where there is none
    high_m: Tensor  # [B, H, W] highest, EMPTY_MAX_M where there is none


@torch.no_grad()
def voxelize(points: list[Tensor], config: SparseFusionConfig, max_voxels: int) -> Voxels:
    """Voxels of each sample's points [P, 5], which are taken in the order of the array: what is too much is dropped."""
    parts = [_voxelize(p, config, max_voxels) for p in points]
    indices = [torch.cat([torch.full_like(v[:, :1], i), v], dim=1) for i, (_, v, _, _) in enumerate(parts)]
    return Voxels(
        torch.cat([features for features, *_ in parts]),
        torch.cat(indices).int(),
        torch.stack([low for *_, low, _ in parts]),
        torch.stack([high for *_, high in parts]),
    )


def _voxelize(points: Tensor, config: SparseFusionConfig, max_voxels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(features [N, 5], z, y, x [N, 3], low [H, W], high [H, W]) of one sample."""
    low = points.new_tensor(config.point_range_m[:3])
    cells = ((points[:, :3] - low) / points.new_tensor(config.voxel_m)).floor().long().flip(1)
    voxel, place, zyx = group_points(cells, config.grid[::-1], max_voxels)
    stored = (voxel >= 0) & (place < config.points_per_voxel)
    points, voxel = points[stored], voxel[stored]
    sums = points.new_zeros(len(zyx), points.shape[1]).index_add_(0, voxel, points)
    sizes = points.new_zeros(len(zyx)).index_add_(0, voxel, torch.ones_like(points[:, 0]))
    return sums / sizes[:, None], zyx, *_heights(points, zyx[voxel], config)


def _heights(points: Tensor, zyx: Tensor, config: SparseFusionConfig) -> tuple[Tensor, Tensor]:
    """Lowest and highest point of each BEV cell, two maps [H, W]. A height of exactly 0 counts as no point at all."""
    (nx, ny), stride = config.bev_size, config.bev_stride
    real = points[:, 2] != 0
    z, zyx = points[real, 2], zyx[real]
    cell = zyx[:, 1] // stride * nx + zyx[:, 2] // stride
    low = points.new_full((ny * nx,), EMPTY_MIN_M).scatter_reduce(0, cell, z, "amin")
    high = points.new_full((ny * nx,), EMPTY_MAX_M).scatter_reduce(0, cell, z, "amax")
    return low.view(ny, nx), high.view(ny, nx)
