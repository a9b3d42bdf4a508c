"""Boxes to the ten numbers that the network regresses, and back: once in the LiDAR's frame, once in a camera's."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.boxes import Boxes
from ..tasks.driving_task import CLASS_NAMES
from .config import SparseFusionConfig


def encode_boxes(boxes: Boxes, config: SparseFusionConfig) -> Tensor:
    """[N, 10]: centre x, y in BEV cells; height of the centre; log width, length, height; sin, cos of yaw; velocity.

    The yaw is that of MMDetection3D before 1.0, -heading - pi / 2, so (sin, cos) is minus the heading's unit vector.
    """
    heading = boxes.rotations[:, :2, 0]
    heading = heading / heading.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    velocity = torch.zeros_like(heading) if boxes.velocities is None else boxes.velocities[:, :2].nan_to_num()
    xy = cells_from_metres(boxes.centers[:, :2], config)
    return torch.cat([xy, boxes.centers[:, 2:], boxes.sizes[:, [1, 0, 2]].log(), -heading, velocity], dim=1)


def decode_boxes(
    codes: Tensor,  # [N, 10]
    labels: Tensor,  # [N]
    config: SparseFusionConfig,
    scores: Tensor | None = None,  # [N]
) -> Boxes:
    """The inverse of `encode_boxes`, in the LiDAR's frame."""
    centers = torch.cat([metres_from_cells(codes[:, :2], config), codes[:, 2:3]], dim=1)
    yaws = torch.atan2(-codes[:, 7], -codes[:, 6])
    velocities = torch.cat([codes[:, 8:10], torch.zeros_like(codes[:, :1])], dim=1)
    sizes = codes[:, [4, 3, 5]].exp()
    return Boxes.upright(centers, sizes, yaws, labels, CLASS_NAMES, scores=scores, velocities=velocities)


def cells_from_metres(xy: Tensor, config: SparseFusionConfig) -> Tensor:
    """BEV positions [..., 2]; cell (i, j) has its centre at (i + 0.5, j + 0.5)."""
    return (xy - xy.new_tensor(config.point_range_m[:2])) / xy.new_tensor(config.cell_m)


def metres_from_cells(xy: Tensor, config: SparseFusionConfig) -> Tensor:
    return xy * xy.new_tensor(config.cell_m) + xy.new_tensor(config.point_range_m[:2])


def encode_camera_boxes(
    boxes: Boxes,  # M, LiDAR frame
    cam_from_lidar: Tensor,  # [M, 4, 4]
    K: Tensor,  # [M, 3, 3]
    width_px: int,
    height_px: int,
) -> Tensor:
    """[M, 10]: centre u, v over the image's size; depth in metres; log length, height, width; sin, cos of the yaw
    about the camera's y, where the heading is (cos, 0, -sin); velocity along the camera's x and z.

    Each box is written in its own camera. The tilt of a box in a camera that is not level is lost.
    """
    rotation = cam_from_lidar[:, :3, :3]
    center = _rotate(rotation, boxes.centers) + cam_from_lidar[:, :3, 3]
    uv = _rotate(K, center / center[:, 2:])[:, :2] / center.new_tensor([width_px, height_px])
    heading = _rotate(rotation, boxes.rotations[:, :, 0])[:, [0, 2]]
    heading = heading / heading.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    given = torch.zeros_like(boxes.centers) if boxes.velocities is None else boxes.velocities.nan_to_num()
    velocity = _rotate(rotation, given)[:, [0, 2]]
    sin_cos = torch.stack([-heading[:, 1], heading[:, 0]], dim=1)
    return torch.cat([uv, center[:, 2:], boxes.sizes[:, [0, 2, 1]].log(), sin_cos, velocity], dim=1)


def lift_centers(
    codes: Tensor,  # [..., 10] camera codes
    cam_from_lidar: Tensor,  # [..., 4, 4]
    K: Tensor,  # [..., 3, 3]
    width_px: int,
    height_px: int,
) -> tuple[Tensor, Tensor]:
    """(camera frame [..., 3], LiDAR frame [..., 3]) centres: P_cam = K^-1 (u d, v d, d), P_lidar = R^-1 (P_cam - t)."""
    uv = codes[..., :2] * codes.new_tensor([width_px, height_px])
    depth = codes[..., 2:3]
    x = (uv[..., :1] - K[..., 0, 2:]) / K[..., 0, :1] * depth
    y = (uv[..., 1:] - K[..., 1, 2:]) / K[..., 1, 1:2] * depth
    in_camera = torch.cat([x, y, depth], dim=-1)
    return in_camera, _rotate_back(cam_from_lidar[..., :3, :3], in_camera - cam_from_lidar[..., :3, 3])


def lidar_attributes(
    codes: Tensor,  # [..., 10] camera codes
    cam_from_lidar: Tensor,  # [..., 4, 4]
) -> tuple[Tensor, Tensor, Tensor]:
    """(log width, length, height [..., 3]; sin, cos of the LiDAR yaw [..., 2]; velocity x, y [..., 2])."""
    rotation = cam_from_lidar[..., :3, :3]
    zero = torch.zeros_like(codes[..., :1])
    heading = _rotate_back(rotation, torch.cat([codes[..., 7:8], zero, -codes[..., 6:7]], dim=-1))
    velocity = _rotate_back(rotation, torch.cat([codes[..., 8:9], zero, codes[..., 9:10]], dim=-1))
    return codes[..., [5, 3, 4]], -heading[..., :2], velocity[..., :2]


def _rotate(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _rotate_back(rotations: Tensor, vectors: Tensor) -> Tensor:
    return (rotations.transpose(-1, -2) @ vectors[..., None])[..., 0]
