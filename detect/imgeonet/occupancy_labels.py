"""True occupancy of voxels, from the depths that the cameras measured."""

from __future__ import annotations

import torch
from torch import Tensor

from .voxel_volume import project


def occupancy_labels(
    points: Tensor,  # [N, 3] lower corners of the voxels, metres
    cam_from_room: Tensor,  # [V, 4, 4]
    K: Tensor,  # [V, 3, 3] pixels of the depths
    depths: Tensor,  # [V, H, W] metres along the optical axis, 0 where unknown
    margin_m: float,
) -> Tensor:
    """bool [N]: true where one view at least has measured a surface within the margin of the voxel's depth.

    Voxels that are seen as free space alone, that are hidden in all views, or that no view shows are false.
    """
    views, height, width = depths.shape
    pixels, along = project(points, cam_from_room, K)
    at = (pixels - 0.5).round()
    limit = at.new_tensor([width, height])
    inside = ((at >= 0) & (at < limit)).all(dim=-1) & (along > 0)
    column, row = torch.where(inside[..., None], at, 0.0).long().unbind(dim=-1)
    measured = depths[torch.arange(views, device=depths.device)[:, None], row, column]
    return (inside & (measured > 0) & ((measured - along).abs() <= margin_m)).any(dim=0)
