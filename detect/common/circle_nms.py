"""Circle NMS: of boxes of one class whose centres are close, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...scene.boxes import Boxes


def circle_nms(
    boxes: Boxes,
    squared_radius_m2: Mapping[str, float],  # by class: closer centres are of one object; 0 for no suppression
) -> Tensor:
    """Rows [K] that stay, ascending. A box goes only for a kept one with a strictly higher score."""
    assert boxes.scores is not None
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.centers.device)]
    for label, name in enumerate(boxes.names):
        rows = (boxes.labels == label).nonzero().flatten()
        limit = squared_radius_m2[name]
        kept.append(rows if limit == 0 else rows[_suppress(boxes.centers[rows, :2], boxes.scores[rows], limit)])
    return torch.cat(kept).sort().values


def _suppress(xy: Tensor, scores: Tensor, limit: float) -> Tensor:
    """True for those that stay, bool [N]."""
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
