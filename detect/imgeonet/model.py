"""ImGeoNet (Tu et al., "ImGeoNet: Image-induced Geometry-aware Voxel Representation for Multi-view 3D Object
Detection", ICCV 2023), and ImVoxelNet (Rukhovich et al., WACV 2022) as the same network without the geometry.

Features of photographs are averaged in the voxels that they see. How much they differ there says if a voxel is on a
surface; free space is weighted down, and what is left is searched for objects as a volume.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import SCALES, ImGeoNetConfig
from .feature_pyramid import STRIDE, FeaturePyramid
from .room_batch import RoomBatch
from .volume_networks import OccupancyNet, ThreeScales
from .voxel_head import ScaleOutput, VoxelHead
from .voxel_volume import FeatureSums, Grid, cells_seen, sum_features


@dataclass(frozen=True)
class Output:
    scales: list[ScaleOutput]  # the finest first
    occupancy: Tensor | None  # [B, nx, ny, nz] logits; None without the geometry
    seen: Tensor  # bool [B, nx, ny, nz]: which voxels some view sees
    middles: Tensor  # [B, 3] of the volume, metres


class ImGeoNet(nn.Module):
    def __init__(self, config: ImGeoNetConfig) -> None:
        super().__init__()
        self.config = config
        self.grid = Grid(config.voxels, config.voxel_m)
        self.pyramid = FeaturePyramid(config)
        if config.geometry:
            self.occupancy = OccupancyNet(config.feature_channels, config.occupancy_channels, config.head_channels)
        self.neck = ThreeScales(config.feature_channels, config.head_channels, SCALES)
        self.head = VoxelHead(config)

    def forward(self, batch: RoomBatch) -> Output:
        mean, variance, seen = self.lift(batch)
        logits, volume = None, mean
        if self.config.geometry:
            logits = self.occupancy(mean, variance, seen)
            volume = mean * logits.sigmoid()[:, None]
        scales = self.head(self.neck(volume))
        return Output(scales, None if logits is None else logits.float(), seen, batch.middles)

    def lift(self, batch: RoomBatch) -> tuple[Tensor, Tensor, Tensor]:
        """(mean, variance [B, C, nx, ny, nz] over the views that see a voxel, bool [B, nx, ny, nz] seen at all)."""
        points = self.grid.points(batch.middles)
        rooms = [self._sums(batch, room, points[room]) for room in range(len(batch))]
        mean, variance = (torch.stack(parts) for parts in zip(*(r.mean_and_variance() for r in rooms), strict=True))
        seen = torch.stack([r.count > 0 for r in rooms])[..., None]
        return self.grid.shaped(mean), self.grid.shaped(variance), self.grid.shaped(seen)[:, 0]

    def _sums(self, batch: RoomBatch, room: int, points: Tensor) -> FeatureSums:
        """In evaluation some views at a time, so that the memory does not grow with their number."""
        views = batch.images.shape[1]
        step = views if torch.is_grad_enabled() else self.config.views_at_once
        total: FeatureSums | None = None
        for start in range(0, views, step):
            part = slice(start, start + step)
            valid = batch.valid_px[room, part]
            features = self.pyramid(batch.images[room, part], valid).float()
            cells, _, seen = cells_seen(
                points, batch.cam_from_room[room, part], batch.K[room, part], valid, STRIDE, self.pyramid.first_px
            )
            sums = sum_features(features, cells, seen)
            total = sums if total is None else total + sums
        assert total is not None
        return total
