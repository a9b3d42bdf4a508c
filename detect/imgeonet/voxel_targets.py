"""The voxels that learn each box, as FCOS chooses its pixels (Tian et al., ICCV 2019), over three scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .face_distances import centerness, face_distances


@dataclass(frozen=True)
class VoxelTargets:
    """The box that each anchor learns, -1 for none, and how central it is there."""

    boxes: Tensor  # [N] int64, rows
    centerness: Tensor  # [N], 0 where there is no box


def scales_of_boxes(
    inside: Sequence[Tensor],  # for each scale, the finest first: int64 [M] anchors strictly inside of each box
    needed: int,
) -> Tensor:
    """int64 [M]: the coarsest scale up to which all have as many anchors as needed; 0 where even the finest has not."""
    enough = torch.stack([count >= needed for count in inside])  # [S, M]
    return (enough.long().cumprod(dim=0).sum(dim=0) - 1).clamp_min(0)


def voxel_targets(
    points: Sequence[Tensor],  # for each scale [N_s, 3] anchors, metres
    boxes: Tensor,  # [M, 7] centre, size, yaw
    needed: int,  # anchors inside of a box on the scale that learns it
    positives: int,  # of each box, at most
) -> VoxelTargets:
    """Anchors of all scales together, the finest scale first.

    A box is learnt by the anchors inside of it that are the most central ones of its scale: strictly more so than the
    one after the last that is allowed, so that ties at the cut are left out. An anchor of several boxes learns the one
    with the smallest volume. Where a scale has no more anchors than are allowed, all of them count.
    """
    anchors = torch.cat(list(points))
    if not len(boxes):
        return VoxelTargets(torch.full((len(anchors),), -1, device=anchors.device), anchors.new_zeros(len(anchors)))
    sizes = [len(p) for p in points]
    distances = face_distances(anchors[:, None], boxes[None])  # [N, M, 3, 2]
    within = (distances > 0).flatten(2).all(dim=2)
    scale_of_anchor = torch.repeat_interleave(torch.tensor(sizes)).to(anchors.device)
    scale = scales_of_boxes([part.sum(dim=0) for part in within.split(sizes)], needed)
    middle = centerness(distances)
    candidates = within & (scale_of_anchor[:, None] == scale[None])
    ranked = torch.where(candidates, middle, -1.0)
    if len(ranked) > positives:
        cut = ranked.topk(positives + 1, dim=0).values[-1]
        candidates &= ranked > cut
    volumes = torch.where(candidates, boxes[:, 3:6].prod(dim=1)[None], torch.inf)
    least, row = volumes.min(dim=1)
    found = least < torch.inf
    chosen = torch.where(found, row, -1)
    return VoxelTargets(chosen, torch.where(found, middle.gather(1, row[:, None])[:, 0], 0.0))
