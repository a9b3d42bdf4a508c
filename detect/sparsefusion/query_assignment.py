"""Assignment of objects to the queries that answer for them: one each, at the least total cost."""

from __future__ import annotations

import torch
from torch import Tensor

from ..common.assignment import match
from ..common.iou_3d import iou_3d
from .coder import encode_boxes, lift_centers, metres_from_cells
from .config import SparseFusionConfig
from .driving_batch import Targets, Views

CLASS_WEIGHT, POSITION_WEIGHT, IOU_WEIGHT = 0.15, 0.25, 0.25
OTHER_VIEW_COST = 1000.0
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss


@torch.no_grad()
def assign_lidar(
    codes: Tensor,  # [Q, 10] predicted
    logits: Tensor,  # [Q, 10]
    targets: Targets,
    config: SparseFusionConfig,
    visible_only: bool = False,  # whether only objects that some camera sees take part, as in the view stage
) -> tuple[Tensor, Tensor]:
    """(queries, rows of `targets.boxes`)"""
    rows = torch.arange(len(targets.boxes), device=codes.device)
    if visible_only:
        rows = rows[targets.visible]
    truth = encode_boxes(targets.boxes, config)[rows]
    labels = targets.boxes.labels[rows]
    predicted_xy, true_xy = metres_from_cells(codes[:, :2], config), metres_from_cells(truth[:, :2], config)
    cost = _class_cost(logits, labels) + _position_cost(predicted_xy, true_xy, config)
    overlap = iou_3d(_upright(codes, predicted_xy), _upright(truth, true_xy))
    queries, objects = match(cost - IOU_WEIGHT * overlap)
    return queries, rows[objects]


@torch.no_grad()
def assign_image(
    codes: Tensor,  # [Q, 10] predicted
    logits: Tensor,  # [Q, 10]
    query_views: Tensor,  # [Q]
    sample: int,
    targets: Targets,
    views: Views,
    config: SparseFusionConfig,
) -> tuple[Tensor, Tensor]:
    """(queries, rows of `targets.sightings`). The matched view can be the wrong one where queries are too few.

    As in the released code the position term compares camera x and y, which is across and down, not the depth.
    """
    seen = targets.sightings
    pose, K = views.cam_from_lidar[sample], views.K[sample]
    size = views.width_px, views.height_px
    predicted, _ = lift_centers(codes, pose[query_views], K[query_views], *size)
    true, _ = lift_centers(seen.codes, pose[seen.views], K[seen.views], *size)
    cost = _class_cost(logits, seen.labels) + _position_cost(predicted[:, :2], true[:, :2], config)
    cost = cost - IOU_WEIGHT * iou_3d(_upright_in_camera(codes, predicted), _upright_in_camera(seen.codes, true))
    return match(cost + OTHER_VIEW_COST * (query_views[:, None] != seen.views[None]))


def _class_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """[Q, N]: what the focal loss would say of the label, less what it says of background."""
    p = logits.float().sigmoid()
    positive = -ALPHA * (1 - p) ** GAMMA * (p + 1e-12).log()
    negative = -(1 - ALPHA) * p**GAMMA * (1 - p + 1e-12).log()
    return CLASS_WEIGHT * (positive - negative)[:, labels]


def _position_cost(predicted: Tensor, true: Tensor, config: SparseFusionConfig) -> Tensor:
    """[Q, N]: L1 of positions in metres over the sides of the point range."""
    low, high = predicted.new_tensor(config.point_range_m[:2]), predicted.new_tensor(config.point_range_m[3:5])
    return POSITION_WEIGHT * torch.cdist((predicted - low) / (high - low), (true - low) / (high - low), p=1)


def _upright(codes: Tensor, xy_m: Tensor) -> Tensor:
    """Rows for `iou_3d` of LiDAR codes."""
    sizes = codes[:, [4, 3, 5]].clamp(-5, 5).exp()  # an untrained size must not overflow
    return torch.cat([xy_m, codes[:, 2:3], sizes, torch.atan2(-codes[:, 7:8], -codes[:, 6:7])], dim=1)


def _upright_in_camera(codes: Tensor, centers: Tensor) -> Tensor:
    """Rows for `iou_3d` of camera codes: the floor is x and -z, in which the yaw runs as usual; up is -y."""
    floor = torch.stack([centers[:, 0], -centers[:, 2]], dim=1)
    sizes = codes[:, [3, 5, 4]].clamp(-5, 5).exp()
    return torch.cat([floor, -centers[:, 1:2], sizes, torch.atan2(codes[:, 6:7], codes[:, 7:8])], dim=1)
