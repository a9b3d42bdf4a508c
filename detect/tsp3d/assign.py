"""Voxels that learn a box, and voxels that are to be kept."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_voxels(
    points: Tensor,  # [N, 3] metres
    boxes: Tensor,  # [M, 6] centre and size
    count: int,
) -> Tensor:
    """The box int64 [N] of each voxel, -1 for none: among the `count` voxels nearest to its centre, and no other box's
    centre nearer.

    As in TR3D's assigner, the distance of rank count + 1 is the cut and only what is strictly nearer passes, so that of
    `count` voxels or fewer the farthest is always left out. Squared distances, lower corners of voxels.
    """
    if len(points) == 0 or len(boxes) == 0:
        return torch.full((len(points),), -1, dtype=torch.int64, device=points.device)
    distance = (points[:, None] - boxes[None, :, :3]).square().sum(-1)  # [N, M]
    rank = min(count + 1, len(points))
    cut = distance.topk(rank, dim=0, largest=False).values[-1]
    nearest = distance.argmin(1)
    own = distance.gather(1, nearest[:, None])[:, 0]
    return torch.where(own < cut[nearest], nearest, -1)


def within_cubes(points: Tensor, centers: Tensor, half_edge_m: float) -> Tensor:
    """bool [N]: strictly inside a cube about any of the centers [M, 3]; the boxes' own sizes do not count."""
    if len(centers) == 0:
        return torch.zeros(len(points), dtype=torch.bool, device=points.device)
    return ((points[:, None] - centers[None]).abs() < half_edge_m).all(-1).any(1)
