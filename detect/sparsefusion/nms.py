"""Circle NMS: of boxes of one class whose centres are close, the one with the highest score stays."""

from __future__ import annotations

import torch
from torch import Tensor

from ...scene.boxes import Boxes

# Compared with the squared distance on the floor, as in the released code: 0.35 is 0.59 m. 0 means no NMS.
SQUARED_RADIUS_M2 = {
    "car": 0.35, "truck": 0.35, "construction_vehicle": 0.35, "bus": 0.35, "trailer": 0.35, "barrier": 0.175,
    "motorcycle": 0.1, "bicycle": 0.0, "pedestrian": 0.1, "traffic_cone": 0.1,
}  # fmt: skip


def circle_nms(boxes: Boxes) -> Tensor:
    """Rows [K] that stay, ascending. A box goes only for a kept one with a strictly higher score."""
    assert boxes.scores is not None
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.centers.device)]
    for label, name in enumerate(boxes.names):
        rows = (boxes.labels == label).nonzero().flatten()
        limit = SQUARED_RADIUS_M2[name]
        kept.append(rows if limit == 0 else rows[_suppress(boxes.centers[rows, :2], boxes.scores[rows], limit)])
    return torch.cat(kept).sort().values


def _suppress(xy: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Which to keep, bool [N]."""
    order = scores.argsort(descending=True, stable=True)
    squared = (xy[order, None] - xy[None, order]).square().sum(dim=-1)
    sorted_scores = scores[order]
    rivals = ((squared <= limit) & (sorted_scores[:, None] > sorted_scores[None])).cpu()
    keep = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if keep[i]:
            keep &= ~rivals[i]
    result = torch.zeros_like(keep)
    result[order.cpu()] = keep
    return result.to(xy.device)
