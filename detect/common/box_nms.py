"""Non-maximum suppression of 3D boxes: of boxes of one class that overlap, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .iou_3d import aligned_iou_3d, floor_iou


def aligned_nms(
    boxes: Tensor,  # [N, 6] centre, size
    scores: Tensor,  # [N]
    labels: Tensor,  # [N] int64
    limit: float,
) -> Tensor:
    """Rows [K] that stay, by falling score: those whose volumes overlap no kept one of their class by more."""
    return _greedy(boxes, scores, labels, limit, lambda b: aligned_iou_3d(b[:, None], b[None]))


def floor_nms(
    boxes: Tensor,  # [N, 7] centre, size, yaw
    scores: Tensor,  # [N]
    labels: Tensor,  # [N] int64
    limit: float,
) -> Tensor:
    """The same, by overlap as seen from above."""
    return _greedy(boxes, scores, labels, limit, lambda b: floor_iou(b, b))


def _greedy(boxes: Tensor, scores: Tensor, labels: Tensor, limit: float, overlap: Callable[[Tensor], Tensor]) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    stays = torch.zeros(len(order), dtype=torch.bool, device=boxes.device)
    for label in labels.unique().tolist():
        rows = order[labels[order] == label]
        rivals = (overlap(boxes[rows]) > limit).cpu()
        alive = torch.ones(len(rows), dtype=torch.bool)
        for i in range(len(rows)):
            if alive[i]:
                alive[i + 1 :] &= ~rivals[i, i + 1 :]
        stays[rows[alive.to(rows.device)]] = True
    return order[stays[order]]
