"""Box conventions of other software, to and from `Boxes`. Each pair of functions is one, exactly inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..boxes import Boxes


def from_nuscenes(
    translations: Tensor,  # [N, 3] geometric centres
    sizes_wlh: Tensor,  # [N, 3] width, length, height
    rotations: Tensor,  # [N, 4] wxyz, frame_from_box
    labels: Tensor,  # [N]
    names: Sequence[str],
    **others: Any,
) -> Boxes:
    """nuScenes annotations and submissions: only the order of the sizes differs. `others` are further fields."""
    return Boxes(translations, sizes_wlh[:, [1, 0, 2]], rotations, labels, tuple(names), **others)


def to_nuscenes(boxes: Boxes) -> tuple[Tensor, Tensor, Tensor]:
    """(translations [N, 3], sizes [N, 3] as width, length, height, unit rotations [N, 4] wxyz)."""
    quats = boxes.quats / boxes.quats.norm(dim=-1, keepdim=True)
    return boxes.centers, boxes.sizes[:, [1, 0, 2]], quats


def from_mmdet3d(rows: Tensor, labels: Tensor, names: Sequence[str], **others: Any) -> Boxes:
    """MMDetection3D 1.x info files: rows [N, 7] of geometric centre, length, width, height, yaw from +x to +y."""
    return Boxes.upright(rows[:, :3], rows[:, 3:6], rows[:, 6], labels, names, **others)


def to_mmdet3d(boxes: Boxes) -> Tensor:
    """[N, 7]; a tilt against the frame's z is lost."""
    return torch.cat([boxes.centers, boxes.sizes, boxes.yaws[:, None]], dim=1)


def from_mmdet3d_0(rows: Tensor, labels: Tensor, names: Sequence[str], **others: Any) -> Boxes:
    """LiDAR boxes of MMDetection3D before 1.0, which SparseFusion keeps: rows [N, 7 or 9].

    x, y, z of the floor's middle, width, length, height, yaw, and maybe velocity x, y. Their yaw runs the other way
    from another start: -heading - pi / 2.
    """
    heights = rows[:, 5]
    centers = torch.stack([rows[:, 0], rows[:, 1], rows[:, 2] + heights / 2], dim=1)
    if rows.shape[1] > 7:
        others["velocities"] = torch.cat([rows[:, 7:9], torch.zeros_like(rows[:, :1])], dim=1)
    return Boxes.upright(centers, rows[:, [4, 3, 5]], -rows[:, 6] - math.pi / 2, labels, names, **others)


def to_mmdet3d_0(boxes: Boxes) -> Tensor:
    """[N, 9], yaw in [-pi, pi); an unknown velocity is NaN, a tilt is lost."""
    centers, sizes, yaws = boxes.centers, boxes.sizes, -boxes.yaws - math.pi / 2
    yaws = torch.remainder(yaws + math.pi, 2 * math.pi) - math.pi
    floors = centers[:, 2] - sizes[:, 2] / 2
    unknown = torch.full_like(centers[:, :2], math.nan)
    velocities = unknown if boxes.velocities is None else boxes.velocities[:, :2]
    return torch.cat([centers[:, :2], floors[:, None], sizes[:, [1, 0, 2]], yaws[:, None], velocities], dim=1)
