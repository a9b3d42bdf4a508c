"""`Batch` and `Targets`: samples as the network sees them, and what it should find in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...scene.boxes import Boxes


@dataclass(frozen=True)
class Sightings:
    """M boxes as cameras see them. An object may have none, one or two."""

    views: Tensor  # [M] int64
    labels: Tensor  # [M] int64
    codes: Tensor  # [M, 10], see coder.CameraCoder
    sizes_px: Tensor  # [M, 2] width and height of the 2D box, in network pixels


@dataclass(frozen=True)
class Targets:
    """The objects of one sample, in the frame of its (augmented) points."""

    boxes: Boxes
    sightings: Sightings
    visible: Tensor  # [N] bool: whether a camera sees the box


@dataclass(frozen=True)
class Views:
    """V cameras of B samples, for images of the network's size."""

    cam_from_lidar: Tensor  # [B, V, 4, 4] a rotation and a translation
    K: Tensor  # [B, V, 3, 3] network pixels
    valid_px: Tensor  # [B, V, 2] width and height of the part that shows the world; the rest is padding
    width_px: int
    height_px: int

    def project(
        self,
        sample: int,
        points: Tensor,  # [P, 3] LiDAR frame
        min_depth_m: float,
        border_px: float = 0.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(pixels [V, P, 2], depths [V, P], bool [V, P] inside of the valid area) of one sample's points.

        The last `border_px` of the area, on the right and below, do not count.
        Depths are clamped from below, as in the released code: what is behind a camera then lands far outside.
        """
        pose = self.cam_from_lidar[sample]
        local = points @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3]
        depths = local[..., 2].clamp_min(min_depth_m)
        rays = torch.cat([local[..., :2] / depths[..., None], torch.ones_like(depths)[..., None]], dim=-1)
        pixels = (rays @ self.K[sample].transpose(1, 2))[..., :2]
        limit = self.valid_px[sample][:, None] - border_px
        return pixels, depths, ((pixels >= 0) & (pixels < limit)).all(dim=-1)

    def padding(self, stride: int) -> Tensor:
        """bool [B, V, height / stride, width / stride], true where a feature cell shows no part of the world."""
        valid = (self.valid_px / stride).floor()[:, :, None, None]
        y = torch.arange(self.height_px // stride, device=valid.device)[:, None]
        x = torch.arange(self.width_px // stride, device=valid.device)
        return (x >= valid[..., 0]) | (y >= valid[..., 1])


@dataclass(frozen=True)
class Batch:
    points: list[Tensor]  # B times [P, 5]: x, y, z, intensity 0..255, seconds before the key sweep
    images: Tensor  # [B, V, 3, H, W] normalised, 0 in the padding
    views: Views
    tokens: tuple[str, ...]
    targets: tuple[Targets, ...] | None = None

    def __len__(self) -> int:
        return len(self.points)

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            points=[p.to(device, non_blocking=True) for p in self.points],
            images=self.images.to(device, non_blocking=True),
            views=moved(self.views, device),
            targets=None if self.targets is None else tuple(moved(t, device) for t in self.targets),
        )


def moved(value: Any, device: torch.device) -> Any:
    """A dataclass of tensors, of nouns and of such dataclasses, on another device."""
    new = {
        name: moved(part, device) if isinstance(part, Sightings) else part.to(device)
        for name, part in vars(value).items()
        if isinstance(part, (Tensor, Boxes, Sightings))
    }
    return replace(value, **new)
