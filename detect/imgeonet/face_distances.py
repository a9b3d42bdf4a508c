"""Boxes as a voxel tells them: the distances from its anchor to the six faces, and the box's yaw."""

from __future__ import annotations

import torch
from torch import Tensor


def face_distances(
    points: Tensor,  # [..., 3] metres
    boxes: Tensor,  # [..., 7] centre, size, yaw; broadcast with the points
) -> Tensor:
    """[..., 3, 2] metres along each axis of the box, to its lower and to its upper face; negative beyond the face."""
    offset = _turned(points - boxes[..., :3], -boxes[..., 6])
    half = boxes[..., 3:6] / 2
    return torch.stack([half + offset, half - offset], dim=-1)


def box_from_distances(
    points: Tensor,  # [..., 3] metres
    distances: Tensor,  # [..., 3, 2]
    yaws: Tensor,  # [...] radians
) -> Tensor:
    """[..., 7]: the inverse of `face_distances`."""
    shift = _turned((distances[..., 1] - distances[..., 0]) / 2, yaws)
    return torch.cat([points + shift, distances.sum(dim=-1), yaws[..., None]], dim=-1)


def centerness(distances: Tensor) -> Tensor:
    """[...] in 0..1 for distances [..., 3, 2] of points inside: 1 in the middle of the box, 0 on its faces.

    Source: FCOS (Tian et al., ICCV 2019), equation 3, over three axes, as ImVoxelNet has it: the square root of the
    product.
    """
    ratios = distances.amin(dim=-1) / distances.amax(dim=-1).clamp_min(1e-9)
    return ratios.clamp_min(0).prod(dim=-1).sqrt()


def _turned(points: Tensor, yaws: Tensor) -> Tensor:
    cos, sin = yaws.cos(), yaws.sin()
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z.expand_as(x * cos)], dim=-1)
