"""The volume of voxels, and the way of image features into it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import SCALES


@dataclass(frozen=True)
class Grid:
    """Voxels along x, y, z. A voxel is known by its lower corner, which is projected and is the head's anchor, too."""

    voxels: tuple[int, int, int]
    voxel_m: float

    def points(
        self,
        middles: Tensor,  # [B, 3] of the volume, metres
        scale: int = 0,  # each scale halves the number of voxels
    ) -> Tensor:
        """[B, N, 3] metres, z fastest, as a volume [nx, ny, nz] is flattened."""
        axes = [torch.arange(n >> scale, device=middles.device) * 2**scale - n / 2 for n in self.voxels]
        corners = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 3)
        return corners.to(middles) * self.voxel_m + middles[:, None]

    def shaped(self, values: Tensor, scale: int = 0) -> Tensor:
        """[B, C, nx, ny, nz] of [B, N, C]."""
        return values.transpose(1, 2).unflatten(2, tuple(n >> scale for n in self.voxels))


def project(
    points: Tensor,  # [N, 3] world
    cam_from_world: Tensor,  # [V, 4, 4]
    K: Tensor,  # [V, 3, 3] pixels
) -> tuple[Tensor, Tensor]:
    """(pixels [V, N, 2], the upper-left pixel's centre at (0.5, 0.5); depths [V, N] along the optical axis).

    What lies behind a camera has no pixel that means anything.
    """
    local = points @ cam_from_world[:, :3, :3].transpose(1, 2) + cam_from_world[:, None, :3, 3]
    depths = local[..., 2]
    rays = local / torch.where(depths == 0, 1.0, depths)[..., None]
    return (rays @ K.transpose(1, 2))[..., :2], depths


def cells_seen(
    points: Tensor,  # [N, 3] world
    cam_from_world: Tensor,  # [V, 4, 4]
    K: Tensor,  # [V, 3, 3] pixels of the images
    valid_px: Tensor,  # [V, 2] width and height of the part of the images that shows the world
    stride: int,  # pixels along the side of a cell of the map
    first_px: float,  # the pixel, counted from 0, that the map's first cell is centred on
) -> tuple[Tensor, Tensor, Tensor]:
    """(cells [V, N, 2] int64 as column and row, depths [V, N], bool [V, N]: in front of the camera and inside).

    The nearest cell is taken, half to even, and nothing is tested for being hidden.
    """
    pixels, depths = project(points, cam_from_world, K)
    cells = ((pixels - 0.5 - first_px) / stride).round()
    limit = (valid_px / stride)[:, None]
    inside = (cells >= 0).all(dim=-1) & (cells < limit).all(dim=-1) & (depths > 0)
    return torch.where(inside[..., None], cells, 0.0).long(), depths, inside


@dataclass(frozen=True)
class FeatureSums:
    """Sums over the views that see each voxel."""

    count: Tensor  # [N] views
    total: Tensor  # [N, C]
    squares: Tensor  # [N, C]

    def __add__(self, other: FeatureSums) -> FeatureSums:
        return FeatureSums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """[N, C] each, 0 where no view sees the voxel. Rounding never makes a variance negative."""
        count = self.count.clamp_min(1)[:, None]
        mean = self.total / count
        return mean, (self.squares / count - mean.square()).clamp_min(0)


def sum_features(
    features: Tensor,  # [V, C, h, w]
    cells: Tensor,  # [V, N, 2] int64, column and row
    seen: Tensor,  # bool [V, N]
) -> FeatureSums:
    """Sums of the features of the cells that see each voxel: bags of table rows, one bag for each voxel."""
    views, channels, height, width = features.shape
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    view = torch.arange(views, device=cells.device)[:, None]
    rows = (view * height + cells[..., 1]) * width + cells[..., 0]
    count = seen.sum(dim=0)
    offsets = count.cumsum(0) - count
    members = rows.T[seen.T]  # by voxel, then by view
    total, squares = (F.embedding_bag(members, values, offsets, mode="sum") for values in (table, table.square()))
    return FeatureSums(count, total, squares)


def reference_mean_and_variance(features: Tensor, cells: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """The same as `sum_features(...).mean_and_variance()`, voxel by voxel and view by view."""
    channels = features.shape[1]
    mean, variance = torch.zeros(seen.shape[1], channels), torch.zeros(seen.shape[1], channels)
    for n in range(seen.shape[1]):
        found = [features[v, :, cells[v, n, 1], cells[v, n, 0]] for v in range(len(seen)) if seen[v, n]]
        if found:
            stacked = torch.stack(found)
            mean[n] = stacked.mean(dim=0)
            variance[n] = (stacked - mean[n]).square().mean(dim=0)
    return mean, variance


def seen_at_scales(
    seen: Tensor,  # bool [B, nx, ny, nz]
) -> list[Tensor]:
    """bool [B, N] for each scale: its anchors, in coarser ones those more than half of whose voxels are seen."""
    parts = [seen.flatten(1)]
    for scale in range(1, SCALES):
        size = [n >> scale for n in seen.shape[1:]]
        coarse = F.interpolate(seen[:, None].float(), size=size, mode="trilinear", align_corners=False)
        parts.append(coarse.flatten(1).round().bool())
    return parts
